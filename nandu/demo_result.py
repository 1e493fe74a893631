"""What `nandu demo` found out: the record that the report draws and `--json` prints."""

from dataclasses import dataclass, field

import numpy as np

from hw.verify_engine import CaseResult
from sim.result import Result


@dataclass(frozen=True)
class DemoResult:
    """The demo's outcome on one linear layer of a real model.

    Attributes:
        model: the model's name; prompt: the text whose activations were captured;
            continuation: what the float model says next.
        layer: the layer's module path; rows, inputs: its weight's shape.
        tokens: activation rows; the first `prompt_tokens` are the prompt's, the others those of the
            continuation's begin.
        sparsity: the N:M choice as a person reads it; bits: bits of a weight; group_size: inputs
            per scale; output_bits: bits of an output.
        block: m, the rows and inputs of a block; keep: N of each, int [rows / m, inputs / m].
        float_output, golden_output: the layer's output, float32 [tokens, rows].
        relative_error: |golden - float| / |float| (Frobenius); pruning_error, quantisation_error:
            the same with only pruning or only quantisation applied.
        runs: the jobs run in Verilator; the first is the demo's own, the others the same layer at
            each uniform N. run_errors: |golden - float| / |float| of each.
        systems: the end-to-end estimates.
        modules, verilog_bytes, elaboration_s: what was emitted.
        seconds: wall time per stage, in order.
    """

    model: str
    prompt: str
    continuation: str
    layer: str
    rows: int
    inputs: int
    tokens: int
    prompt_tokens: int
    sparsity: str
    bits: int
    group_size: int
    output_bits: int
    block: int
    keep: np.ndarray
    float_output: np.ndarray
    golden_output: np.ndarray
    relative_error: float
    pruning_error: float
    quantisation_error: float
    runs: list[CaseResult]
    run_errors: list[float]
    systems: list[Result]
    modules: int
    verilog_bytes: int
    elaboration_s: float
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True when there were runs and all of them passed."""
        return bool(self.runs) and all(run.passed for run in self.runs)

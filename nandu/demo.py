"""The main job: one linear layer of a real model, from float weights to verified hardware."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import hw.verify_engine
from golden import model_shapes
from golden.language_model import LanguageModel, load, smollm2_file
from golden.matrix_engine import matrix_engine
from golden.output_scale import OutputScale, choose_output_scale
from golden.quantise import Quantised, matrix_shape, quantise_groups, quantise_tokens
from golden.sparse_matrix import SparseMatrix, dense_matrix, prune
from golden.sparsity import (
    check_kept,
    choose_keep,
    importance,
    keep_mask,
    parse_sparsity,
    uniform_keep,
)
from golden.spec.files import make_folder
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.cosim import check_tools
from hw.emit import emit
from hw.matrix_engine import MatrixEngine
from nandu.demo_options import DemoOptions
from nandu.demo_result import DemoResult
from nandu.progress import Stages
from nandu.report import write_report
from sim.catalogue import load_system
from sim.fpga import FpgaSystem
from sim.memory_formats import WeightFormat
from sim.result import Result
from sim.simulate import simulate
from sim.workload import Workload

ENGINE = MatrixEngineConfig(output_bits=16)
"""2 chains of 16 DSPs, 64 products per cycle.

Outputs have 16 bits, so that rounding them does not show in the layer's error: one static scale has
to reach from the first token's outputs, several times as large as the others', down to all of them.
"""

CALIBRATION_TOKENS = 512
"""Tokens of the text that decides which inputs matter and how large outputs are; not the prompt."""

SAID = 8
"""Tokens that the float model says after the prompt. The first fill up the engine's lanes."""

QUICK_ROWS = 128
"""Output rows of the slice that `--quick` takes; all inputs stay, so that K is the real one.

With fewer, loading a column of activations would take longer than working on it at N = 2.
"""

ESTIMATED_MODEL = "llama-2-7b"
ESTIMATED_CONTEXT = 128
"""Tokens in the KV cache: where the only measured FlightLLM decode step stands."""


@dataclass(frozen=True)
class Layer:
    """A linear layer as captured.

    Attributes:
        weight: float32 [rows, inputs].
        continuation: what the model says after the prompt.
        activations: float32 [tokens, inputs]; the first `prompt_tokens` are the prompt's, the
            others the continuation's.
        calibration: the same of the calibration text.
    """

    weight: torch.Tensor
    continuation: str
    activations: torch.Tensor
    prompt_tokens: int
    calibration: torch.Tensor


@dataclass(frozen=True)
class Variant:
    """The layer at one sparsity, as the engine takes it."""

    name: str
    matrix: SparseMatrix
    mask: torch.Tensor
    weights: Quantised


def run(options: DemoOptions, stages: Stages) -> tuple[DemoResult, Path]:
    """Run the demo; return what it found and where the report is.

    Raises:
        NanduError: any of the options cannot be used, or a tool is missing.
    """
    _check(options)
    check_tools()
    make_folder(options.out)

    with stages.stage("Load the model"):
        model = load(options.model or smollm2_file())
    with stages.stage("Run the prompt and capture the layer's activations"):
        layer = _capture(model, options)
    with stages.stage("Prune and quantise"):
        scale = _output_scale(layer, options)
        layer = replace(layer, weight=layer.weight[: QUICK_ROWS if options.quick else None])
        tokens = quantise_tokens(layer.activations)
        variants = list(_variants(layer, options))
    with stages.stage("Compute the golden integer result"):
        cases = [_case(variant, tokens, scale) for variant in variants]
        outputs = [scale.dequantise(_golden(case), tokens) for case in cases]
        exact = layer.activations @ layer.weight.T
        pruned = layer.activations @ (layer.weight * variants[0].mask).T
        errors = [_distance(output, exact) for output in outputs]
    with stages.stage("Emit Verilog"):
        design = emit(MatrixEngine, scale.config)
    with stages.stage("Run the engine in Verilator") as progress:
        runs = hw.verify_engine.run_cases(
            cases, design=design, waves=options.waves, progress=progress
        )
    with stages.stage("Estimate end to end"):
        systems = _estimate(variants[0].matrix, options)

    matrix = variants[0].matrix
    result = DemoResult(
        model=model.name,
        prompt=options.prompt,
        continuation=layer.continuation,
        layer=options.layer,
        rows=matrix.rows,
        inputs=matrix.inputs,
        tokens=len(layer.activations),
        prompt_tokens=layer.prompt_tokens,
        sparsity=variants[0].name,
        bits=options.bits,
        group_size=options.group_size,
        output_bits=scale.config.output_bits,
        block=matrix.m,
        keep=matrix.keep.numpy(),
        float_output=exact.numpy(),
        golden_output=outputs[0].numpy(),
        relative_error=errors[0],
        pruning_error=_distance(pruned, exact),
        quantisation_error=errors[-1],
        runs=runs,
        run_errors=errors,
        systems=systems,
        modules=len(design.modules),
        verilog_bytes=len(design.verilog),
        elaboration_s=stages.seconds["Emit Verilog"],
    )
    with stages.stage("Write the report"):
        report = options.out / "report.html"
        result = replace(result, seconds=dict(stages.seconds))
        write_report(result, report, options.command())
    return result, report


def _check(options: DemoOptions) -> None:
    """Refuse what can be refused before the model is loaded."""
    if options.sparsity:
        parse_sparsity(options.sparsity, ENGINE.chain)
    check_kept(options.kept, ENGINE.chain)
    # A matrix knows which bits and group sizes there are.
    nothing = torch.zeros(1, 1, dtype=torch.int8)
    dense_matrix(nothing, options.group_size, options.bits, ENGINE.m)


def _capture(model: LanguageModel, options: DemoOptions) -> Layer:
    from pydoc_data.topics import topics

    weight = model.weight(options.layer)
    continuation = model.continuation(options.prompt, SAID)
    prompt_tokens = model.tokens(options.prompt).shape[1]
    at_once = ENGINE.chains * ENGINE.products_per_dsp
    tokens = model.tokens(options.prompt + continuation)[
        :, : -(-prompt_tokens // at_once) * at_once
    ]
    calibration = model.tokens(" ".join(topics[name] for name in sorted(topics)[:8]))
    return Layer(
        weight,
        continuation,
        model.inputs_of(options.layer, tokens),
        prompt_tokens,
        model.inputs_of(options.layer, calibration[:, :CALIBRATION_TOKENS]),
    )


def _output_scale(layer: Layer, options: DemoOptions) -> OutputScale:
    """Return the static scale that the calibration text gives the whole layer."""
    outputs = layer.calibration @ layer.weight.T
    weights = _quantise_weights(layer.weight, options)
    return choose_output_scale(outputs, quantise_tokens(layer.calibration), weights, ENGINE)


def _variants(layer: Layer, options: DemoOptions) -> Iterator[Variant]:
    """Yield the layer as asked for, then at every uniform N; the last keeps every weight."""
    chain = ENGINE.chain
    shape = matrix_shape(layer.weight, options.layer)
    scores = importance(layer.weight, layer.calibration)
    if options.sparsity:
        keep = uniform_keep(*shape, parse_sparsity(options.sparsity, chain), chain)
    else:
        keep = choose_keep(scores, options.kept, chain)
    yield _compress(layer.weight, scores, keep, options)
    for n in chain.keeps:
        variant = _compress(layer.weight, scores, uniform_keep(*shape, n, chain), options)
        yield replace(variant, name=f"all {variant.name}")


def _compress(
    weight: torch.Tensor, scores: torch.Tensor, keep: torch.Tensor, options: DemoOptions
) -> Variant:
    mask = keep_mask(scores, keep, ENGINE.chain)
    weights = _quantise_weights(weight * mask, options)
    values = weights.values[:, : weight.shape[1]]
    matrix = prune(values, mask, keep, options.group_size, options.bits, ENGINE.m)
    return Variant(_sparsity_label(matrix), matrix, mask, weights)


def _quantise_weights(weight: torch.Tensor, options: DemoOptions) -> Quantised:
    """Return the weights filled up with zeros to whole groups; they change no scale."""
    missing = -weight.shape[1] % options.group_size
    padded = torch.nn.functional.pad(weight, (0, missing))
    return quantise_groups(padded, options.bits, options.group_size)


def _case(variant: Variant, tokens: Quantised, scale: OutputScale) -> hw.verify_engine.Case:
    scales = scale.of_groups(variant.weights)
    zeros = torch.zeros_like(scales)
    return hw.verify_engine.Case(
        variant.name, scale.config, variant.matrix, tokens.values, scales, zeros
    )


def _golden(case: hw.verify_engine.Case) -> torch.Tensor:
    return matrix_engine(case.matrix, case.activations, case.scales, case.zeros, case.config)


def _estimate(matrix: SparseMatrix, options: DemoOptions) -> list[Result]:
    """Estimate Llama-2-7B with the layer's mix of blocks, and dense, beside the A100."""
    model = model_shapes.load(ESTIMATED_MODEL)
    counts = matrix.keep.unique(return_counts=True)
    shares = {int(n): int(count) / matrix.keep.numel() for n, count in zip(*counts, strict=True)}
    mixed = WeightFormat(bits=options.bits, group_size=options.group_size, keep=shares)
    fpga, gpu = load_system("flightllm-u280"), load_system("gpu-a100-sxm-80gb")
    assert isinstance(fpga, FpgaSystem)
    step = Workload(prefill=ESTIMATED_CONTEXT, decode=1)
    compressed = simulate(fpga.with_weights(mixed), model, step)
    return [
        # The board was measured with the weights of the system's own file.
        replace(compressed, published_tokens_per_s=None, published_source=""),
        simulate(fpga, model, step),
        simulate(gpu, model, step),
    ]


def _sparsity_label(matrix: SparseMatrix) -> str:
    found = matrix.keep.unique().tolist()
    if len(found) == 1:
        return f"{found[0]}:{matrix.m}"
    return f"{'/'.join(map(str, found))}:{matrix.m} mixed, {matrix.kept_fraction:.0%} kept"


def _distance(output: torch.Tensor, exact: torch.Tensor) -> float:
    """Return |output - exact| / |exact|, Frobenius."""
    return float((output - exact).norm() / exact.norm())

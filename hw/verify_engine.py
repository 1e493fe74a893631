"""Verifies the matrix engine: every output against golden, every cycle against the contract.

All cases of a call run in one start of the simulator. The streams are played from golden's arrays
(`hw.payloads`) and every handshake is logged (`hw.player`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from golden.bit_packing import pack_fields
from golden.matrix_engine import Mode, chain_passes, output_rows, reference_outputs, sweeps
from golden.passes import Passes
from golden.sparse_matrix import SparseMatrix
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim, payloads, player
from hw.emit import Design, emit
from hw.engine_stalls import transfers
from hw.engine_timing import engine_cycles
from hw.matrix_engine import MatrixEngine
from hw.verify_chain import CaseResult, kept_weights, one_configuration


@dataclass(frozen=True)
class Case:
    """One matrix product.

    Attributes:
        name: what a person calls it.
        config: of the engine.
        matrix: the weights. activations: int8 [tokens, inputs].
        scales, zeros: integers [rows, groups], see `golden.group_scale`.
        mode: how the chains share the work.
        idle: the sources pause at random; stall: the sinks do.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
        sddmm: the matrix is keys and the activations are queries, of a job of `golden.sddmm`.
    """

    name: str
    config: MatrixEngineConfig
    matrix: SparseMatrix
    activations: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    mode: Mode = Mode.MATRIX_MATRIX
    idle: bool = False
    stall: bool = False
    reset_after: int = 0
    sddmm: bool = False

    @property
    def tokens_at_once(self) -> int:
        """Tokens that the engine works on together."""
        if self.mode is Mode.MATRIX_VECTOR:
            return 1
        return self.config.chains * self.config.products_per_dsp

    @property
    def batches(self) -> int:
        """Times that the weights pass through."""
        return -(-len(self.activations) // self.tokens_at_once)


def run_cases(
    cases: Sequence[Case],
    *,
    design: Design | None = None,
    target: str = "generic",
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the engine in Verilator.

    Args:
        design: the Verilog to run; the engine of the cases' configuration by default, for `target`.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ShapeError: a case does not fit the engine. ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(MatrixEngine, config, target=target)
    random = np.random.default_rng(seed)
    jobs = [Job(case) for case in cases]
    played = [job.play(random) for job in jobs]
    # Without pauses nothing waits for a source, so a long case's log can be short.
    paused = any(case.idle or case.stall for case in cases)
    logged = None if paused else ["i_sweep", *(f"i_pass__{c}" for c in range(config.chains))]
    traces = player.play(design, played, logged=logged, waves=waves, progress=progress)
    return [job.judge(trace) for job, trace in zip(jobs, traces, strict=True)]


class Job:
    """A case as streams."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.chains = chain_passes(case.matrix, case.config, case.mode)
        self.sweeps = sweeps(self.chains[0], case.matrix.group_size, case.config)
        self.expected = self._expected()

    def play(self, random: np.random.Generator) -> player.Case:
        """Return what is to be played."""
        case, config = self.case, self.case.config
        once = payloads.of_sweeps(self.sweeps, case.matrix.group_size, config)
        inputs = {"i_sweep": np.tile(once, (case.batches, 1))}
        vector = case.mode is Mode.MATRIX_VECTOR
        for c in range(config.chains):
            own = self._weights(self.chains[c])
            nothing = {key: payload[:0] for key, payload in own.items()}
            for key, payload in (own if vector or c == 0 else nothing).items():
                inputs[f"{key}__{c}"] = np.tile(payload, (case.batches, 1))
            given = self._activations(c)
            inputs[f"i_activation__{c}"] = given[:0] if vector and c else given
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {key: len(v) for key, v in inputs.items()})
        outputs = {f"o__{c}": len(rows) for c, rows in enumerate(self.expected)}
        if case.stall:
            pauses |= player.random_pauses(random, outputs, share=0.6)
        levels = {"matrix_vector": int(vector)}
        return player.Case(inputs, outputs, pauses, levels, case.reset_after)

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        case, config = self.case, self.case.config
        wrong = {
            c: player.count_mismatches(trace.outputs[f"o__{c}"], rows)
            for c, rows in enumerate(self.expected)
        }
        bad = [c for c, number in wrong.items() if number]
        start = int(np.argmax(trace.valid["i_sweep"]))
        ends = [trace.transfers(f"o__{c}")[-1:].max(initial=0) for c in range(config.chains)]
        different = self.chains if case.mode is Mode.MATRIX_VECTOR else self.chains[:1]
        contract = engine_cycles(config, different, self.sweeps, case.batches, case.mode)
        stalls, unexplained = 0, 0
        if case.idle or case.stall:
            cycles, unexplained = self._follow(trace, start)
            stalls = cycles - contract
        return CaseResult(
            case.name,
            self._products(trace),
            config.lanes,
            int(max(ends)) + 1 - start,
            contract,
            stalls,
            unexplained,
            len(case.activations) * case.matrix.rows,
            sum(wrong.values()),
            f"chain {bad[0]}: {wrong[bad[0]]} of its outputs differ" if bad else "",
        )

    def _follow(self, trace: player.Trace, start: int) -> tuple[int, int]:
        """Return the cycles with the log's waits, and how many handshakes are not where they lead.

        Args:
            start: the cycle in which the first sweep was offered.
        """
        case = self.case
        expected = transfers(case.config, self.chains, self.sweeps, case.batches, case.mode, trace)
        unexplained = 0
        for stream, when in expected.items():
            seen = trace.transfers(stream)[: len(when)] - start
            unexplained += len(when) - int((seen == when[: len(seen)]).sum())
        return 1 + max(when[-1] for name, when in expected.items() if name[0] == "o"), unexplained

    def _weights(self, passes: Passes) -> dict[str, np.ndarray]:
        case, config = self.case, self.case.config
        return {
            "i_segment": payloads.of_segments(passes, config),
            "i_word": payloads.of_words(passes, config),
            "i_index": payloads.of_indices(passes),
            "i_pass": payloads.of_passes(passes),
            "i_scale": payloads.of_scales(passes, case.scales, case.zeros, config, case.mode),
        }

    def _tokens(self, chain: int, batch: int) -> torch.Tensor:
        """Return the tokens of a chain in a batch, [tokens, inputs]."""
        case = self.case
        lanes = 1 if case.mode is Mode.MATRIX_VECTOR else case.config.products_per_dsp
        own = 0 if case.mode is Mode.MATRIX_VECTOR else chain * lanes
        start = batch * case.tokens_at_once + own
        return case.activations[start : start + lanes]

    def _activations(self, chain: int) -> np.ndarray:
        """Return the inputs of all sweeps."""
        case, m = self.case, self.case.config.m
        parts = []
        for batch in range(case.batches):
            tokens = self._tokens(chain, batch)
            padded = torch.nn.functional.pad(tokens, (0, -tokens.shape[1] % m))
            given = payloads.of_activations(padded, case.config.chain)
            for sweep in self.sweeps:
                start = sweep.first_column * m
                parts.append(given[start : start + sweep.columns * m])
        return np.concatenate(parts)

    def _expected(self) -> list[np.ndarray]:
        """Return the payloads that each chain must give."""
        case, config = self.case, self.case.config
        outputs = reference_outputs(
            case.matrix, case.activations, case.scales, case.zeros, config
        ).numpy()
        expected = []
        for chain, passes in enumerate(self.chains):
            done = passes.group[passes.last] == passes.groups - 1
            rows = output_rows(passes, config, case.mode)[done].reshape(-1, config.products_per_dsp)
            given = np.zeros((case.batches, len(rows), config.products_per_dsp), np.int64)
            for batch in range(case.batches):
                for lane in range(config.products_per_dsp):
                    token = batch * case.tokens_at_once
                    if case.mode is Mode.MATRIX_MATRIX:
                        token += chain * config.products_per_dsp + lane
                    if token < len(outputs):
                        row = rows[:, lane]
                        inside = row < case.matrix.rows
                        given[batch, inside, lane] = outputs[token, row[inside]]
            expected.append(pack_fields((given.reshape(-1, given.shape[2]), config.output_bits)))
        return expected

    def _products(self, trace: player.Trace) -> int:
        """Return the useful products of the passes that were taken."""
        case, total = self.case, 0
        for chain, passes in enumerate(self.chains):
            port = chain if case.mode is Mode.MATRIX_VECTOR else 0
            taken = len(trace.transfers(f"i_pass__{port}"))
            if chain == 0 or case.mode is Mode.MATRIX_VECTOR:
                kept = kept_weights(passes, case.matrix)
                per_pass = np.add.reduceat(kept, passes.first_beat)
            for batch in range(case.batches):
                mine = per_pass[: max(taken - batch * len(per_pass), 0)]
                total += int(mine.sum()) * len(self._tokens(chain, batch))
        return total

"""Verifies the finisher: outputs against golden, cycles against the contract.

All cases of a call run in one start of the simulator; `hw.player` plays the streams and logs every
handshake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import torch

from golden.attention_engine import merge_partials, outputs
from golden.attention_engine_formats import to_half
from golden.attention_engine_sums import Sums, lower
from golden.bit_packing import pack_fields
from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from hw import player
from hw.emit import Design, emit
from hw.verify_chain import one_configuration
from storage_engine.engine_layouts import FRACTION_BITS
from storage_engine.finisher import Finisher
from storage_engine.finisher_cases import Case, Job, largest_distance


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes, beside the contract.

    Attributes:
        elements: outputs; cycles: from the first job offered to the last beat taken.
        stalls: cycles in which an output waited.
        compared, mismatches: beats compared with golden, and how many differ.
        off: cycles that the first job took more than the contract and stalls say; None where the
            contract says nothing, since sources paused.
        slack: by how many cycles it may be off, since slices' tops differ.
    """

    name: str
    elements: int
    cycles: int
    stalls: int
    compared: int
    mismatches: int
    off: int | None
    slack: int

    @property
    def passed(self) -> bool:
        """True when every output is golden's, and the first job took its cycles."""
        return self.mismatches == 0 and (self.off is None or 0 <= self.off <= self.slack)


def run_cases(
    cases: Sequence[Case], *, design: Design | None = None, target: str = "generic", seed: int = 0
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the finisher in Verilator.

    Args:
        design: the Verilog to run; the finisher of the cases' configuration by default.
        seed: of the random pauses.

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(Finisher, config, target=target)
    random = np.random.default_rng(seed)
    plays = [Play(case) for case in cases]
    played = [play.streams(random) for play in plays]
    traces = player.play(design, played)
    return [play.judge(trace) for play, trace in zip(plays, traces, strict=True)]


class Play:
    """A case as streams, and what should come of it."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def streams(self, random: np.random.Generator) -> player.Case:
        """Return what is to be played."""
        case = self.case
        inputs = _inputs(case.config, case.jobs)
        outputs = {"o": len(self.expected)}
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {key: len(v) for key, v in inputs.items()})
        if case.stall:
            pauses |= player.random_pauses(random, {"o": 4 * len(self.expected)}, share=0.5)
        return player.Case(inputs, outputs, pauses, reset_after=case.reset_after)

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        case, config = self.case, self.case.config
        taken = trace.transfers("o")
        start = int(np.argmax(trace.valid["i_job"]))
        beats, job = config.queries * config.rows, case.jobs[0]
        off = None
        waits = trace.valid["o"] & ~trace.ready["o"]
        if not case.idle and len(taken) >= beats:
            end = int(taken[beats - 1])
            contract = Finisher.cycles(config, compensates=job.compensates)
            off = end + 1 - start - int(waits[: end + 1].sum()) - contract
        return CaseResult(
            case.name,
            len(self.expected) * config.lanes,
            int(taken[-1]) + 1 - start if len(taken) else 0,
            int(waits.sum()),
            len(self.expected),
            player.count_mismatches(trace.outputs["o"], self.expected),
            off,
            sum(largest_distance(job)),
        )

    @cached_property
    def expected(self) -> np.ndarray:
        """Golden's payloads, uint8 [beats, bytes]."""
        config, halves = self.case.config, []
        for job in self.case.jobs:
            merged = reduce(merge_partials, job.partials)
            halves.append(
                to_half(config.attention, outputs(config.attention, merged), job.value_fraction)
            )
        words = torch.stack(halves).view(torch.int16).numpy().astype(np.int64)
        return pack_fields((words.reshape(-1, config.lanes), 16))


def partial_beats(config: DriveEngineConfig, sums: Sums) -> np.ndarray:
    """Return a slice's sums as beats, int64 [beats, lanes]; 0 in elements that say nothing."""
    beats = []
    for query in range(config.queries):
        head = np.zeros((1 + BINS, config.lanes), np.int64)
        head[0, 0], head[1:, 0] = int(sums.top[query]), sums.mass[query].flip(0).numpy()
        mixed = sums.mixed[query].flip(0).reshape(BINS, config.rows, config.lanes)
        beats += [head, mixed.transpose(0, 1).reshape(-1, config.lanes).numpy()]
    return np.concatenate(beats)


def _inputs(config: DriveEngineConfig, jobs: Sequence[Job]) -> dict[str, np.ndarray]:
    """Return by the stream its payloads."""
    c = config.attention
    about, sums, masses = [], [], []
    partials: list[list[np.ndarray]] = [[] for _ in range(config.flash_channels)]
    for job in jobs:
        merged = reduce(merge_partials, job.partials)
        tokens, missed = 0, merged.compensation
        if missed is not None:
            tokens = int(missed.tokens)
            sums.append(missed.value_sum.reshape(config.rows, config.lanes).numpy())
            both = (missed.whole.mass, lower(missed.kept, missed.whole.top).mass)
            masses.append(torch.stack([x.flip(-1) for x in both], dim=-2).numpy())
        about.append([job.compensates, job.value_fraction, tokens])
        for channel, partial in enumerate(job.partials):
            partials[channel].append(partial_beats(config, partial.attention))
    fields = np.array(about, np.int64)
    widths = (1, FRACTION_BITS, c.max_context.bit_length())
    none = np.zeros((0, config.lanes), np.int64)
    return {
        "i_job": pack_fields(*((fields[:, k : k + 1], bits) for k, bits in enumerate(widths))),
        "i_value_sum": pack_fields(
            (np.concatenate([none, *sums]), c.element_bits + config.context_bits)
        ),
        "i_mass": pack_fields(
            (
                np.concatenate([none[:, :0].reshape(-1), *(x.reshape(-1) for x in masses)])[
                    :, None
                ],
                c.mass_bits,
            )
        ),
        **{
            f"i_partial_{channel}": pack_fields((np.concatenate(own), c.mixed_bits))
            for channel, own in enumerate(partials)
        },
    }

"""Verifies the special function unit: outputs against golden, handshakes against the contract.

All cases of a call run in one start of the simulator; `hw.player` plays the streams and logs every
handshake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from golden.bit_packing import pack_fields
from golden.spec.special_function_unit import (
    BYTE_BITS,
    SLOT_BITS,
    Byte,
    Job,
    SpecialFunctionUnitConfig,
)
from golden.special_functions.passes import SpecialFunctionUnit as Golden
from golden.special_functions.tables import Tables
from hw import cosim, player
from hw.emit import Design, emit
from hw.sfu_layouts import job_layout
from hw.sfu_stalls import transfers
from hw.sfu_timing import STAGES, schedule
from hw.special_function_unit import SpecialFunctionUnit
from hw.verify_chain import one_configuration

STREAMS = ("i_job", "i_a", "i_b", "o", "o_byte")


@dataclass(frozen=True)
class Case:
    """Successive jobs.

    Attributes:
        name: what a person calls it.
        config: of the unit.
        jobs: those that read a register come behind one that writes it.
        a, b: wide [length], for each pass and each job that takes b, in the jobs' order.
        idle: the sources pause at random; stall: the sinks do.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: SpecialFunctionUnitConfig
    jobs: tuple[Job, ...]
    a: tuple[torch.Tensor, ...]
    b: tuple[torch.Tensor, ...] = ()
    idle: bool = False
    stall: bool = False
    reset_after: int = 0


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes, beside the contract.

    Attributes:
        elements: of all passes; lanes: elements that can be taken per cycle.
        cycles: from the first job offered to the last job or word that was taken or given.
        contract_cycles: that many where no stream waits.
        stall_cycles: what there are more, because streams waited.
        compared, mismatches: words compared with golden, and how many differ.
        unexplained: handshakes that were not in the cycle that follows from the streams' waits.
        first_mismatch: what differs first.
    """

    name: str
    elements: int
    lanes: int
    cycles: int
    contract_cycles: int
    compared: int
    mismatches: int
    unexplained: int
    first_mismatch: str = ""

    @property
    def stall_cycles(self) -> int:
        """Cycles beyond the contract."""
        return self.cycles - self.contract_cycles

    @property
    def products(self) -> int:
        """The elements, by the name of what other benches count: one per lane and cycle."""
        return self.elements

    @property
    def utilisation(self) -> float:
        """Elements / (lanes x cycles)."""
        return self.elements / (self.lanes * self.cycles)

    @property
    def passed(self) -> bool:
        """True when every output is golden's, and every handshake in the contract's cycle."""
        return self.mismatches == 0 and self.unexplained == 0


def run_cases(
    cases: Sequence[Case],
    *,
    design: Design | None = None,
    target: str = "generic",
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the unit in Verilator.

    Args:
        design: the Verilog to run; the unit of the cases' configuration by default, for `target`.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ShapeError: a vector does not fit its job. ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(SpecialFunctionUnit, config, target=target)
    random = np.random.default_rng(seed)
    plays = [Play(case) for case in cases]
    played = [play.streams(random) for play in plays]
    traces = player.play(design, played, waves=waves, progress=progress)
    return [play.judge(trace) for play, trace in zip(plays, traces, strict=True)]


class Play:
    """A case as streams, and what should come of it."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def streams(self, random: np.random.Generator) -> player.Case:
        """Return what is to be played; behind the vectors' ends there is noise."""
        case, lanes = self.case, self.case.config.lanes
        inputs = {"i_job": _job_payloads(case.jobs)}
        for name, vectors in (("i_a", case.a), ("i_b", case.b)):
            inputs[name] = _payloads(vectors, lanes, SLOT_BITS, random)
        outputs = {name: len(payloads) for name, payloads in self.expected.items()}
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {key: len(v) for key, v in inputs.items()})
        if case.stall:
            pauses |= player.random_pauses(random, outputs, share=0.6)
        return player.Case(inputs, outputs, pauses, reset_after=case.reset_after)

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        wrong = {
            name: player.count_mismatches(trace.outputs[name], payloads)
            for name, payloads in self.expected.items()
        }
        start = int(np.argmax(trace.valid["i_job"]))
        happened = {name: trace.transfers(name) - start for name in STREAMS}
        waited = transfers(self.case.config, self.case.jobs, trace)
        late = {name: _differences(happened[name], waited[name]) for name in STREAMS}
        if not (self.case.idle or self.case.stall):
            late = {
                name: late[name] + _differences(happened[name], self.contract[name])
                for name in STREAMS
            }
        first = [f"{name} differs" for name in wrong if wrong[name]]
        first += [f"{name} is not in its cycle" for name in STREAMS if late[name]]
        return CaseResult(
            self.case.name,
            sum(map(len, self.case.a)),
            self.case.config.lanes,
            _last(happened),
            _last(self.contract),
            sum(map(len, self.expected.values())),
            sum(wrong.values()),
            sum(late.values()),
            *first[:1],
        )

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        """By the output stream, golden's payloads."""
        case, lanes = self.case, self.case.config.lanes
        golden = Golden(Tables(case.config.table_bits))
        a, b = iter(case.a), iter(case.b)
        wide, byte = [], []
        for job in case.jobs:
            given = golden.run(
                job,
                next(a) if job.operation.is_pass else None,
                next(b) if job.takes_b else None,
            )
            wide += [given.wide] if given.wide is not None else []
            byte += [given.byte] if given.byte is not None else []
        return {
            "o": _payloads(wide, lanes, SLOT_BITS),
            "o_byte": _payloads(byte, lanes, BYTE_BITS),
        }

    @cached_property
    def contract(self) -> dict[str, np.ndarray]:
        """By the stream, the cycles of its handshakes where nothing pauses."""
        case = self.case
        when = schedule(case.config, case.jobs)
        times: dict[str, list[int]] = {name: [] for name in STREAMS}
        for job, taken, begins in zip(case.jobs, when.taken, when.begins, strict=True):
            times["i_job"].append(taken)
            if not job.operation.is_pass:
                continue
            words = range(begins, begins + case.config.words(job.length))
            given = range(words.start + STAGES, words.stop + STAGES)
            times["i_a"] += words
            times["i_b"] += words if job.takes_b else ()
            times["o"] += given if job.wide else ()
            times["o_byte"] += given if job.byte is not Byte.NONE else ()
        return {name: np.array(cycles, np.int64) for name, cycles in times.items()}


def _differences(cycles: np.ndarray, others: Sequence[int] | np.ndarray) -> int:
    """Return how many differ, or are missing in either."""
    common = min(len(cycles), len(others))
    wrong = int((cycles[:common] != np.asarray(others)[:common]).sum())
    return wrong + abs(len(cycles) - len(others))


def _last(times: dict[str, np.ndarray]) -> int:
    return max((int(cycles[-1]) + 1 for cycles in times.values() if len(cycles)), default=0)


def _job_payloads(jobs: Sequence[Job]) -> np.ndarray:
    fields = []
    for name, field in job_layout():
        values = [job.length - 1 if name == "more_elements" else getattr(job, name) for job in jobs]
        bits = field.width
        fields.append((np.array([[int(v) % (1 << bits)] for v in values], np.int64), bits))
    return pack_fields(*fields)


def _payloads(
    vectors: Sequence[torch.Tensor],
    lanes: int,
    bits: int,
    random: np.random.Generator | None = None,
) -> np.ndarray:
    """Return the words of all vectors, uint8 [words, bytes], with 0 or noise behind their ends."""
    words = [np.zeros((0, lanes), np.int64)]
    for vector in vectors:
        padded = np.zeros(-(-len(vector) // lanes) * lanes, np.int64)
        if random is not None:
            padded = random.integers(-(2**26), 2**26, padded.shape)
        padded[: len(vector)] = vector.numpy()
        words.append(padded.reshape(-1, lanes))
    dtype = f"<i{bits // 8}"
    payloads = np.concatenate(words).astype(dtype)
    return payloads.view(np.uint8).reshape(len(payloads), lanes * bits // 8)

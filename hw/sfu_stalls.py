"""The special function unit's timing contract where streams wait: the same jobs, a log's waits.

From the log of handshakes come only waits in which the unit has no part: before each beat of an
input, the cycles in which none was offered since the one before was taken; and the cycles in which
a sink was not ready. When the unit takes a beat and gives an output follows from these, cycle by
cycle. So a cycle that the unit loses by itself never counts as a stall.

`hw.sfu_timing` says the same in closed form, for jobs in which no stream waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.spec.special_function_unit import Byte, Job, SpecialFunctionUnitConfig
from hw.player import Trace
from hw.scalar_unit import ScalarUnit
from hw.sfu_lane import AT_OUT
from hw.sfu_reduction import SfuReduction
from hw.sfu_timing import STAGES

INPUTS, OUTPUTS = ("i_job", "i_a", "i_b"), ("o", "o_byte")


def transfers(
    config: SpecialFunctionUnitConfig, jobs: Sequence[Job], trace: Trace
) -> dict[str, list[int]]:
    """Return when each stream's beats pass, as cycles since the first job was offered."""
    start = int(np.argmax(trace.valid["i_job"]))
    sources = {name: _Source(_waits(trace, name, start)) for name in INPUTS}
    ready = {name: trace.ready[name][start:] for name in OUTPUTS}
    unit = _Unit(config, jobs, sources)
    for cycle in range(len(ready["o"])):
        unit.step(cycle, {name: bool(is_ready[cycle]) for name, is_ready in ready.items()})
    return unit.given | {name: source.taken for name, source in sources.items()}


def _waits(trace: Trace, stream: str, start: int) -> list[int]:
    """Return before each beat the cycles in which none was offered, for the first since `start`."""
    withheld = np.cumsum(~trace.valid[stream])
    return np.diff(
        withheld[trace.transfers(stream)], prepend=withheld[start - 1] if start else 0
    ).tolist()


class _Source:
    """A stream into the unit: how long each beat is withheld, and when each was taken."""

    def __init__(self, waits: Sequence[int]) -> None:
        self._waits = waits
        self.taken: list[int] = []

    def offers(self, cycle: int) -> bool:
        """Return whether a beat is offered."""
        number = len(self.taken)
        before = self.taken[-1] + 1 if number else 0
        return number < len(self._waits) and cycle >= before + self._waits[number]


@dataclass
class _Word:
    """A word behind the first stage: how many stages it has passed."""

    job: Job
    is_last: bool
    age: int = 0


class _Unit:
    """The control of the unit, without its numbers."""

    def __init__(
        self, config: SpecialFunctionUnitConfig, jobs: Sequence[Job], sources: dict[str, _Source]
    ) -> None:
        self._config, self._jobs, self._sources = config, jobs, sources
        self._stages: list[Job | None] = [None, None, None]  # read, prepared, running
        self._begun = 0  # words of the running pass
        self._words: list[_Word] = []
        self._waiting: set[int] = set()  # registers
        self._step: tuple[Job, int] | None = None  # and the cycle in which it is done
        self._offered = dict.fromkeys(OUTPUTS, False)
        self.given: dict[str, list[int]] = {name: [] for name in OUTPUTS}

    def step(self, cycle: int, ready: dict[str, bool]) -> None:
        """Do one cycle, in which the sinks are ready or not."""
        if self._step and cycle == self._step[1]:
            self._waiting -= {*self._step[0].writes}
            self._step = None
        for name in OUTPUTS:
            if self._offered[name] and ready[name]:
                self.given[name].append(cycle)
        advance = all(ready[name] or not self._offered[name] for name in OUTPUTS)
        ends = self._begin(cycle) if advance else False
        prepared_moves = self._stages[1] is None or self._stages[2] is None or ends
        read_moves = self._stages[0] is None or prepared_moves
        taken = self._take(cycle, is_free=read_moves)
        if self._stages[2] is None or ends:
            self._stages[2] = self._stages[1]
            self._begun = 0
            self._stages[1] = None
        if prepared_moves:
            self._stages[1] = self._stages[0]
            self._stages[0] = None
        if taken:
            self._stages[0] = taken
        self._move(advance, ready)

    def _take(self, cycle: int, *, is_free: bool) -> Job | None:
        """Take the next job if it may be; return it if it is a pass."""
        source = self._sources["i_job"]
        if not source.offers(cycle):
            return None
        job = self._jobs[len(source.taken)]
        is_pass = job.operation.is_pass
        if self._waiting & {*job.reads, *job.writes} or (self._step and not is_pass):
            return None
        if is_pass and not is_free:
            return None
        source.taken.append(cycle)
        self._waiting |= {*job.writes}
        if not is_pass:
            self._step = job, cycle + ScalarUnit.cycles(job.operation)
        return job if is_pass else None

    def _begin(self, cycle: int) -> bool:
        """Begin a word of the running pass if it is there; return whether that was the last one."""
        job = self._stages[2]
        if job is None:
            return False
        names = ("i_a", "i_b") if job.takes_b else ("i_a",)
        if not all(self._sources[name].offers(cycle) for name in names):
            return False
        for name in names:
            self._sources[name].taken.append(cycle)
        self._begun += 1
        ends = self._begun == self._config.words(job.length)
        self._words.append(_Word(job, ends))
        return ends

    def _move(self, advance: bool, ready: dict[str, bool]) -> None:
        """Move all words on, or take away what the sinks have taken."""
        if not advance:
            for name in OUTPUTS:
                self._offered[name] = self._offered[name] and not ready[name]
            return
        self._offered = dict.fromkeys(OUTPUTS, False)
        written = AT_OUT + SfuReduction.cycles(self._config)
        for word in self._words:
            word.age += 1
            if word.age == STAGES:
                self._offered = {"o": word.job.wide, "o_byte": word.job.byte is not Byte.NONE}
            if word.age == written + 1 and word.is_last:
                self._waiting -= {*word.job.writes}
        self._words = [word for word in self._words if word.age <= written]

"""The vector unit's timing contract: when its jobs are taken, give words, and are complete.

An instruction is taken when the one before is complete, and when the scalars of earlier ones are
there that it reads or writes; a step, when the scalar unit is idle. Then it takes

    a step                    1 cycle: the scalar unit goes on with it
    a pass without outputs    `PASS_CYCLES` and one for each word
    a pass with outputs       `STAGES` more, and the cycles in which a wide word waits

from the cycle in which it is taken to that in which it is complete. The last scalar of a pass comes
later than that. A wide word that is not taken stops all lanes and what is behind them, and nothing
in front of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from golden.spec.special_function_unit import Job, SpecialFunctionUnitConfig
from hw.scalar_unit import ScalarUnit
from hw.sfu_lane import AT_OUT
from hw.sfu_queue import PREPARE
from hw.sfu_reduction import SfuReduction
from hw.sfu_timing import STAGES

BEGIN_CYCLES = PREPARE + 1
"""Cycles from a pass taken to its first word taken by the lanes."""

PASS_CYCLES = BEGIN_CYCLES
"""Cycles of a pass without outputs, less its words."""


@dataclass(frozen=True)
class VectorWork:
    """What follows from an instruction that is taken, as long as no word waits.

    Attributes:
        wide: words for the vector buffer, one per cycle.
        offered: the cycle of the first of them; and of those of a pass that gives none.
        complete: when the instruction is.
    """

    wide: int
    offered: int
    complete: int


@dataclass(frozen=True)
class VectorSchedule:
    """When instructions are taken, and when they are complete: a cycle for each."""

    taken: tuple[int, ...]
    complete: tuple[int, ...]


class VectorTiming:
    """What the unit knows from one instruction for the next ones.

    Args:
        config: of the special function unit.
    """

    def __init__(self, config: SpecialFunctionUnitConfig) -> None:
        self._config = config
        self._steps: dict[int, int] = {}  # when a register's value can be read, by its writer
        self._passes: dict[int, int] = {}
        self._idle = 0  # when the scalar unit is

    def ready(self, job: Job) -> int:
        """Return the first cycle in which a job may be taken, when the one before is complete."""
        times = [
            known.get(register, 0)
            for known in (self._steps, self._passes)
            for register in (*job.reads, *job.writes)
        ]
        return max(*times, 0 if job.operation.is_pass else self._idle, 0)

    def take(self, job: Job, cycle: int) -> VectorWork:
        """Take a job; return what comes of it."""
        if not job.operation.is_pass:
            self._idle = self._steps[job.target] = cycle + ScalarUnit.cycles(job.operation)
            return VectorWork(0, cycle, cycle + 1)
        words = self._config.words(job.length)
        last = cycle + BEGIN_CYCLES + words - 1
        if job.writes:
            written = last + AT_OUT + SfuReduction.cycles(self._config)
            self._passes[job.target] = written + 1
        complete = cycle + PASS_CYCLES + words + STAGES * job.gives
        return VectorWork(words * job.wide, cycle + BEGIN_CYCLES + STAGES, complete)

    def wait(self, cycles: int) -> None:
        """Let a word that is offered wait for some cycles.

        What comes out of the lanes comes so much later. Scalars that are there already are there
        all the same: their cycles stay in front of that in which the instruction is complete.
        """
        for register in self._passes:
            self._passes[register] += cycles


def schedule(
    config: SpecialFunctionUnitConfig, jobs: Sequence[Job], offered: Sequence[int] | None = None
) -> VectorSchedule:
    """Return when the unit takes and completes jobs if no word that it gives waits.

    The timing contract, exact for a unit that comes out of reset.

    Args:
        offered: the cycle from which each job is offered, behind the one before; all from cycle 0
            on by default.
    """
    timing = VectorTiming(config)
    taken: list[int] = []
    complete: list[int] = []
    for number, job in enumerate(jobs):
        earliest = [timing.ready(job), offered[number] if offered else 0]
        earliest += [before + 1 for before in complete[-1:]]
        taken.append(max(earliest))
        complete.append(timing.take(job, taken[-1]).complete)
    return VectorSchedule(tuple(taken), tuple(complete))


def vector_cycles(config: SpecialFunctionUnitConfig, jobs: Sequence[Job]) -> int:
    """Return the cycles of successive jobs, from the first one offered to the last one complete.

    Exact when all are offered at once, to a unit that comes out of reset, and no word waits.
    """
    return schedule(config, jobs).complete[-1] + 1

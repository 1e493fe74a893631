"""The timing contract of the special function unit: when each job is taken, begins and ends.

Cycles count from the one in which the first job is offered; it and all words are offered at once,
and outputs are taken at once. A job is taken in order,

    taken >= taken of the job before + 1
    taken >= the cycle in which each register that it reads or writes holds its value
    a step:  taken >= the cycle in which the scalar unit is idle again
    a pass:  its first stage is free (there are two, before the pass that runs)

and a pass runs `PREPARE` + 1 cycles later, or behind the last word of the pass before, one word per
cycle. Its scalar can be read `STAGES` + 2 + log2(lanes) cycles after its last word. A step's result
can be read `ScalarUnit.cycles` after it was taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from golden.spec.special_function_unit import Job, SpecialFunctionUnitConfig
from hw.scalar_unit import ScalarUnit
from hw.sfu_lane import AT_OUT
from hw.sfu_reduction import SfuReduction

STAGES = AT_OUT + 1
"""Cycles from a word taken to its outputs offered."""


@dataclass(frozen=True)
class Schedule:
    """When jobs happen, by job, in cycles from the first one offered.

    Attributes:
        taken: the job is taken.
        begins: a pass's first word is taken; for a step, `taken`.
        ends: its last outputs are offered, or its scalar can be read, whatever is later.
    """

    taken: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def cycles(self) -> int:
        """Cycles from the first job offered to the last end, both counted."""
        return max(self.ends, default=-1) + 1


def schedule(config: SpecialFunctionUnitConfig, jobs: Sequence[Job]) -> Schedule:
    """Return when jobs happen that are offered at once, to an idle unit, and nothing stalls."""
    taken: list[int] = []
    begins: list[int] = []
    ends: list[int] = []
    known: dict[int, int] = {}  # when a register can be read
    idle = 0  # when the scalar unit is
    stage_free = prepared_free = runs_free = 0  # the cycles in which each can be entered
    now = -1
    for job in jobs:
        now = max(now + 1, *(known.get(register, 0) for register in (*job.reads, *job.writes)), 0)
        if job.operation.is_pass:
            now = max(now, stage_free)
            prepares = max(now + 1, prepared_free)
            runs = max(prepares + 1, runs_free)
            begin, last = runs + 1, runs + config.words(job.length)
            stage_free, prepared_free, runs_free = prepares, runs, last
            end = last + STAGES * job.gives
            if job.writes:
                written = last + AT_OUT + SfuReduction.cycles(config)
                known[job.target] = written + 1
                end = max(end, written + 1)
        else:
            now = max(now, idle)
            begin = now
            idle = end = known[job.target] = now + ScalarUnit.cycles(job.operation)
        taken.append(now)
        begins.append(begin)
        ends.append(end)
    return Schedule(tuple(taken), tuple(begins), tuple(ends))

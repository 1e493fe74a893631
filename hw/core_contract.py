"""The timing contract of cores that run programs one after the other, beside what was logged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import BASES, Unit
from hw.accelerator_timing import accelerator_cycles, begins_of
from hw.core_monitor import CoreLog, instruction_times
from hw.core_timing import CoreSchedule, Job, program_addresses
from hw.memory_model import PortRecord
from hw.memory_stalls import Records, records_of_programs
from hw.port_timing import Timings

Programs = Sequence[Sequence[Instruction]]
"""The instructions of some programs: of all cores together, or of one core in turn."""


def jobs_of(
    config: CoreConfig,
    programs: Sequence[Programs],
    bases: Mapping[int, int],
    memories: Sequence[Mapping[str, np.ndarray]],
    timing: Sequence[Timings],
) -> list[list[Job]]:
    """Return what the contract is to know of programs, by time and core.

    Args:
        programs: by time and core; they lie one behind the other in their core's memory.
        bases: the base registers that are not 0, of all cores.
        memories: of each core; no program writes the weight streams in them. timing: of them.
    """
    registers = [bases.get(number, 0) for number in range(BASES)]
    by_core = [program_addresses(config, mine) for mine in zip(*programs, strict=True)]
    return [
        [
            Job(program, registers, *about)
            for program, *about in zip(together, memories, addresses, timing, strict=True)
        ]
        for together, addresses in zip(programs, zip(*by_core, strict=True), strict=True)
    ]


def with_records(
    jobs: Sequence[Sequence[Job]],
    logs: Sequence[CoreLog],
    records: Sequence[Mapping[str, PortRecord]],
) -> list[list[Job]]:
    """Return the jobs with memories that do what they did in a run.

    Args:
        logs, records: of each core, of all its programs, which came to their ends.
    """
    by_core: list[list[Records]] = []
    for core, (log, mine) in enumerate(zip(logs, records, strict=True)):
        programs = [together[core].program for together in jobs]
        times = instruction_times(log, programs)
        ends = [int(each.end[Unit.SYS][-1]) for each in times]
        by_core.append(records_of_programs(mine, ends))
    return [
        [replace(job, records=own) for job, own in zip(together, records_here, strict=True)]
        for together, records_here in zip(jobs, zip(*by_core, strict=True), strict=True)
    ]


def started(config: CoreConfig, jobs: Sequence[Job], logs: Sequence[CoreLog]) -> list[int]:
    """Return in which cycle the host started each core, counted from the first one.

    Args:
        jobs: of each core, the first one in its log.
    """
    starts = [
        log.starts[job.program[0].unit].cycle[:1].sum() for log, job in zip(logs, jobs, strict=True)
    ]
    return begins_of(config, jobs, [int(cycle) for cycle in starts])


def schedules(
    config: CoreConfig, jobs: Sequence[Sequence[Job]], begins: Sequence[int]
) -> list[list[CoreSchedule]]:
    """Return when the instructions start and end, by time and core.

    Args:
        begins: see `hw.accelerator_timing.accelerator_cycles`.
    """
    found: list[list[CoreSchedule]] = []
    for together in jobs:
        if found:
            pairs = zip(together, found[-1], strict=True)
            together = [replace(job, written=before.written) for job, before in pairs]
        found.append(accelerator_cycles(config, together, begins))
    return found


def unexplained(log: CoreLog, programs: Programs, contract: Sequence[CoreSchedule]) -> list[int]:
    """Return of each program how many starts and ends are not in the cycle of its contract.

    Args:
        log: of a core. programs: all that it ran, each to its end.
    """
    found = []
    for times, program, schedule in zip(
        instruction_times(log, programs), programs, contract, strict=True
    ):
        late = 0
        begin = int(times.end[Unit.SYS][-1]) - schedule.end[-1] if len(times.end[Unit.SYS]) else 0
        for unit in Unit:
            mine = [number for number, one in enumerate(program) if one.unit is unit]
            for logged, said in ((times.start, schedule.start), (times.end, schedule.end)):
                expected = np.array([said[number] + begin for number in mine], np.int64)
                common = min(len(expected), len(logged[unit]))
                late += len(expected) - int((expected[:common] == logged[unit][:common]).sum())
        found.append(late)
    return found

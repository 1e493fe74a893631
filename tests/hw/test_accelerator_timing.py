"""Cores side by side in Verilator keep to their contract: strips, barriers and all memories."""

from dataclasses import replace
from fractions import Fraction

import pytest
from proofs import broken

from golden.spec.core import LANES
from golden.spec.errors import ConfigError
from golden.spec.instruction import decode, instruction, mask_of
from golden.spec.isa import SystemOperation, Unit, Weights
from hw.accelerator import Accelerator
from hw.accelerator_cases import PAIR, core_images, random_programs
from hw.accelerator_timing import accelerator_cycles, begins_of
from hw.core_cases import BASES
from hw.core_monitor import instruction_times
from hw.core_ports import port_names
from hw.core_simulation import ProgramRun, run_accelerator
from hw.core_timing import Job, program_addresses, program_cycles
from hw.memory_model import MemoryTiming

ALL_BASES = [BASES.get(number, 0) for number in range(16)]
END = instruction(Unit.SYS, op=SystemOperation.END)
BARRIER = instruction(Unit.SYS, op=SystemOperation.BARRIER)
PLAIN = {"weights": Weights.RAW, "columns": 2, "group": 2, "words": 16, "channels": 1}


def strips_on_the_way(cores, chains):
    """Return a program of each core, in which the barrier must wait for the first one's strips.

    The vector buffers of the others are busy when these come.
    """
    barrier = instruction(Unit.SYS, op=SystemOperation.BARRIER, wait=mask_of(Unit.SYS, [Unit.MV]))
    releases, strips = mask_of(Unit.MV, [Unit.SYS]), LANES * chains
    gives = [
        instruction(Unit.LD, channels=1, length=16),
        instruction(Unit.MV, release=releases, strips=strips, **PLAIN),
        barrier,
    ]
    busy = [
        instruction(Unit.MISC, length=500, wide=1),
        instruction(Unit.LD, length=60, count_1=3),
        BARRIER,
    ]
    return [[*gives * 6, END], *[[*busy * 6, END]] * (cores - 1)]


def alike(config, latency, rate=1):
    return dict.fromkeys(port_names(config), MemoryTiming(latency, words_per_cycle=Fraction(rate)))


def in_order(times, program):
    """Return starts and ends in the program's order."""
    place, start, end = {}, [], []
    for one in program:
        at = place.get(one.unit, 0)
        start.append(int(times.start[one.unit][at]))
        end.append(int(times.end[one.unit][at]))
        place[one.unit] = at + 1
    return start, end


def contract(config, runs, memories, timing, first_starts):
    """Return the schedules of each run: of each core."""
    programs = [[list(decode(one.words)) for one in mine] for mine in runs]
    addresses = [program_addresses(config, mine) for mine in programs]
    written, found = [()] * config.cores, []
    for number in range(len(runs[0])):
        jobs = [
            Job(mine[number], ALL_BASES, images, address[number], pace, last)
            for mine, images, address, pace, last in zip(
                programs, memories, addresses, timing, written, strict=True
            )
        ]
        schedules = accelerator_cycles(config, jobs, begins_of(config, jobs, first_starts[number]))
        written = [schedule.written for schedule in schedules]
        found.append(schedules)
    return found


def check(config, seed, programs, count, timing, accelerator=Accelerator):
    """Return which programs of which cores are not as their contract says."""
    memories, matrices = core_images(config, seed)
    runs = [
        [*mine, ProgramRun([word for one in last for word in one.encode()], BASES)]
        for mine, last in zip(
            random_programs(config, matrices, seed, programs, count),
            strips_on_the_way(config.cores, config.chains),
            strict=True,
        )
    ]
    results = run_accelerator(
        config, runs, memories, timing=timing, accelerator=accelerator, most_cycles=200_000
    )
    decoded = [[list(decode(one.words)) for one in mine] for mine in runs]
    times = [instruction_times(one.log, mine) for one, mine in zip(results, decoded, strict=True)]
    firsts = [[each.first_start for each in together] for together in zip(*times, strict=True)]
    schedules = contract(config, runs, memories, timing, firsts)
    assert sum(one.waits for run in schedules for one in run) > 10
    wrong = []
    for number, together in enumerate(schedules):
        for core, schedule in enumerate(together):
            start, end = in_order(times[core][number], decoded[core][number])
            begin = start[0] - schedule.start[0]
            given = [cycle - begin for cycle in start], [cycle - begin for cycle in end]
            cycles = results[core].states[number]["CYCLES"]
            if (*given, cycles) != (schedule.start, schedule.end, schedule.counted):
                wrong.append((number, core))
    return wrong


@pytest.mark.parametrize("pace", [((1, 1), (1, 1)), ((30, "1/2"), (3, "3/4"))], ids=str)
def test_every_instruction_starts_and_ends_in_the_cycle_of_the_contract(pace):
    timing = [alike(PAIR, *each) for each in pace]
    assert check(PAIR, 0, 4, 50, timing) == []


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 9))
def test_more_programs(seed):
    pace = [((seed, 1), (1, 1)), ((9, "1/3"), (60, 1)), ((1, "2/3"), (1, "1/8"))][seed % 3]
    assert check(PAIR, seed, 8, 80, [alike(PAIR, *each) for each in pace]) == []


@pytest.mark.full
@pytest.mark.parametrize("rate", [1, "1/2"])
def test_three_cores(rate):
    three = replace(PAIR, chains=1, cores=3)
    assert check(three, 0, 4, 50, [alike(three, 5 * core + 1, rate) for core in range(3)]) == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("right", "wrong"),
    [(" & ~on_the_way.any()", ""), ("width, PATH_DEPTH)", "width, 2 * PATH_DEPTH)")],
    ids=["a barrier that does not wait for strips", "longer queues"],
)
def test_another_accelerator_is_seen(right, wrong):
    timing = [alike(PAIR, 1), alike(PAIR, 1)]
    assert check(PAIR, 0, 4, 50, timing, broken(Accelerator, right, wrong)) != []


def test_a_core_that_does_not_come_to_a_barrier_is_refused():
    with pytest.raises(ConfigError, match=r"^instruction 0, SYS, never ends; load no more words"):
        accelerator_cycles(PAIR, [Job([BARRIER, END]), Job([END])])
    with pytest.raises(ConfigError, match=r"^the program has a BARRIER, and the core is alone; le"):
        program_cycles(replace(PAIR, cores=1), [BARRIER, END])

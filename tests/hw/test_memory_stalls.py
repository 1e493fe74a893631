"""With the memories' waits of a run the contract gives its cycles, whatever the memories were."""

from fractions import Fraction

import pytest

from golden.spec.instruction import decode
from golden.spec.isa import Unit
from hw import recorded_port
from hw.accelerator_cases import PAIR, core_images, random_programs
from hw.accelerator_timing import accelerator_cycles, begins_of
from hw.core_cases import BASES, CONFIG, images, random_runs
from hw.core_monitor import instruction_times
from hw.core_ports import port_names
from hw.core_simulation import run_accelerator
from hw.core_timing import Job, program_addresses
from hw.memory_model import MemoryTiming
from hw.memory_stalls import memory_stalls, records_of_programs

ALL_BASES = [BASES.get(number, 0) for number in range(16)]
IRREGULAR = MemoryTiming(latency=12, extra_latency=40, words_per_cycle=Fraction(3, 5), seed=3)
SLOW = MemoryTiming(latency=25, words_per_cycle=Fraction(2, 3))


class Run:
    """Programs that have run on cores: of each core and of all in one time."""

    def __init__(self, config, runs, memories, timing):
        self.config = config
        self.programs = [[list(decode(one.words)) for one in mine] for mine in runs]
        timings = [dict.fromkeys(port_names(config), timing)] * config.cores
        self.results = run_accelerator(
            config, runs, memories, timing=timings, records=True, most_cycles=200_000
        )
        self.times = [
            instruction_times(result.log, mine)
            for result, mine in zip(self.results, self.programs, strict=True)
        ]
        self.memories = memories
        self.addresses = [program_addresses(config, mine) for mine in self.programs]
        self.records = [
            records_of_programs(result.records, [int(t.end[Unit.SYS][-1]) for t in times])
            for result, times in zip(self.results, self.times, strict=True)
        ]

    def jobs(self, number):
        """Return a program of each core, the records that go with it, and when cores begin."""
        jobs = [
            Job(mine[number], ALL_BASES, memories, address[number])
            for mine, memories, address in zip(
                self.programs, self.memories, self.addresses, strict=True
            )
        ]
        records = [each[number] for each in self.records]
        for job, record in zip(jobs, records, strict=True):
            job.records.update(record)
        begins = begins_of(self.config, jobs, [each[number].first_start for each in self.times])
        return jobs, records, begins

    def cycles(self, number):
        return [result.states[number]["CYCLES"] for result in self.results]

    def is_as_scheduled(self, number):
        """Tell of each core whether every start and end is as its contract says."""
        jobs, _, begins = self.jobs(number)
        found = []
        for job, schedule, times, result in zip(
            jobs,
            accelerator_cycles(self.config, jobs, begins),
            [each[number] for each in self.times],
            self.results,
            strict=True,
        ):
            begin = times.first_start - schedule.start[0]
            same = result.states[number]["CYCLES"] == schedule.counted
            for unit in Unit:
                mine = [k for k, one in enumerate(job.program) if one.unit is unit]
                same &= times.start[unit].tolist() == [schedule.start[k] + begin for k in mine]
                same &= times.end[unit].tolist() == [schedule.end[k] + begin for k in mine]
            found.append(same)
        return found


def run_core(timing):
    memories, matrices = images(CONFIG, 0)
    return Run(CONFIG, [random_runs(CONFIG, matrices, 5, 4, 50)], [memories], timing)


@pytest.fixture(scope="module")
def irregular():
    return run_core(IRREGULAR)


def test_every_start_and_end_follows_from_the_memories_waits(irregular):
    assert [irregular.is_as_scheduled(number) for number in range(4)] == [[True]] * 4


def test_ideal_cycles_and_stalls_are_the_cycles_of_the_run(irregular):
    for number in range(4):
        jobs, records, begins = irregular.jobs(number)
        (stalls,) = memory_stalls(CONFIG, jobs, records, begins)
        assert [stalls.cycles] == irregular.cycles(number)
        assert stalls.ideal == accelerator_cycles(CONFIG, [Job(*_fields(jobs[0]))])[0].cycles
        assert min(stalls.program, stalls.channels) > 0


def test_a_cycle_that_the_core_loses_is_no_stall(irregular, monkeypatch):
    """As if the readers of the run had asked for all words a cycle late."""
    monkeypatch.setattr(recorded_port, "ISSUE_CYCLES", recorded_port.ISSUE_CYCLES - 1)
    assert [irregular.is_as_scheduled(number) for number in range(4)] == [[False]] * 4


@pytest.mark.full
@pytest.mark.parametrize("timing", [MemoryTiming(), SLOW], ids=["ideal", "slow"])
def test_regular_memories(timing):
    run = run_core(timing)
    for number in range(4):
        assert run.is_as_scheduled(number) == [True]
        jobs, records, begins = run.jobs(number)
        (stalls,) = memory_stalls(CONFIG, jobs, records, begins)
        assert (stalls.stalls == 0) == (timing == MemoryTiming())


@pytest.mark.full
def test_several_cores():
    memories, matrices = core_images(PAIR, 0)
    run = Run(PAIR, random_programs(PAIR, matrices, 0, 3, 40), memories, IRREGULAR)
    for number in range(3):
        assert run.is_as_scheduled(number) == [True, True]
        stalls = memory_stalls(PAIR, *run.jobs(number))
        assert [each.cycles for each in stalls] == run.cycles(number)


def _fields(job):
    return job.program, job.bases, job.memories, job.address

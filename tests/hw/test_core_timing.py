"""The core in Verilator starts and ends every instruction in the cycle that its contract says.

Time does not hang on data, so programs are free to write what others read.
"""

from collections import Counter

import numpy as np
import pytest
from random_core_programs import BASES, CONFIG, images

from golden.scoreboard import check_tokens
from golden.spec.control import Status
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import instruction, mask_of
from golden.spec.isa import SystemOperation, Unit
from hw.core_simulation import ProgramRun, run_programs
from hw.core_timing import program_cycles
from hw.front_timing import IN_FLIGHT, QUEUE_DEPTH
from hw.load_unit import LoadUnit
from hw.memory_model import MemoryTiming
from hw.random_programs import random_instruction
from hw.scoreboard import Scoreboard

ALL_BASES = [BASES.get(number, 0) for number in range(16)]
UNITS = (Unit.LD, Unit.ST, Unit.MISC, Unit.SYS)
END = instruction(Unit.SYS, op=SystemOperation.END)


class RandomProgram:
    """Instructions of all units but MV; loads and stores never meet at a port.

    The chains get no more words than there is room for.
    """

    def __init__(self, config, seed):
        self.config = config
        self.random = random = np.random.default_rng(seed)
        self.general = 1 << config.chains  # as a bit of a mask of ports
        by_general = random.random() < 0.25
        self.stored = self.general if by_general else int(random.integers(1, self.general))
        self.room = [config.buffer_words] * config.chains
        self.tokens = Counter()
        # Some programs are mostly of one unit; in some, units rarely wait.
        self.shares = random.dirichlet(np.ones(len(UNITS)))
        self.wait, self.release = random.uniform(0, (0.6, 0.3))

    def instructions(self, count):
        makers = (self.load, self.store, self.misc, self.sync)
        chosen = self.random.choice(len(UNITS), count, p=self.shares)
        program = [self.add(*makers[number]()) for number in chosen]
        program.append(self.add(Unit.SYS, {"op": SystemOperation.END}))
        check_tokens(program)
        return program

    def add(self, unit, fields):
        """Return an instruction with these fields, and others at random."""
        random, tokens = self.random, self.tokens
        waits = [o for o in unit.others if tokens[o, unit] and random.random() < self.wait]
        releases = [o for o in unit.others if random.random() < self.release]
        tokens.subtract((other, unit) for other in waits)
        tokens.update((unit, other) for other in releases)
        masks = {"wait": mask_of(unit, waits), "release": mask_of(unit, releases)}
        return random_instruction(random, unit, {**fields, **masks}, self.config.chains)

    def loops(self, step, most):
        """Return the fields of three loops that stay within the memory, and their runs."""
        counts = self.random.integers(1, most, 3).tolist()
        strides = (step * self.random.integers(0, 20, 3)).tolist()
        fields = {f"count_{level}": count for level, count in enumerate(counts, 1)}
        fields |= {f"stride_{level}": stride for level, stride in enumerate(strides, 1)}
        fields |= {"base": 1, "offset": step * int(self.random.integers(200))}
        return fields, int(np.prod(counts))

    def ports(self, allowed):
        """Return `channels` of a load or store by some of the ports of a mask, None for none."""
        named = int(self.random.integers(self.general)) & allowed
        if allowed & self.general and (not named or self.random.integers(2)):
            return 0
        return named or None

    def load(self):
        loops, runs = self.loops(self.config.word_bytes, int(self.random.integers(2, 5)))
        length = int(self.random.choice([1, 2, 3, 20, 60]))
        words = length * runs
        roomy = sum(1 << chain for chain, room in enumerate(self.room) if room >= words)
        channels = self.ports((roomy | self.general) & ~self.stored)
        if channels is None:
            return self.sync()
        for chain in range(self.config.chains):
            self.room[chain] -= words * (channels >> chain & 1)
        return Unit.LD, {**loops, "length": length, "channels": channels}

    def store(self):
        channels = self.ports(self.stored)
        if channels is None:
            return self.sync()
        loops, _ = self.loops(1, 3)
        length = int(self.random.choice([1, 7, 16, 33, 200]))
        return Unit.ST, {**loops, "length": length, "channels": channels}

    def misc(self):
        return Unit.MISC, {"length": int(self.random.choice([1, 1, 2, 24, 36, 400, 500]))}

    def sync(self):
        return Unit.SYS, {"op": SystemOperation.SYNC}


def words_after_the_end():
    """Return programs that are over while bursts are in flight, and some have not begun."""
    return [
        [instruction(Unit.LD, channels=7, length=length, offset=16 * offset), END]
        for length in (1, 40, 64)
        for offset in (0, 5, 13)
    ]


def single_loads():
    """Return a program of loads; between any two is a SYS that waits for one, and then for none."""
    maker = RandomProgram(CONFIG, 0)
    maker.stored = maker.general - 1
    sys, ld = mask_of(Unit.LD, [Unit.SYS]), mask_of(Unit.SYS, [Unit.LD])
    program = []
    for number in range(20):
        masks = {"wait": sys, "release": sys}
        program.append(instruction(Unit.SYS, wait=ld * (number > 0), release=ld))
        program.append(instruction(Unit.LD, **maker.load()[1] | masks))
    return [*program, END]


def run(config, programs, latency):
    """Return of each program its state, and starts and ends in Verilator, in its order."""
    memories = {name: np.zeros_like(image) for name, image in images(config, 0)[0].items()}
    runs = [ProgramRun([w for one in program for w in one.encode()], BASES) for program in programs]
    timing = dict.fromkeys(["program", *memories], MemoryTiming(latency))
    result = run_programs(config, runs, memories, timing=timing, most_cycles=100_000)
    log, place, found = result.log, dict.fromkeys(Unit, 0), []
    for program, state in zip(programs, result.states, strict=True):
        start, end = [], []
        for one in program:
            start.append(int(log.starts[one.unit].cycle[place[one.unit]]))
            end.append(int(log.ends[one.unit].cycle[place[one.unit]]))
            place[one.unit] += 1
        found.append((state, start, end))
    return found


def contracts(config, programs, latency):
    """Return the schedule of each program, where `run` puts it into its memory."""
    address, found = 0, []
    for program in programs:
        found.append(program_cycles(config, program, ALL_BASES, address=address, latency=latency))
        words = sum(one.format.words for one in program)
        address += -(-4 * words // config.word_bytes) * config.word_bytes
    return found


def is_as_scheduled(found, schedule):
    state, start, end = found
    begin = end[-1] - schedule.end[-1]
    return (
        bool(state["STATUS"] & Status.DONE)
        and [cycle - begin for cycle in start] == schedule.start
        and [cycle - begin for cycle in end] == schedule.end
        and state["CYCLES"] == schedule.cycles
    )


def check(config, programs, latency):
    """Compare programs with their schedules; return what was found, and the schedules."""
    found, schedules = run(config, programs, latency), contracts(config, programs, latency)
    assert [is_as_scheduled(*both) for both in zip(found, schedules, strict=True)] == [
        True for _ in programs
    ]
    return found, schedules


def random_programs(config, seed, counts):
    return [
        RandomProgram(config, (seed, number)).instructions(count)
        for number, count in enumerate(counts)
    ]


@pytest.mark.parametrize("latency", [1, 40])
def test_every_instruction_starts_and_ends_in_the_cycle_of_the_contract(latency):
    programs = random_programs(CONFIG, latency, [60] * 6 + [5] * 16)
    loads = single_loads()
    found, schedules = check(CONFIG, [*programs, *words_after_the_end(), loads], latency)
    assert sum(schedule.waits for schedule in schedules) > 50
    for one, start, end in zip(loads, *found[-1][1:], strict=True):
        if one.unit is Unit.LD:
            assert LoadUnit.cycles(CONFIG, one, ALL_BASES, latency) == end - start + 1


@pytest.mark.full
@pytest.mark.parametrize("latency", range(2, 22))
def test_more_programs(latency):
    check(CONFIG, random_programs(CONFIG, latency, [100] * 4 + [10] * 10), latency)


@pytest.mark.full
def test_a_core_with_wider_words():
    config = CoreConfig(chains=2, m=16, strips=4, vector_depth=256, activation_depth=64)
    check(config, random_programs(config, 0, [100] * 4 + [10] * 10), 1)


def test_the_depths_are_those_of_the_scoreboard():
    assert Scoreboard().depths == (QUEUE_DEPTH, IN_FLIGHT)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([], "the program does not end with its only END; add SYS op=END as its last"),
        ([END, END], "the program does not end with its only END; add SYS op=END as its last"),
        (
            [instruction(Unit.MM), END],
            "the program has an MM, which no core executes yet; use MV",
        ),
        (
            [instruction(Unit.MV), END],
            "the program has an MV; say with `products` how long it takes",
        ),
    ],
)
def test_programs_that_are_refused(program, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        program_cycles(CONFIG, program)


def test_products_take_the_cycles_that_the_caller_gives():
    """Two of them one after the other, and what waits for the second."""
    product = instruction(Unit.MV, release=mask_of(Unit.MV, [Unit.SYS]))
    end = {"op": SystemOperation.END, "wait": mask_of(Unit.SYS, [Unit.MV])}
    sync = {"op": SystemOperation.SYNC, "wait": mask_of(Unit.SYS, [Unit.MV])}
    program = [product, product, instruction(Unit.SYS, **sync), instruction(Unit.SYS, **end)]
    found = program_cycles(CONFIG, program, products=lambda _: 100)
    first = found.start[0]
    assert found.start == [first, first + 101, first + 101, first + 202]
    assert found.end == [first + 100, first + 201, first + 102, first + 203]

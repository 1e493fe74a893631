"""The core in Verilator starts and ends every instruction in the cycle that its contract says.

Time does not hang on data, so programs are free to write what others read.
"""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from golden.scoreboard import check_tokens
from golden.spec.control import Status
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.instruction import decode, instruction, mask_of
from golden.spec.isa import LENGTH_BASE, SystemOperation, Unit, Weights
from golden.spec.special_function_unit import LENGTH_BITS
from hw.core_cases import BASES, CONFIG, images, random_runs
from hw.core_ports import port_names
from hw.core_simulation import ProgramRun, run_programs
from hw.core_timing import program_cycles, successive_cycles
from hw.front_timing import IN_FLIGHT, QUEUE_DEPTH
from hw.load_unit import LoadUnit
from hw.memory_model import MemoryTiming
from hw.random_programs import random_instruction
from hw.scoreboard import Scoreboard

ALL_BASES = [BASES.get(number, 0) for number in range(16)]
UNITS = (Unit.LD, Unit.ST, Unit.MISC, Unit.SYS)
END = instruction(Unit.SYS, op=SystemOperation.END)


class RandomProgram:
    """Instructions of all units but MV; the chains get no more words than there is room for."""

    def __init__(self, config, seed):
        self.config = config
        self.random = random = np.random.default_rng(seed)
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

    def load(self):
        loops, runs = self.loops(self.config.word_bytes, int(self.random.integers(2, 5)))
        length = int(self.random.choice([1, 2, 3, 20, 60]))
        words = length * runs
        roomy = sum(1 << chain for chain, room in enumerate(self.room) if room >= words)
        channels = roomy & int(self.random.integers(1 << self.config.chains))
        channels *= int(self.random.integers(2))
        for chain in range(self.config.chains):
            self.room[chain] -= words * (channels >> chain & 1)
        return Unit.LD, {**loops, "length": length, "channels": channels}

    def store(self):
        loops, _ = self.loops(1, 3)
        length = int(self.random.choice([1, 7, 16, 33, 200]))
        return Unit.ST, {**loops, "length": length}

    def misc(self):
        length = int(self.random.choice([1, 1, 2, 24, 36, 400, 500]))
        extended = int(self.random.random() < 0.3)
        if extended:
            length = (length - 1 - BASES[LENGTH_BASE]) % (1 << LENGTH_BITS) + 1
        return Unit.MISC, {"length": length, "extended": extended}

    def sync(self):
        ops = (SystemOperation.SYNC, SystemOperation.SYNC, SystemOperation.CLEAR)
        return Unit.SYS, {"op": ops[int(self.random.integers(len(ops)))]}


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
    maker.room = [0] * CONFIG.chains  # none but those of the general port
    sys, ld = mask_of(Unit.LD, [Unit.SYS]), mask_of(Unit.SYS, [Unit.LD])
    program = []
    for number in range(20):
        masks = {"wait": sys, "release": sys}
        program.append(instruction(Unit.SYS, wait=ld * (number > 0), release=ld))
        program.append(instruction(Unit.LD, **maker.load()[1] | masks))
    return [*program, END]


def words_that_come_late():
    """Return a program in which a chain's last word comes when its product is complete.

    It is one of those that make the chains' streams equally long. The next product waits for it.
    """
    matrix = images(CONFIG, 0)[1][2]
    count, place = matrix.load["length"], matrix.load["offset"]
    misc, mv = mask_of(Unit.LD, [Unit.MISC]), mask_of(Unit.SYS, [Unit.MV])
    product = instruction(Unit.MV, release=mask_of(Unit.MV, [Unit.SYS]), **matrix.product)
    return [
        instruction(Unit.LD, channels=3, length=count, offset=place),
        instruction(Unit.LD, channels=4, length=count - 1, offset=place),
        instruction(Unit.MISC, length=500, release=mask_of(Unit.MISC, [Unit.LD])),
        instruction(Unit.LD, channels=4, offset=place + (count - 1) * CONFIG.word_bytes, wait=misc),
        product,
        instruction(Unit.LD, channels=7, length=count, offset=place),
        product,
        instruction(Unit.SYS, wait=mv),
        instruction(Unit.SYS, op=SystemOperation.END, wait=mv),
    ]


def writes_before_reads():
    """Return programs of which the first one's last word is written, and the next one's first one.

    A word that was asked for is the next one in the second program, though it comes much later.
    """
    sys, st = mask_of(Unit.ST, [Unit.SYS]), mask_of(Unit.SYS, [Unit.ST])
    store = instruction(Unit.ST, channels=2, base=1, length=40, release=sys)
    end = instruction(Unit.SYS, op=SystemOperation.END, wait=st)
    return [[store, end], [instruction(Unit.LD, channels=2, length=20), store, end]]


def run(config, programs, timing):
    """Return of each program its state, and starts and ends in Verilator, in its order."""
    memories, _ = images(config, 0)
    runs = [ProgramRun([w for one in program for w in one.encode()], BASES) for program in programs]
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


def contracts(config, programs, timing):
    """Return the schedule of each program."""
    memories, _ = images(config, 0)
    bases = [ALL_BASES for _ in programs]
    return successive_cycles(config, programs, bases, memories=memories, timing=timing)


def is_as_scheduled(found, schedule):
    state, start, end = found
    begin = end[-1] - schedule.end[-1]
    return (
        bool(state["STATUS"] & Status.DONE)
        and [cycle - begin for cycle in start] == schedule.start
        and [cycle - begin for cycle in end] == schedule.end
        and state["CYCLES"] == schedule.counted
    )


def check(config, programs, timing):
    """Compare programs with their schedules; return what was found, and the schedules."""
    found, schedules = run(config, programs, timing), contracts(config, programs, timing)
    assert [is_as_scheduled(*both) for both in zip(found, schedules, strict=True)] == [
        True for _ in programs
    ]
    return found, schedules


def random_programs(config, seed, counts):
    """Return programs without products, of so many instructions each."""
    return [
        RandomProgram(config, (seed, number)).instructions(count)
        for number, count in enumerate(counts)
    ]


def programs_with_products(config, seed, programs, count):
    """Return programs of all units; their loads are longer than the queues of the chains."""
    _, matrices = images(config, 0)
    return [list(decode(run.words)) for run in random_runs(config, matrices, seed, programs, count)]


def alike(latency, rate=1):
    """Return the timing of all ports of any core."""
    return dict.fromkeys(port_names(CONFIG), MemoryTiming(latency, words_per_cycle=Fraction(rate)))


def random_timing(seed):
    """Return a timing of ports, all different."""
    random = np.random.default_rng(seed)
    return {
        name: MemoryTiming(
            int(random.choice([1, 2, int(random.integers(3, 80))])),
            words_per_cycle=Fraction(*sorted(random.integers(1, 10, 2).tolist())),
        )
        for name in port_names(CONFIG)
    }


@pytest.mark.parametrize(
    "timing",
    [alike(1), alike(40), alike(7, "2/5"), random_timing(0)],
    ids=["ideal", "far", "slow", "uneven"],
)
def test_every_instruction_starts_and_ends_in_the_cycle_of_the_contract(timing):
    seed = timing["general"].latency
    programs = random_programs(CONFIG, seed, [60] * 6 + [5] * 16)
    programs += programs_with_products(CONFIG, seed, 6, 60)
    programs += [words_that_come_late(), *writes_before_reads()]
    loads = single_loads()
    found, schedules = check(CONFIG, [*programs, *words_after_the_end(), loads], timing)
    assert sum(schedule.waits for schedule in schedules) > 50
    for one, start, end in zip(loads, *found[-1][1:], strict=True):
        if one.unit is Unit.LD:
            assert LoadUnit.cycles(CONFIG, one, ALL_BASES, timing) == end - start + 1


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2, 22))
def test_more_programs(seed):
    timing = random_timing(seed) if seed % 2 else alike(seed)
    programs = random_programs(CONFIG, seed, [100] * 4 + [10] * 10)
    check(CONFIG, [*programs, *programs_with_products(CONFIG, seed, 6, 100)], timing)


@pytest.mark.full
@pytest.mark.parametrize("timing", [{}, alike(12, "1/3")], ids=["ideal", "slow"])
def test_a_core_with_wider_words(timing):
    config = CoreConfig(chains=2, m=16, strips=4, vector_depth=256, activation_depth=64)
    programs = random_programs(config, 0, [100] * 4 + [10] * 10)
    check(config, [*programs, *programs_with_products(config, 0, 3, 100)], timing)


def test_the_depths_are_those_of_the_scoreboard():
    assert Scoreboard().depths == (QUEUE_DEPTH, IN_FLIGHT)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([], "the program does not end with its only END; add SYS op=END as its last"),
        ([END, END], "the program does not end with its only END; add SYS op=END as its last"),
        (
            [instruction(Unit.LD, channels=7, length=9), instruction(Unit.MM, words=10), END],
            "an MM takes 10 words of channel 0, and 9 are left of what the program loads; load as "
            "many as its products take",
        ),
        (
            [instruction(Unit.LD, channels=7, length=9), instruction(Unit.MV, words=9), END],
            "the program has a product of packed weights and there is no memory of channel_0; give "
            "those of all channels",
        ),
        (
            [instruction(Unit.LD, channels=2, length=100, count_1=3), END],
            "instruction 0, LD, never ends; load no more words for products than these take",
        ),
    ],
)
def test_programs_that_are_refused(program, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        program_cycles(CONFIG, program)


def test_of_two_products_that_are_offered_at_once_the_mm_is_first():
    sys, misc = mask_of(Unit.MISC, [Unit.SYS]), mask_of(Unit.SYS, [Unit.MISC])
    both = mask_of(Unit.SYS, [Unit.MM, Unit.MV])
    tokens = {Unit.MV: {}, Unit.MM: {"tokens": 3}}
    products = []
    for unit, fields in tokens.items():
        masks = dict.fromkeys(("wait", "release"), mask_of(unit, [Unit.SYS]))
        products.append(instruction(unit, **masks, **fields, **PLAIN))
    program = [
        instruction(Unit.LD, channels=2, length=2 * PLAIN["words"]),
        instruction(Unit.MISC, length=500, release=sys),
        instruction(Unit.SYS, wait=misc, release=both),
        *products,
        instruction(Unit.SYS, op=SystemOperation.END, wait=both),
    ]
    ((state, *_),), (schedule,) = check(CONFIG, [program], alike(1))
    start, end = schedule.start, schedule.end
    assert (start[4], start[3]) == (end[2] + 1, end[4] + 1)
    # Words that are given again count too.
    assert state["WORDS"] == (1 + 3) * PLAIN["words"]
    assert state["WORDS"] + state["STARVED"] == state["BUSY_MV"] + state["BUSY_MM"]


PLAIN = {"weights": Weights.RAW, "columns": 2, "group": 2, "words": 16, "strips": 6, "channels": 2}
"""A product with plain words of one chain."""


def test_a_product_whose_words_wait_for_its_end_is_refused():
    program = [
        instruction(Unit.LD, channels=2, length=15),
        instruction(Unit.MV, release=mask_of(Unit.MV, [Unit.LD]), **PLAIN),
        instruction(Unit.LD, channels=2, wait=mask_of(Unit.LD, [Unit.MV])),
        END,
    ]
    with pytest.raises(ShapeError, match=r"^the job stops with 2 of its 6 strips to come; words"):
        program_cycles(CONFIG, program)

"""Tokens: enough for any timing, and none too many; against brute force over random programs."""

import re
from itertools import combinations, product

import numpy as np
import pytest
from core_order import certain_order, is_barrier

from golden.scoreboard import token_givers
from golden.spec.errors import ConfigError
from golden.spec.isa import Unit
from golden.token_schedule import Region, Schedule, Space

SIZES = {Space.VECTOR: 12, Space.ACTIVATION: 6}
UNITS = (Unit.LD, Unit.ST, Unit.MV, Unit.MISC)


def random_regions(random):
    regions = []
    for space, size in SIZES.items():
        if random.random() < 0.5:
            start = int(random.integers(size))
            regions.append(Region(space, start, int(random.integers(1, size - start + 1))))
    return regions


def random_steps(random, count):
    """What each instruction is: its unit, what it reads and writes. `out` is its number."""
    return [
        (UNITS[random.integers(4)], random_regions(random), random_regions(random))
        for _ in range(count)
    ]


def schedule(steps):
    made = Schedule(SIZES)
    number = {Unit.LD: "out", Unit.ST: "start", Unit.MV: "out", Unit.MISC: "out"}
    for place, (unit, reads, writes) in enumerate(steps):
        made.add(unit, {number[unit]: place}, reads=reads, writes=writes)
    instructions = made.instructions()
    return instructions, [one[number[one.unit]] for one in instructions[:-1]]


def conflict(one, other):
    (_, reads, writes), (_, later_reads, later_writes) = one, other
    pairs = [(writes, later_reads), (writes, later_writes), (reads, later_writes)]
    return any(words(some) & words(others) for some, others in pairs)


def words(regions):
    return {(one.space, one.start + place) for one in regions for place in range(one.count)}


@pytest.mark.parametrize("seed", range(30))
def test_what_depends_on_each_other_stays_in_order(seed):
    random = np.random.default_rng(seed)
    steps = random_steps(random, 40)
    instructions, order = schedule(steps)
    assert sorted(order) == list(range(len(steps)))
    place = {number: at for at, number in enumerate(order)}
    certain = certain_order(instructions)
    for first, second in combinations(range(len(steps)), 2):
        if steps[first][0] is steps[second][0]:
            assert place[first] < place[second]
        elif conflict(steps[first], steps[second]):
            assert certain[place[first], place[second]]
    assert certain[:-1, -1].all()


@pytest.mark.parametrize("seed", range(5))
def test_no_token_is_too_many(seed):
    random = np.random.default_rng(seed)
    steps = random_steps(random, 25)
    instructions, order = schedule(steps)
    givers = token_givers(instructions)

    def is_enough(givers):
        certain = certain_order(instructions, givers)
        pairs = combinations(range(len(order)), 2)
        needed = all(
            certain[a, b]
            for a, b in pairs
            if steps[order[a]][0] is not steps[order[b]][0]
            and conflict(steps[order[a]], steps[order[b]])
        )
        return needed and bool(certain[:-1, -1].all())

    assert is_enough(givers)
    for number, mine in enumerate(givers):
        for giver in mine:
            less = [*givers]
            less[number] = tuple(other for other in mine if other != giver)
            assert not is_enough(less)


def test_loads_move_up_to_what_they_follow():
    a, b, c = (Region(Space.VECTOR, start, 2) for start in (0, 4, 8))
    steps = [
        (Unit.MV, [], [a]),
        (Unit.MISC, [a], [b]),
        (Unit.ST, [b], []),
        (Unit.MISC, [c], [a]),
        (Unit.LD, [], [c]),  # behind the one that reads there
        (Unit.MISC, [a], [a]),
        (Unit.LD, [], []),  # behind the load
        (Unit.MISC, [c], []),
        (Unit.MV, [], [b]),
        (Unit.MISC, [b], []),
        (Unit.LD, [], []),  # behind the product
    ]
    instructions, order = schedule(steps)
    assert order == [0, 1, 2, 3, 4, 6, 5, 7, 8, 10, 9]
    waits = [[unit.name for unit in one.waits] for one in instructions[:-1]]
    assert waits == [[], ["MV"], ["MISC"], [], ["MISC"], [], [], ["LD"], ["ST"], [], ["MV"]]


def cores_schedules(steps, here):
    """The instructions of each core and the numbers of their steps; None for barriers."""
    programs = []
    number = {Unit.LD: "out", Unit.ST: "start", Unit.MV: "out", Unit.MISC: "out"}
    for mine in here:
        made = Schedule(SIZES, len(here))
        for place, (unit, reads, writes) in enumerate(steps):
            fields = {number[unit]: place}
            made.add(unit, fields, reads=reads, writes=writes, here=bool(mine[place]))
        instructions = made.instructions()[:-1]
        order = [one[number[one.unit]] if one.unit in number else None for one in instructions]
        programs.append((instructions, order))
    return programs


def in_vector_buffer(regions):
    return {word for space, word in words(regions) if space is Space.VECTOR}


@pytest.mark.parametrize("seed", range(20))
def test_strips_and_what_they_meet_in_other_cores_have_a_barrier_between(seed):
    random = np.random.default_rng(seed)
    steps = [
        (
            unit,
            [one for one in reads if unit is not Unit.MV or one.space is not Space.VECTOR],
            writes,
        )
        for unit, reads, writes in random_steps(random, 40)
    ]
    programs = cores_schedules(steps, random.random((2, len(steps))) < 0.7)
    spans = []
    for instructions, order in programs:
        certain = certain_order(instructions)
        barriers = [place for place, one in enumerate(order) if one is None]
        spans.append(
            {
                number: (
                    sum(bool(certain[barrier, place]) for barrier in barriers),
                    sum(not certain[place, barrier] for barrier in barriers),
                )
                for place, number in enumerate(order)
                if number is not None
            }
        )
    assert len({sum(map(is_barrier, instructions)) for instructions, _ in programs}) == 1
    for (first, (behind, before)), (second, (later, earlier)) in product(
        spans[0].items(), spans[1].items()
    ):
        (unit, reads, writes), (other, other_reads, other_writes) = steps[first], steps[second]
        gives = in_vector_buffer(writes) if unit is Unit.MV else set()
        takes = in_vector_buffer(other_writes) if other is Unit.MV else set()
        meets = gives & in_vector_buffer([*other_reads, *other_writes])
        meets |= takes & in_vector_buffer([*reads, *writes])
        if meets and first != second:
            assert before < later or earlier < behind


def test_barriers_stand_where_strips_are_met():
    a, b, c = (Region(Space.VECTOR, start, 2) for start in (0, 4, 8))
    steps = [
        (Unit.MISC, [], [c]),
        (Unit.MV, [], [a]),  # others may still use what they did before
        (Unit.MISC, [c], [c]),
        (Unit.MV, [], [b]),
        (Unit.ST, [b], []),  # strips
        (Unit.MISC, [a], [a]),
        (Unit.MV, [], [c]),
        (Unit.MV, [], [a]),  # a pass has used it
        (Unit.LD, [], [a]),  # strips
        (Unit.MV, [], [b]),  # a store has used it, in front of the last barrier
    ]
    every = np.ones((2, len(steps)), bool)
    every[1, [3, 4]] = False
    first, second = (
        [
            (number, " ".join(unit.name for unit in one.waits))
            for number, one in zip(order, instructions, strict=True)
        ]
        for instructions, order in cores_schedules(steps, every)
    )
    assert first == [
        *((0, ""), (None, "MISC"), (1, "SYS"), (2, "SYS"), (3, ""), (None, "MV MISC"), (4, "SYS")),
        *((5, "SYS"), (6, "SYS"), (None, "ST MV MISC"), (7, "SYS"), (None, "MV"), (8, "SYS")),
        *((9, "SYS"), (None, "LD MV")),
    ]
    assert second == [
        *((0, ""), (None, "MISC"), (1, "SYS"), (2, "SYS"), (None, "MV MISC"), (5, "SYS")),
        *((6, "SYS"), (None, "MV MISC"), (7, "SYS"), (None, "MV"), (8, "SYS"), (9, "SYS")),
        (None, "LD MV"),
    ]
    alone, _ = schedule(steps)
    assert not any(map(is_barrier, alone))


def test_tokens_that_no_counter_holds():
    made = Schedule({Space.VECTOR: 64})
    for unit, use in ((Unit.MISC, "writes"), (Unit.ST, "reads")):
        for word in range(64):
            made.add(unit, {}, **{use: [Region(Space.VECTOR, word, 1)]})
    with pytest.raises(ConfigError, match=r"^instruction 63 \(MISC\) may give ST its token"):
        made.instructions()


def test_a_region_beyond_its_space():
    message = "ST uses VECTOR 10 to 12; there are 0 to 11"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Schedule(SIZES).add(Unit.ST, {}, reads=[Region(Space.VECTOR, 10, 3)])

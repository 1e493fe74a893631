"""Which programs are legal, and the schedule of those: against brute force over all timings."""

import re
from itertools import pairwise

import numpy as np
import pytest

from golden.scoreboard import MAX_TOKENS, check_tokens, run, token_givers
from golden.spec.errors import ConfigError
from golden.spec.instruction import instruction, mask_of
from golden.spec.isa import SystemOperation, Unit
from hw.random_programs import random_program


def one(unit, wait=(), release=()):
    return instruction(unit, wait=mask_of(unit, wait), release=mask_of(unit, release))


LD, MV, MISC = Unit.LD, Unit.MV, Unit.MISC


def test_tokens_are_taken_in_the_order_in_which_they_are_given():
    program = [
        one(LD, release=[MV]),
        one(LD, release=[MV, MISC]),
        one(MV, wait=[LD], release=[MISC]),
        one(MISC, wait=[LD, MV]),
        one(MV, wait=[LD]),
    ]
    assert token_givers(program) == [(), (), (0,), (1, 2), (1,)]
    check_tokens(program)


def test_a_schedule_by_hand():
    program = [
        one(LD, release=[MV]),
        one(LD, release=[MV]),
        one(MV, wait=[LD]),
        one(MV, wait=[LD]),
        one(LD),
    ]
    found = run(program, [10, 3, 5, 1, 1], in_flight=2)
    assert (found.start, found.end) == ([0, 1, 11, 12, 11], [10, 11, 16, 17, 12])
    late = run(program, [10, 3, 5, 1, 1], in_flight=2, arrivals=[5] * 5, ready=[0, 0, 0, 40, 0])
    assert late.start == [6, 7, 17, 40, 17]


def test_a_token_that_comes_later_in_the_program_is_refused():
    message = (
        "instruction 1 (MV) waits for LD, which gives 0 tokens in front of it, all taken; "
        "release it earlier"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_tokens([one(MISC), one(MV, wait=[LD]), one(LD, release=[MV])])


@pytest.mark.parametrize("held", [False, True])
def test_a_unit_that_runs_ahead_must_be_held_back(held):
    program = []
    for number in range(MAX_TOKENS + 1):
        back = [LD] if held and number == 5 else []
        program.append(one(MV, wait=[LD] if number else [], release=back))
        program.append(one(LD, wait=[MV] if number == 8 and held else [], release=[MV]))
    if held:
        return check_tokens(program)
    number = 2 * MAX_TOKENS + 1
    message = (
        f"instruction {number} (LD) may give MV its token number 64 before one is taken; "
        "wait for MV earlier"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_tokens(program)


def brute_force(program):
    """Return the most tokens that ever lie between two units, in any timing.

    Each end in turn comes as early as it can, while whatever need not be before it comes late.
    """
    givers, before = token_givers(program), []
    for number, (mine, given) in enumerate(zip(program, givers, strict=True)):
        own = [k for k in range(number) if program[k].unit is mine.unit][-1:]
        known = {number}.union(*(before[k] for k in [*own, *given]))
        before.append(known)
    most = 0
    for number, mine in enumerate(program):
        # Those that end before it, or have started: ends are in the order of a unit, as starts are.
        ready = [0 if k in before[number] else 10**6 for k in range(len(program))]
        found = run(program, [1] * len(program), ready=ready, in_flight=10**6)
        at = found.end[number]
        for taker in mine.releases:
            given = sum(
                taker in one.releases and one.unit is mine.unit and end <= at
                for one, end in zip(program, found.end, strict=True)
            )
            taken = sum(
                mine.unit in one.waits and one.unit is taker and start <= at
                for one, start in zip(program, found.start, strict=True)
            )
            most = max(most, given - taken)
    return most


def test_the_check_is_neither_too_strict_nor_too_lax():
    random = np.random.default_rng(0)
    seen = []
    for _ in range(90):
        program = random_program(random, int(random.integers(1, random.choice((4, 40)))))
        most = brute_force(program)
        seen.append(most)
        check_tokens(program, most)
        if most:
            with pytest.raises(ConfigError, match=r"may give \w+ its token number"):
                check_tokens(program, most - 1)
    assert set(range(4)) <= set(seen)


def test_no_timing_gives_more_tokens_than_the_check_allows():
    random = np.random.default_rng(1)
    for _ in range(15):
        program = random_program(random, 60)
        most = brute_force(program)
        for _ in range(10):
            found = run(program, random.geometric(0.05, 60).tolist())
            moves = []
            for number, mine in enumerate(program):
                moves += [(found.start[number], -1, g, mine.unit) for g in mine.waits]
                moves += [(found.end[number], 1, mine.unit, t) for t in mine.releases]
            tokens = dict.fromkeys(((a, b) for a in Unit for b in Unit), 0)
            for _, step, giver, taker in sorted(moves, key=lambda move: move[:2]):
                tokens[giver, taker] += step
                assert 0 <= tokens[giver, taker] <= most


def test_a_legal_program_ends_in_every_timing():
    """`run` has no way to stall; what it says keeps to program order and tokens."""
    random = np.random.default_rng(2)
    for _ in range(50):
        program = random_program(random, 80)
        durations = random.geometric(0.1, 80).tolist()
        found = run(program, durations, in_flight=2)
        for unit in Unit:
            mine = [k for k, one in enumerate(program) if one.unit is unit]
            assert all(found.start[a] < found.start[b] for a, b in pairwise(mine))
            assert all(found.end[a] < found.end[b] for a, b in pairwise(mine))
            assert all(found.end[a] < found.start[b] for a, b in zip(mine, mine[2:], strict=False))
        for number, givers in enumerate(token_givers(program)):
            assert all(found.end[giver] < found.start[number] for giver in givers)
            assert found.end[number] >= found.start[number] + durations[number]
        assert program[-1]["op"] == SystemOperation.END

"""Proofs about tokens, in every state; each beside broken copies that must fail it."""

import pytest
from proofs import broken
from token_proofs import CountersProof, ScoreboardProof

from golden.spec.isa import Unit
from hw.formal import prove
from hw.scoreboard import Scoreboard, TokenCounters


def quick(cases, number=1):
    """Leave all cases but the first `number` to the full tests."""
    return [
        *cases[:number],
        *(pytest.param(*case, marks=pytest.mark.full) for case in cases[number:]),
    ]


MORE = (
    "no start without a token",
    "no token is lost or made",
    "an overflow is seen",
    "an overflow is an error",
)
"""What may fail first, where one fault breaks several properties at once."""

PAIRS = quick([(giver, taker) for giver in Unit for taker in giver.others])


@pytest.mark.parametrize(("giver", "taker"), PAIRS)
def test_a_counter_holds_what_is_given_and_not_taken(giver, taker):
    found = prove(CountersProof(giver, taker))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.parametrize(("giver", "taker"), PAIRS)
def test_nothing_starts_without_tokens_and_all_else_does(giver, taker):
    found = prove(ScoreboardProof(giver, taker))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.full
@pytest.mark.parametrize(("in_flight", "token_bits"), [(3, 1), (2, 2), (4, 2)])
def test_scoreboards_of_other_sizes(in_flight, token_bits):
    found = prove(ScoreboardProof(Unit.ST, Unit.MISC, in_flight, token_bits))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("wanted & (tokens == 0)", "wanted & 0", "no start without a token"),
            ("tokens + gives - takes", "tokens + gives", "no token is lost or made"),
            ("tokens + gives - takes", "tokens + (gives & ~takes)", "no start without a token"),
            ("self.start[taker] & wanted", "self.start[taker]", "no token is lost or made"),
            ("with m.If(self.clear)", "with m.If(self.clear & ~gives)", "no start without a token"),
            ("with m.Elif(~full)", "with m.Elif(1)", "no token is lost or made"),
            (
                "gives & ~takes & tokens.all()",
                "gives & tokens.all()",
                "nothing else is an overflow",
            ),
            ("gives & ~takes & tokens.all()", "gives & 0", "an overflow is seen"),
            ("taker.others.index(giver)", "giver.others.index(taker)", "no start without a token"),
        ],
        3,
    ),
)
def test_broken_counters_are_seen(right, wrong, failed):
    copy = broken(TokenCounters, right, wrong)
    found = prove(CountersProof(Unit.LD, Unit.MV, counters=copy), cycles=8)
    assert not found.holds and found.failed in (failed, *MORE)


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("queue.o.valid & there", "queue.o.valid", "no start without a token"),
            ("& running.i.ready & ~stopped", "& ~stopped", "what may start is offered"),
            (
                "& running.i.ready & ~stopped",
                "& running.i.ready",
                "nothing starts when it is stopped",
            ),
            ("(oldest.release)", "(head.release)", "what may start is offered"),
            ("self.end[unit] & running.o.valid)", "starts)", "no start without a token"),
            (
                "starts, ends, there = o.valid & o.ready",
                "starts, ends, there = o.ready",
                "no start without a token",
            ),
            (
                "with m.If(tokens.overflow[unit] & is_first)",
                "with m.If(0)",
                "an overflow is an error",
            ),
        ]
    ),
)
def test_a_broken_scoreboard_is_seen(right, wrong, failed):
    copy = broken(Scoreboard, right, wrong)
    found = prove(ScoreboardProof(Unit.LD, Unit.MV, board=copy), cycles=8)
    assert not found.holds and found.failed in (failed, *MORE)

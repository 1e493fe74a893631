from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.spec.errors import ConfigError
from sim.flash_layout import FEW, Repetitions, Stripe
from sim.nand import Retry
from tests.sim.flash_cases import flash, flashes


def test_channels_then_planes_then_dies_then_rows():
    stripe = Stripe(flash(channels=2, dies_per_channel=3, planes_per_die=2))
    places = [stripe.locate(n) for n in range(13)]
    assert [channel for channel, _, _, _ in places[:4]] == [0, 1, 0, 1]
    assert [plane for _, _, plane, _ in places[:6:2]] == [0, 1, 0]
    assert [die for _, die, _, _ in places[:12:4]] == [0, 1, 2]
    assert places[12] == (0, 0, 0, 1)


@given(flashes(), st.integers(0, 10**6))
def test_numbers_and_places_are_one_to_one(some, number):
    stripe = Stripe(some)
    channel, unit, plane, row = stripe.locate(number)
    assert unit < some.units_per_channel
    assert stripe.number(channel, unit, plane, row) == number


@given(flashes(), st.integers(0, 500), st.integers(1, 500))
def test_pieces_hold_every_page_once_in_the_order_of_rows(some, first, count):
    stripe = Stripe(some)
    found, last_row, last_number = Counter(), {}, -1
    for piece in stripe.pieces(range(first, first + count)):
        number = stripe.number(piece.channel, piece.unit, piece.planes[0], piece.row)
        assert number > last_number
        last_number = number
        unit = piece.channel, piece.unit
        assert piece.row > last_row.get(unit, -1)
        last_row[unit] = piece.row + piece.rows - 1
        for row in range(piece.row, piece.row + piece.rows):
            found.update(stripe.number(*unit, plane, row) for plane in piece.planes)
    assert found == Counter(range(first, first + count))


def test_pages_that_are_not_there():
    stripe = Stripe(flash())
    stripe.check(range(1024), "page")
    with pytest.raises(ConfigError, match=r"^pages 5 to 1024 are asked for; .* pages 0 to 1023$"):
        stripe.check([5, 1024], "page")
    with pytest.raises(ConfigError, match=r"^blocks -1 to 3 are asked for; .* blocks 0 to 63$"):
        stripe.check(range(-1, 4), "block")


def test_a_page_fails_alike_whatever_it_is_read_with():
    draw = Repetitions(Retry(shares=(0.2, 0.1), seed=3))
    pages = range(1000, 1000 + 2 * FEW)
    one_by_one = {}
    for page in pages:
        one_by_one.update(draw.of([page]))
    assert draw.of(pages) == draw.of(list(pages)) == one_by_one
    assert set(one_by_one.values()) == {1, 2}
    assert Repetitions(Retry(shares=(0.2, 0.1), seed=4)).of(pages) != one_by_one


def test_shares_are_drawn_as_often():
    times = Counter(Repetitions(Retry(shares=(0.1, 0.05, 0.01))).of(range(200_000)).values())
    for repetitions, share in enumerate((0.1, 0.05, 0.01), 1):
        assert times[repetitions] == pytest.approx(200_000 * share, rel=0.05)


def test_without_shares_no_page_fails():
    assert Repetitions(Retry()).of(range(1000)) == {}

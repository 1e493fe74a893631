import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.numbers import signed_range
from golden.packed_multiplier import (
    INT8,
    SYMMETRIC_INT8,
    cascade,
    high_residue,
    most_products,
    pack,
    packed_product,
    split,
)
from golden.spec.dsp48e2 import LANE_BITS
from golden.spec.errors import ConfigError, ShapeError

EVERY = torch.arange(-128, 128)
CORNERS = torch.tensor([-128, -127, -1, 0, 1, 127])
int8 = st.integers(-128, 127)


@st.composite
def ranges(draw):
    low = draw(int8)
    return low, draw(st.integers(low, 127))


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def sum_of(factors):
    """The packed sum of (high, low, shared) triples."""
    high, low, shared = torch.tensor(factors).T
    return cascade(packed_product(high, low, shared))[-1]


def test_the_packed_number_fits_in_the_pre_adder():
    packed = pack(EVERY[:, None], EVERY)
    low, high = signed_range(27)
    assert low <= packed.min() and packed.max() <= high
    assert len(packed.unique()) == 2**16


@pytest.mark.parametrize("high", CORNERS.tolist())
def test_both_products_come_out_of_one(high):
    low, shared = EVERY[:, None], EVERY
    got_high, got_low = split(packed_product(torch.full_like(low, high), low, shared))
    assert torch.equal(got_low, low * shared)
    assert torch.equal(got_high, (high * shared).expand(256, 256))


def test_the_worked_example_of_the_page():
    packed = packed_product(torch.tensor(5), torch.tensor(-3), torch.tensor(7))
    assert packed == 35 * 2**18 - 21
    assert packed >> LANE_BITS == 34  # what the high lane reads before the borrow is paid back
    assert [lane.item() for lane in split(packed)] == [35, -21]


@st.composite
def sums(draw):
    """(high, low, shared) triples that may be added with so many bits of the residue."""
    bits = draw(st.integers(0, 3))
    triples = st.tuples(int8, int8, int8)
    return bits, draw(st.lists(triples, min_size=1, max_size=most_products(residue_bits=bits)))


@given(sums())
def test_sums_of_any_int8_come_apart(case):
    bits, factors = case
    high, low, shared = torch.tensor(factors).T
    residue = high_residue(high, shared, bits)[-1]
    assert 0 <= residue < 2**bits
    got_high, got_low = split(sum_of(factors), residue, bits)
    assert got_high == (high * shared).sum()
    assert got_low == (low * shared).sum()


def test_the_bounds_that_matter():
    assert [most_products(residue_bits=bits) for bits in range(4)] == [8, 16, 32, 64]
    assert most_products(SYMMETRIC_INT8, SYMMETRIC_INT8) == 8
    assert most_products(INT8, SYMMETRIC_INT8) == most_products(SYMMETRIC_INT8, INT8) == 8
    assert most_products(signed_range(4), INT8) == 128
    assert most_products((0, 127), (0, 127)) == 8
    assert most_products((-128, -128), (1, 1)) == 1023


def test_eight_products_of_minus_128_are_one_more_than_18_signed_bits_hold():
    assert 8 * 128 * 128 == 2**17 == signed_range(LANE_BITS)[1] + 1
    assert [lane.item() for lane in split(sum_of([(1, -128, -128)] * 8))] == [-1024, 2**17]
    # The largest sum but one, and the lowest.
    near = [(1, -128, -128)] * 7 + [(1, -127, -128)]
    assert [lane.item() for lane in split(sum_of(near))] == [-1024, 2**17 - 128]
    assert [lane.item() for lane in split(sum_of([(1, 127, -128)] * 8))] == [-1024, -8 * 127 * 128]


def test_the_ninth_product_overflows_without_a_residue():
    nine = torch.tensor([(1, -128, -128)] * 9)
    assert split(sum_of(nine.tolist()))[1] == 9 * 2**14 - 2**18
    residue = high_residue(nine[:, 0], nine[:, 2], 1)[-1]
    assert [x.item() for x in split(sum_of(nine.tolist()), residue, 1)] == [-9 * 128, 9 * 2**14]


@given(ranges(), ranges(), st.integers(0, 2))
def test_the_bound_is_exact(factor, shared, bits):
    corners = [(a, b) for a in factor for b in shared]
    if not any(a * b for a, b in corners):
        return
    bound = most_products(factor, shared, bits)

    def is_right(count, a, b):
        packed = cascade(packed_product(*torch.tensor([1, a, b])).expand(count))[-1]
        return split(packed, count * b % 2**bits, bits)[1] == count * a * b

    assert all(is_right(bound, a, b) for a, b in corners)
    assert not all(is_right(bound + 1, a, b) for a, b in corners)


def test_the_cascade_wraps_around_at_48_bits():
    top = 2**47 - 1
    assert cascade(torch.tensor([top, 1, -1])).tolist() == [top, -(2**47), top]


@pytest.mark.parametrize("place", range(3))
def test_a_factor_beyond_8_bits_is_refused(place):
    factors = [torch.tensor([0])] * 3
    factors[place] = torch.tensor([0, 128])
    name = ("high", "low", "shared")[place]
    with refuses(ShapeError, f"the {name} factor spans 0 to 128; 8 signed bits hold -128 to 127"):
        packed_product(*factors)


@pytest.mark.parametrize("wrong", [(1, 0), (-129, 0), (0, 128)])
@pytest.mark.parametrize("name", ["factor", "shared"])
def test_a_range_that_is_none_is_refused(name, wrong):
    with refuses(
        ConfigError,
        f"{name} is {wrong}; a range from a lower to a higher value within -128 to 127 is needed",
    ):
        most_products(**{name: wrong})


def test_ranges_without_a_bound_are_refused():
    with refuses(
        ConfigError,
        "factor is (0, 0) and shared (-128, 127); every product is 0, and any number fits",
    ):
        most_products((0, 0))

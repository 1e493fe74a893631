import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.numbers import check_range, round_half_even, saturate, signed_range
from golden.spec.errors import ShapeError


def refuses(message):
    return pytest.raises(ShapeError, match=f"^{re.escape(message)}$")


def test_signed_range_of_8_bits():
    assert signed_range(8) == (-128, 127)


@given(st.integers(1, 64))
def test_signed_range_holds_every_pattern_of_its_bits(bits):
    low, high = signed_range(bits)
    assert high - low + 1 == 2**bits
    assert low + high == -1


def test_saturation_clamps_only_beyond_the_range():
    values = torch.tensor([-1000, -9, -8, -7, 0, 6, 7, 8, 1000])
    assert saturate(values, 4).tolist() == [-8, -8, -8, -7, 0, 6, 7, 7, 7]
    symmetric = saturate(values, 4, symmetric=True)
    assert symmetric.tolist() == [-7, -7, -7, -7, 0, 6, 7, 7, 7]


def test_ties_round_to_the_even_integer():
    ties = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 126.5, 127.5])
    assert round_half_even(ties).tolist() == [-2, -2, 0, 0, 2, 2, 126, 128]


@given(st.floats(-(2**24), 2**24, width=32))
def test_rounding_is_pythons(value):
    assert round_half_even(torch.tensor(value)).item() == round(value)


@given(st.integers(2, 16))
def test_range_check_accepts_exactly_the_range(bits):
    low, high = signed_range(bits)
    check_range(torch.tensor([low, high]), bits, "the weight")
    with refuses(f"w spans {low - 1} to 0; {bits} signed bits hold {low} to {high}"):
        check_range(torch.tensor([low - 1, 0]), bits, "w")
    with refuses(f"w spans 0 to {high + 1}; {bits} signed bits hold {low} to {high}"):
        check_range(torch.tensor([0, high + 1]), bits, "w")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_range_check_takes_every_integer_type(dtype):
    check_range(torch.tensor([0, 127], dtype=dtype), 8, "the weight")


def test_range_check_of_an_unsigned_tensor():
    with refuses("w spans 0 to 128; 8 signed bits hold -128 to 127"):
        check_range(torch.tensor([0, 128], dtype=torch.uint8), 8, "w")


def test_range_check_refuses_floats_even_when_whole():
    with refuses("the weight is torch.float32; integers of 8 bits are needed"):
        check_range(torch.tensor([1.0]), 8, "the weight")


def test_an_empty_tensor_is_in_every_range():
    check_range(torch.empty(0, dtype=torch.int64), 2, "the weight")

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden.quantise import Quantised, matrix_shape, quantise_groups, quantise_tokens
from golden.spec.errors import ConfigError, ShapeError

# Half a step, and what float32 adds to it: 127 quotients' last bits.
HALF_A_STEP = 0.5 + 127 * 2**-22


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@st.composite
def cases(draw):
    """A float matrix, the bits, and a group size that fits."""
    group_size = draw(st.integers(1, 5))
    shape = (draw(st.integers(1, 3)), group_size * draw(st.integers(1, 3)))
    numbers = st.floats(-(2.0**40), 2.0**40, width=32).map(lambda x: x if abs(x) > 1e-30 else 0.0)
    values = torch.from_numpy(draw(arrays(np.float32, shape, elements=numbers)))
    return values, draw(st.integers(2, 8)), group_size


def by_group(quantised):
    rows, groups = quantised.scales.shape
    return quantised.values.int().reshape(rows, groups, -1)


def test_a_worked_example():
    weight = torch.tensor([[7.0, -3.5, 0.7, 0.0], [-14.0, 4.0, 0.0, 0.0]])
    four_bits = quantise_groups(weight, bits=4, group_size=2)
    assert four_bits.values.tolist() == [[7, -4, 7, 0], [-7, 2, 0, 0]]
    torch.testing.assert_close(four_bits.scales, torch.tensor([[1.0, 0.1], [2.0, 1.0]]))
    torch.testing.assert_close(
        four_bits.dequantise(), torch.tensor([[7.0, -4.0, 0.7, 0.0], [-14.0, 4.0, 0.0, 0.0]])
    )


def test_ties_round_to_even():
    weight = torch.tensor([[7.0, 0.5, 1.5, 2.5, -0.5, -1.5]])
    assert quantise_groups(weight, bits=4, group_size=6).values.tolist() == [[7, 0, 2, 2, 0, -2]]


@given(cases())
def test_error_is_at_most_half_a_step(case):
    quantised = quantise_groups(*case)
    steps = quantised.scales.repeat_interleave(quantised.group_size, dim=1).double()
    error = quantised.values.double() * steps - case[0].double()
    assert (error.abs() <= HALF_A_STEP * steps).all()


@given(cases())
def test_each_groups_largest_magnitude_becomes_the_largest_integer(case):
    quantised = quantise_groups(*case)
    rows, groups = quantised.scales.shape
    filled = case[0].reshape(rows, groups, -1).abs().amax(dim=2) > 0
    top = 2 ** (case[1] - 1) - 1
    assert torch.equal(by_group(quantised).abs().amax(dim=2), top * filled.int())


@given(cases())
def test_zero_groups_get_the_scale_1(case):
    quantised = quantise_groups(*case)
    assert (quantised.scales > 0).all()
    zero = by_group(quantised).abs().amax(dim=2) == 0
    assert (quantised.scales[zero] == 1).all()


@given(cases())
def test_the_negative_gives_the_negative(case):
    values, bits, group_size = case
    plus, minus = (quantise_groups(sign * values, bits, group_size) for sign in (1, -1))
    assert torch.equal(minus.values, -plus.values)
    assert torch.equal(minus.scales, plus.scales)


@given(cases())
def test_quantising_the_result_again_changes_nothing(case):
    once = quantise_groups(*case)
    twice = quantise_groups(once.dequantise(), *case[1:])
    assert torch.equal(twice.values, once.values)
    zero = (by_group(once) == 0).all(dim=2)
    torch.testing.assert_close(twice.scales[~zero], once.scales[~zero])


@given(cases())
def test_a_group_does_not_see_the_others(case):
    values, bits, group_size = case
    whole = quantise_groups(values, bits, group_size)
    assert whole.group_size == group_size
    for group in range(values.shape[1] // group_size):
        columns = slice(group * group_size, (group + 1) * group_size)
        alone = quantise_groups(values[:, columns], bits, group_size)
        assert torch.equal(whole.values[:, columns], alone.values)
        assert torch.equal(whole.scales[:, group : group + 1], alone.scales)


def test_dequantise_gives_each_group_its_own_scale():
    quantised = Quantised(
        torch.tensor([[1, 2, 3, 4]], dtype=torch.int8), torch.tensor([[10.0, 0.5]])
    )
    assert quantised.dequantise().tolist() == [[10, 20, 1.5, 2]]


def test_tokens_have_a_scale_each():
    activations = torch.tensor([[127.0, 1.0, -127.0], [0.127, 0.0, 0.001]])
    quantised = quantise_tokens(activations)
    assert quantised.values.tolist() == [[127, 1, -127], [127, 0, 1]]
    torch.testing.assert_close(quantised.scales, torch.tensor([[1.0], [0.001]]))
    assert quantise_tokens(activations, bits=4).values[0].tolist() == [7, 0, -7]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_types_do_not_depend_on_the_input(dtype):
    quantised = quantise_groups(torch.ones(1, 4, dtype=dtype), bits=8, group_size=2)
    assert quantised.values.dtype == torch.int8
    assert quantised.scales.dtype == torch.float32


@pytest.mark.parametrize("bits", [1, 9, 0, -8])
def test_bits_outside_2_to_8(bits):
    with refuses(ConfigError, f"bits is {bits}; allowed are 2 to 8"):
        quantise_groups(torch.ones(1, 4), bits, group_size=4)


@pytest.mark.parametrize("group_size", [3, 8, 0, -2])
def test_inputs_that_groups_do_not_divide(group_size):
    with refuses(ShapeError, f"4 inputs are not a multiple of the group size {group_size}"):
        quantise_groups(torch.ones(1, 4), 8, group_size)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (4, 0), (1, 2, 4)])
def test_only_a_filled_matrix_is_taken(shape):
    tail = f"has the shape {list(shape)}; a filled matrix is needed"
    with refuses(ShapeError, f"the tensor to quantise {tail}"):
        quantise_groups(torch.ones(shape), 8, 4)
    with refuses(ShapeError, f"the activations {tail}"):
        quantise_tokens(torch.ones(shape))


def test_matrix_shape_is_rows_and_columns():
    assert matrix_shape(torch.ones(3, 5), "x") == (3, 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    with refuses(ShapeError, "the tensor to quantise holds values that are not finite"):
        quantise_groups(torch.tensor([[1.0, value]]), bits=8, group_size=2)


def test_the_smallest_floats_stay_in_the_symmetric_range():
    smallest = torch.tensor([[-1.4e-45, 1e-43, -1e-43, 3e-44]])
    assert quantise_groups(smallest, bits=8, group_size=4).values.abs().max() <= 127

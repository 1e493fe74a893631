import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.matrix_engine import matrix_engine
from golden.output_scale import choose_output_scale
from golden.quantise import Quantised, quantise_groups, quantise_tokens
from golden.sparse_matrix import dense_matrix
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig

CONFIG = MatrixEngineConfig(output_bits=16)
ONE = Quantised(torch.ones(1, 1, dtype=torch.int8), torch.ones(1, 1))
"""A token with the scale 1."""


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def weights_of(*scales):
    """A row with a group of one weight for each scale."""
    return Quantised(torch.ones(1, len(scales), dtype=torch.int8), torch.tensor([scales]))


def test_a_worked_example():
    config = replace(CONFIG, output_bits=8, scale_bits=4)
    tokens = Quantised(torch.ones(2, 1, dtype=torch.int8), torch.tensor([[0.5], [2.0]]))
    outputs = torch.tensor([[-127.0, 4.0], [8.0, 254.0]])
    # Per token scale the outputs are -254, 8, 4 and 127.
    scale = choose_output_scale(outputs, tokens, weights_of(1.0, 3.0), config)
    assert scale.unit == 2.0
    # 1.5 in 4 bits is 12 eighths.
    assert scale.config == replace(config, scale_shift=3)
    assert scale.of_groups(weights_of(1.0, 3.0)).tolist() == [[4, 12]]
    integers = torch.tensor([[-127, 4], [2, 64]])
    assert scale.dequantise(integers, tokens).tolist() == [[-127.0, 4.0], [8.0, 256.0]]


@given(st.floats(2.0**-20, 2.0**12), st.integers(2, 17))
def test_the_largest_scale_just_fits(largest, scale_bits):
    config = replace(CONFIG, scale_bits=scale_bits)
    outputs = torch.tensor([[32767.0]])
    weights = weights_of(largest, largest / 3)
    if largest >= 2.0 ** (scale_bits - 1) - 0.25:  # no fraction bit is left
        with pytest.raises(ConfigError, match=r"^scale_shift is "):
            choose_output_scale(outputs, ONE, weights, config)
        return
    shift = choose_output_scale(outputs, ONE, weights, config).config.scale_shift
    most = 2**scale_bits - 1
    exact = float(weights.scales[0, 0])
    assert round(exact * 2.0**shift) <= most < round(exact * 2.0 ** (shift + 1))


def test_a_scale_that_rounds_up_to_one_bit_more_gets_one_fraction_bit_less():
    config = replace(CONFIG, scale_bits=4)
    outputs = torch.tensor([[32767.0]])
    assert choose_output_scale(outputs, ONE, weights_of(1.9), config).config.scale_shift == 3
    assert choose_output_scale(outputs, ONE, weights_of(1.95), config).config.scale_shift == 2


def test_a_group_without_weights_has_the_scale_0_and_does_not_count():
    weights = quantise_groups(torch.tensor([[0.0, 0.0, 0.02, -0.07]]), bits=4, group_size=2)
    scale = choose_output_scale(torch.tensor([[32767.0]]), ONE, weights, CONFIG)
    empty, filled = scale.of_groups(weights)[0].tolist()
    assert empty == 0 and 2**15 <= filled < 2**16


def test_calibration_outputs_come_back_with_half_a_unit_of_error():
    random = torch.Generator().manual_seed(1)
    weight, x = (torch.randn(shape, generator=random) for shape in ((32, 64), (20, 64)))
    weights, tokens = quantise_groups(weight, 8, 32), quantise_tokens(x)
    exact = tokens.dequantise().double() @ weights.dequantise().double().T
    scale = choose_output_scale(exact, tokens, weights, CONFIG)
    scales = scale.of_groups(weights)
    matrix = dense_matrix(weights.values, 32, 8)
    outputs = matrix_engine(matrix, tokens.values, scales, scales * 0, scale.config)
    assert outputs.abs().max() in (32766, 32767)
    # Rounding each scale moves an output by at most this much: 2 groups of 32 weights.
    rounded = 2 * 32 * 127 * 127 / 2.0 ** (scale.config.scale_shift + 1)
    error = (scale.dequantise(outputs, tokens) - exact).abs() / (scale.unit * tokens.scales)
    assert error.max() <= 0.5 + rounded


@pytest.mark.parametrize("worst", [0.0, float("inf"), float("nan")])
def test_outputs_that_say_nothing_are_refused(worst):
    message = "the largest calibration output is {}; one that is finite and not 0 is needed"
    with refuses(ShapeError, message.format(worst)):
        choose_output_scale(torch.tensor([[worst]]), ONE, weights_of(1.0), CONFIG)


def test_outputs_that_are_no_matrix_are_refused():
    message = "the calibration output has the shape [3]; a filled matrix is needed"
    with refuses(ShapeError, message):
        choose_output_scale(torch.ones(3), ONE, weights_of(1.0), CONFIG)


def test_a_scale_that_was_not_foreseen_is_refused():
    scale = choose_output_scale(torch.tensor([[32767.0]]), ONE, weights_of(1.0), CONFIG)
    with pytest.raises(ShapeError, match=r"^a scale is 3; scale_bits 16 and scale_shift 15 hold "):
        scale.of_groups(weights_of(3.0))

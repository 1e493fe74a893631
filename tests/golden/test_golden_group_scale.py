from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.group_scale import fixed_point_scales, requantise, scale_groups
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig

CONFIG = MatrixEngineConfig()


def integers(*values):
    return torch.tensor(values, dtype=torch.int64)


@given(
    shift=st.integers(1, 40),
    bits=st.integers(4, 32),
    totals=st.lists(st.integers(-(2**47), 2**47 - 1), min_size=1),
    halves=st.lists(st.integers(-300, 300)),
)
def test_requantisation_is_pythons_rounding_of_the_exact_quotient(shift, bits, totals, halves):
    # Python rounds a fraction half to even.
    totals += [half << (shift - 1) for half in halves if abs(half << (shift - 1)) < 2**47]
    config = MatrixEngineConfig(scale_shift=shift, output_bits=bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    expected = [min(max(round(Fraction(total, 2**shift)), low), high) for total in totals]
    outputs = requantise(integers(*totals), config)
    assert outputs.dtype == torch.int32
    assert outputs.tolist() == expected


@pytest.mark.parametrize("fraction_bits", range(5))
def test_outputs_are_those_of_dequantised_weights(fraction_bits):
    config = MatrixEngineConfig(scale_shift=24 + fraction_bits, zero_fraction_bits=fraction_bits)
    generator = torch.Generator().manual_seed(0)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    tokens, rows, groups, size = 3, 9, 4, 64
    weights = draw(-8, 8, rows, groups, size)
    zeros = draw(-8 * 2 ** min(fraction_bits, 3), 8 * 2 ** min(fraction_bits, 3), rows, groups)
    activations = draw(-128, 128, tokens, groups, size)
    real = torch.rand(rows, groups, generator=generator).double() * 2e-3
    scales = fixed_point_scales(real, config)
    assert torch.equal(scales, fixed_point_scales(real, CONFIG))
    outputs = scale_groups(
        torch.einsum("rgk,tgk->trg", weights, activations),
        scales,
        zeros,
        activations.sum(dim=2)[:, None],
        config,
    )
    real_zeros = zeros.double() / 2**fraction_bits
    dequantised = (weights - real_zeros[..., None]) * (scales.double() / 2**24)[..., None]
    exact = torch.einsum("rgk,tgk->tr", dequantised.double(), activations.double())
    # The products with a 16-bit scale are exact in float64.
    assert torch.equal(outputs, exact.round().clamp(-128, 127).int())
    assert len(outputs.unique()) > 10 and outputs.abs().max() < 127


def test_scales_are_rounded_half_to_even():
    halves = torch.tensor([0.0, 0.5, 1.5, 2.5, 65534.5]) / 2**24
    assert fixed_point_scales(halves, CONFIG).tolist() == [0, 0, 2, 2, 65534]
    most = torch.tensor([65535 / 2**24], dtype=torch.float64)
    assert fixed_point_scales(most, CONFIG).tolist() == [65535]


@pytest.mark.parametrize(
    ("scale", "named"),
    [(-1e-6, "-1e-06"), (0.004, "0.004"), (float("nan"), "nan"), (1e300, "1e+300")],
)
def test_scales_that_do_not_fit_are_refused(scale, named):
    message = (
        f"^a scale is {named.replace('+', '[+]')}; scale_bits 16 and scale_shift 24 hold "
        r"0 to 0\.00390619 in steps of 5\.96046e-08$"
    )
    with pytest.raises(ShapeError, match=message):
        fixed_point_scales(torch.tensor([1e-3, scale], dtype=torch.float64), CONFIG)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([2**26], [1], [0], [0]), "sums spans 67108864 to 67108864; 27 signed bits hold"),
        (([0], [2**16], [0], [0]), "scales spans 65536 to 65536; 17 signed bits hold"),
        (([0], [-1], [0], [0]), "scales go down to -1; 0 is the least"),
        (([0], [1], [128], [0]), "zeros spans 128 to 128; 8 signed bits hold"),
        (([0], [1], [0], [2**18]), "offsets spans 262144 to 262144; 19 signed bits hold"),
        (([2**26 - 1], [1], [-128], [1]), "the sums without their zero points spans 67108991"),
        (([0, 0], [1, 1, 1], [0], [0]), r"have the shapes \[2\], \[3\], \[1\], \[1\]; they must"),
    ],
)
def test_what_the_hardware_cannot_hold_is_refused(arguments, message):
    with pytest.raises(ShapeError, match=message):
        scale_groups(*(integers(*values) for values in arguments), CONFIG)


def test_a_sum_that_is_too_wide_with_the_zero_points_fraction_bits_is_refused():
    config = MatrixEngineConfig(zero_fraction_bits=3)
    one = integers(1)
    # The zero point's part takes away what is too much.
    scale_groups(integers(2**23), one, one, one, config)
    with pytest.raises(ShapeError, match=r"^the sums without their zero points spans 67108864 to "):
        scale_groups(integers(2**23), one, integers(0), one, config)


def test_scales_that_do_not_fit_are_refused_with_their_fraction_bits():
    config = MatrixEngineConfig(zero_fraction_bits=3)
    message = (
        "^a scale is 0.04; scale_bits 16, zero_fraction_bits 3 and scale_shift 24 hold "
        "0 to 0.0312495 in steps of 4.76837e-07$"
    )
    with pytest.raises(ShapeError, match=message):
        fixed_point_scales(torch.tensor([0.04]), config)


def test_a_total_that_overflows_on_its_way_is_refused():
    config = MatrixEngineConfig(scale_bits=17)
    sums = torch.full((40,), 2**26 - 1).repeat(2)
    sums[40:] *= -1
    scales = torch.full_like(sums, 2**17 - 1)
    with pytest.raises(ShapeError, match=r"^the scaled totals spans .*; 48 signed bits hold"):
        scale_groups(sums, scales, integers(0), integers(0), config)

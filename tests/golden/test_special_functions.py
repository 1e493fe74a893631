"""Special functions: their error against float over the whole range, and their edges."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.spec.errors import ShapeError
from golden.spec.special_function_unit import WIDE_BITS
from golden.special_functions import functions, lane, scalars
from golden.special_functions.functions import (
    add,
    centre,
    gelu,
    layer_norm,
    magnitude,
    max_scalar,
    mean,
    multiply,
    quantise,
    rms_norm,
    rope,
    rope_table,
    scale,
    silu,
    softmax,
    softmax_chunk,
    softmax_two_pass,
    static_quantise,
)
from golden.special_functions.rounding import shift_round
from golden.special_functions.scalars import Scalar, exact
from golden.special_functions.tables import FUNCTIONS, Tables

LOW, HIGH = -(2 ** (WIDE_BITS - 1)), 2 ** (WIDE_BITS - 1) - 1
WIDE = st.integers(LOW, HIGH)
FACTOR = st.integers(-(2**17) + 1, 2**17 - 1)

MAX_ERROR = {
    "sigmoid": 6.0e-5,
    "normal": 4.2e-5,
    "exp2": 3.3e-5,  # relative
    "silu": 1.5e-4,
    "gelu": 9.0e-5,
}


def wide(values):
    return torch.tensor(values, dtype=torch.int64)


def exact_round(numerator, denominator):
    """Python's rounding of a fraction is half to even too."""
    from fractions import Fraction

    return round(Fraction(numerator, denominator))


def saturated(value, bits=WIDE_BITS):
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


# Exact arithmetic, against Python's.


@given(st.integers(-(2**47), 2**47), st.integers(0, 47))
def test_a_shift_rounds_half_to_even(value, shift):
    assert int(shift_round(wide(value), shift)) == exact_round(value, 1 << shift)


@given(WIDE, WIDE, FACTOR, FACTOR, st.integers(0, 47))
def test_add_rounds_once_and_saturates(a, b, first, second, shift):
    expected = saturated(exact_round(a * first + b * second, 1 << shift))
    assert int(add(wide(a), wide(b), first, second, shift)) == expected


@given(WIDE, WIDE, FACTOR, st.integers(0, 47))
def test_multiply_is_two_rounded_products(a, b, first, shift):
    u = saturated(exact_round(a * first, 1 << shift))
    factor = max(-(2**17) + 1, min(2**17 - 1, b))
    assert int(multiply(wide(a), wide(b), first, shift)) == saturated(
        exact_round(u * factor, 1 << 16)
    )


@given(WIDE, st.integers(0, 2**16), st.integers(-30, 30), st.integers(-20, 60))
def test_scale_clamps_its_shift(x, value, exponent, shift):
    expected = saturated(exact_round(x * value, 1 << max(0, min(47, shift - exponent))))
    assert int(scale(wide([x]), Scalar(wide(value), wide(exponent)), shift)[0]) == expected


@given(WIDE, FACTOR, st.integers(0, 47))
def test_static_quantise(x, first, shift):
    expected = saturated(exact_round(x * first, 1 << shift), 8)
    assert int(static_quantise(wide(x), first, shift)) == expected


def test_saturations_are_counted():
    with lane.count_saturations() as counter:
        add(wide([HIGH, 0]), wide([1, 0]))
        multiply(wide([0, 0, 0]), wide([2**17, -(2**17), 2**17 - 1]))
        static_quantise(wide([128, -128, 127]))
    assert counter == {"wide": 1, "factor": 2, "byte": 1}
    add(wide([HIGH]), wide([1]))
    assert counter["wide"] == 1


# Scalars.


@given(st.integers(1, 2**51 - 1), st.integers(-40, 94))
def test_a_normalised_scalar_is_off_by_half_a_unit(value, exponent):
    m, e = scalars.normalise(Scalar(wide(value), wide(exponent)))
    assert 2**15 <= int(m) <= 2**16
    down = int(e) - exponent
    assert int(m) == (exact_round(value, 1 << down) if down > 0 else value << -down)


@given(st.integers(1, 2**51 - 1), st.integers(-20, 40))
def test_reciprocals(value, exponent):
    x = Scalar(wide(value), wide(exponent))
    m, e = scalars.reciprocal(x)
    assert 2**15 <= int(m) <= 2**16
    assert abs(int(m) * 2.0 ** int(e) * value * 2.0**exponent - 1) < 2**-15
    m, e = scalars.quantiser(x)
    assert 32512 <= int(m) <= 65024
    assert abs(int(m) * 2.0 ** int(e) * value * 2.0**exponent / 127 - 1) < 2**-15


@given(st.integers(1, 2**51 - 1), st.integers(0, 40), st.integers(0, 2**51 - 1))
def test_inverse_roots(value, half, epsilon):
    x = Scalar(wide(value), wide(2 * half))
    m, e = scalars.inverse_root(x, exact(epsilon))
    total = (value + (epsilon >> (2 * half))) * 4.0**half
    assert 2**15 <= int(m) <= 2**16
    assert abs(int(m) * 2.0 ** int(e) * math.sqrt(total) - 1) < 2**-15


@pytest.mark.parametrize("function", [scalars.normalise, scalars.reciprocal, scalars.quantiser])
@pytest.mark.parametrize("value", [0, -1, -(2**51)])
def test_what_is_not_positive_gives_0(function, value):
    assert function(Scalar(wide(value), wide(6))) == (0, 0)
    assert scalars.inverse_root(Scalar(wide(value), wide(6)), exact(0)) == (0, 0)


@given(st.integers(-(2**51), 2**51 - 1), st.integers(-128, 127))
def test_a_scalar_is_shifted(value, shift):
    expected = exact_round(value, 1 << max(0, min(47, shift)))
    assert scalars.shift_scalar(Scalar(wide(value), wide(3)), shift) == (expected, 3)


# Tables: every argument.


@pytest.mark.parametrize("name", ["sigmoid", "normal"])
def test_tabulated_functions_over_their_whole_domain(name):
    (function,) = (f for f in FUNCTIONS if f.name == name)
    end = (1 << function.argument_bits) + 3
    x = torch.arange(-end, end + 1)
    values = getattr(lane, name)(x)
    real = x.double() / 2**16
    true = {"sigmoid": torch.sigmoid, "normal": torch.special.ndtr}[name](real)
    assert (values / 2**16 - true).abs().max() < MAX_ERROR[name]
    assert (values.diff() >= 0).all() and (values + values.flip(0) == 2**16).all()
    assert (values[-3:] == 2**16).all() and (values[:3] == 0).all()


def test_powers_of_two_over_a_whole_octave():
    x = torch.arange(-(2**16), 1)
    for fraction_bits in range(16):
        values = lane.exp2(x, fraction_bits) * 2.0**-fraction_bits
        error = (values - 2 ** (x.double() / 2**16)).abs()
        assert error.max() < 2.0 ** -(fraction_bits + 1) + MAX_ERROR["exp2"]
    assert int(lane.exp2(wide(5), 15)) == int(lane.exp2(wide(0), 15)) == 2**15


def test_powers_of_two_over_all_octaves():
    x = -torch.arange(0, 2**26 + 1, 997)
    for fraction_bits in (0, 7, 14, 15):
        values = lane.exp2(x, fraction_bits).double()
        true = 2 ** (x.double() / 2**16 + fraction_bits)
        assert ((values - true).abs() <= 0.5 + MAX_ERROR["exp2"] * true).all()


@pytest.mark.parametrize("bits", [5, 6, 8, 10])
def test_more_segments_are_more_exact(bits):
    x = torch.arange(0, 2**20, 7)
    error = (lane.sigmoid(x, Tables(bits)) / 2**16 - torch.sigmoid(x / 2**16)).abs().max()
    bound = 0.0963 * (16 / 2**bits) ** 2 / 8
    assert error < bound + 2**-16


# Functions of a vector.


@pytest.mark.parametrize("f", [silu, gelu], ids=["silu", "gelu"])
def test_activations_over_the_whole_range(f):
    true = {"silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu}[f.__name__]
    inner = torch.arange(-(2**20) - 2, 2**20 + 3)  # every argument of the table
    x = torch.cat([inner, torch.arange(LOW, HIGH, 1013), wide([LOW, HIGH])])
    error = (f(x) / 2**16 - true(x.double() / 2**16)).abs()
    assert error.max() < MAX_ERROR[f.__name__]
    # A first product brings other fraction bits to 16.
    small = x[x.abs() < 2**20]
    assert torch.equal(f(small, first=32, shift=3), f(4 * small))


@given(st.lists(WIDE, min_size=1, max_size=40))
def test_dynamic_quantisation_is_off_by_half_a_step(values):
    x = wide(values)
    largest = magnitude(x)
    q = quantise(x, scalars.quantiser(largest))
    assert q.abs().max() == (127 if x.any() else 0)
    step = int(largest.value) / 127
    assert ((q * step - x).abs() <= (0.5 + 127 * 2**-15) * step).all()


@given(st.lists(WIDE, min_size=2, max_size=60), st.sampled_from([-25, -22, -16]))
def test_rms_norm(values, shift):
    x = wide(values)
    n = len(values)
    gamma = torch.linspace(-(2.0**17) + 1, 2**17 - 1, n).long()
    y = rms_norm(x, gamma, magnitude(x), shift=shift)
    norm = math.sqrt(sum(v * v for v in values))
    if norm < 2.0 ** (-shift - 16):
        assert y.any() == (norm > 0)  # too small for a shift to the right
        return
    u = x.double() / norm * 2.0**-shift
    # Elements are rounded to 17 bits before they are squared.
    relative = 2**-15 + math.sqrt(n) * 2**-16
    error = (y - (u * gamma / 2**16).clamp(LOW, HIGH)).abs()
    assert (error <= (0.5 + u.abs() * relative) * gamma.abs() / 2**16 + 0.5).all()


def test_rms_norm_is_the_models():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(20, 576, generator=random).double() * torch.logspace(-3, 2, 20)[:, None]
    weights = torch.rand(576, generator=random).double() * 2
    f, out, shift, e = 16, 16, -22, 1e-5
    integers = torch.round(x * 2**f).long()
    gamma = torch.round(weights * math.sqrt(576) * 2.0 ** (out + shift + 16)).long()
    y = rms_norm(integers, gamma, magnitude(integers), round(e * 576 * 4**f), shift) / 2**out
    x = integers.double() / 2**f
    normal = x / torch.sqrt((x * x).mean(-1, keepdim=True) + e)
    true = normal * weights
    # The multiplier is off by 2**-15, a weight by half of its unit.
    bound = 2**-15 * true.abs() + 0.5 / math.sqrt(576) / 2**10 * normal.abs() + 2**-out
    assert ((y - true).abs() <= bound).all()


def test_layer_norm_is_the_models():
    random = torch.Generator().manual_seed(1)
    x = torch.randn(20, 768, generator=random).double() * torch.logspace(-2, 2, 20)[:, None] + 7
    weights, bias = torch.rand(2, 768, generator=random).double()
    f, out, shift, e = 16, 16, -22, 1e-5
    integers = torch.round(x * 2**f).long()
    gamma = torch.round(weights * math.sqrt(768) * 2.0 ** (out + shift + 16)).long()
    beta = torch.round(bias * 2**out).long()
    y = layer_norm(integers, gamma, beta, round(e * 768 * 4**f), shift) / 2**out
    true = torch.nn.functional.layer_norm(integers.double() / 2**f, (768,), weights, bias, e)
    # The mean, 7, may be off by 2**-17 of itself.
    bound = 1e-4 * true.abs() + 1e-4 + (7 * 2**-17 + 1.5 * 2.0**-f) / x.std(-1, keepdim=True)
    assert ((y - true).abs() <= bound).all()


@given(st.lists(WIDE, min_size=1, max_size=50))
def test_the_mean_is_off_by_a_unit(values):
    value, exponent = mean(wide(values))
    true = sum(values) / len(values)
    assert exponent == 0 and abs(int(value) - true) <= 1.5 + abs(true) * 2**-17
    x = centre(wide(values), mean(wide(values)))
    assert [saturated(v - int(value)) for v in values] == x.tolist()


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=60), st.sampled_from([8, 14]))
def test_softmax(values, f):
    x = wide(values)
    true = torch.softmax(x.double() / 2**f, -1)
    p, total = softmax_two_pass(x, 15, shift=f)
    assert ((p / int(total.value) - true).abs() < 5e-5 + len(values) * 2**-16 * true).all()
    # As INT8 with 7 bits.
    p, total = softmax(x, max_scalar(x), 7, shift=f)
    assert p.max() == 128 and int(lane.to_byte(p).max()) == 127


@given(st.lists(st.lists(st.integers(-(2**16), 2**16), min_size=1, max_size=9), max_size=8))
def test_an_online_softmax_gives_that_of_the_whole_vector(chunks):
    chunks = [[0], *chunks]
    state, outputs = None, torch.zeros(0, dtype=torch.float64)
    for chunk in chunks:
        p, correction, state = softmax_chunk(wide(chunk), state, 15, shift=13)
        outputs = torch.cat([outputs * int(correction.value) * 2.0 ** int(correction.exponent), p])
    x = wide([v for chunk in chunks for v in chunk])
    true = torch.softmax(x.double() / 2**13, -1)
    assert int(state.maximum.value) == max_scalar(x).value
    assert ((outputs / int(state.total.value) - true).abs() < len(chunks) * 1e-4).all()


@given(st.integers(0, 8191), st.lists(WIDE, min_size=4, max_size=4))
def test_rope_rotates_pairs(position, values):
    (table,) = rope_table(torch.tensor([position]), 4)
    y = rope(wide(values), table)
    for pair in range(2):
        angle = position * 10000.0 ** (-2 * pair / 4)
        a, b = values[2 * pair : 2 * pair + 2]
        rotated = (
            a * math.cos(angle) - b * math.sin(angle),
            a * math.sin(angle) + b * math.cos(angle),
        )
        for got, true in zip(y[2 * pair : 2 * pair + 2].tolist(), rotated, strict=True):
            assert abs(got - max(LOW, min(HIGH, true))) <= 0.5 + (abs(a) + abs(b)) * 2**-17


def test_rope_is_hugging_faces_with_interleaved_rows():
    size = 64
    order = functions.interleave(size)
    random = torch.Generator().manual_seed(2)
    x = torch.randn(7, size, generator=random).double()
    angles = torch.arange(7)[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size)
    cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))
    turned = torch.cat([-x[:, size // 2 :], x[:, : size // 2]], -1)
    true = (x * cos + turned * sin)[:, order]
    y = rope(torch.round(x * 2**20).long()[:, order], rope_table(torch.arange(7), size)) / 2**20
    assert (y - true).abs().max() < 5e-5


def test_a_head_of_odd_size_is_refused():
    with pytest.raises(ShapeError, match=r"^a head has 5 elements; a rotation needs an even"):
        rope_table(torch.arange(2), 5)


def test_halves_of_probabilities():
    high, low = lane.halves(wide([-5, 0, 127, 128, 16383, 16384, HIGH]))
    assert high.tolist() == [0, 0, 0, 1, 127, 127, 127]
    assert low.tolist() == [0, 0, 127, 0, 127, 127, 127]

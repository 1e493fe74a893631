"""The special functions of a transformer, on int64 tensors of wide elements [..., n].

What a wide vector's least bit is worth is the caller's choice, and so is every shift. Below, an
element of a vector with f fraction bits is worth x * 2**-f. Functions saturate to 27 bits, factors
to 18 (`lane.count_saturations` counts both), and round half to even.

The hardware does the same with the jobs of `golden.special_functions.passes`.
"""

import math
from typing import NamedTuple

import torch

from golden.spec.errors import ShapeError
from golden.spec.special_function_unit import FACTOR_BITS, FACTOR_FRACTION_BITS
from golden.special_functions import lane, scalars
from golden.special_functions.scalars import Scalar, exact
from golden.special_functions.tables import DEFAULT_TABLES, Tables

EXP_FACTOR = round(math.log2(math.e) * 2**FACTOR_FRACTION_BITS)
"""log2(e) as a factor: exp(x) is 2**(x * log2(e)). It is off by less than 2**-19 of itself."""


def max_scalar(x: torch.Tensor) -> Scalar:
    """Return the largest element of each vector [..., n], exact, as a scalar [...]."""
    return exact(x.amax(dim=-1))


def magnitude(x: torch.Tensor) -> Scalar:
    """Return the largest |element| of each vector [..., n], exact, as a scalar [...]."""
    return exact(x.abs().amax(dim=-1))


def add(
    a: torch.Tensor, b: torch.Tensor, first: int = 1, second: int = 1, shift: int = 0
) -> torch.Tensor:
    """Return (a * first + b * second) / 2**shift, rounded once: a residual connection.

    Args:
        first, second: factors, -131071 to 131071: what brings both to the result's unit.
        shift: 0 to 47.
    """
    return lane.combine(a, first, shift, b, second)


def multiply(a: torch.Tensor, b: torch.Tensor, first: int = 1, shift: int = 0) -> torch.Tensor:
    """Return u * b / 2**16 with u = a * first / 2**shift, each rounded and saturated to 27 bits.

    With f, g fraction bits of a, b the result has f + g - shift - 16, for a `first` of 1. Since u
    saturates, `first` and `shift` may scale a up only as far as it has room.

    Args:
        b: saturated to a factor of 18 bits; the operand that needs fewer bits.
    """
    return lane.scale(lane.combine(a, first, shift), lane.to_factor(b))


def scale(x: torch.Tensor, by: Scalar, shift: int = 0) -> torch.Tensor:
    """Return x times the scalar, / 2**shift: what dequantises a matrix product's results.

    `by.value` must be less than 2**17: take `scalars.normalise` of a sum or a maximum first.

    Args:
        x: wide [..., n]. by: [...].
        shift: -128 to 127; the shift that is done, `shift - by.exponent`, is 0 to 47.
    """
    return lane.combine(x, _each(by.value), shift - _each(by.exponent))


dequantise = scale


def quantise(x: torch.Tensor, quantiser: Scalar) -> torch.Tensor:
    """Return INT8 values, int64: x * 127 / max|x|, the maximum being a scalar of the vector.

    What comes out, times `normalise(magnitude(x))` / 127, is about x. For 0 it is 0.

    Args:
        x: wide [..., n].
        quantiser: `scalars.quantiser(magnitude(x))`, [...].
    """
    return lane.to_byte(scale(x, quantiser))


def static_quantise(x: torch.Tensor, first: int = 1, shift: int = 0) -> torch.Tensor:
    """Return INT8 values, int64: x * first / 2**shift, saturated; for a scale that is known before.

    Args:
        first: a factor. shift: 0 to 47.
    """
    return lane.to_byte(lane.combine(x, first, shift))


def sum_of_squares(x: torch.Tensor, largest: Scalar) -> Scalar:
    """Return the sum of the squares of x [..., n], with an even exponent.

    The elements are shifted until the largest has 17 bits, so the sum is off by at most
    2 * norm * sqrt(n) * 2**-16 * max|x|, norm being the root of the sum; in practice by much less.

    Args:
        largest: `magnitude(x)`.
    """
    shift = lane.clamp_shift(scalars.normalise(largest).exponent)
    small = lane.to_factor(lane.combine(x, 1, _each(shift)))
    return Scalar((small * small).sum(dim=-1), 2 * shift)


def rms_norm(
    x: torch.Tensor, gamma: torch.Tensor, largest: Scalar, epsilon: int = 0, shift: int = -22
) -> torch.Tensor:
    """Return u * gamma / 2**16 with u = x / sqrt(sum of x**2 + epsilon) * 2**-shift.

    RMSNorm with float weights g of n elements, and f fraction bits in x and F in the result:

        x / sqrt(mean(x**2) + e) * g * 2**F:
        gamma   = round(g * sqrt(n) * 2**(F + shift + 16))
        epsilon = round(e * n * 2**(2 * f))

    Here |u| is at most 2**-shift, so a shift of -25 is the least. The best choice of `shift` and F
    leaves the largest |gamma| just below 2**17. There are no shifts to the left: where the root is
    less than 2**(-shift - 16) units, as in a vector that is almost 0 without an epsilon, the result
    is too small.

    Args:
        x: wide [..., n]. largest: `magnitude(x)`.
        gamma: [n], saturated to a factor. epsilon: 0 to 2**48.
    """
    root = scalars.inverse_root(sum_of_squares(x, largest), exact(epsilon))
    return lane.scale(scale(x, root, shift), lane.to_factor(gamma))


def layer_norm(
    x: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    epsilon: int = 0,
    shift: int = -22,
) -> torch.Tensor:
    """Return LayerNorm: `rms_norm` of x less its mean, plus beta.

    The mean is an integer: the sum of x * 2**k / n, each rounded, over 2**k, where k and the factor
    are those of `mean_scale`.

    Args:
        x: wide [..., n]. gamma: [n], as in `rms_norm`. beta: wide [n], in the result's units.
    """
    centred = centre(x, mean(x))
    normal = rms_norm(centred, gamma, magnitude(centred), epsilon, shift)
    return add(normal, beta.expand_as(normal))


def mean_scale(n: int) -> tuple[int, int, int]:
    """Return (factor, shift, guard): factor / 2**shift is 2**guard / n, at most 1.

    The factor has 17 bits; so the mean is off by less than 2**-17 of itself and 1.5 units.
    """
    if n == 1:
        return 1, 0, 0
    guard = (n - 1).bit_length() - 1
    return round(2 ** (FACTOR_BITS - 1 + guard) / n), FACTOR_BITS - 1, guard


def mean(x: torch.Tensor) -> Scalar:
    """Return the mean of each vector [..., n], rounded to a whole unit, as a scalar [...]."""
    factor, shift, guard = mean_scale(x.shape[-1])
    return scalars.shift_scalar(exact(lane.combine(x, factor, shift).sum(dim=-1)), guard)


def centre(x: torch.Tensor, middle: Scalar) -> torch.Tensor:
    """Return x [..., n] less an exact scalar [...]."""
    return lane.combine(x, 1, 0, _each(middle.value), -1)


def softmax(
    x: torch.Tensor,
    maximum: Scalar,
    fraction_bits: int,
    factor: int = EXP_FACTOR,
    shift: int = FACTOR_FRACTION_BITS,
    tables: Tables = DEFAULT_TABLES,
) -> tuple[torch.Tensor, Scalar]:
    """Return exp(x - maximum) and its sum; whoever uses it divides by the sum, once per result.

    One pass, for a maximum that is known. With f fraction bits in x, `factor` EXP_FACTOR needs the
    `shift` f. exp(x - maximum) counts in units of 2**-fraction_bits and lies in
    [0, 2**fraction_bits]. Masked elements are left out, or are the least wide element.

    Args:
        x: wide [..., n].
        maximum: exact [...], not less than any element; what is above it counts as 1.
        fraction_bits: 0 to 15. As INT8 values (`lane.to_byte`) 7 are needed, for `lane.halves` 14.
        factor: log2(e) * 2**(shift - f).

    Returns:
        int64 [..., n], and the exact sum [...], in the same units.
    """
    u = lane.combine(x, factor, shift, _each(maximum.value), -factor)
    p = lane.exp2(u, fraction_bits, tables)
    return p, exact(p.sum(dim=-1))


def softmax_two_pass(
    x: torch.Tensor,
    fraction_bits: int,
    factor: int = EXP_FACTOR,
    shift: int = FACTOR_FRACTION_BITS,
    tables: Tables = DEFAULT_TABLES,
) -> tuple[torch.Tensor, Scalar]:
    """Return `softmax` with the maximum that a first pass over x finds."""
    return softmax(x, max_scalar(x), fraction_bits, factor, shift, tables)


class OnlineState(NamedTuple):
    """What is known of vectors of which some chunks have come: their maximum and sum, [...]."""

    maximum: Scalar
    total: Scalar


def softmax_chunk(
    x: torch.Tensor,
    state: OnlineState | None,
    fraction_bits: int,
    factor: int = EXP_FACTOR,
    shift: int = FACTOR_FRACTION_BITS,
    tables: Tables = DEFAULT_TABLES,
) -> tuple[torch.Tensor, Scalar, OnlineState]:
    """Return the next chunk of an online softmax: a single pass over vectors that come in chunks.

    The maximum is that of all chunks so far. When it rises, whatever was computed before must be
    multiplied with the correction (`scale`), and so is the sum of before here.

    Args:
        x: wide [..., n], n elements of each vector. state: None for the first chunk.
        fraction_bits, factor, shift: as in `softmax`. The sum of all chunks is wide; so vectors
            have at most 2**(26 - fraction_bits) elements.

    Returns:
        As `softmax`, against the present maximum: int64 [..., n]. The correction [...], with the
        exponent -fraction_bits. The new state.
    """
    options = (fraction_bits, factor, shift, tables)
    chunk = max_scalar(x)
    if state is None:
        p, total = softmax(x, chunk, *options)
        one = exact(torch.full_like(chunk.value, 1 << fraction_bits))
        return p, _fraction(one, fraction_bits), OnlineState(chunk, total)
    maximum = exact(torch.maximum(chunk.value, state.maximum.value))
    p, new = softmax(x, maximum, *options)
    _, correction = softmax(_each(state.maximum.value), maximum, *options)
    parts = (lane.to_wide(state.total.value), lane.to_wide(new.value))
    total = exact(
        lane.combine(parts[0], correction.value, fraction_bits, parts[1], 1 << fraction_bits)
    )
    return p, _fraction(correction, fraction_bits), OnlineState(maximum, total)


def silu(
    x: torch.Tensor, first: int = 1, shift: int = 0, tables: Tables = DEFAULT_TABLES
) -> torch.Tensor:
    """Return x * sigmoid(x) with 16 fraction bits.

    Args:
        x: wide. first, shift: bring it to 16 fraction bits, u = x * first / 2**shift; with f of
            them, `first` 2**(16 - f) or `shift` f - 16. So |x| is less than 1024.
    """
    u = lane.combine(x, first, shift)
    return lane.scale(u, lane.sigmoid(u, tables))


def gelu(
    x: torch.Tensor, first: int = 1, shift: int = 0, tables: Tables = DEFAULT_TABLES
) -> torch.Tensor:
    """Return GELU, x * (1 + erf(x / sqrt(2))) / 2, not its tanh form; as `silu` otherwise."""
    u = lane.combine(x, first, shift)
    return lane.scale(u, lane.normal(u, tables))


def rope_table(positions: torch.Tensor, size: int, theta: float = 10000.0) -> torch.Tensor:
    """Return the factors of a rotary embedding, int64 [positions, size].

    Elements 2 i and 2 i + 1 are cos and sin of position * theta**(-2 i / size), in units of 2**-16.

    Raises:
        ShapeError: the head's size is odd.
    """
    if size % 2:
        raise ShapeError(f"a head has {size} elements; a rotation needs an even number")
    rates = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = positions.double()[:, None] * rates
    both = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(-2)
    return torch.round(both * 2**FACTOR_FRACTION_BITS).long()


def rope(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return x with each pair (2 i, 2 i + 1) of its elements rotated.

    The pairs lie side by side, as in GGUF files. Hugging Face's LLaMA pairs i with i + size / 2
    instead; there the rows of the query and key weights are permuted (`interleave`).

    Args:
        x: wide [..., size]. table: `rope_table` of its positions, broadcastable to x.
    """
    even, odd = x[..., ::2], x[..., 1::2]
    factors = lane.to_factor(table)
    cos, sin = factors[..., ::2], factors[..., 1::2]
    rotated = (
        lane.combine(even, cos, FACTOR_FRACTION_BITS, odd, -sin),
        lane.combine(odd, cos, FACTOR_FRACTION_BITS, even, sin),
    )
    return torch.stack(rotated, dim=-1).flatten(-2)


def interleave(size: int) -> torch.Tensor:
    """Return the order of a head's rows that puts elements i and i + size / 2 side by side."""
    return torch.arange(size).reshape(2, size // 2).T.flatten()


def _fraction(x: Scalar, bits: int) -> Scalar:
    return Scalar(x.value, x.exponent - bits)


def _each(values: torch.Tensor) -> torch.Tensor:
    """Return a scalar per vector as something that broadcasts to its elements."""
    return values.unsqueeze(-1)

"""Scalars of the special function unit: sums and maxima, and what is made of them between passes.

A scalar is worth value * 2**exponent, in units of the least bit of what it was taken from. A sum or
a maximum is exact and has the exponent 0 (that of squares an even one). Multipliers are normalised:
their value lies in [2**15, 2**16], or is 0. All of these functions take what is negative as 0.
"""

from typing import NamedTuple

import torch

from golden.spec.special_function_unit import EXPONENT_BITS, MANTISSA_BITS, SUM_BITS
from golden.special_functions.rounding import shift_round

RECIPROCAL_BITS = 2 * MANTISSA_BITS - 1
"""A reciprocal is 2**31 / mantissa, so that it lies in [2**15, 2**16] too."""

QUANTISER_BITS = 24
"""A quantiser is 127 * 2**24 / mantissa."""

_ROOT_BITS = 2 * MANTISSA_BITS


class Scalar(NamedTuple):
    """One scalar per vector: int64 tensors of the vectors' leading dimensions."""

    value: torch.Tensor
    exponent: torch.Tensor


def exact(value: torch.Tensor | int) -> Scalar:
    """Return an integer as a scalar."""
    value = torch.as_tensor(value, dtype=torch.int64)
    return Scalar(value, torch.zeros_like(value))


def normalise(x: Scalar) -> Scalar:
    """Return x with a value of 16 bits, rounded half to even: in [2**15, 2**16], or 0 for 0."""
    value = x.value.clamp(min=0)
    zeros = _leading_zeros(value)
    dropped = SUM_BITS - MANTISSA_BITS
    mantissa = shift_round(value << zeros, dropped)
    return _scalar(mantissa, x.exponent + dropped - zeros)


def reciprocal(x: Scalar) -> Scalar:
    """Return 1 / x, normalised; 0 for 0."""
    return _divide(1 << RECIPROCAL_BITS, RECIPROCAL_BITS, normalise(x))


def quantiser(magnitude: Scalar) -> Scalar:
    """Return 127 / magnitude: what a vector is multiplied with to become INT8; 0 for 0.

    Its value lies in [32512, 65024].
    """
    return _divide(127 << QUANTISER_BITS, QUANTISER_BITS, normalise(magnitude))


def inverse_root(x: Scalar, epsilon: Scalar) -> Scalar:
    """Return 1 / sqrt(x + epsilon), normalised; 0 for 0.

    Args:
        x: with an even exponent.
        epsilon: exact. It is shifted down to x's exponent; what falls out is dropped.
    """
    aligned = epsilon.value.clamp(min=0) >> x.exponent.clamp(0, 63)
    total = x.value.clamp(min=0) + aligned
    zeros = _leading_zeros(total) & ~1
    radicand = (total << zeros) >> (SUM_BITS - _ROOT_BITS)
    floor = radicand.double().sqrt().floor().long()
    root = floor + (radicand - floor * floor > floor).long()
    half = (SUM_BITS - _ROOT_BITS - zeros) // 2
    normal = Scalar(torch.where(total > 0, root, 0), half + (x.exponent >> 1))
    return _divide(1 << RECIPROCAL_BITS, RECIPROCAL_BITS, normal)


def shift_scalar(x: Scalar, shift: int) -> Scalar:
    """Return x with its value divided by 2**shift, rounded half to even; the exponent stays."""
    shift = min(max(shift, 0), 47)
    return Scalar(shift_round(x.value, shift), x.exponent)


def _divide(numerator: int, bits: int, x: Scalar) -> Scalar:
    """Return numerator / (x.value * 2**bits * 2**x.exponent), rounded half to even."""
    divisor = x.value.clamp(min=1)
    quotient = numerator // divisor
    twice_rest = 2 * (numerator - quotient * divisor)
    rises = (twice_rest > divisor) | ((twice_rest == divisor) & (quotient % 2 == 1))
    return _scalar(torch.where(x.value > 0, quotient + rises, 0), -bits - x.exponent)


def _scalar(value: torch.Tensor, exponent: torch.Tensor) -> Scalar:
    """Return a scalar whose exponent is 0 where its value is, and wraps around at 9 bits."""
    half = 1 << (EXPONENT_BITS - 1)
    wrapped = (exponent + half) % (2 * half) - half
    return Scalar(value, torch.where(value == 0, 0, wrapped))


def _leading_zeros(value: torch.Tensor) -> torch.Tensor:
    """Return the leading zeros of a value of 52 bits; 0 for 0."""
    zeros = torch.zeros_like(value)
    for step in (32, 16, 8, 4, 2, 1):
        small = (value << zeros) < (1 << (SUM_BITS - step))
        zeros = zeros + step * (small & (value > 0)).long()
    return zeros

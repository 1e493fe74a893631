"""What one lane of the special function unit does with one element: two multiplications, rounded.

    u   = saturate27(round((a * first + other * second) / 2**shift))
    out = saturate27(round(u * factor / 2**16))

Rounding is half to even. All tensors are int64 and broadcast.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from golden.numbers import saturate
from golden.spec.special_function_unit import (
    BYTE_BITS,
    FACTOR_BITS,
    FACTOR_FRACTION_BITS,
    MAX_SHIFT,
    WIDE_BITS,
)
from golden.special_functions.rounding import shift_round
from golden.special_functions.tables import DEFAULT_TABLES, FUNCTION_FRACTION_BITS, Tables

ONE = 1 << FACTOR_FRACTION_BITS
"""The factor 1."""

_counters: list[Counter[str]] = []


@contextmanager
def count_saturations() -> Iterator[Counter[str]]:
    """Count the elements that saturate while the context lasts, by what they saturate to.

    The keys are "wide", "factor" and "byte".
    """
    counter: Counter[str] = Counter()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


def clamp_shift(shift: torch.Tensor | int) -> torch.Tensor:
    """Return the shift that the hardware does: the nearest from 0 to 47."""
    return torch.as_tensor(shift, dtype=torch.int64).clamp(0, MAX_SHIFT)


def to_wide(values: torch.Tensor) -> torch.Tensor:
    """Return `values` saturated to 27 bits."""
    return _counted(values, saturate(values, WIDE_BITS), "wide")


def to_factor(values: torch.Tensor) -> torch.Tensor:
    """Return `values` saturated to 18 bits without the least, so that a factor can be negated."""
    return _counted(values, saturate(values, FACTOR_BITS, symmetric=True), "factor")


def to_byte(values: torch.Tensor) -> torch.Tensor:
    """Return `values` saturated to 8 bits, int64."""
    return _counted(values, saturate(values, BYTE_BITS), "byte")


def combine(
    a: torch.Tensor,
    first: torch.Tensor | int,
    shift: torch.Tensor | int,
    other: torch.Tensor | int = 0,
    second: torch.Tensor | int = 0,
) -> torch.Tensor:
    """Return the wide u = (a * first + other * second) / 2**shift, the shift clamped.

    Args:
        a, other: wide. first, second: factors.
    """
    return to_wide(shift_round(a * first + other * second, clamp_shift(shift)))


def scale(u: torch.Tensor, factor: torch.Tensor | int) -> torch.Tensor:
    """Return the wide u * factor / 2**16, `factor` in units of 2**-16."""
    return to_wide(shift_round(u * factor, FACTOR_FRACTION_BITS))


def sigmoid(u: torch.Tensor, tables: Tables = DEFAULT_TABLES) -> torch.Tensor:
    """Return the logistic function of u / 2**16 as a factor, 0 to 2**16."""
    return _symmetric(u, "sigmoid", tables)


def normal(u: torch.Tensor, tables: Tables = DEFAULT_TABLES) -> torch.Tensor:
    """Return the normal distribution's function (1 + erf(x / sqrt(2))) / 2 of x = u / 2**16.

    It is a factor, 0 to 2**16.
    """
    return _symmetric(u, "normal", tables)


def exp2(u: torch.Tensor, fraction_bits: int, tables: Tables = DEFAULT_TABLES) -> torch.Tensor:
    """Return 2**(u / 2**16) in units of 2**-fraction_bits, 0 to 2**fraction_bits.

    Args:
        u: wide; above 0 it counts as 0.
        fraction_bits: 0 to 15.
    """
    u = u.clamp(max=0)
    octaves = -(u >> FUNCTION_FRACTION_BITS)
    value = tables.exp2(u & (ONE - 1))
    power = fraction_bits + 1 - octaves
    factor = torch.where(power >= 0, torch.ones_like(u) << power.clamp(min=0), 0)
    return scale(value, factor)


def halves(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the high and the low 7 bits of outputs clamped to 14 unsigned bits, as INT8 values."""
    clamped = outputs.clamp(0, 2**14 - 1)
    return clamped >> 7, clamped & 127


def _symmetric(u: torch.Tensor, name: str, tables: Tables) -> torch.Tensor:
    value = tables.symmetric(name, u.abs())
    return torch.where(u < 0, ONE - value, value)


def _counted(before: torch.Tensor, after: torch.Tensor, what: str) -> torch.Tensor:
    for counter in _counters:
        counter[what] += int((before != after).sum())
    return after

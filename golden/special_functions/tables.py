"""Tables of functions: between the ends of a segment a function counts as a straight line.

Three functions are tabulated, for an argument with 16 fraction bits:

- sigmoid, 1 / (1 + exp(-x)) from 0 to 16, and normal, (1 + erf(x / sqrt(2))) / 2 from 0 to 8, in
  units of 2**-16. Beyond the end they are 1; below 0 they are 1 - f(-x).
- exp2, 2**x from 0 to 1, in units of 2**-15.

The values at the ends are float64 results rounded to the nearest unit. A line between two points
is off by up to h**2 / 8 times the function's second derivative, with h the segment's length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from golden.spec.special_function_unit import FACTOR_FRACTION_BITS, SpecialFunctionUnitConfig
from golden.special_functions.rounding import shift_round

FUNCTION_FRACTION_BITS = 16
"""Fraction bits of a table's argument."""

EXP2_FRACTION_BITS = 15
"""Fraction bits of a power of 2 in [1, 2)."""


@dataclass(frozen=True)
class Function:
    """A function of x in [0, 2**domain_bits), tabulated in units of 2**-fraction_bits."""

    name: str
    domain_bits: int
    fraction_bits: int
    exact: Callable[[float], float]

    @property
    def argument_bits(self) -> int:
        """Bits of an argument within the domain."""
        return self.domain_bits + FUNCTION_FRACTION_BITS


FUNCTIONS = (
    Function("sigmoid", 4, FACTOR_FRACTION_BITS, lambda x: 1 / (1 + math.exp(-x))),
    Function("normal", 3, FACTOR_FRACTION_BITS, lambda x: (1 + math.erf(x / math.sqrt(2))) / 2),
    Function("exp2", 0, EXP2_FRACTION_BITS, lambda x: 2.0**x),
)
"""The functions, in the order in which they lie in the hardware's table."""


@dataclass(frozen=True)
class Tables:
    """The tables of all functions, each with 2**table_bits segments."""

    table_bits: int = SpecialFunctionUnitConfig.table_bits

    @cached_property
    def points(self) -> dict[str, torch.Tensor]:
        """By a function's name, its values at the segments' ends, int64 [2**table_bits + 1]."""
        segments = 1 << self.table_bits
        return {
            f.name: torch.tensor(
                [
                    round(f.exact(k * 2**f.domain_bits / segments) * 2**f.fraction_bits)
                    for k in range(segments + 1)
                ]
            )
            for f in FUNCTIONS
        }

    def symmetric(self, name: str, argument: torch.Tensor) -> torch.Tensor:
        """Return sigmoid or normal of `argument` / 2**16, which is at least 0."""
        (function,) = (f for f in FUNCTIONS if f.name == name)
        most = (1 << function.argument_bits) - 1
        inside = self._line(function, argument.clamp(max=most))
        return torch.where(argument > most, 1 << function.fraction_bits, inside)

    def exp2(self, argument: torch.Tensor) -> torch.Tensor:
        """Return 2**(argument / 2**16) in units of 2**-15, for arguments from 0 to 2**16 - 1."""
        return self._line(FUNCTIONS[-1], argument)

    def _line(self, function: Function, argument: torch.Tensor) -> torch.Tensor:
        points = self.points[function.name]
        bits = function.argument_bits - self.table_bits
        segment, rest = argument >> bits, argument & ((1 << bits) - 1)
        start = points[segment]
        return shift_round((start << bits) + (points[segment + 1] - start) * rest, bits)


DEFAULT_TABLES = Tables()
"""The tables of the default configuration."""

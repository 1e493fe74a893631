"""Linear layers of the integer model: what the matrix engine and the dequantisation behind it give.

The engine takes a token's INT8 inputs x, and gives for each row

    y = round(sum over the groups of scale * (8 * sum of q * x - zero * sum of x) / 2**17)

with stored weights q, unsigned scales of 16 bits, and zero points in eighths: a GGUF file's Q4_1
weights d * q + m have the zero point -m / d, which is no integer. It is `golden.group_scale` with
the configuration `ENGINE`. Then the special function unit multiplies with the scale of the token's
activations. No y can saturate: a layer that could is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, log2

import torch

from golden.group_scale import fixed_point_scales
from golden.numbers import check_range, saturate, signed_range
from golden.quantise import matrix_shape
from golden.spec.dsp48e2 import P_BITS
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import OPERAND_BITS, ZERO_BITS, MatrixEngineConfig
from golden.spec.special_function_unit import WIDE_BITS
from golden.special_functions import lane
from golden.special_functions.functions import dequantise
from golden.special_functions.scalars import Scalar

ENGINE = MatrixEngineConfig(
    scale_bits=16, scale_shift=17, output_bits=WIDE_BITS, zero_fraction_bits=3
)
"""The engine's numbers; its size is another matter."""

ZERO_FRACTION_BITS = ENGINE.zero_fraction_bits
"""A zero point counts in units of 2**-3 of a weight's step."""

UNIT_SCALE = 1 << (ENGINE.scale_shift - ZERO_FRACTION_BITS)
"""The scale with which an output is a sum itself: that of operands without scales of their own."""

_TOTAL_BITS = min(P_BITS, ENGINE.scale_shift + ENGINE.output_bits)
"""Bits of a total that no output can saturate on."""

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class RealWeights:
    """Integer weights with scales and zero points that are real numbers: scale * (q - zero).

    Attributes:
        values: int8 [rows, inputs].
        scales, zeros: float64 [rows, groups]; the last group may be shorter than the others.
        group_size: inputs of a group.
        bits: width of a stored weight.
    """

    values: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    group_size: int
    bits: int = 8

    def dequantise(self) -> torch.Tensor:
        """Return float64 [rows, inputs]."""
        scales = _per_input(self.scales, self.group_size, self.values.shape[1])
        zeros = _per_input(self.zeros, self.group_size, self.values.shape[1])
        return scales * (self.values - zeros)


@dataclass(frozen=True, eq=False)
class IntegerLinear:
    """A linear layer whose inputs are INT8 with a scale per token, and whose outputs are wide.

    Attributes:
        values: stored weights, int8 [rows, inputs].
        scales: int64 [rows, groups], 16 bits unsigned.
        zeros: int64 [rows, groups], 8 bits signed, in eighths.
        group_size: inputs of a scale group; the last one may be shorter.
        bits: width of a stored weight.
        shift: of the dequantisation.

    Raises:
        ShapeError: shapes or ranges do not fit, a group is longer than the engine's may be, or a
            total or an output could overflow.
    """

    values: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    group_size: int
    bits: int
    shift: int

    def __post_init__(self) -> None:
        rows, inputs = matrix_shape(self.values, "the weight")
        check_range(self.values, self.bits, "the weight")
        needed = [rows, -(-inputs // self.group_size)]
        for name, values, bits in (
            ("the scales", self.scales, ENGINE.scale_bits + 1),
            ("the zero points", self.zeros, ZERO_BITS),
        ):
            if list(values.shape) != needed:
                raise ShapeError(f"{name} are {list(values.shape)}; {needed} are needed")
            check_range(values, bits, name)
        if int(self.scales.min()) < 0:
            raise ShapeError(f"scales go down to {int(self.scales.min())}; 0 is the least")
        if (group := min(self.group_size, inputs)) > (most := ENGINE.max_group_inputs):
            raise ShapeError(
                f"the group size is {group}; the engine adds up groups of {most} inputs at most"
            )
        for groups, scales in self._parts():
            self._check_overflow(groups, scales)

    def _check_overflow(self, groups: torch.Tensor, scales: torch.Tensor) -> None:
        """Refuse rows of which a total or an output could overflow."""
        largest = groups.abs().sum(dim=2) * 2 ** (OPERAND_BITS - 1)
        totals = float((largest * scales).sum(dim=1).max())
        if totals >= 2 ** (_TOTAL_BITS - 1):
            raise ShapeError(
                f"a row's total can reach {totals:g}; {_TOTAL_BITS} signed bits hold less"
            )

    def _parts(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield for some rows at a time 8 * q - zero, [rows, groups, inputs], and their scales."""
        for start in range(0, len(self.values), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            groups = _groups(self.values[rows], self.zeros[rows], self.group_size)
            yield groups, self.scales[rows].double()

    @property
    def inputs(self) -> int:
        """Inputs (K)."""
        return self.values.shape[1]

    @property
    def stored_bits(self) -> int:
        """Bits in memory: weights, scales, and zero points where there are any."""
        own = ENGINE.scale_bits + (ZERO_BITS if self.zeros.any() else 0)
        return self.values.numel() * self.bits + self.scales.numel() * own

    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the engine gives, int64 [..., rows], for INT8 inputs [..., inputs]."""
        check_range(x, OPERAND_BITS, "the inputs")
        x = x.double()
        results = []
        for groups, scales in self._parts():
            weights = groups.mul_(scales[:, :, None]).flatten(start_dim=1)[:, : self.inputs]
            # Exact: a total has less than 47 bits, and so has any sum of some of its terms.
            results.append(_rounded((x @ weights.T).long()))
        return torch.cat(results, dim=-1)

    def __call__(self, x: torch.Tensor, magnitude: Scalar) -> torch.Tensor:
        """Return the layer's wide outputs, int64 [..., rows].

        Args:
            x: INT8 inputs [..., inputs]. magnitude: normalised, what they were quantised with.
        """
        return dequantise(self.outputs(x), magnitude, self.shift)


def plain_product(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return what the engine gives for INT8 operands that have no scales of their own.

    That is the matrix product, saturated to 27 bits, int64 [..., tokens, rows].

    Args:
        x: [..., tokens, inputs]. weights: [..., rows, inputs].
    """
    return lane.to_wide((x.double() @ weights.double().transpose(-1, -2)).long())


def integer_linear(
    weights: RealWeights, input_fraction: int, output_fraction: int
) -> IntegerLinear:
    """Return the layer of `weights`, with as exact scales as 16 bits allow.

    Args:
        input_fraction, output_fraction: fraction bits of the wide vectors before quantisation and
            behind the dequantisation.
    """
    zeros = torch.round(weights.zeros * 2**ZERO_FRACTION_BITS).long()
    groups = _groups(weights.values, zeros, weights.group_size)
    # The scale of a group that was pruned whole says nothing, and takes no bits from the others.
    some = groups.any(dim=2)
    real = torch.where(some, weights.scales, 0.0) / signed_range(OPERAND_BITS)[1]
    total = (groups.abs().sum(dim=2) * 2 ** (OPERAND_BITS - 1) * real).sum(dim=1).max()
    # Scales are 2**exponent * real, rounded: so large that neither they nor a total overflows.
    rooms = (
        (2**ENGINE.scale_bits - 1, float(real.max())),
        (2 ** (_TOTAL_BITS - 1) * (1 - 2**-8), float(total)),
    )
    exponent = min((floor(log2(most / largest)) for most, largest in rooms if largest), default=0)
    # What is left of the scale of an output: 2**(17 - 3 - exponent).
    shift = exponent + ZERO_FRACTION_BITS - ENGINE.scale_shift
    return IntegerLinear(
        weights.values,
        fixed_point_scales(real * 2.0**shift, ENGINE),
        zeros,
        weights.group_size,
        weights.bits,
        shift + input_fraction - output_fraction,
    )


def _groups(values: torch.Tensor, zeros: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return 8 * q - zero, float64 [rows, groups, group_size]; weights missing at the end are 0."""
    missing = -values.shape[1] % group_size
    stored = torch.nn.functional.pad(values, (0, missing)).double().mul_(2**ZERO_FRACTION_BITS)
    groups = stored.reshape(len(values), -1, group_size)
    if zeros.any():
        groups -= zeros[:, :, None]
    return groups


def _rounded(totals: torch.Tensor) -> torch.Tensor:
    """Return what `golden.group_scale.requantise` does, as int64, and in half the time."""
    shift = ENGINE.scale_shift
    below_half = (1 << (shift - 1)) - 1
    odd = (totals >> shift) & 1
    return saturate((totals + below_half + odd) >> shift, ENGINE.output_bits)


def _per_input(groups: torch.Tensor, group_size: int, inputs: int) -> torch.Tensor:
    """Return values [rows, groups] as [rows, inputs], or as they are where there is one group."""
    if groups.shape[1] == 1:
        return groups
    return groups.repeat_interleave(group_size, dim=1)[:, :inputs]

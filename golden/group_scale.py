"""Scales and zero points of weight groups, and requantisation: what `hw/group_scale.py` computes.

A weight is `scale * (q - zero)` with one scale and zero point per row and group of inputs. So an
output is the sum over its groups of `scale * (sum of q * x - zero * sum of x)`; both inner sums are
integers. Zero points count in units of 2**-zero_fraction_bits, and so does what a scale multiplies.
With these bits f, an output is

    sum over the groups of  scale * (2**f * sum of q * x - zero * sum of x)  /  2**scale_shift

in integers, so that scales count in units of 2**(f - scale_shift).
"""

import torch

from golden.numbers import check_range, round_half_even, saturate
from golden.spec.dsp48e2 import D_BITS, P_BITS
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import ZERO_BITS, MatrixEngineConfig


def scale_groups(
    sums: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    offsets: torch.Tensor,
    config: MatrixEngineConfig,
) -> torch.Tensor:
    """Return the requantised outputs, int32 [...], bit for bit as the engine gives them.

    All arguments are integers that broadcast to [..., groups]; for a matrix product to [tokens,
    rows, groups], with scales and zeros [rows, groups] and offsets [tokens, 1, groups].

    Args:
        sums: of weight * activation in each group.
        scales: unsigned, in units of 2**(zero_fraction_bits - scale_shift).
        zeros: signed zero points, in units of 2**-zero_fraction_bits.
        offsets: the sums of each group's activations.

    Raises:
        ShapeError: an argument is not made of integers or is outside its range, the shapes do not
            broadcast, or a result is wider than the hardware's.
    """
    check_range(sums, config.accumulator_bits, "sums")
    check_range(scales, config.scale_bits + 1, "scales")
    if scales.numel() and int(scales.min()) < 0:
        raise ShapeError(f"scales go down to {int(scales.min())}; 0 is the least")
    check_range(zeros, ZERO_BITS, "zeros")
    check_range(offsets, config.offset_bits, "offsets")
    try:
        parts = torch.broadcast_tensors(sums, scales, zeros, offsets)
    except RuntimeError:
        shapes = ", ".join(str(list(part.shape)) for part in (sums, scales, zeros, offsets))
        raise ShapeError(
            f"sums, scales, zeros and offsets have the shapes {shapes}; they must broadcast"
        ) from None
    sums, scales, zeros, offsets = (part.long() for part in parts)
    values = (sums << config.zero_fraction_bits) - zeros * offsets
    check_range(values, D_BITS, "the sums without their zero points")
    # The hardware keeps every partial total, and none may wrap around.
    totals = (scales * values).cumsum(dim=-1)
    check_range(totals, P_BITS, "the scaled totals")
    return requantise(totals[..., -1], config)


def requantise(totals: torch.Tensor, config: MatrixEngineConfig) -> torch.Tensor:
    """Return int64 `totals` / 2**scale_shift, rounded half to even and saturated, int32."""
    shift = config.scale_shift
    floor = totals >> shift
    twice_rest = (totals - (floor << shift)) * 2
    unit = 1 << shift
    rises = (twice_rest > unit) | ((twice_rest == unit) & (floor % 2 == 1))
    return saturate(floor + rises, config.output_bits).to(torch.int32)


def fixed_point_scales(real: torch.Tensor, config: MatrixEngineConfig) -> torch.Tensor:
    """Return positive scales as the engine takes them, int64.

    They are `real` in units of 2**(zero_fraction_bits - scale_shift), rounded half to even; so a
    scale is off by at most half a unit.

    Args:
        real: what a weight's step is worth in steps of the output.

    Raises:
        ShapeError: a scale is negative, not finite, or too large.
    """
    unit = 2.0 ** (config.zero_fraction_bits - config.scale_shift)
    integers = round_half_even(real.double() / unit)
    most = 2**config.scale_bits - 1
    # Written so that a scale that is not a number is refused too.
    refused = real[~((real >= 0) & (integers <= most))]
    if refused.numel():
        fraction = f", zero_fraction_bits {f}" if (f := config.zero_fraction_bits) else ""
        raise ShapeError(
            f"a scale is {refused[0].item():g}; scale_bits {config.scale_bits}{fraction} and "
            f"scale_shift {config.scale_shift} hold 0 to {most * unit:g} in steps of {unit:g}"
        )
    return integers.long()

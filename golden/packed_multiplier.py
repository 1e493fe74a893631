"""Two products with a shared factor in one multiplier: what a DSP48E2 must compute, bit for bit.

The pre-adder packs two numbers, `high * 2**18 + low`; one multiplication by the shared factor gives

    P = (high * 2**18 + low) * shared = (high * shared) * 2**18 + low * shared

and sums of such P keep the two lanes apart while the low lane's sum fits in 18 signed bits. The
idea is that of AMD's white paper WP486 (Deep Learning with INT8 Optimization on Xilinx Devices).
"""

import torch

from golden.numbers import check_range, signed_range
from golden.spec.dsp48e2 import LANE_BITS, OPERAND_BITS, P_BITS
from golden.spec.errors import ConfigError

Range = tuple[int, int]
"""The smallest and the largest value of a factor."""

INT8: Range = signed_range(OPERAND_BITS)
SYMMETRIC_INT8: Range = (-INT8[1], INT8[1])


def pack(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Return `high * 2**18 + low`, int64: what the pre-adder gives, within 27 bits.

    Raises:
        ShapeError: a value is not an integer of 8 signed bits.
    """
    check_range(high, OPERAND_BITS, "the high factor")
    check_range(low, OPERAND_BITS, "the low factor")
    return (high.long() << LANE_BITS) + low.long()


def packed_product(high: torch.Tensor, low: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Return `pack(high, low) * shared`, int64: both products in one multiplication.

    Raises:
        ShapeError: a value is not an integer of 8 signed bits.
    """
    check_range(shared, OPERAND_BITS, "the shared factor")
    return pack(high, low) * shared.long()


def cascade(products: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Return every partial sum along `dim` as the slices' 48-bit P holds it, wrapped around."""
    half = 1 << (P_BITS - 1)
    return (products.cumsum(dim) + half) % (1 << P_BITS) - half


def split(packed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (high lane, low lane) of P, int64.

    low = P[17:0], signed; high = (P - low) / 2**18 = P[47:18] + P[17]. The bit P[17] pays back what
    a negative low lane has borrowed from the high one. Right while both sums fit: the low one in 18
    signed bits, the high one in 30.
    """
    half = 1 << (LANE_BITS - 1)
    low = (packed + half) % (1 << LANE_BITS) - half
    return (packed >> LANE_BITS) + (low < 0), low


def most_products(factor: Range = INT8, shared: Range = INT8) -> int:
    """Return how many products may be added before they are split, whatever they are.

    The largest k with `k * largest product <= 2**17 - 1` and `k * smallest product >= -2**17`; the
    smallest and the largest product lie at corners of the two ranges. With k + 1 products there are
    factors for which the low lane overflows.

    Raises:
        ConfigError: a range is empty or beyond 8 signed bits, or allows no product but 0.
    """
    for name, (low, high) in (("factor", factor), ("shared", shared)):
        if not INT8[0] <= low <= high <= INT8[1]:
            raise ConfigError(
                f"{name} is {(low, high)!r}; a range from a lower to a higher value within "
                f"{INT8[0]} to {INT8[1]} is needed"
            )
    corners = [a * b for a in factor for b in shared]
    lowest, highest = signed_range(LANE_BITS)
    bounds = [highest // max(corners)] if max(corners) > 0 else []
    bounds += [lowest // min(corners)] if min(corners) < 0 else []
    if not bounds:
        raise ConfigError(
            f"factor is {factor!r} and shared {shared!r}; every product is 0, and any number fits"
        )
    return min(bounds)

"""Two products with a shared factor in one multiplier: what a DSP48E2 must compute, bit for bit.

The pre-adder packs two numbers, `high * 2**18 + low`; one multiplication by the shared factor gives

    P = (high * 2**18 + low) * shared = (high * shared) * 2**18 + low * shared

and sums of such P hold both lanes while it is known how much the low one has spilt into the high
one. Where its sum fits in 18 bits, its own sign tells. A longer sum needs the high lane's sum
modulo a small power of two, its residue, computed beside the multiplier. The packing is that of
AMD's white paper WP486 (Deep Learning with INT8 Optimization on Xilinx Devices).
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


def high_residue(
    high: torch.Tensor, shared: torch.Tensor, bits: int, dim: int = -1
) -> torch.Tensor:
    """Return the high lane's partial sums along `dim` modulo 2**bits, int64.

    Only the `bits` low bits of the factors matter.
    """
    return (high.long() * shared.long()).cumsum(dim) % (1 << bits)


def split(
    packed: torch.Tensor, residue: torch.Tensor | int = 0, residue_bits: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (high lane, low lane) of P, int64.

    P[47:18] is the high sum and what the low one has spilt, floor(low / 2**18). The residue, the
    high sum modulo 2**residue_bits, tells that much of the spill, so `18 + residue_bits` bits of
    the low sum are known. They stand for a number above -2**(17 + residue_bits), and up to that
    power itself: of equal numbers of INT8 products the largest sum is one, the lowest is not.
    Right while the low sum is in this range and the high one fits in 30 bits.

    Args:
        packed: P, any integer tensor.
        residue: of the same shape, 0 to 2**residue_bits - 1.
        residue_bits: 0 where there is no residue.
    """
    spilt = ((packed >> LANE_BITS) - residue) % (1 << residue_bits)
    known = (spilt << LANE_BITS) + packed % (1 << LANE_BITS)
    half = 1 << (LANE_BITS + residue_bits - 1)
    low = torch.where(known > half, known - 2 * half, known)
    return (packed - low) >> LANE_BITS, low


def most_products(factor: Range = INT8, shared: Range = INT8, residue_bits: int = 0) -> int:
    """Return how many products may be added before they are split, whatever they are.

    The largest k with `k * largest product <= half` and `k * smallest product > -half`, where half
    is 2**(17 + residue_bits); the smallest and the largest product lie at corners of the two
    ranges. With k + 1 products there are factors for which `split` is wrong.

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
    half = 1 << (LANE_BITS + residue_bits - 1)
    bounds = [half // max(corners)] if max(corners) > 0 else []
    bounds += [(half - 1) // -min(corners)] if min(corners) < 0 else []
    if not bounds:
        raise ConfigError(
            f"factor is {factor!r} and shared {shared!r}; every product is 0, and any number fits"
        )
    return min(bounds)

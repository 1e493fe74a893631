"""Integer semantics, stated once: ranges, rounding and saturation of signed fixed-width numbers."""

import torch

from golden.spec.errors import ShapeError


def signed_range(bits: int) -> tuple[int, int]:
    """Return the smallest and the largest value of a two's complement number of `bits` bits."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def saturate(values: torch.Tensor, bits: int, *, symmetric: bool = False) -> torch.Tensor:
    """Return `values` clamped to `bits` signed bits; if symmetric, without the minimum."""
    low, high = signed_range(bits)
    return values.clamp(-high if symmetric else low, high)


def round_half_even(values: torch.Tensor) -> torch.Tensor:
    """Return `values` rounded to the nearest integer, ties to the even one (IEEE 754's default)."""
    return torch.round(values)


def check_range(values: torch.Tensor, bits: int, name: str) -> None:
    """Refuse a tensor that is not made of integers of `bits` signed bits.

    Raises:
        ShapeError: it is a float tensor, or a value is outside the range.
    """
    if values.is_floating_point():
        raise ShapeError(f"{name} is {values.dtype}; integers of {bits} bits are needed")
    if not values.numel():
        return
    low, high = signed_range(bits)
    smallest, largest = int(values.min()), int(values.max())
    if smallest < low or largest > high:
        raise ShapeError(
            f"{name} spans {smallest} to {largest}; {bits} signed bits hold {low} to {high}"
        )

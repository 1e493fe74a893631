"""Integer semantics, stated once: ranges, rounding and saturation of signed fixed-width numbers."""

import torch

from golden.spec.errors import ShapeError


def signed_range(bits: int) -> tuple[int, int]:
    """Return the smallest and the largest value of a two's complement number of `bits` bits."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def saturate(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Return `values` clamped to the signed range of `bits` bits."""
    return values.clamp(*signed_range(bits))


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
    low, high = signed_range(bits)
    if values.numel() and (values.min() < low or values.max() > high):
        raise ShapeError(
            f"{name} spans {int(values.min())} to {int(values.max())}; "
            f"{bits} signed bits hold {low} to {high}"
        )

"""Symmetric integer quantisation: weights per row and group of inputs, activations per token."""

from dataclasses import dataclass

import torch

from golden.numbers import round_half_even, saturate, signed_range
from golden.spec.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class Quantised:
    """Integers with their scales: a float value is `values * scales`.

    Attributes:
        values: int8 [rows, inputs].
        scales: float32 [rows, inputs / group_size], one per row and group of `group_size` inputs.
    """

    values: torch.Tensor
    scales: torch.Tensor

    @property
    def group_size(self) -> int:
        """Inputs that share a scale."""
        return self.values.shape[1] // self.scales.shape[1]

    def dequantise(self) -> torch.Tensor:
        """Return float32 [rows, inputs]."""
        return self.values.float() * self.scales.repeat_interleave(self.group_size, dim=1)


def quantise_groups(values: torch.Tensor, bits: int, group_size: int) -> Quantised:
    """Quantise float [rows, inputs] symmetrically to `bits` bits.

    Each group's largest magnitude becomes the largest integer. The range is -(2**(bits-1) - 1) to
    2**(bits-1) - 1, rounding is half to even.

    Raises:
        ConfigError: bits outside 2 to 8. ShapeError: inputs not a multiple of the group size, or
            a value that is not finite.
    """
    if not 2 <= bits <= 8:
        raise ConfigError(f"bits is {bits!r}; allowed are 2 to 8")
    rows, inputs = matrix_shape(values, "the tensor to quantise")
    if group_size < 1 or inputs % group_size:
        raise ShapeError(f"{inputs} inputs are not a multiple of the group size {group_size}")
    if not values.isfinite().all():
        raise ShapeError("the tensor to quantise holds values that are not finite")
    groups = values.float().reshape(rows, inputs // group_size, group_size)
    top = signed_range(bits)[1]
    scales = groups.abs().amax(dim=2) / top
    # A group of zeros has no scale of its own; any will do.
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    integers = saturate(round_half_even(groups / scales[..., None]), bits, symmetric=True)
    return Quantised(integers.reshape(rows, inputs).to(torch.int8), scales)


def quantise_tokens(activations: torch.Tensor, bits: int = 8) -> Quantised:
    """Quantise float [tokens, inputs] with one scale per token."""
    return quantise_groups(activations, bits, matrix_shape(activations, "the activations")[1])


def matrix_shape(values: torch.Tensor, name: str) -> tuple[int, int]:
    """Return (rows, columns) of a matrix.

    Raises:
        ShapeError: the tensor does not have two dimensions, or one of them is empty.
    """
    if values.dim() != 2 or 0 in values.shape:
        raise ShapeError(f"{name} has the shape {list(values.shape)}; a filled matrix is needed")
    return values.shape[0], values.shape[1]

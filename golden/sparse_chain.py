"""The golden twin of the sparse DSP chain: the sums it must give, bit for bit."""

import torch

from golden.numbers import check_range
from golden.quantise import matrix_shape
from golden.sparse_matrix import SparseMatrix
from golden.spec.errors import ShapeError


def sparse_chain(matrix: SparseMatrix, activations: torch.Tensor) -> torch.Tensor:
    """Return each row's sum over each group of inputs, int64 [tokens, rows, groups].

    Works slot by slot on the packed format, as the hardware does. No sum can overflow: `pack`
    refuses groups that are too long for the accumulator.

    Args:
        activations: integers of `activation_bits`, [tokens, inputs].

    Raises:
        ShapeError: wrong inputs, or a value that does not fit.
    """
    tokens, inputs = matrix_shape(activations, "the activations")
    if inputs != matrix.inputs:
        raise ShapeError(f"the activations have {inputs} inputs; the weight has {matrix.inputs}")
    check_range(activations, matrix.config.activation_bits, "the activations")
    row, column = matrix.slots()
    products = activations.long()[:, column] * matrix.values.long()
    target = row * matrix.groups + column // matrix.group_size
    sums = torch.zeros(tokens, matrix.rows * matrix.groups, dtype=torch.int64)
    sums.index_add_(1, target.flatten(), products.flatten(1))
    return sums.reshape(tokens, matrix.rows, matrix.groups)


def scale_sums(
    sums: torch.Tensor, weight_scales: torch.Tensor, token_scales: torch.Tensor
) -> torch.Tensor:
    """Return the float output [tokens, rows].

    Args:
        sums: [tokens, rows, groups]; weight_scales: [rows, groups]; token_scales: [tokens, 1].
    """
    return (sums.double() * weight_scales.double()).sum(dim=2).float() * token_scales

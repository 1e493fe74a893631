"""Pruning and quantisation in which the weights that are left make up for what is lost.

A linear layer's inputs are correlated, so the error of one weight can be undone in part by those of
the inputs behind it. Input by input, the error e of a row is carried over:

    e = (w_j - q_j) / U_jj        w_k -= e * U_jk  for all k > j

with U the upper Cholesky factor of the inverse of the inputs' second moments X^T X (GPTQ, arXiv
2210.17323, section 3.3; SparseGPT, arXiv 2301.00774, algorithm 1, for pruned weights, whose q is
0). What a row's output loses over the text, the sum of squares, is then the sum of e^2.
"""

import torch

from golden.integer_linear import RealWeights
from golden.numbers import signed_range
from golden.quantise import matrix_shape
from golden.sparsity import keep_mask
from golden.spec.errors import ShapeError
from golden.spec.sparse_chain import SparseChainConfig

DAMPING = 0.05
"""So much of itself is added to the moments' diagonal: so no input is taken for another's copy."""

_SHRINKS = tuple(1 - 0.05 * step for step in range(8))
"""A group's largest weight may be cut to so much of itself, where that makes the rest finer."""


def inverse_factor(moments: torch.Tensor) -> torch.Tensor:
    """Return U, upper triangular, float64 [inputs, inputs]: the inverse is U^T U.

    Args:
        moments: X^T X of inputs X [tokens, inputs].

    Raises:
        ShapeError: the moments are not a square matrix of finite numbers.
    """
    rows, inputs = matrix_shape(moments, "the moments")
    if rows != inputs or not moments.isfinite().all():
        raise ShapeError(f"the moments are [{rows}, {inputs}]; a finite square matrix is needed")
    damped = moments.double().clone()
    diagonal = damped.diagonal()
    # An input that is always 0 has weights that do not matter; any moment will do.
    least = 1e-6 * diagonal.mean() + torch.finfo(torch.float32).tiny
    diagonal += DAMPING * diagonal + least
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)


def saliency(weight: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return the root of what losing each weight costs, when all others make up for it.

    That is |w| over the root of the inverse's diagonal (optimal brain surgeon, as in SparseGPT).

    Args:
        weight: float [rows, inputs]. factor: of the inputs, see `inverse_factor`.
    """
    return weight.double().abs() / factor.norm(dim=0)


def compensated(
    weight: torch.Tensor,
    factor: torch.Tensor,
    bits: int,
    group_size: int,
    keep: torch.Tensor | None = None,
) -> RealWeights:
    """Return pruned and quantised weights, symmetric, each error made up for by later inputs.

    Each group's mask and scales are chosen when its turn comes, from the weights as they are then:
    a row keeps the N weights of a block whose loss would cost most.

    Args:
        weight: float [rows, inputs]. factor: of the inputs, see `inverse_factor`.
        bits: 2 to 8. group_size: inputs that share a scale, a multiple of 16.
        keep: N of each block, int64 [rows / 16, inputs / 16], rounded up; None for all weights.
    """
    rows, inputs = matrix_shape(weight, "the weight")
    left = weight.double().clone()
    values = torch.zeros(rows, inputs, dtype=torch.int8)
    scales = []
    for start in range(0, inputs, group_size):
        group = slice(start, min(start + group_size, inputs))
        own = factor[group, group]
        some = left[:, group]
        mask = _mask(some / own.diagonal(), keep, group)
        step = group_steps(some * mask, own.diagonal(), bits)
        values[:, group], errors = _one_group(some, mask, step, own, bits)
        left[:, group.stop :] -= errors @ factor[group, group.stop :]
        scales.append(step)
    real = torch.cat(scales, dim=1)
    return RealWeights(values, real, torch.zeros_like(real), group_size, bits)


def group_steps(weight: torch.Tensor, diagonal: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the steps of a group's weights, float64 [rows, 1], that lose least by rounding.

    Args:
        weight: float64 [rows, inputs], 0 where pruned. diagonal: U_jj of the inputs.
    """
    top = signed_range(bits)[1]
    whole = weight.abs().amax(dim=1, keepdim=True) / top
    # A group of zeros has no step of its own; any will do.
    whole = torch.where(whole > 0, whole, torch.ones_like(whole))
    best, least = whole, torch.full_like(whole, float("inf"))
    for shrink in _SHRINKS:
        step = whole * shrink
        error = (weight - rounded(weight, step, bits) * step) / diagonal
        loss = error.square().sum(dim=1, keepdim=True)
        best, least = torch.where(loss < least, step, best), torch.minimum(loss, least)
    return best


def rounded(weight: torch.Tensor, step: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the integers of weights, symmetric; rounding is half to even."""
    top = signed_range(bits)[1]
    return torch.round(weight / step).clamp_(-top, top)


def _mask(costs: torch.Tensor, keep: torch.Tensor | None, group: slice) -> torch.Tensor:
    """Return which of a group's weights are kept, bool [rows, inputs of the group]."""
    if keep is None:
        return torch.ones_like(costs, dtype=torch.bool)
    chain = SparseChainConfig()
    blocks = keep[:, group.start // chain.m : -(-group.stop // chain.m)]
    return keep_mask(costs.abs(), blocks, chain)


def _one_group(
    weight: torch.Tensor, mask: torch.Tensor, step: torch.Tensor, factor: torch.Tensor, bits: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a group's integers and errors e, both [rows, inputs of the group]."""
    # Inputs in rows lie together in memory, as they are taken one by one.
    left, kept = weight.T.contiguous(), mask.T
    values, errors = torch.zeros_like(left), torch.zeros_like(left)
    step = step[:, 0]
    for j in range(len(left)):
        values[j] = rounded(left[j], step, bits) * kept[j]
        errors[j] = (left[j] - values[j] * step) / factor[j, j]
        left[j + 1 :].addr_(factor[j, j + 1 :], errors[j], alpha=-1)
    return values.T.to(torch.int8), errors.T

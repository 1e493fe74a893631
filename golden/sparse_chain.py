"""The golden twin of the sparse DSP chain: the sums it must give, bit for bit, pass by pass."""

import numpy as np
import torch

from golden.numbers import check_range
from golden.passes import Passes
from golden.quantise import matrix_shape
from golden.spec.errors import ShapeError


def pass_sums(passes: Passes, activations: torch.Tensor) -> np.ndarray:
    """Return what the reduction nodes give, int64 [passes, rows of the strip, lanes].

    Works slot by slot on the beats, as the hardware does.

    Args:
        activations: integers of `activation_bits`, [tokens, inputs]: a token for each lane, or one
            that both lanes share where the passes are `two_rows`.

    Raises:
        ShapeError: wrong tokens or inputs, or a value that does not fit.
    """
    operands = _operands(passes, activations)
    column = passes.input_of_slot()
    # 32 bits hold the sum of 32 products of 16 bits, and are twice as fast as 64.
    weights = passes.values.astype(np.int32)
    if passes.shares_activations:
        other = _signed(passes.second, passes.config.weight_bits)
        products = np.stack((weights, other), axis=2) * operands[0][column][..., None]
    else:
        products = weights[..., None] * operands[:, column].transpose(1, 2, 0)
    length, lanes = passes.config.chain_length, products.shape[2]
    sums = np.zeros((len(passes.n), length, lanes), np.int64)
    for n in passes.config.beats_of_pass:
        (which,) = np.nonzero(passes.n == n)
        beats = passes.first_beat[which][:, None] + np.arange(n)
        # [pass, j, i // n, i % n, lane]: the terms of row (i // n) * n + j are side by side.
        terms = products[beats].reshape(len(which), n, length // n, n, lanes)
        sums[which] = (
            terms.sum(axis=3, dtype=np.int32).transpose(0, 2, 1, 3).reshape(-1, length, lanes)
        )
    return sums


def finished_sums(passes: Passes, sums: np.ndarray) -> np.ndarray:
    """Return what the accumulators give, int64 [passes marked `last`, rows of the strip, lanes].

    Follows the marks: an address starts anew with `first`, and its sum leaves with `last`, in the
    order of those passes.

    Args:
        sums: of `pass_sums`.
    """
    order = np.argsort(passes.strip, kind="stable")
    starts = np.flatnonzero(passes.first[order])
    totals = np.add.reduceat(sums[order], starts, axis=0)
    leaving = order[np.flatnonzero(passes.last[order])]
    return totals[np.argsort(leaving)]


def _operands(passes: Passes, activations: torch.Tensor) -> np.ndarray:
    """Return the activations, checked, with zeros up to a whole column: int32 [tokens, inputs]."""
    config = passes.config
    tokens, inputs = matrix_shape(activations, "the activations")
    if inputs != passes.inputs:
        raise ShapeError(f"the activations have {inputs} inputs; the weight has {passes.inputs}")
    needed = 1 if passes.shares_activations else config.products_per_dsp
    if tokens != needed:
        raise ShapeError(f"the activations have {tokens} tokens; these passes take {needed}")
    check_range(activations, config.activation_bits, "the activations")
    padded = np.zeros((tokens, passes.columns * config.m), np.int32)
    padded[:, :inputs] = activations.numpy()
    return padded


def _signed(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the lowest bits of unsigned values as two's complement, int32."""
    half = 1 << (bits - 1)
    return (values.astype(np.int32) ^ half) - half

"""Matrices and operands for the tests of the chain and of the engine."""

from dataclasses import replace

import numpy as np
import torch

from golden.numbers import signed_range
from golden.sparse_matrix import prune
from golden.sparsity import block_grid, keep_mask


def chain_of(config):
    """The configuration of a chain, or of an engine's chains."""
    return getattr(config, "chain", config)


def integers(shape, bits=8, seed=0):
    low, high = signed_range(bits)
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(low, high, size=shape, endpoint=True))


def sparse(config, keep, weights, *, group_size=None, bits=8, seed=0):
    """The matrix of `weights` [rows, inputs], or random ones of that shape.

    Args:
        keep: N of all blocks, or of each [rows / m, inputs / m].
    """
    chain = chain_of(config)
    if isinstance(weights, tuple):
        weights = integers(weights, bits, seed)
    grid = block_grid(*weights.shape, chain)
    keep = torch.as_tensor(keep).expand(grid)
    scores = torch.from_numpy(np.random.default_rng(seed).random(weights.shape))
    mask = keep_mask(scores, keep, chain)
    whole_rows = grid[1] * chain.m
    return prune(weights, mask, keep, group_size or whole_rows, bits, chain.m)


def checkered(shape, bits=8, first=0):
    """A tensor in which both ends of the range take turns."""
    ends = torch.tensor(signed_range(bits))
    number = torch.arange(np.prod(shape)).reshape(shape) + first
    return ends[(number + number // shape[-1]) % 2]


def shuffle_terms(passes, seed=0):
    """The same passes with the terms of each row in another order; their sums are the same."""
    random = np.random.default_rng(seed)
    length = passes.config.chain_length
    arrays = {"values": passes.values.copy(), "second": passes.second.copy()}
    for n in passes.config.beats_of_pass:
        which = np.repeat((passes.n == n) & ~passes.dense, passes.n)
        order = random.random((which.sum(), length // n, n)).argsort(axis=2)
        for array in arrays.values():
            terms = array[which].reshape(order.shape)
            array[which] = np.take_along_axis(terms, order, axis=2).reshape(-1, length)
    return replace(passes, **arrays)

"""Random matrices for the benches: every pattern of blocks, odd shapes, and likely extremes."""

from collections.abc import Sequence

import numpy as np
import torch

from golden.numbers import signed_range
from golden.sparse_matrix import SparseMatrix, prune
from golden.sparsity import keep_mask
from golden.spec.sparse_chain import SparseChainConfig

Pattern = tuple[str, int]
"""How a matrix's blocks are chosen, and the N of a uniform one; else 0."""


def patterns(config: SparseChainConfig) -> list[Pattern]:
    """Return every pattern: the same N everywhere, all N mixed, and mixed with absent blocks."""
    return [*(("uniform", n) for n in config.keeps), ("mixed", 0), ("absent", 0)]


def pattern_of(matrix: SparseMatrix) -> Pattern:
    """Return the pattern that a matrix has."""
    found = matrix.keep.unique().tolist()
    if 0 in found:
        return "absent", 0
    return ("uniform", found[0]) if len(found) == 1 else ("mixed", 0)


def random_matrix(
    config: SparseChainConfig,
    random: np.random.Generator,
    pattern: Pattern,
    bits: int,
    most_in_group: int | None = None,
) -> SparseMatrix:
    """Return a matrix of up to 6 x 6 blocks, not always whole ones, of weights of `bits` bits.

    A mixed pattern has every N at least once.

    Args:
        most_in_group: the most columns of a scale group; by default any number.
    """
    m = config.m
    name, n = pattern
    needed = {"uniform": [n], "mixed": list(config.keeps), "absent": [0, *config.keeps]}[name]
    grid = random.integers(1, random.choice((2, 4, 7)), size=2)
    grid[1] = max(grid[1], -(-len(needed) // grid[0]))
    rows, inputs = (int(random.integers((side - 1) * m + 1, side * m + 1)) for side in grid)
    if random.random() < 0.5:
        rows, inputs = (int(side * m) for side in grid)
    chosen = random.choice(needed, size=int(grid.prod()))
    chosen[: len(needed)] = needed
    keep = torch.from_numpy(random.permutation(chosen).reshape(grid))
    mask = keep_mask(torch.from_numpy(random.random((rows, inputs))), keep, config)
    group_size = m * int(random.integers(1, min(grid[1], most_in_group or grid[1]) + 1))
    weights = random_operands(random, (rows, inputs), bits)
    return prune(weights, mask, keep, group_size, bits, m)


def random_operands(random: np.random.Generator, shape: Sequence[int], bits: int) -> torch.Tensor:
    """Return uniform integers; one tensor in four holds nothing but the two extremes."""
    low, high = signed_range(bits)
    if random.random() < 0.25:
        return torch.from_numpy(random.choice([low, high], size=shape))
    return torch.from_numpy(random.integers(low, high, size=shape, endpoint=True))

"""The rows of a matrix that one chain works on, and their product with a token's activations."""

from dataclasses import dataclass

import numpy as np
import torch

from golden.group_scale import scale_groups
from golden.spec.matrix_engine import MatrixEngineConfig

_MOST_FLOAT32_INPUTS = 1 << 10
"""Sums of so many products of INT8 are at most 2**24: float32 adds them exactly in any order."""


@dataclass(frozen=True, eq=False)
class ChainRows:
    """What a chain multiplies, whether it came as a weight stream or as plain words.

    Attributes:
        weights: int8 [strips, rows of a strip, inputs], 0 where they are pruned. Whole columns.
        scales, zeros: as in `golden.group_scale`, integers [strips, rows of a strip, groups].
        destinations: number of the matrix's strip that each one is, int64 [strips].
        group_inputs: inputs of a scale group; the last one may have fewer.
        tiles: times that the chain takes all inputs.
        two_rows: two strips share each activation, as in dense matrix-vector products.
    """

    weights: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    destinations: np.ndarray
    group_inputs: int
    tiles: int
    two_rows: bool

    def outputs(self, activations: np.ndarray, config: MatrixEngineConfig) -> np.ndarray:
        """Return the requantised outputs, int64 [strips, rows of a strip].

        Args:
            activations: int8 [inputs].
        """
        rows = torch.from_numpy(self.weights).flatten(0, 1)
        small = self.group_inputs <= _MOST_FLOAT32_INPUTS
        x = torch.from_numpy(activations).to(torch.float32 if small else torch.float64)
        weights = rows.split(self.group_inputs, dim=1)
        groups = x.split(self.group_inputs)
        sums = [w.to(x.dtype) @ part for w, part in zip(weights, groups, strict=True)]
        offsets = torch.stack([part.sum() for part in groups]).long()
        scales, zeros = (
            torch.from_numpy(v).flatten(0, 1).long() for v in (self.scales, self.zeros)
        )
        outputs = scale_groups(torch.stack(sums, dim=1).long(), scales, zeros, offsets, config)
        return outputs.long().numpy().reshape(self.weights.shape[:2])


def raw_rows(
    words: np.ndarray,
    first: int,
    step: int,
    addresses: int,
    group: int,
    scale: int,
    m: int,
) -> ChainRows:
    """Return the rows that a chain has in plain words, such as keys or values.

    The words stand column by column, in it address by address, in it row by row; a word holds the
    inputs of a column for a row of two strips.

    Args:
        words: uint8 [columns * addresses * m, 2 * m].
        first: destination of the first strip. step: from there to the next pair's first one;
            between them lie the strips of the other chains.
        addresses: pairs of strips.
        group: columns of a scale group.
        scale: of all rows.
    """
    blocks = words.view(np.int8).reshape(-1, addresses, m, 2, m)
    weights = blocks.transpose(1, 3, 2, 0, 4).reshape(2 * addresses, m, -1)
    groups = -(-len(blocks) // group)
    pairs = first + step * np.arange(addresses)
    scales = np.full((*weights.shape[:2], groups), scale)
    destinations = (pairs[:, None] + np.arange(2)).reshape(-1)
    return ChainRows(weights, scales, 0 * scales, destinations, group * m, 1, two_rows=True)

"""What memory holds for a chain: its packed weights and its indices, in the order of its passes.

Weights are a segment (`golden.bit_packing`) per tile, in beats of as many weights as the expansion
unit gives at once, `lanes`: with two products per multiplier that is two of the chain's beats, or
both rows of one beat with `two_rows`. Indices follow each other without a gap, those of one beat
after those of the beat before; dense passes have none.
"""

import numpy as np
import torch

from golden.bit_packing import pack_bits, pack_fields
from golden.passes import Passes


def weight_beats(passes: Passes, tile: int) -> np.ndarray:
    """Return a tile's weights as the expansion unit gives them, int8 [beats, lanes]."""
    where = np.repeat(passes.tile == tile, passes.n)
    values = passes.values[where]
    if passes.shares_activations:
        half = 1 << (passes.config.weight_bits - 1)
        other = ((passes.second[where].astype(np.int16) ^ half) - half).astype(np.int8)
        return np.concatenate((values, other), axis=1)
    # Every pass has an even number of beats.
    return values.reshape(-1, passes.config.lanes)


def packed_weights(passes: Passes, tile: int, word_bits: int = 8) -> np.ndarray:
    """Return a tile's weights in memory at their own width, uint8 [bytes], in whole words."""
    weights = torch.from_numpy(weight_beats(passes, tile).reshape(-1))
    return pack_bits(weights, passes.bits, word_bits).numpy()


def index_beats(passes: Passes) -> np.ndarray:
    """Return the indices of all beats that have any, uint8 [beats, chain_length]."""
    return passes.second[np.repeat(~passes.dense, passes.n)]


def packed_indices(passes: Passes) -> np.ndarray:
    """Return the indices in memory, uint8 [bytes]."""
    return pack_fields((index_beats(passes).reshape(1, -1), passes.config.index_bits))[0]

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import pruned

from golden.bit_packing import unpack_bits
from golden.chain_memory import index_beats, packed_indices, packed_weights, weight_beats
from golden.passes import make_passes
from golden.sparse_matrix import dense_matrix
from golden.spec.sparse_chain import SparseChainConfig


@given(pruned(), st.sampled_from((8, 256)))
def test_weights_and_indices_in_memory_are_those_of_the_beats(sample, word_bits):
    passes = make_passes(sample.matrix, sample.config)
    weights = []
    for tile in range(len(passes.strips)):
        beats = weight_beats(passes, tile)
        assert beats.shape[1] == sample.config.lanes
        packed = packed_weights(passes, tile, word_bits)
        assert len(packed) * 8 == -(-beats.size * sample.matrix.bits // word_bits) * word_bits
        unpacked = unpack_bits(torch.from_numpy(packed), sample.matrix.bits, beats.size)
        weights.append(unpacked.numpy())
    assert (np.concatenate(weights) == passes.values.reshape(-1)).all()
    sparse = np.repeat(~passes.dense, passes.n)
    assert (index_beats(passes) == passes.second[sparse]).all()
    bits = np.unpackbits(packed_indices(passes), bitorder="little")
    width, count = sample.config.index_bits, sparse.sum() * sample.config.chain_length
    numbers = bits[: count * width].reshape(-1, width) @ (1 << np.arange(width))
    assert (numbers == passes.second[sparse].reshape(-1)).all()


@given(pruned(dense=True))
def test_two_rows_lie_side_by_side_in_a_beat(sample):
    config, matrix = sample.config, sample.matrix
    if config.products_per_dsp == 1:
        return
    passes = make_passes(matrix, config, two_rows=True)
    assert not index_beats(passes).size and not packed_indices(passes).size
    for tile in range(len(passes.strips)):
        beats = weight_beats(passes, tile)
        where = np.repeat(passes.tile == tile, passes.n)
        assert (beats[:, : config.chain_length] == passes.values[where]).all()
        other = passes.second[where].astype(np.int8)
        assert (beats[:, config.chain_length :] == other).all()
        count, bits = beats.size, matrix.bits
        unpacked = unpack_bits(torch.from_numpy(packed_weights(passes, tile)), bits, count)
        assert (unpacked.numpy() == beats.reshape(-1)).all()


def test_a_second_row_of_a_chain_of_narrow_weights():
    config = SparseChainConfig(m=4, weight_bits=3)
    weight = torch.arange(-4, 4).repeat(4).reshape(8, 4)
    passes = make_passes(dense_matrix(weight, 4, bits=3, m=4), config, two_rows=True)
    assert weight_beats(passes, 0).tolist() == torch.cat((weight[:4], weight[4:]), 1).tolist()

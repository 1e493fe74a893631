import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import pruned

from golden.group_scale import requantise
from golden.matrix_engine import (
    Mode,
    Sweep,
    chain_passes,
    deal_strips,
    group_offsets,
    group_sums,
    matrix_engine,
    output_rows,
    sweeps,
)
from golden.passes import make_passes
from golden.sparse_matrix import SparseMatrix, dense_matrix, prune
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig


def refuses(message):
    return pytest.raises(ShapeError, match=f"^{re.escape(message)}$")


@st.composite
def engines(draw):
    """A small engine."""
    return MatrixEngineConfig(
        zero_fraction_bits=draw(st.integers(0, 4)),
        chains=draw(st.integers(1, 3)),
        m=(m := draw(st.sampled_from((8, 16)))),
        chain_length=draw(st.sampled_from([n for n in (8, 16) if n <= m])),
        group_length=draw(st.sampled_from((2, 4))),
        products_per_dsp=draw(st.sampled_from((1, 2))),
        strips=draw(st.sampled_from((2, 4))),
    )


@st.composite
def jobs(draw):
    config = draw(engines())
    sample = draw(pruned(config.chain, dense=draw(st.booleans())))
    tokens = sample.integers(draw(st.integers(1, 5)), sample.matrix.inputs)
    return config, sample, tokens, draw(st.sampled_from(Mode))


def dense(matrix: SparseMatrix) -> torch.Tensor:
    return matrix.weights.long()


@given(jobs())
def test_sums_are_the_dense_product_of_each_group(job):
    config, sample, tokens, mode = job
    matrix = sample.matrix
    sums = group_sums(matrix, tokens, config, mode)
    assert sums.shape == (len(tokens), matrix.rows, matrix.groups)
    for group, inputs in enumerate(torch.arange(matrix.inputs).split(matrix.group_size)):
        assert torch.equal(sums[..., group], tokens[:, inputs] @ dense(matrix)[:, inputs].T)


@given(jobs())
def test_outputs_are_the_product_of_the_dequantised_weights(job):
    config, sample, tokens, mode = job
    matrix, shape = sample.matrix, (sample.matrix.rows, sample.matrix.groups)
    scales = torch.randint(0, 2**config.scale_bits, shape, generator=sample.random)
    zeros = torch.zeros(shape, dtype=torch.int64)
    if matrix.is_dense:
        zeros = torch.randint(-128, 128, shape, generator=sample.random)
    each = [x.repeat_interleave(matrix.group_size, 1)[:, : matrix.inputs] for x in (scales, zeros)]
    steps = dense(matrix) * 2**config.zero_fraction_bits
    due = requantise(tokens @ (each[0] * (steps - each[1])).T, config)
    assert torch.equal(matrix_engine(matrix, tokens, scales, zeros, config, mode), due)


@given(jobs())
def test_every_chain_has_its_share(job):
    config, sample, _, _ = job
    length = config.chain_length
    strips = -(-sample.matrix.rows // length)
    everywhere = chain_passes(sample.matrix, config, Mode.MATRIX_MATRIX)
    assert len(everywhere) == config.chains
    assert all(passes.strips.max() == strips - 1 for passes in everywhere)
    chains = chain_passes(sample.matrix, config, Mode.MATRIX_VECTOR)
    places = [passes.strips[passes.strips >= 0] for passes in chains]
    assert {len(place) for place in places} == {len(places[0])}
    assert {passes.strips.shape for passes in chains} == {chains[0].strips.shape}
    assert sorted(np.concatenate(places))[:strips] == list(range(strips))


@given(jobs())
def test_every_row_leaves_once_in_each_group(job):
    config, sample, _, mode = job
    chains = chain_passes(sample.matrix, config, mode)
    if mode is Mode.MATRIX_MATRIX:
        chains = chains[:1]
    rows = np.concatenate([output_rows(passes, config, mode).reshape(-1) for passes in chains])
    copies = config.products_per_dsp if mode is Mode.MATRIX_MATRIX else 1
    left = np.bincount(rows)[: sample.matrix.rows]
    assert (left == copies * sample.matrix.groups).all()


def test_the_rows_in_the_lanes():
    config = MatrixEngineConfig(chains=1, m=8, word_bits=128)
    sparse = sparse_matrix(config, keep=[[2], [4]])
    dense_one = sparse_matrix(config, keep=[[8], [8]])
    both = [[row, row] for row in range(16)]
    halves = [[row, row + 4] for row in (*range(4), *range(8, 12))]
    strips = [[row, row + 8] for row in range(8)]
    one_bank = MatrixEngineConfig(chains=1, m=8, group_length=8, word_bits=128)
    one_lane = MatrixEngineConfig(chains=1, m=8, products_per_dsp=1, word_bits=128)
    for of, matrix, mode, lanes in (
        (config, sparse, Mode.MATRIX_MATRIX, both),
        (config, sparse, Mode.MATRIX_VECTOR, halves),
        (config, dense_one, Mode.MATRIX_VECTOR, strips),
        (one_bank, sparse_matrix(one_bank, keep=[[8], [0]]), Mode.MATRIX_VECTOR, both),
        (one_lane, dense_one, Mode.MATRIX_VECTOR, [[row] for row in range(16)]),
    ):
        (passes,) = chain_passes(matrix, of, mode)
        assert output_rows(passes, of, mode).reshape(-1, len(lanes[0])).tolist() == lanes


def sparse_matrix(config, keep):
    """A matrix of ones in blocks that keep so many."""
    keep = torch.tensor(keep)
    shape = (keep.shape[0] * config.m, keep.shape[1] * config.m)
    mask = keep_mask(torch.rand(shape), keep, config.chain)
    return prune(torch.ones(shape, dtype=torch.int8), mask, keep, group_size=shape[1], m=config.m)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=60), st.integers(1, 7), st.booleans())
def test_strips_are_dealt_evenly(work, chains, two_rows):
    dealt = deal_strips(np.array(work), chains, two_rows=two_rows)
    assert sorted(dealt.flatten().tolist()) == list(range(dealt.size))
    assert dealt.size < len(work) + chains * (1 + two_rows)
    assert not two_rows or dealt.shape[1] % 2 == 0
    full = np.zeros(dealt.size, np.int64)
    full[: len(work)] = work
    loads = full[dealt].sum(axis=1)
    assert loads.max() - loads.min() <= max(work)


def test_the_chain_with_least_work_gets_the_largest_strip():
    assert deal_strips(np.full(7, 3), 2).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert deal_strips(np.array([1, 9, 5, 2, 5, 4]), 2).tolist() == [[0, 1, 5], [2, 3, 4]]


def test_inputs_that_fit_are_loaded_once():
    config = MatrixEngineConfig(activation_depth=64, strips=2)
    matrix = dense_matrix(torch.ones(96, 64, dtype=torch.int8), 32)
    passes = make_passes(matrix, config.chain)
    assert sweeps(passes, 32, config) == [Sweep(0, 4, 3)]


def test_inputs_that_do_not_fit_come_anew_for_each_tile_in_whole_groups():
    config = MatrixEngineConfig(activation_depth=80, strips=2)
    matrix = dense_matrix(torch.ones(64, 144, dtype=torch.int8), 32)
    passes = make_passes(matrix, config.chain)
    assert sweeps(passes, 32, config) == [Sweep(0, 4, 1), Sweep(4, 4, 1), Sweep(8, 1, 1)] * 2


@given(jobs())
def test_offsets_are_the_sums_of_a_groups_activations(job):
    _, sample, tokens, _ = job
    size = sample.matrix.group_size
    due = [part.sum(1) for part in tokens.split(size, dim=1)]
    assert torch.equal(group_offsets(tokens, size), torch.stack(due, 1))


def test_groups_that_fit_no_accumulator_or_buffer():
    config = MatrixEngineConfig()
    assert config.max_group_inputs == 2047
    ones = torch.ones(1, 2048, dtype=torch.int8)
    # A group size beyond the matrix is the matrix's inputs.
    assert group_sums(dense_matrix(ones[:, :2000], 4096), ones[:, :2000], config).item() == 2000
    message = "the group size is 2048; accumulators of 27 bits hold the sum of 2047 products"
    with refuses(message):
        group_sums(dense_matrix(ones, 2048), ones, config)
    message = (
        "the group size is 464; accumulators of 27 bits and zero points with 3 fraction bits hold "
        "the sum of 455 products"
    )
    with refuses(message):
        eighths = MatrixEngineConfig(zero_fraction_bits=3)
        group_sums(dense_matrix(ones, 464), ones, eighths)
    with refuses("the group size is 48; the activation buffer holds 32 inputs"):
        small = MatrixEngineConfig(activation_depth=32)
        group_sums(dense_matrix(ones[:, :64], 48), ones[:, :64], small)


def test_more_inputs_than_an_output_holds():
    config = MatrixEngineConfig(scale_bits=17)
    assert config.max_inputs == 32768
    ones = torch.ones(1, 32769, dtype=torch.int8)
    with refuses("the weight has 32769 inputs (K); outputs of 32768 cannot overflow"):
        group_sums(dense_matrix(ones, 1024), ones, config)


@pytest.mark.parametrize(
    ("fraction_bits", "group_size", "inputs"), [(0, 1024, 32768), (3, 448, 7281)]
)
def test_the_largest_sums_that_are_allowed_do_not_overflow(fraction_bits, group_size, inputs):
    config = MatrixEngineConfig(scale_bits=17, output_bits=32, zero_fraction_bits=fraction_bits)
    assert inputs == config.max_inputs
    ones = torch.ones(1, inputs, dtype=torch.int8)
    matrix = dense_matrix(ones * -128, group_size)
    scales = torch.full((1, matrix.groups), 2**17 - 1)
    zeros = torch.full((1, matrix.groups), 127)
    total = inputs * (2**17 - 1) * (-128 * 2**fraction_bits - 127) * -128
    outputs = matrix_engine(matrix, ones * -128, scales, zeros, config)
    assert outputs.item() == round(total / 2**config.scale_shift)


def test_zero_points_only_where_nothing_is_pruned():
    config = MatrixEngineConfig()
    keep = uniform_keep(32, 64, 16, config.chain)
    keep[1, 3] = 8
    mask = keep_mask(torch.ones(32, 64), keep, config.chain)
    ones = torch.ones(32, 64, dtype=torch.int64)
    matrix = prune(ones, mask, keep, 32)
    zeros = torch.zeros(32, 2, dtype=torch.int64)
    zeros[:16], zeros[16:, 0] = 1, -1
    matrix_engine(matrix, ones, ones[:, :2], zeros, config)
    zeros[20, 1] = 5
    with refuses(
        "row 20 has the zero point 5 in group 1, where weights are pruned; a pruned weight is 0, "
        "so only dense blocks may have zero points"
    ):
        matrix_engine(matrix, ones, ones[:, :2], zeros, config)


def test_shapes_that_do_not_fit():
    config = MatrixEngineConfig()
    ones = torch.ones(16, 32, dtype=torch.int64)
    matrix = dense_matrix(ones, 16)
    with refuses("the scales are [16, 1]; [16, 2] are needed"):
        matrix_engine(matrix, ones, ones[:, :1], ones[:, :2], config)
    with refuses("the zero points are [15, 2]; [16, 2] are needed"):
        matrix_engine(matrix, ones, ones[:, :2], ones[:15, :2], config)
    with refuses("the activations have 16 inputs; the weight has 32"):
        group_sums(matrix, ones[:, :16], config)
    with refuses("the activations spans 200 to 200; 8 signed bits hold -128 to 127"):
        group_sums(matrix, ones * 200, config)

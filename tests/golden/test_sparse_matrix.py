import re

import pytest
import torch
from hypothesis import given
from samples import pruned

from golden.sparse_matrix import pack, unpack
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.errors import ShapeError
from golden.spec.sparse_chain import SparseChainConfig

M4, M16 = SparseChainConfig(m=4), SparseChainConfig(m=16)


def refuses(message):
    return pytest.raises(ShapeError, match=f"^{re.escape(message)}$")


def packed(sample):
    return pack(sample.weight, sample.mask, sample.keep, sample.group_size, sample.config)


def expected_beats(sample):
    """[row, input, value, index] of each slot of each beat, straight from the documented order."""
    m, weight, mask = sample.config.m, sample.weight.tolist(), sample.mask.tolist()
    for strip, ns in enumerate(sample.keep.tolist()):
        for block, n in enumerate(ns):
            for j in range(n):
                beat = []
                for i in range(m):
                    row = strip * m + (i // n) * n + j
                    kept = [x for x in range(m) if mask[row][block * m + x]]
                    index = kept[i % n]
                    column = block * m + index
                    beat.append([row, column, weight[row][column], index])
                yield beat


def arguments(**changed):
    """What packs a 16 x 48 matrix, with a change."""
    keep = uniform_keep(16, 48, 4, M16)
    good = {
        "weight": torch.ones(16, 48, dtype=torch.int64),
        "mask": keep_mask(torch.ones(16, 48), keep, M16),
        "keep": keep,
        "group_size": 48,
        "config": M16,
    }
    return good | changed


def test_a_block_by_hand():
    weight = torch.tensor([[5, 0, 6, 0], [0, 7, 8, 0], [9, 0, 0, 1], [0, 0, 2, 3]])
    matrix = pack(weight, weight != 0, torch.tensor([[2]]), 4, M4)
    assert matrix.values.tolist() == [[5, 6, 9, 1], [7, 8, 2, 3]]
    assert matrix.indices.tolist() == [[0, 2, 0, 3], [1, 2, 2, 3]]


@given(pruned())
def test_beats_come_in_the_documented_order(sample):
    matrix = packed(sample)
    row, column = matrix.slots()
    found = torch.stack((row, column, matrix.values, matrix.indices), dim=2)
    assert found.tolist() == list(expected_beats(sample))


@given(pruned())
def test_unpacking_gives_the_kept_weights_back(sample):
    weight = unpack(packed(sample))
    assert weight.dtype == torch.int8
    assert torch.equal(weight.long(), sample.weight * sample.mask)


@given(pruned())
def test_sizes(sample):
    matrix = packed(sample)
    assert (matrix.rows, matrix.inputs) == sample.weight.shape
    assert matrix.groups * sample.group_size == matrix.inputs
    assert matrix.kept_fraction == pytest.approx(sample.mask.double().mean().item())
    assert (matrix.values.dtype, matrix.indices.dtype) == (torch.int8, torch.uint8)


def test_a_kept_zero_keeps_its_place():
    matrix = pack(**arguments(weight=torch.zeros(16, 48, dtype=torch.int64)))
    assert matrix.indices[0].tolist() == [0, 1, 2, 3] * 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"weight": torch.ones(16, 48)},
            "the weight is torch.float32; integers of 8 bits are needed",
        ),
        (
            {"weight": torch.full((16, 48), 128)},
            "the weight spans 128 to 128; 8 signed bits hold -128 to 127",
        ),
        (
            {"weight": torch.full((16, 48), -9), "config": SparseChainConfig(weight_bits=4)},
            "the weight spans -9 to -9; 4 signed bits hold -8 to 7",
        ),
        (
            {"weight": torch.ones(15, 48, dtype=torch.int64)},
            "the weight has 15 rows; a multiple of 16 is needed",
        ),
        (
            {"weight": torch.ones(16, 40, dtype=torch.int64)},
            "the weight has 40 inputs (K); a multiple of 16 is needed",
        ),
        (
            {"weight": torch.ones(16, dtype=torch.int64)},
            "the weight has the shape [16]; a filled matrix is needed",
        ),
        (
            {"mask": torch.ones(48, 16, dtype=torch.bool)},
            "the mask is [48, 16] and keep [1, 3]; a weight of 16 x 48 needs [16, 48] and [1, 3]",
        ),
        (
            {"keep": torch.full((3, 1), 4)},
            "the mask is [16, 48] and keep [3, 1]; a weight of 16 x 48 needs [16, 48] and [1, 3]",
        ),
        (
            {"keep": torch.tensor([[4, 3, 4]])},
            "keep holds N = 3; allowed are [2, 4, 8, 16]",
        ),
        (
            {"keep": torch.tensor([[4, 4, 8]])},
            "the mask does not keep exactly N weights in every row of every block",
        ),
        (
            {"config": SparseChainConfig(accumulator_bits=20)},
            "the group size is 48; an accumulator of 20 bits holds the sum of 31 products",
        ),
    ],
)
def test_refusals(changed, message):
    with refuses(message):
        pack(**arguments(**changed))


@pytest.mark.parametrize("group_size", [-16, 0, 8, 24, 32, 40, 96])
def test_group_sizes_that_are_not_whole_blocks_or_groups(group_size):
    with refuses(
        f"the group size is {group_size}; it must be a multiple of 16 that divides 48 inputs"
    ):
        pack(**arguments(group_size=group_size))


def test_one_row_of_one_block_that_keeps_too_many():
    changed = arguments()
    changed["mask"][7, 20] = True
    with refuses("the mask does not keep exactly N weights in every row of every block"):
        pack(**changed)


@pytest.mark.parametrize("lender", [(7, 47), (8, 31)], ids=["next block", "next row"])
def test_a_row_may_not_borrow_from_a_neighbour(lender):
    changed = arguments()
    changed["mask"][7, 16], changed["mask"][lender] = False, True
    with refuses("the mask does not keep exactly N weights in every row of every block"):
        pack(**changed)


def test_the_longest_group_that_cannot_overflow():
    config = SparseChainConfig(m=4, weight_bits=2, accumulator_bits=13)
    assert config.max_terms == 15
    ones = torch.ones(4, 16, dtype=torch.int64)
    assert pack(ones, ones > 0, torch.full((1, 4), 4), 8, config).groups == 2
    with refuses("the group size is 16; an accumulator of 13 bits holds the sum of 15 products"):
        pack(ones, ones > 0, torch.full((1, 4), 4), 16, config)

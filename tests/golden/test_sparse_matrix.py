import re

import pytest
import torch
from hypothesis import given
from samples import pruned

from golden.sparse_matrix import SparseMatrix, dense_matrix, prune
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.sparse_chain import SparseChainConfig

M16 = SparseChainConfig(m=16)


def refuses(message, error=ShapeError):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def arguments(rows=16, inputs=48, n=4, **changed):
    """What makes a matrix, with a change."""
    keep = uniform_keep(rows, inputs, n, M16)
    good = {
        "weight": torch.ones(rows, inputs, dtype=torch.int64),
        "mask": keep_mask(torch.ones(rows, inputs), keep, M16),
        "keep": keep,
        "group_size": 48,
    }
    return good | changed


@given(pruned())
def test_what_is_kept(sample):
    matrix = sample.matrix
    assert matrix.weights.dtype == torch.int8
    assert not matrix.weights[~matrix.mask].any()
    assert matrix.kept_fraction == pytest.approx(matrix.mask.double().mean().item())
    assert 0 <= matrix.groups * matrix.group_size - matrix.inputs < matrix.group_size
    assert matrix.is_dense == bool((matrix.keep == matrix.m).all())


def test_a_kept_weight_may_be_zero():
    matrix = prune(**arguments(weight=torch.zeros(16, 48, dtype=torch.int64)))
    assert matrix.mask.sum() == 16 * 3 * 4


@pytest.mark.parametrize(("rows", "inputs"), [(1, 1), (1, 48), (16, 1), (17, 18), (5, 31)])
@pytest.mark.parametrize("n", [0, 2, 8, 16])
def test_matrices_that_end_inside_a_block(rows, inputs, n):
    matrix = prune(**arguments(rows, inputs, n))
    assert (matrix.rows, matrix.inputs) == (rows, inputs)
    for block in matrix.mask.split(16, dim=1):
        assert (block.sum(1) == min(n, block.shape[1])).all()


def test_a_dense_matrix_keeps_all():
    matrix = dense_matrix(torch.arange(-20, 20).reshape(8, 5), 8, bits=6, m=4)
    assert matrix.is_dense and matrix.kept_fraction == 1
    assert matrix.weights.flatten().tolist() == list(range(-20, 20))
    assert matrix.keep.tolist() == [[4, 4], [4, 4]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"weight": torch.ones(16, 48)},
            "the weight is torch.float32; integers of 8 bits are needed",
        ),
        (
            {"weight": torch.full((16, 48), 128)},
            "the weight spans 0 to 128; 8 signed bits hold -128 to 127",
        ),
        (
            {"weight": torch.full((16, 48), -9), "bits": 4},
            "the weight spans -9 to 0; 4 signed bits hold -8 to 7",
        ),
        (
            {"weight": torch.ones(16, dtype=torch.int64)},
            "the weight has the shape [16]; a filled matrix is needed",
        ),
        (
            {"weight": torch.ones(17, 48, dtype=torch.int64)},
            "the mask is [16, 48] and keep [1, 3]; a weight of 17 x 48 needs [17, 48] and [2, 3]",
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
            {"mask": torch.ones(16, 48)},
            "the mask is torch.float32 and keep torch.int64; torch.bool and integers are needed",
        ),
        (
            {"keep": torch.ones(1, 3) * 4},
            "the mask is torch.bool and keep torch.float32; torch.bool and integers are needed",
        ),
        ({"keep": torch.tensor([[4, 3, 4]])}, "keep holds N = 3; allowed are [0, 2, 4, 8, 16]"),
        ({"keep": torch.tensor([[4, 1, 4]])}, "keep holds N = 1; allowed are [0, 2, 4, 8, 16]"),
        (
            {"keep": torch.tensor([[4, 4, 8]])},
            "the mask does not keep exactly N weights in every row of every block",
        ),
        (
            {"keep": torch.tensor([[4, 4, 0]])},
            "the mask does not keep exactly N weights in every row of every block",
        ),
        *(
            ({"group_size": size}, f"the group size is {size}; a multiple of 16 is needed")
            for size in (-16, 0, 8, 24, 40)
        ),
    ],
)
def test_refusals(changed, message):
    with refuses(message):
        prune(**arguments(**changed))


@pytest.mark.parametrize("bits", [0, 1, 7, 9, 16])
def test_widths_that_weights_do_not_have(bits):
    with refuses(f"bits is {bits}; allowed are 2, 3, 4, 5, 6 or 8", ConfigError):
        prune(**arguments(bits=bits))


def test_a_weight_that_is_not_kept_must_be_zero():
    good = arguments()
    with refuses("a weight is not zero where the mask keeps none"):
        SparseMatrix(good["weight"], good["mask"], good["keep"], 48)


def test_one_row_of_one_block_that_keeps_too_many():
    changed = arguments()
    changed["mask"][7, 20] = True
    with refuses("the mask does not keep exactly N weights in every row of every block"):
        prune(**changed)


@pytest.mark.parametrize("lender", [(7, 47), (8, 31)], ids=["next block", "next row"])
def test_a_row_may_not_borrow_from_a_neighbour(lender):
    changed = arguments()
    changed["mask"][7, 16], changed["mask"][lender] = False, True
    with refuses("the mask does not keep exactly N weights in every row of every block"):
        prune(**changed)


def test_a_row_at_the_edge_keeps_all_that_it_can():
    changed = arguments(16, 18, 4)
    changed["mask"][3, 17] = False
    with refuses("the mask does not keep exactly N weights in every row of every block"):
        prune(**changed)

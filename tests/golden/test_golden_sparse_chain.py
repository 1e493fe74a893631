import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import pruned

from golden.passes import make_passes
from golden.sparse_chain import finished_sums, pass_sums
from golden.sparse_matrix import dense_matrix
from golden.spec.errors import ShapeError
from golden.spec.sparse_chain import SparseChainConfig


def refuses(message):
    return pytest.raises(ShapeError, match=f"^{re.escape(message)}$")


def some_passes(sample, data):
    """The sample's passes, sometimes with two rows, and activations for them."""
    config, matrix = sample.config, sample.matrix
    two_rows = matrix.is_dense and config.products_per_dsp == 2 and data.draw(st.booleans())
    passes = make_passes(matrix, config, two_rows=two_rows)
    tokens = 1 if two_rows else config.products_per_dsp
    return passes, sample.integers(tokens, matrix.inputs)


@given(st.one_of(pruned(), pruned(dense=True)), st.data())
def test_a_pass_gives_the_products_of_its_slots(sample, data):
    passes, activations = some_passes(sample, data)
    config, inputs = sample.config, passes.input_of_slot()
    sums = pass_sums(passes, activations)
    assert sums.dtype == np.int64
    due = np.zeros_like(sums)
    for number, (n, start) in enumerate(zip(passes.n, passes.first_beat, strict=True)):
        for j, i in np.ndindex(n, config.chain_length):
            x = inputs[start + j, i]
            if x >= passes.inputs:
                continue
            row = (i // n) * n + j
            weight = int(passes.values[start + j, i])
            if passes.shares_activations:
                weights = [weight, int(passes.second[start + j, i].astype(np.int8))]
                due[number, row] += np.array(weights) * activations[0, x].item()
            else:
                due[number, row] += weight * activations[:, x].numpy()
    assert (sums == due).all()


@given(st.one_of(pruned(), pruned(dense=True)), st.data())
def test_finished_sums_are_the_dense_product_of_each_group(sample, data):
    passes, activations = some_passes(sample, data)
    matrix = sample.matrix
    finished = finished_sums(passes, pass_sums(passes, activations))
    rows, groups = passes.finished_rows(), passes.group[passes.last]
    weights = torch.zeros(rows.max() + 1, matrix.inputs, dtype=torch.int64)
    weights[: matrix.rows] = matrix.weights
    seen = set()
    for given_sums, row, group in zip(finished, rows, groups, strict=True):
        inputs = slice(group * matrix.group_size, (group + 1) * matrix.group_size)
        due = weights[row.T][..., inputs] @ activations[:, inputs].T  # [lanes, rows, tokens]
        # One strip and a token in each lane, or two strips and one token.
        due = due[0] if row.shape[1] == 1 else due[..., 0].T
        assert (given_sums == due.numpy()).all()
        seen |= {(r, int(group)) for r in row.flatten().tolist()}
    assert seen >= {(r, g) for r in range(matrix.rows) for g in range(matrix.groups)}


@pytest.mark.parametrize("activation", [-128, 127])
@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("two_rows", [False, True])
def test_extremes_are_exact(activation, weight, two_rows):
    matrix = dense_matrix(torch.full((32, 1024), weight, dtype=torch.int8), 1024)
    passes = make_passes(matrix, SparseChainConfig(), two_rows=two_rows)
    tokens = torch.full((1 if two_rows else 2, 1024), activation)
    finished = finished_sums(passes, pass_sums(passes, tokens))
    assert (finished == 1024 * activation * weight).all()
    assert finished.shape == (1 if two_rows else 2, 16, 2)


def test_activations_that_do_not_fit():
    config = SparseChainConfig(activation_bits=4)
    passes = make_passes(dense_matrix(torch.ones(16, 32, dtype=torch.int8), 32), config)
    with refuses("the activations have 16 inputs; the weight has 32"):
        pass_sums(passes, torch.ones(2, 16, dtype=torch.int8))
    with refuses("the activations have 3 tokens; these passes take 2"):
        pass_sums(passes, torch.ones(3, 32, dtype=torch.int8))
    with refuses("the activations has the shape [32]; a filled matrix is needed"):
        pass_sums(passes, torch.ones(32, dtype=torch.int8))
    with refuses("the activations is torch.float32; integers of 4 bits are needed"):
        pass_sums(passes, torch.ones(2, 32))
    with refuses("the activations spans 8 to 8; 4 signed bits hold -8 to 7"):
        pass_sums(passes, torch.full((2, 32), 8))


def test_two_rows_of_a_chain_of_narrow_weights():
    config = SparseChainConfig(weight_bits=4)
    weight = torch.arange(-8, 8).repeat(32, 1)
    passes = make_passes(dense_matrix(weight, 16, bits=4), config, two_rows=True)
    finished = finished_sums(passes, pass_sums(passes, torch.arange(16)[None]))
    assert (finished == (weight[0] * torch.arange(16)).sum().item()).all()

import re

import pytest
import torch
from hypothesis import given
from samples import pruned

from golden.quantise import quantise_groups, quantise_tokens
from golden.sparse_chain import scale_sums, sparse_chain
from golden.sparse_matrix import pack
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.errors import ShapeError
from golden.spec.sparse_chain import SparseChainConfig


def refuses(message):
    return pytest.raises(ShapeError, match=f"^{re.escape(message)}$")


def dense(weight, group_size, config):
    """Pack a matrix that keeps everything."""
    rows, inputs = weight.shape
    keep = uniform_keep(rows, inputs, config.m, config)
    return pack(weight, torch.ones_like(weight, dtype=torch.bool), keep, group_size, config)


@given(pruned())
def test_sums_are_the_dense_product_of_each_group(sample):
    config, weight, mask, keep, group_size, seed = sample
    random = torch.Generator().manual_seed(seed)
    activations = torch.randint(-128, 128, (1 + seed % 3, weight.shape[1]), generator=random)
    sums = sparse_chain(pack(weight, mask, keep, group_size, config), activations)
    assert sums.dtype == torch.int64
    for group, columns in enumerate(torch.arange(weight.shape[1]).split(group_size)):
        expected = activations[:, columns] @ (weight * mask)[:, columns].T
        assert torch.equal(sums[:, :, group], expected)


@pytest.mark.parametrize("activation", [-128, 127])
@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int64])
def test_extremes_are_exact(activation, weight, dtype):
    config = SparseChainConfig()
    matrix = dense(torch.full((16, 1024), weight, dtype=dtype), 1024, config)
    sums = sparse_chain(matrix, torch.full((2, 1024), activation, dtype=dtype))
    assert sums.tolist() == [[[1024 * activation * weight]] * 16] * 2


def test_inputs_that_differ_from_the_weights():
    matrix = dense(torch.ones(16, 32, dtype=torch.int8), 32, SparseChainConfig())
    with refuses("the activations have 16 inputs; the weight has 32"):
        sparse_chain(matrix, torch.ones(1, 16, dtype=torch.int8))
    with refuses("the activations has the shape [32]; a filled matrix is needed"):
        sparse_chain(matrix, torch.ones(32, dtype=torch.int8))


def test_activations_that_do_not_fit():
    config = SparseChainConfig(activation_bits=4)
    matrix = dense(torch.ones(16, 16, dtype=torch.int8), 16, config)
    with refuses("the activations is torch.float32; integers of 4 bits are needed"):
        sparse_chain(matrix, torch.ones(1, 16))
    with refuses("the activations spans 8 to 8; 4 signed bits hold -8 to 7"):
        sparse_chain(matrix, torch.full((1, 16), 8))


def test_scales_belong_to_a_row_and_group_and_to_a_token():
    sums = torch.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    weight_scales = torch.tensor([[1.0, 10.0], [100.0, 0.5]])
    token_scales = torch.tensor([[2.0], [0.25]])
    output = scale_sums(sums, weight_scales, token_scales)
    assert output.tolist() == [[42, 604], [16.25, 176]]
    assert output.dtype == torch.float32


def test_large_sums_cancel_exactly_before_they_become_float32():
    sums = torch.tensor([[[2**30 + 1, -(2**30)]]])
    assert scale_sums(sums, torch.ones(1, 2), torch.ones(1, 1)).item() == 1


def test_scaled_sums_are_the_float_product_of_the_quantised_matrices():
    random = torch.Generator().manual_seed(0)
    config = SparseChainConfig()
    weight = quantise_groups(torch.randn(32, 64, generator=random), bits=4, group_size=32)
    tokens = quantise_tokens(torch.randn(3, 64, generator=random))
    keep = uniform_keep(32, 64, 4, config)
    mask = keep_mask(weight.values.abs(), keep, config)
    sums = sparse_chain(pack(weight.values, mask, keep, 32, config), tokens.values)
    torch.testing.assert_close(
        scale_sums(sums, weight.scales, tokens.scales),
        tokens.dequantise() @ (weight.dequantise() * mask).T,
    )

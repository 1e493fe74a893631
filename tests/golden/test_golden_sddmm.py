import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.group_scale import requantise
from golden.sddmm import BLOCK, sddmm, sddmm_jobs
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig

CONFIG = MatrixEngineConfig(scale_shift=16)


def refuses(message):
    return pytest.raises(ShapeError, match=f"^{re.escape(message)}$")


@settings(max_examples=20)
@given(st.integers(1, 150), st.integers(1, 200), st.integers(1, 40), st.integers(0, 999))
def test_scores_are_the_dense_product_where_the_mask_is_set(queries, keys, size, seed):
    random = torch.Generator().manual_seed(seed)
    q, k = (torch.randint(-128, 128, (n, size), generator=random) for n in (queries, keys))
    mask = torch.rand(-(-queries // BLOCK), -(-keys // BLOCK), generator=random) < 0.5
    scales = torch.randint(0, 2**16, (keys,), generator=random)
    wanted = mask.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:queries, :keys]
    due = requantise(q @ k.T * scales, CONFIG) * wanted
    assert torch.equal(sddmm(q, k, mask, scales, CONFIG), due)


def test_masked_blocks_are_no_work():
    mask = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]]).bool()
    first, second = sddmm_jobs(mask, 130, 192)
    assert (first.queries, second.queries) == (range(0, 64), range(128, 130))
    assert first.keys.tolist() == [*range(0, 64), *range(128, 192)]
    assert second.keys.tolist() == list(range(64, 128))


def test_masks_and_scales_that_do_not_fit():
    message = "; 100 queries and 64 keys need torch.bool of shape [2, 1]"
    with refuses(f"the block mask is torch.bool of shape [1, 1]{message}"):
        sddmm_jobs(torch.ones(1, 1).bool(), 100, 64)
    with refuses(f"the block mask is torch.float32 of shape [2, 1]{message}"):
        sddmm_jobs(torch.ones(2, 1), 100, 64)
    ones = torch.ones(8, 16, dtype=torch.int8)
    with refuses("the scales are [7]; one for each of 8 keys"):
        sddmm(ones, ones, torch.ones(1, 1).bool(), torch.ones(7), CONFIG)

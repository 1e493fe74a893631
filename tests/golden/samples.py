"""Random matrices in the chain's sparse pattern, for hypothesis."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st

from golden.sparsity import keep_mask
from golden.spec.sparse_chain import SparseChainConfig


class Pruned(NamedTuple):
    config: SparseChainConfig
    weight: torch.Tensor
    mask: torch.Tensor
    keep: torch.Tensor
    group_size: int
    seed: int


@st.composite
def pruned(draw):
    config = SparseChainConfig(m=draw(st.sampled_from((4, 8, 16, 32))))
    strips, groups, blocks_per_group = (draw(st.integers(1, 3)) for _ in range(3))
    blocks = groups * blocks_per_group
    seed = draw(st.integers(0, 999))
    random = torch.Generator().manual_seed(seed)
    level = torch.randint(len(config.keeps), (strips, blocks), generator=random)
    keep = torch.tensor(config.keeps)[level]
    shape = (strips * config.m, blocks * config.m)
    mask = keep_mask(torch.rand(shape, generator=random), keep, config)
    weight = torch.randint(-128, 128, shape, generator=random)
    return Pruned(config, weight, mask, keep, blocks_per_group * config.m, seed)

"""Random chains and matrices for them, for hypothesis."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st

from golden.sparse_matrix import SparseMatrix, prune
from golden.sparsity import block_grid, keep_mask
from golden.spec.sparse_chain import SparseChainConfig


class Sample(NamedTuple):
    config: SparseChainConfig
    matrix: SparseMatrix
    random: torch.Generator

    def integers(self, *shape):
        """INT8 operands, of which one tensor in four has only extremes."""
        values = torch.randint(-128, 128, shape, generator=self.random)
        if torch.randint(4, (1,), generator=self.random) == 0:
            values = torch.where(values < 0, -128, 127)
        return values


@st.composite
def chains(draw):
    m = draw(st.sampled_from((4, 8, 16)))
    group_length = draw(st.sampled_from([n for n in (2, 4, 8) if n <= m]))
    lengths = [n for n in (2, 4, 8, 16) if group_length <= n <= m]
    return SparseChainConfig(
        m=m,
        chain_length=draw(st.sampled_from(lengths)),
        group_length=group_length,
        products_per_dsp=draw(st.sampled_from((1, 2))),
        strips=draw(st.sampled_from((2, 4, 8))),
    )


@st.composite
def pruned(draw, config=None, dense=False):
    """A chain and a matrix whose blocks have any N, often 0; single rows and inputs are likely."""
    config = config or draw(chains())
    rows, inputs = (draw(st.one_of(st.just(1), st.integers(1, 50))) for _ in range(2))
    group = draw(st.integers(1, 3)) * config.m
    random = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    choices = torch.tensor([config.m] if dense else [0, 0, *config.keeps])
    grid = block_grid(rows, inputs, config)
    keep = choices[torch.randint(len(choices), grid, generator=random)]
    mask = keep_mask(torch.rand(rows, inputs, generator=random), keep, config)
    bits = draw(st.sampled_from((2, 3, 4, 5, 6, 8)))
    half = 1 << (bits - 1)
    weight = torch.randint(-half, half, (rows, inputs), generator=random)
    return Sample(config, prune(weight, mask, keep, group, bits, config.m), random)

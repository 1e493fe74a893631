"""What a chain's self-test gives it, and golden's answer: payloads, signatures and cycles."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from bitstreams.signature import signature_of
from golden.passes import Passes, make_passes
from golden.sparse_chain import pass_sums
from golden.sparse_matrix import prune
from golden.sparsity import keep_mask
from golden.spec.sparse_chain import SparseChainConfig
from hw import payloads
from hw.sparse_chain import SparseChain


@dataclass(frozen=True)
class ChainPattern:
    """The test of one chain.

    Attributes:
        activations, passes, weights: payloads of the chain's three streams.
        signatures: of what each of its nodes must give.
        rows: how many sums each node gives.
        cycles: from the first activation taken to the last sums given, by the timing contract.
    """

    activations: tuple[int, ...]
    passes: tuple[int, ...]
    weights: tuple[int, ...]
    signatures: tuple[int, ...]
    rows: int
    cycles: int


@functools.cache
def chain_pattern(config: SparseChainConfig, number: int) -> ChainPattern:
    """Return the test of the chain with this number: a square matrix with blocks of every N.

    Each row and each column of blocks has every N that the chain knows, in an order of its own; of
    the second chain, the fourth and so on, one block is absent.
    """
    random = torch.Generator().manual_seed(number)
    side = len(config.keeps)
    order = (torch.arange(side)[:, None] + torch.arange(side) + number) % side
    keep = torch.tensor(config.keeps)[order]
    if number % 2:
        keep[0, 0] = 0
    size = side * config.m
    weight = _operands(random, (size, size), config.weight_bits)
    mask = keep_mask(torch.rand(size, size, generator=random), keep, config)
    matrix = prune(weight, mask, keep, size, config.weight_bits, config.m)
    tokens = _operands(random, (config.products_per_dsp, size), config.activation_bits)
    passes = make_passes(matrix, config)
    tiles = len(passes.strips)
    return ChainPattern(
        _integers(payloads.of_activations(tokens, config)) * tiles,
        _integers(payloads.of_passes(passes)),
        _integers(payloads.of_weights(passes)),
        _signatures(passes, tokens),
        config.group_length * len(passes.n),
        SparseChain.cycles(
            config, np.bincount(passes.column_number, weights=passes.n).astype(int).tolist()
        ),
    )


def _signatures(passes: Passes, tokens: torch.Tensor) -> tuple[int, ...]:
    sums = pass_sums(passes, tokens)
    groups = range(passes.config.groups)
    return tuple(signature_of(_integers(payloads.of_row_sums(passes, sums, g))) for g in groups)


def _operands(random: torch.Generator, shape: tuple[int, int], bits: int) -> torch.Tensor:
    half = 1 << (bits - 1)
    return torch.randint(-half, half, shape, generator=random, dtype=torch.int64)


def _integers(packed: np.ndarray) -> tuple[int, ...]:
    return tuple(int.from_bytes(row.tobytes(), "little") for row in packed)

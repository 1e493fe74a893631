"""N:M sparsity in M x M blocks: which N each block gets, and which weights it keeps.

In a block every row keeps N of its M weights. N = 0 is an absent block; else N is one of the
chain's `keeps`. Where a matrix ends inside a block, the block reaches over its edge: a row then
keeps as many of its N weights as there are inputs.

The importance of a weight is |w| times the norm of the activations that meet it (Wanda, arXiv
2306.11695, eq. 1): pruning by magnitude alone forgets that inputs differ by orders of magnitude.
"""

import re

import torch

from golden.quantise import matrix_shape
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.sparse_chain import SparseChainConfig


def parse_sparsity(text: str, config: SparseChainConfig) -> int:
    """Return the N of a pattern like "8:16".

    Raises:
        ConfigError: it is not N:M, M is not the chain's, or N is not one of the chain's; 0:M
            would be a matrix without a weight.
    """
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or int(match[2]) != config.m or int(match[1]) not in config.keeps:
        allowed = ", ".join(f"{n}:{config.m}" for n in config.keeps)
        raise ConfigError(f"sparsity is {text!r}; this chain runs {allowed}")
    return int(match[1])


def importance(weight: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
    """Return |w| * |x| for float weight [rows, inputs] and activations [tokens, inputs]."""
    _, inputs = matrix_shape(weight, "the weight")
    tokens_shape = matrix_shape(activations, "the activations")
    if tokens_shape[1] != inputs:
        raise ShapeError(f"the weight has {inputs} inputs, but the activations {tokens_shape[1]}")
    return weight.float().abs() * activations.float().norm(dim=0)


def uniform_keep(rows: int, inputs: int, keep: int, config: SparseChainConfig) -> torch.Tensor:
    """Return int64 [rows / m, inputs / m], rounded up, with the same N in every block.

    Raises:
        ConfigError: N is neither 0 nor one of the chain's.
    """
    if keep not in (0, *config.keeps):
        raise ConfigError(f"keep is {keep!r}; allowed are {[0, *config.keeps]}")
    strips, blocks = block_grid(rows, inputs, config)
    return torch.full((strips, blocks), keep, dtype=torch.int64)


def choose_keep(scores: torch.Tensor, kept: float, config: SparseChainConfig) -> torch.Tensor:
    """Return the N of each block, int64 [rows / m, inputs / m], that loses the least importance.

    Blocks start absent (N = 0) and take the steps to the smallest N and from N to 2N in the order
    of the squared importance that a step gains per weight. Within a block each step gains no more
    than the one before, so no choice that keeps as many weights keeps more importance. It stops at
    the first step that would keep more than `kept`.

    Args:
        scores: importance, float [rows, inputs].
        kept: fraction of the weights to keep, above 0 to 1; what blocks have beyond the matrix's
            edge counts like the rest.
    """
    check_kept(kept, config)
    steps = (0, *config.keeps)
    ranked = _blocks(scores.abs(), config).sort(dim=3, descending=True).values
    mass = ranked.double().square().sum(dim=2).cumsum(dim=2)[:, :, [n - 1 for n in config.keeps]]
    cost = torch.tensor(steps).diff()
    # Exactly, a block's gains fall from step to step; rounding must not turn equal ones around.
    gain = mass.diff(dim=2, prepend=torch.zeros_like(mass[:, :, :1])) / cost
    gain = gain.reshape(-1, len(cost)).cummin(dim=1).values
    order = gain.flatten().argsort(descending=True, stable=True)
    budget = int(kept * config.m * len(gain) + 1e-6)
    spent = cost.repeat(len(gain))[order].cumsum(dim=0)
    taken = torch.zeros(gain.numel(), dtype=torch.int64)
    taken[order[spent <= budget]] = 1
    return torch.tensor(steps)[taken.reshape(gain.shape).sum(dim=1)].reshape(ranked.shape[:2])


def check_kept(kept: float, config: SparseChainConfig) -> None:
    """Raise ConfigError unless the chain can keep the fraction `kept` of the weights."""
    if not 0 < kept <= 1:
        raise ConfigError(f"the kept fraction is {kept!r}; allowed is more than 0, up to 1")


def keep_mask(scores: torch.Tensor, keep: torch.Tensor, config: SparseChainConfig) -> torch.Tensor:
    """Return bool [rows, inputs]: in each block, each row's N weights of largest score.

    The first of equal scores is kept.

    Args:
        scores: float [rows, inputs]. keep: N of each block, int [rows / m, inputs / m].
    """
    rows, inputs = matrix_shape(scores, "the scores")
    # Beyond the edge every score is the lowest: a row keeps real weights first.
    blocks = _blocks(scores, config, padding=float("-inf"))
    if blocks.shape[:2] != keep.shape:
        raise ShapeError(
            f"keep is {list(keep.shape)}; the weight has {list(blocks.shape[:2])} blocks"
        )
    rank = blocks.argsort(dim=3, descending=True, stable=True).argsort(dim=3)
    mask = (rank < keep[:, :, None, None]).transpose(1, 2)
    return mask.reshape(keep.shape[0] * config.m, -1)[:rows, :inputs]


def block_grid(rows: int, inputs: int, config: SparseChainConfig) -> tuple[int, int]:
    """Return (rows / m, inputs / m), rounded up: the blocks that cover a matrix."""
    return -(-rows // config.m), -(-inputs // config.m)


def _blocks(matrix: torch.Tensor, config: SparseChainConfig, padding: float = 0.0) -> torch.Tensor:
    """Return the matrix [rows, inputs] as [rows / m, inputs / m, m rows, m inputs], padded."""
    rows, inputs = matrix_shape(matrix, "the weight")
    m, (strips, blocks) = config.m, block_grid(rows, inputs, config)
    missing = (0, blocks * m - inputs, 0, strips * m - rows)
    if any(missing):
        matrix = torch.nn.functional.pad(matrix.double(), missing, value=padding)
    return matrix.reshape(strips, m, blocks, m).transpose(1, 2)

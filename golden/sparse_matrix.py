"""The block-sparse weight format, in the order in which the sparse chain takes it.

A strip is `m` output rows; its blocks follow each other along the inputs. A block with N kept
weights per row is N beats of `m` (value, index) pairs: in beat j, slot i holds term `i % N` of row
`(i // N) * N + j`. The index names one of the block's `m` inputs; a row's terms are in the order of
their indices. After each group of blocks (one quantisation scale) the chain gives the strip's `m`
sums.
"""

from dataclasses import dataclass

import torch

from golden.numbers import check_range
from golden.quantise import matrix_shape
from golden.sparsity import block_grid
from golden.spec.errors import ShapeError
from golden.spec.sparse_chain import SparseChainConfig


@dataclass(frozen=True)
class SparseMatrix:
    """Packed weights of one matrix.

    Attributes:
        config: of the chain that they are packed for.
        group_size: inputs per sum, a multiple of m.
        keep: N of every block, int64 [strips, blocks].
        values: int8 [beats, m]; indices: uint8 [beats, m].
    """

    config: SparseChainConfig
    group_size: int
    keep: torch.Tensor
    values: torch.Tensor
    indices: torch.Tensor

    @property
    def rows(self) -> int:
        """Output rows."""
        return self.keep.shape[0] * self.config.m

    @property
    def inputs(self) -> int:
        """Inputs (K)."""
        return self.keep.shape[1] * self.config.m

    @property
    def groups(self) -> int:
        """Sums per row."""
        return self.inputs // self.group_size

    @property
    def kept_fraction(self) -> float:
        """Kept weights / all weights."""
        return float(self.keep.sum()) / (self.keep.numel() * self.config.m)

    def slots(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (row, input) of every slot, int64 [beats, m] each."""
        m = self.config.m
        keep = self.keep.flatten()
        block_of_beat = torch.arange(len(keep)).repeat_interleave(keep)
        first_beat = keep.cumsum(0) - keep
        beat = torch.arange(len(block_of_beat)) - first_beat[block_of_beat]
        n = keep[block_of_beat][:, None]
        strip = block_of_beat[:, None] // self.keep.shape[1]
        block = block_of_beat[:, None] % self.keep.shape[1]
        row = torch.arange(m) // n * n + beat[:, None]
        return strip * m + row, block * m + self.indices.long()


def pack(
    weight: torch.Tensor,
    mask: torch.Tensor,
    keep: torch.Tensor,
    group_size: int,
    config: SparseChainConfig,
) -> SparseMatrix:
    """Pack the integer weight [rows, inputs] where `mask` is set.

    A row keeps N weights in each block, N = `keep` [strips, blocks].

    Raises:
        ShapeError: a shape or group size does not fit, a value does not fit in `weight_bits`, a row
        of
            a block does not keep exactly its N weights, or a group's sum could overflow.
    """
    m = config.m
    rows, inputs = matrix_shape(weight, "the weight")
    strips, blocks = block_grid(rows, inputs, config)
    check_range(weight, config.weight_bits, "the weight")
    if mask.shape != weight.shape or keep.shape != (strips, blocks):
        raise ShapeError(
            f"the mask is {list(mask.shape)} and keep {list(keep.shape)}; a weight of "
            f"{rows} x {inputs} needs {[rows, inputs]} and {[strips, blocks]}"
        )
    if group_size < m or group_size % m or inputs % group_size:
        raise ShapeError(
            f"the group size is {group_size}; it must be a multiple of {m} that divides "
            f"{inputs} inputs"
        )
    if group_size > config.max_terms:
        raise ShapeError(
            f"the group size is {group_size}; an accumulator of {config.accumulator_bits} bits "
            f"holds the sum of {config.max_terms} products"
        )
    chosen = mask.reshape(strips, m, blocks, m).transpose(1, 2)
    unknown = sorted(set(keep.unique().tolist()) - set(config.keeps))
    if unknown:
        raise ShapeError(f"keep holds N = {unknown[0]}; allowed are {list(config.keeps)}")
    if not torch.equal(chosen.sum(dim=3), keep[:, :, None].expand(-1, -1, m)):
        raise ShapeError("the mask does not keep exactly N weights in every row of every block")
    cells = weight.reshape(strips, m, blocks, m).transpose(1, 2).reshape(-1, m, m)
    # Kept inputs first, each part in the order of its index.
    order = (~chosen).reshape(-1, m, m).to(torch.uint8).argsort(dim=2, stable=True)

    flat = keep.flatten()
    first_beat = flat.cumsum(0) - flat
    values = torch.zeros(int(flat.sum()), m, dtype=torch.int8)
    indices = torch.zeros(int(flat.sum()), m, dtype=torch.uint8)
    for n in config.keeps:
        which = (flat == n).nonzero().flatten()
        index = order[which, :, :n]
        beats = (first_beat[which][:, None] + torch.arange(n)).flatten()
        values[beats] = _to_beats(cells[which].gather(2, index), n).to(torch.int8)
        indices[beats] = _to_beats(index, n).to(torch.uint8)
    return SparseMatrix(config, group_size, keep, values, indices)


def unpack(matrix: SparseMatrix) -> torch.Tensor:
    """Return the weight int8 [rows, inputs], zero where nothing is kept."""
    row, column = matrix.slots()
    weight = torch.zeros(matrix.rows, matrix.inputs, dtype=torch.int8)
    weight[row.flatten(), column.flatten()] = matrix.values.flatten()
    return weight


def _to_beats(cells: torch.Tensor, n: int) -> torch.Tensor:
    """Return [blocks, m rows, n terms] as [blocks * n beats, m slots]."""
    blocks, m, _ = cells.shape
    spans = cells.reshape(blocks, m // n, n, n)
    return spans.transpose(1, 2).reshape(blocks * n, m)

"""The passes of one sparse DSP chain over a matrix: its work in the order of the hardware.

A strip is `chain_length` output rows, a column `m` inputs. The strips of a chain are cut into tiles
of at most `strips`. Order: for each tile, for each column, for each strip of the tile: the passes
of the block there.

A block that keeps N weights per row is one pass of N beats, or N / L passes of L beats where the
chain (L = `chain_length`) is shorter. With n the beats of a pass, beat j has in multiplier i

    row (i // n) * n + j of the strip, and term i % n of the terms of that row in this pass;

a row's terms are in the order of their inputs. Where all weights are kept, pass number s of the
block has the inputs s * L to s * L + L - 1 of the column, and no index is needed. An absent block
has no pass, but a pass of zeros (the smallest N) stands in where a column or a strip's scale group
would have none.

With `two_rows` (dense, two products per multiplier) an address holds two strips, one in each lane:
the second strip's weights take the place of the indices.
"""

from dataclasses import dataclass

import numpy as np

from golden.numbers import check_range
from golden.pass_order import Plan, cut_into_tiles, list_passes
from golden.sparse_matrix import SparseMatrix
from golden.spec.errors import ShapeError
from golden.spec.sparse_chain import SparseChainConfig

_CHUNK = 1 << 16
"""Blocks that are put in order at once, which bounds the memory that this takes."""


@dataclass(frozen=True, eq=False)
class Passes:
    """What one chain does, pass by pass and beat by beat.

    Attributes:
        bits: width of a weight in memory.
        inputs: inputs of the matrix; the last column is filled up with zeros.
        strips: number of the matrix's strip in each lane of each address of each tile, int64
            [tiles, addresses, 1], or 2 lanes with `two_rows`. Strip s has rows s * chain_length on;
            rows beyond the matrix are zeros. -1: the tile does not have this address.
        tile, column, group: where a pass belongs, int64 [passes].
        n: beats of a pass; code: log2(n / group_length); strip: address; segment: which
            `chain_length` inputs of the column a dense pass has. All int64 [passes].
        dense, two_rows, first, last, end_column, end_group: bool [passes], as in the pass's header
            (`hw.layouts.pass_layout`).
        values: int8 [beats, chain_length]. second: uint8 [beats, chain_length], an index, with
            `two_rows` the bits of the second strip's weight, else 0.
    """

    config: SparseChainConfig
    bits: int
    inputs: int
    strips: np.ndarray
    tile: np.ndarray
    column: np.ndarray
    group: np.ndarray
    n: np.ndarray
    code: np.ndarray
    strip: np.ndarray
    segment: np.ndarray
    dense: np.ndarray
    two_rows: np.ndarray
    first: np.ndarray
    last: np.ndarray
    end_column: np.ndarray
    end_group: np.ndarray
    values: np.ndarray
    second: np.ndarray

    @property
    def columns(self) -> int:
        """Columns of each tile."""
        return -(-self.inputs // self.config.m)

    @property
    def groups(self) -> int:
        """Scale groups of each tile."""
        return int(self.group[-1]) + 1

    @property
    def shares_activations(self) -> bool:
        """Whether both lanes have the same activation: the passes are `two_rows`."""
        return self.strips.shape[2] == 2

    @property
    def first_beat(self) -> np.ndarray:
        """The beat with which each pass begins, int64 [passes]."""
        return np.cumsum(self.n) - self.n

    @property
    def column_number(self) -> np.ndarray:
        """Each pass's column, counted through all tiles, int64 [passes]."""
        return self.tile * self.columns + self.column

    def finished_rows(self) -> np.ndarray:
        """Return the matrix rows whose sums leave with each `last` pass, in their order.

        int64 [passes marked `last`, rows of the strip, lanes], 2 lanes with `two_rows`, else 1.
        Numbers beyond the matrix's rows are of zeros.
        """
        length = self.config.chain_length
        strips = self.strips[self.tile[self.last], self.strip[self.last]]
        return strips[:, None, :] * length + np.arange(length)[:, None]

    def input_of_slot(self) -> np.ndarray:
        """Return the input that each multiplier works on, int64 [beats, chain_length]."""
        length = self.config.chain_length
        start = self.column * self.config.m + self.segment * length
        within = np.where(np.repeat(self.dense, self.n)[:, None], np.arange(length), self.second)
        return np.repeat(start, self.n)[:, None] + within


def make_passes(
    matrix: SparseMatrix,
    config: SparseChainConfig,
    strips: np.ndarray | None = None,
    *,
    two_rows: bool = False,
) -> Passes:
    """Return the passes of one chain over some strips of a matrix.

    Args:
        strips: numbers of the strips in the order of their addresses, all by default; numbers
            beyond the matrix's are strips of zeros.
        two_rows: two strips share an address, each in a lane; a strip of zeros is added if needed.

    Raises:
        ShapeError: the matrix does not fit the chain, or `two_rows` does not fit the matrix.
    """
    check_fits(matrix, config, two_rows=two_rows)
    count = -(-matrix.rows // config.chain_length)
    if strips is None:
        strips = np.arange(count)
    if two_rows and len(strips) % 2:
        strips = np.append(strips, max(strips.max() + 1, count))
    lanes = strips.reshape(-1, 2 if two_rows else 1)
    tiles = cut_into_tiles(len(lanes), config.strips)
    keep = _keep_of_strips(matrix, config, lanes).max(axis=1)
    plan = Plan(config, keep, tiles, matrix.group_size // config.m, two_rows)
    first, fields = list_passes(plan)
    values, second = _beats_of_blocks(matrix, plan, lanes, first, fields["n"])
    del fields["slot"]
    places = _by_tile(lanes, tiles)
    return Passes(
        config, matrix.bits, matrix.inputs, places, **fields, values=values, second=second
    )


def work_of_strips(matrix: SparseMatrix, config: SparseChainConfig) -> np.ndarray:
    """Return the beats of each strip's blocks, int64 [strips]."""
    strips = np.arange(-(-matrix.rows // config.chain_length))
    return _keep_of_strips(matrix, config, strips).sum(axis=1)


def check_fits(matrix: SparseMatrix, config: SparseChainConfig, *, two_rows: bool = False) -> None:
    """Raise ShapeError unless a chain can work on the matrix."""
    if matrix.m != config.m:
        raise ShapeError(f"the matrix has blocks of m = {matrix.m}; the chain has m = {config.m}")
    unknown = sorted(set(np.unique(matrix.keep.numpy()).tolist()) - {0, *config.keeps})
    if unknown:
        raise ShapeError(f"keep holds N = {unknown[0]}; this chain runs {[0, *config.keeps]}")
    check_range(matrix.weights, config.weight_bits, "the weight")
    if two_rows and not (matrix.is_dense and config.products_per_dsp == 2):
        raise ShapeError(
            "two rows share an activation only where all blocks are dense and each multiplier "
            "has two products"
        )


def _beats_of_blocks(
    matrix: SparseMatrix, plan: Plan, lanes: np.ndarray, first: np.ndarray, beats: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the beats (`values`, `second`) of all passes; those of zeros stay zero.

    Args:
        lanes: strips of each slot, [slots, lanes]. first: first pass of each block, -1 for none,
            [slots, columns]. beats: of each pass.
    """
    config, length = plan.config, plan.config.chain_length
    start = np.cumsum(beats) - beats
    shape = (int(beats.sum()), length)
    values, second = np.zeros(shape, np.int8), np.zeros(shape, np.uint8)
    cells = [_Cells(matrix, config, strips) for strips in lanes.T]
    for n in config.keeps:
        slots, columns = np.nonzero((plan.keep == n) & (first >= 0))
        for begin in range(0, len(slots), _CHUNK):
            slot, column = slots[begin : begin + _CHUNK], columns[begin : begin + _CHUNK]
            where = (start[first[slot, column]][:, None] + np.arange(n)).reshape(-1)
            weights, index = cells[0].terms(slot, column, n)
            values[where] = _to_beats(weights, length)
            if plan.two_rows:
                weights, _ = cells[1].terms(slot, column, n)
                bits = (1 << config.weight_bits) - 1
                second[where] = _to_beats(weights, length).view(np.uint8) & bits
            elif n < config.m:
                second[where] = _to_beats(index, length)
    return values, second


class _Cells:
    """The blocks of `chain_length` x m of some strips, filled up with zeros."""

    def __init__(self, matrix: SparseMatrix, config: SparseChainConfig, strips: np.ndarray) -> None:
        self._m = config.m
        row = strips[:, None] * config.chain_length + np.arange(config.chain_length)
        columns = -(-matrix.inputs // config.m)
        inside = np.arange(columns * config.m) < matrix.inputs
        # Rows and inputs beyond the matrix, [strips, rows, 1] and [columns, m].
        self._no_row = (row >= matrix.rows)[..., None]
        self._no_input = ~inside.reshape(columns, config.m)
        shape = (*row.shape, columns, config.m)
        self._weights, self._mask = np.zeros(shape, np.int8), np.zeros(shape, bool)
        for cells, values in ((self._weights, matrix.weights), (self._mask, matrix.mask)):
            flat = cells.reshape(*row.shape, -1)
            real = row < matrix.rows
            flat[real, : matrix.inputs] = values.numpy()[row[real]]

    def terms(self, place: np.ndarray, column: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's n weights and their indices, [blocks, rows, n] each.

        The blocks are those of the strips at `place` among the given ones.
        """
        weights, mask = self._weights[place, :, column], self._mask[place, :, column]
        if self._no_row.any() or self._no_input.any():
            outside = self._no_row[place] | self._no_input[column][:, None, :]
            # A row that lacks kept weights at an edge has zeros of the first inputs outside.
            mask = mask | (outside & (np.arange(self._m) < n))
        shape = (*weights.shape[:2], n)
        index = np.flatnonzero(mask) % self._m
        return weights[mask].reshape(shape), index.astype(np.uint8).reshape(shape)


def _keep_of_strips(
    matrix: SparseMatrix, config: SparseChainConfig, strips: np.ndarray
) -> np.ndarray:
    """Return N, int64 [*strips.shape, columns], 0 in strips beyond the matrix."""
    row = strips * config.chain_length
    keep = matrix.keep.numpy()[np.minimum(row, matrix.rows - 1) // config.m]
    return np.where((row < matrix.rows)[..., None], keep, 0)


def _to_beats(terms: np.ndarray, length: int) -> np.ndarray:
    """Return [blocks, rows, terms] as [beats, multipliers]."""
    blocks, rows, count = terms.shape
    n = min(count, length)
    parts = terms.reshape(blocks, rows // n, n, count // n, n)  # block, i // n, j, pass, i % n
    return parts.transpose(0, 3, 2, 1, 4).reshape(-1, length)


def _by_tile(lanes: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """Return strips [slots, lanes] as [tiles, addresses, lanes], -1 behind the end of a tile."""
    sizes = np.diff(tiles)
    strips = np.full((len(sizes), sizes.max(), lanes.shape[1]), -1)
    strips[np.arange(sizes.max()) < sizes[:, None]] = lanes
    return strips

"""The golden twin of the matrix engine: what its chains do, and the outputs they must give."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

from golden.group_scale import scale_groups
from golden.numbers import check_range
from golden.passes import Passes, make_passes, work_of_strips
from golden.quantise import matrix_shape
from golden.sparse_chain import finished_sums, pass_sums
from golden.sparse_matrix import SparseMatrix
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import OPERAND_BITS, MatrixEngineConfig


class Mode(Enum):
    """How the chains share the work.

    In MATRIX_MATRIX every chain has all rows, and tokens of its own, one in each lane. In
    MATRIX_VECTOR all have the same token, and every chain has rows of its own.
    """

    MATRIX_MATRIX = "matrix-matrix"
    MATRIX_VECTOR = "matrix-vector"


@dataclass(frozen=True)
class Sweep:
    """A job of the activation buffers: some columns, given several times."""

    first_column: int
    columns: int
    times: int


def chain_passes(
    matrix: SparseMatrix, config: MatrixEngineConfig, mode: Mode = Mode.MATRIX_MATRIX
) -> list[Passes]:
    """Return the passes of each chain; in MATRIX_MATRIX they are the same.

    Raises:
        ShapeError: the matrix does not fit the engine, or a sum could overflow.
    """
    check_matrix(matrix, config)
    if mode is Mode.MATRIX_MATRIX:
        return [make_passes(matrix, config.chain)] * config.chains
    two_rows = matrix.is_dense and config.products_per_dsp == 2
    dealt = deal_strips(work_of_strips(matrix, config.chain), config.chains, two_rows=two_rows)
    return [make_passes(matrix, config.chain, strips, two_rows=two_rows) for strips in dealt]


def deal_strips(work: np.ndarray, chains: int, *, two_rows: bool = False) -> np.ndarray:
    """Return the numbers of the strips that each chain gets, int64 [chains, strips of a chain].

    The strips are dealt in the order of falling work, one to each chain and round; in a round the
    largest goes to the chain that has least so far. Every chain gets as many strips (an even number
    with `two_rows`), since all have the same sweeps: numbers beyond the matrix's are strips of
    zeros.

    Args:
        work: beats of each strip, int [strips].
    """
    unit = 2 * chains if two_rows else chains
    count = -(-len(work) // unit) * unit
    full = np.zeros(count, np.int64)
    full[: len(work)] = work
    dealt = np.argsort(-full, kind="stable").reshape(-1, chains)
    load = np.zeros(chains, np.int64)
    for strips in dealt:
        strips[np.argsort(load, kind="stable")] = strips.copy()
        load += full[strips]
    return np.sort(dealt.T, axis=1)


def output_rows(passes: Passes, config: MatrixEngineConfig, mode: Mode) -> np.ndarray:
    """Return the matrix row in each lane of each beat of a chain's finished sums.

    In MATRIX_MATRIX all lanes have the same row. In MATRIX_VECTOR both lanes have the same token;
    there lane 1 has a row of a second strip, with `two_rows`, or else of the strip's second half.

    Returns:
        int64 [passes marked `last`, beats, lanes]; numbers beyond the matrix's rows are of zeros.
    """
    rows = passes.finished_rows()
    if mode is Mode.MATRIX_VECTOR and config.pairs_rows and not passes.shares_activations:
        return rows.reshape(len(rows), 2, -1).transpose(0, 2, 1)
    return np.broadcast_to(rows, (*rows.shape[:2], config.products_per_dsp))


def sweeps(passes: Passes, group_size: int, config: MatrixEngineConfig) -> list[Sweep]:
    """Return the jobs of a chain's activation buffer, in their order, for one token in each lane.

    Inputs that fit in the buffer are loaded once for all tiles; else each tile loads them anew, in
    parts of whole scale groups.
    """
    tiles = passes.strips.shape[0]
    fitting = config.activation_depth // config.m
    if passes.columns <= fitting:
        return [Sweep(0, passes.columns, tiles)]
    part = max(fitting * config.m // group_size, 1) * (group_size // config.m)
    starts = range(0, passes.columns, part)
    return [Sweep(start, min(part, passes.columns - start), 1) for start in starts] * tiles


def group_sums(
    matrix: SparseMatrix,
    activations: torch.Tensor,
    config: MatrixEngineConfig,
    mode: Mode = Mode.MATRIX_MATRIX,
) -> torch.Tensor:
    """Return each row's sum over each scale group, int64 [tokens, rows, groups].

    Follows the passes slot by slot, as the hardware does.

    Args:
        activations: int8 [tokens, inputs].

    Raises:
        ShapeError: something does not fit the engine, or a sum could overflow.
    """
    tokens, inputs = matrix_shape(activations, "the activations")
    if inputs != matrix.inputs:
        raise ShapeError(f"the activations have {inputs} inputs; the weight has {matrix.inputs}")
    check_range(activations, OPERAND_BITS, "the activations")
    chains = chain_passes(matrix, config, mode)
    different = chains[:1] if mode is Mode.MATRIX_MATRIX else chains
    shared = different[0].shares_activations
    # Tokens that a chain works on together; beyond the last one there are zeros.
    lanes = config.products_per_dsp if mode is Mode.MATRIX_MATRIX else 1
    width = 1 if shared else config.products_per_dsp
    padded_rows = 1 + max(int(passes.finished_rows().max()) for passes in different)
    sums = np.zeros((-(-tokens // lanes) * lanes, padded_rows, matrix.groups), np.int64)
    for start in range(0, tokens, lanes):
        given = torch.zeros(width, inputs, dtype=torch.int64)
        some = activations[start : start + lanes]
        given[: len(some)] = some
        for passes in different:
            finished = finished_sums(passes, pass_sums(passes, given))
            group = passes.group[passes.last][:, None, None]
            if shared:
                sums[start, passes.finished_rows(), group] = finished
            else:
                rows = passes.finished_rows()
                for lane in range(lanes):
                    sums[start + lane, rows, group] = finished[:, :, lane : lane + 1]
    return torch.from_numpy(sums[:tokens, : matrix.rows])


def matrix_engine(
    matrix: SparseMatrix,
    activations: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    config: MatrixEngineConfig,
    mode: Mode = Mode.MATRIX_MATRIX,
) -> torch.Tensor:
    """Return the requantised outputs, int32 [tokens, rows].

    Follows the passes slot by slot, as the hardware does, so that an error in their order shows;
    `reference_outputs` gives the same without any passes.

    Args:
        activations: int8 [tokens, inputs].
        scales, zeros: of the row's groups, integers [rows, groups] as `scale_groups` takes them;
            zero points other than 0 only where blocks are dense.

    Raises:
        ShapeError: something does not fit the engine, or a sum could overflow.
    """
    check_scales(matrix, scales, zeros)
    sums = group_sums(matrix, activations, config, mode)
    offsets = group_offsets(activations, matrix.group_size)
    return scale_groups(sums, scales, zeros, offsets[:, None], config)


def group_offsets(activations: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return the sum of the activations of each scale group, int64 [tokens, groups]."""
    missing = -activations.shape[1] % group_size
    padded = torch.nn.functional.pad(activations.long(), (0, missing))
    return padded.reshape(len(activations), -1, group_size).sum(dim=2)


def check_matrix(matrix: SparseMatrix, config: MatrixEngineConfig) -> None:
    """Raise ShapeError if a sum over the matrix could overflow, or its groups fit no buffer."""
    columns = -(-matrix.inputs // matrix.m)
    group = min(matrix.group_size, columns * matrix.m)
    if group > config.max_group_inputs:
        fraction = (
            f" and zero points with {f} fraction bits" if (f := config.zero_fraction_bits) else ""
        )
        raise ShapeError(
            f"the group size is {group}; accumulators of {config.accumulator_bits} bits{fraction} "
            f"hold the sum of {config.max_group_inputs} products"
        )
    if matrix.inputs > config.max_inputs:
        raise ShapeError(
            f"the weight has {matrix.inputs} inputs (K); outputs of {config.max_inputs} cannot "
            "overflow"
        )
    if group > config.activation_depth:
        raise ShapeError(
            f"the group size is {group}; the activation buffer holds {config.activation_depth} "
            "inputs"
        )


def check_scales(matrix: SparseMatrix, scales: torch.Tensor, zeros: torch.Tensor) -> None:
    """Raise ShapeError if scales or zero points do not fit the matrix."""
    needed = [matrix.rows, matrix.groups]
    for name, values in (("scales", scales), ("zero points", zeros)):
        if list(values.shape) != needed:
            raise ShapeError(f"the {name} are {list(values.shape)}; {needed} are needed")
    group_of_column = torch.arange(matrix.keep.shape[1]) // (matrix.group_size // matrix.m)
    pruned = torch.zeros(matrix.keep.shape[0], matrix.groups, dtype=torch.bool)
    block_row, column = (matrix.keep != matrix.m).nonzero(as_tuple=True)
    pruned[block_row, group_of_column[column]] = True
    pruned = pruned.repeat_interleave(matrix.m, dim=0)[: matrix.rows]
    wrong = (pruned & (zeros != 0)).nonzero()
    if len(wrong):
        row, group = wrong[0].tolist()
        raise ShapeError(
            f"row {row} has the zero point {int(zeros[row, group])} in group {group}, where "
            "weights are pruned; a pruned weight is 0, so only dense blocks may have zero points"
        )


def reference_outputs(
    matrix: SparseMatrix,
    activations: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    config: MatrixEngineConfig,
) -> torch.Tensor:
    """Return what `matrix_engine` does, int32 [tokens, rows], by plain matrix products.

    The bench compares the hardware with this one: its streams are made of the passes, so an error
    in those would be in `matrix_engine` as well. It is also several times as fast.

    Raises:
        ShapeError: matrix and engine, or scales or zero points and matrix, do not fit.
    """
    check_matrix(matrix, config)
    check_scales(matrix, scales, zeros)
    groups = []
    for start in range(0, matrix.inputs, matrix.group_size):
        part = slice(start, start + matrix.group_size)
        # Exact: the sums are far below 2**53.
        groups.append(activations[:, part].double() @ matrix.weights[:, part].double().T)
    offsets = group_offsets(activations, matrix.group_size)
    sums = torch.stack(groups, dim=2).long()
    return scale_groups(sums, scales, zeros, offsets[:, None], config)

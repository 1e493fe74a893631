"""Compares the tiles that matrices are cut into with all others, by the timing contract.

Run by `python -m benchmarks.tilings CHAINS...`, for example `4 8 16 32`. A tile is a number of
strips that a chain adds up at the same time, while the inputs pass by. For each matrix of a SmolLM2
layer, dense and keeping half, all ways to cut a chain's strips into tiles are tried, up to their
order and with up to two tiles more than chosen. Prints the table of docs/compiler.md.
"""

import sys
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import torch

from golden import model_shapes, passes
from golden.matrix_engine import Mode, Sweep, deal_strips
from golden.model_shapes import ModelShape
from golden.pass_order import cut_into_tiles
from golden.passes import make_passes, work_of_strips
from golden.sparse_matrix import SparseMatrix, dense_matrix, prune
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.engine_timing import engine_cycles

GROUP_SIZE = 192


def main() -> None:
    """Print a line for each number of chains and each matrix."""
    shape = model_shapes.load("smollm2-135m")
    print("| chains | matrix | weights | tilings | chosen, cycles | best | worst |")
    print("|---|---|---|---|---|---|---|")
    for chains in map(int, sys.argv[1:]):
        config = MatrixEngineConfig(chains=chains)
        for name, rows, inputs in matrices(shape):
            for keep in (16, 8):
                found = cycles_of_tilings(config, random_matrix(rows, inputs, keep, config))
                chosen, *others = found
                print(
                    f"| {chains} | {name} | {keep}:16 | {len(others)} | {chosen:,} "
                    f"| {min(others):,} | {max(others):,} |",
                    flush=True,
                )


def matrices(shape: ModelShape) -> Iterator[tuple[str, int, int]]:
    """Yield the matrices of a decoder layer: name, rows, inputs."""
    heads = shape.heads + 2 * shape.kv_heads
    yield "queries, keys, values", heads * shape.head_size, shape.hidden
    yield "attention output", shape.hidden, shape.heads * shape.head_size
    yield "gate and up", 2 * shape.feed_forward, shape.hidden
    yield "down", shape.hidden, shape.feed_forward


def random_matrix(rows: int, inputs: int, keep: int, config: MatrixEngineConfig) -> SparseMatrix:
    """Return a matrix in which every block keeps `keep` of 16; its cycles hang on nothing else."""
    m, random = config.m, torch.Generator().manual_seed(0)
    values = torch.randint(-127, 128, (rows, inputs), generator=random).to(torch.int8)
    if keep == m:
        return dense_matrix(values, GROUP_SIZE, 8, m)
    order = torch.rand(rows, inputs // m, m, generator=random).argsort(dim=2)
    mask = (order < keep).reshape(rows, inputs)
    blocks = torch.full((-(-rows // m), inputs // m), keep)
    return prune(values, mask, blocks, GROUP_SIZE, 8, m)


def cycles_of_tilings(config: MatrixEngineConfig, matrix: SparseMatrix) -> list[int]:
    """Return the cycles of one token's product with each tiling; that of the compiler first."""
    dense = matrix.is_dense
    work = work_of_strips(matrix, config.chain)
    strips = deal_strips(work, config.chains, two_rows=dense)[0]
    slots = len(strips) // (2 if dense else 1)
    chosen = np.diff(cut_into_tiles(slots, config.strips))
    others = partitions(slots, config.strips, most_parts=len(chosen) + 2)
    return [
        _cycles(config, matrix, strips, np.array(tiling)) for tiling in [chosen.tolist(), *others]
    ]


def partitions(total: int, largest: int, most_parts: int) -> Iterator[list[int]]:
    """Yield the ways to write a number as a sum of falling numbers, of up to so many."""
    if total == 0:
        yield []
        return
    if not most_parts:
        return
    for first in range(min(total, largest), 0, -1):
        for rest in partitions(total - first, first, most_parts - 1):
            yield [first, *rest]


def _cycles(
    config: MatrixEngineConfig, matrix: SparseMatrix, strips: np.ndarray, tiling: np.ndarray
) -> int:
    bounds = np.concatenate([[0], tiling.cumsum()])
    with patch.object(passes, "cut_into_tiles", lambda *_: bounds):
        chain = make_passes(matrix, config.chain, strips, two_rows=matrix.is_dense)
    sweeps = [Sweep(0, chain.columns, len(tiling))]
    return engine_cycles(config, [chain], sweeps, 1, Mode.MATRIX_VECTOR)


if __name__ == "__main__":
    main()

"""The tiles that matrices are cut into, beside all others."""

import pytest

from benchmarks.tilings import cycles_of_tilings, matrices, partitions, random_matrix
from golden import model_shapes
from golden.spec.matrix_engine import MatrixEngineConfig

SHAPE = model_shapes.load("smollm2-135m")


def test_all_partitions_are_tried():
    assert list(partitions(5, 3, 3)) == [[3, 2], [3, 1, 1], [2, 2, 1]]


@pytest.mark.parametrize("keep", [16, 8])
@pytest.mark.parametrize("name", [name for name, _, _ in matrices(SHAPE)])
def test_the_tiles_of_a_layer_are_within_5_percent_of_the_best(name, keep):
    config = MatrixEngineConfig(chains=16)
    rows, inputs = next(size for which, *size in matrices(SHAPE) if which == name)
    chosen, *others = cycles_of_tilings(config, random_matrix(rows, inputs, keep, config))
    assert chosen <= 1.05 * min(others)
    # Dense strips take the same time in any tiles; of sparse ones short tiles hide no loading.
    assert (max(others) > 1.1 * min(others)) == (keep == 8)

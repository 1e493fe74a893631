"""Linear layers as kernels take them: the words of their weight streams, and how much there is.

The words are those that a core reads from its channels; a kernel reads one of each chain at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from golden.integer_linear import IntegerLinear
from golden.matrix_engine import Mode, chain_passes, output_rows, sweeps
from golden.passes import Passes
from golden.sparse_matrix import dense_matrix
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.weight_stream import equally_long, weight_stream


@dataclass(frozen=True, eq=False)
class Product:
    """One linear layer.

    Attributes:
        counts: the fields of the kernel's `Product`, in their order; of each chain where it is a
            list.
        words: uint8 [words, chains * bytes].
    """

    counts: Mapping[str, int | list[int]]
    words: np.ndarray

    def constant(self, name: str) -> str:
        """Return the C++ constant that tells a kernel what there is to do."""
        values = [
            f"{{{', '.join(map(str, count))}}}" if isinstance(count, list) else str(count)
            for count in self.counts.values()
        ]
        return f"static const Product {name} = {{{', '.join(values)}}};"


def product_of(linear: IntegerLinear, engine: MatrixEngineConfig) -> Product:
    """Return a linear layer as dense blocks.

    Raises:
        ConfigError: its inputs do not fit the activation buffers.
        ShapeError: its groups are not made of whole columns, or are too long for the engine.
    """
    columns = -(-linear.inputs // engine.m)
    if columns * engine.m > engine.activation_depth:
        raise ConfigError(
            f"a linear layer has {linear.inputs} inputs; the activation buffers hold "
            f"{engine.activation_depth}: set activation_depth"
        )
    group = min(linear.group_size, columns * engine.m)
    matrix = dense_matrix(linear.values, group, linear.bits, engine.m)
    chains = chain_passes(matrix, engine, Mode.MATRIX_VECTOR)
    (sweep,) = sweeps(chains[0], group, engine)
    streams = [weight_stream(passes, linear.scales, linear.zeros, engine) for passes in chains]
    words = equally_long(streams).transpose(1, 0, 2)
    counts = {
        "inputs": linear.inputs,
        "columns": sweep.columns,
        "columns_in_group": min(group // engine.m, sweep.columns),
        "tiles": sweep.times,
        "words": len(words),
        **_of_chains(chains, engine),
    }
    return Product(counts, np.ascontiguousarray(words).reshape(len(words), -1))


def _of_chains(chains: Sequence[Passes], engine: MatrixEngineConfig) -> dict[str, int | list[int]]:
    finished = [passes.group[passes.last] == passes.groups - 1 for passes in chains]
    rows = [output_rows(passes, engine, Mode.MATRIX_VECTOR).shape[:2] for passes in chains]
    return {
        "passes": [len(passes.n) for passes in chains],
        "beats": [int(passes.n.sum()) for passes in chains],
        "scales": [strips * each for strips, each in rows],
        "strips": [int(last.sum()) for last in finished],
    }

"""Linear layers as the weight streams of the channels, dealt over the chains of all cores.

Layers that have the same inputs become one matrix: their rows follow each other, each layer's from
a whole strip on. Rows keep their own scales and zero points; groups are those of the finest layer,
cut further where the engine cannot add up so many inputs. That changes no total.

Weights that are 0 are left out where that is faster: a matrix whose blocks keep few of them in each
row goes as a sparse one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import torch

from golden.integer_linear import ZERO_FRACTION_BITS, IntegerLinear
from golden.matrix_engine import check_matrix, deal_strips
from golden.passes import make_passes, work_of_strips
from golden.sparse_matrix import SparseMatrix, dense_matrix, prune
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import FORMATS, Unit
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from hw.weight_stream import equally_long, weight_stream


@dataclass(frozen=True, eq=False)
class Stack:
    """Linear layers one below the other.

    Attributes:
        values: int8 [rows, inputs]. scales, zeros: int64 [rows, groups].
        group_size: inputs of a group, a multiple of m. bits: width of a stored weight.
        starts: the strip with which each layer begins.
    """

    values: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    group_size: int
    bits: int
    starts: tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """A matrix in the channels, and what MV needs to know of it.

    Attributes:
        offset: where its words begin in each channel, from the weights' base on.
        first_strip: of its outputs, where the matrix is a part of a larger one.
        words: of each chain.
        strips: that come out of all chains, as many of each core; those beyond the matrix too.
        columns, group, sweeps, paired: as in MV.
        rows: of the matrix.
    """

    offset: int
    first_strip: int
    words: int
    strips: int
    columns: int
    group: int
    sweeps: int
    paired: int
    rows: int


def stack(layers: Sequence[IntegerLinear], config: CoreConfig) -> Stack:
    """Return layers with the same inputs as one.

    Raises:
        ConfigError: a group is not made of whole columns, or the engine lacks the zero points'
            fraction bits.
    """
    engine = config.engine
    group = _common_group(layers, engine)
    values: list[torch.Tensor] = []
    scales: list[torch.Tensor] = []
    zeros: list[torch.Tensor] = []
    starts, strips = [], 0
    for layer in layers:
        _check_zeros(layer, engine)
        missing = -len(layer.values) % engine.chain_length
        starts.append(strips)
        strips += (len(layer.values) + missing) // engine.chain_length
        times = -(-min(layer.group_size, layer.inputs) // group)
        groups = -(-layer.inputs // group)
        for parts, rows in (
            (values, layer.values),
            (scales, layer.scales.repeat_interleave(times, dim=1)[:, :groups]),
            (zeros, layer.zeros.repeat_interleave(times, dim=1)[:, :groups]),
        ):
            parts.append(torch.nn.functional.pad(rows, (0, 0, 0, missing)))
    bits = max(layer.bits for layer in layers)
    return Stack(torch.cat(values), torch.cat(scales), torch.cat(zeros), group, bits, tuple(starts))


def place(
    matrix: Stack, config: CoreConfig, offset: int, first_strip: int = 0
) -> tuple[Product, np.ndarray]:
    """Return a matrix that begins at `offset`, and its words, uint8 [all chains, words, bytes].

    Args:
        first_strip: see `Product`.

    Raises:
        ConfigError: the engine cannot take all inputs at once, or a load all words.
    """
    engine = config.engine
    rows, inputs = matrix.values.shape
    if inputs > engine.activation_depth:
        raise ConfigError(
            f"a matrix has {inputs} inputs; input_depth is {engine.activation_depth}: make it "
            "larger"
        )
    packed = pack(matrix, engine.chain)
    check_matrix(packed, engine)
    dense, work = packed.is_dense, work_of_strips(packed, engine.chain)
    dealt = deal_strips(work, config.all_chains, two_rows=dense)
    chains = [make_passes(packed, engine.chain, strips, two_rows=dense) for strips in dealt]
    words = equally_long(
        [weight_stream(passes, matrix.scales, matrix.zeros, engine) for passes in chains]
    )
    if words.shape[1] > (most := FORMATS[Unit.LD].field("length").span[1]):
        raise ConfigError(
            f"a matrix of {rows} rows takes {words.shape[1]} words of each channel; one load takes "
            f"up to {most}: give the core more chains"
        )
    columns = chains[0].columns
    product = Product(
        offset,
        first_strip,
        words=words.shape[1],
        strips=sum(int((passes.strips >= 0).sum()) for passes in chains),
        columns=columns,
        group=min(matrix.group_size // engine.m, columns),
        sweeps=len(chains[0].strips),
        paired=int(engine.pairs_rows and not dense),
        rows=rows,
    )
    return product, words


def pack(matrix: Stack, chain: SparseChainConfig) -> SparseMatrix:
    """Return a matrix as chains work on it: sparse where that takes less memory and no more time.

    Zero points belong to all inputs of a group, so a matrix that has any is dense.
    """
    m, (rows, inputs) = chain.m, matrix.values.shape
    missing = (0, -inputs % m, 0, -rows % m)
    blocks = torch.nn.functional.pad(matrix.values != 0, missing).unflatten(1, (-1, m))
    used = blocks.sum(dim=2).unflatten(0, (-1, m)).amax(dim=1)
    kept = torch.tensor([0, *chain.keeps])
    keep = kept[torch.searchsorted(kept, used)]
    if matrix.zeros.any() or not pays_sparse(float(keep.double().mean()), matrix.bits, chain):
        return dense_matrix(matrix.values, matrix.group_size, matrix.bits, m)
    # In each row the weights that are not 0 come first, then others, then what is no input.
    order = (~blocks).flatten(1).int()
    order[:, inputs:] = 2
    rank = order.unflatten(1, (-1, m)).argsort(dim=2, stable=True).argsort(dim=2)
    mask = (rank < keep.repeat_interleave(m, dim=0)[:, :, None]).flatten(1)[:rows, :inputs]
    return prune(matrix.values, mask, keep, matrix.group_size, matrix.bits, m)


def pays_sparse(keep: float, bits: int, chain: SparseChainConfig) -> bool:
    """Return whether a sparse matrix takes less memory and no more time than a dense one.

    A dense block of m x m weights takes m / 2 cycles, since two strips share their activations. One
    that keeps N weights of each row takes N, and has an index beside each of them.

    Args:
        keep: the mean of N over all blocks.
    """
    is_smaller = keep * (bits + chain.index_bits) < chain.m * bits
    return is_smaller and keep <= chain.m / 2


def place_parts(
    matrix: Stack, config: CoreConfig, offset: int, most_words: int | None
) -> Iterator[tuple[Product, np.ndarray]]:
    """Yield a matrix as `place` gives it, in parts of rows of up to `most_words` of each chain.

    Args:
        most_words: None for any number: then it is one part.

    Raises:
        ConfigError: as `place`; or two strips of each chain have more words.
    """
    if most_words is None:
        yield place(matrix, config, offset)
        return
    rows, least, start = len(matrix.values), 2 * config.all_chains * config.m, 0
    _, words = place(rows_of(matrix, 0, min(least, rows)), config, offset)
    most_times = most_words // words.shape[1]
    while start < rows:
        # Of a sparse matrix other parts may have more words than the first one.
        for times in range(most_times, 0, -1):
            part = rows_of(matrix, start, min(start + times * least, rows))
            product, words = place(part, config, offset, start // config.m)
            if words.shape[1] <= most_words:
                break
        else:
            raise ConfigError(
                f"replay_words is {config.replay_words}; a product of several tokens takes "
                f"{words.shape[1]} words of each chain for {least} rows of "
                f"{matrix.values.shape[1]} inputs: make it larger, or chunk 1"
            )
        yield product, words
        offset += product.words * config.word_bytes
        start += len(part.values)


def rows_of(matrix: Stack, start: int, end: int) -> Stack:
    """Return some rows of a matrix, from a whole strip on."""
    rows = slice(start, end)
    return Stack(
        matrix.values[rows],
        matrix.scales[rows],
        matrix.zeros[rows],
        matrix.group_size,
        matrix.bits,
        (0,),
    )


def _common_group(layers: Sequence[IntegerLinear], engine: MatrixEngineConfig) -> int:
    """Return the inputs of a group that is a part of each layer's groups."""
    m = engine.m
    columns = 0
    for layer in layers:
        group = min(layer.group_size, -(-layer.inputs // m) * m)
        if group % m:
            raise ConfigError(
                f"a group has {group} inputs; a core with m = {m} needs a multiple of that"
            )
        columns = gcd(columns, group // m)
    most = min(engine.max_group_inputs, engine.activation_depth) // m
    return m * max(part for part in range(1, most + 1) if columns % part == 0)


def _check_zeros(layer: IntegerLinear, engine: MatrixEngineConfig) -> None:
    """Refuse zero points whose fraction bits the engine does not have."""
    bits = engine.zero_fraction_bits
    if bits != ZERO_FRACTION_BITS and bool(layer.zeros.any()):
        raise ConfigError(
            f"the weights have zero points with {ZERO_FRACTION_BITS} fraction bits; the engine has "
            f"zero_fraction_bits = {bits}; make the core with {ZERO_FRACTION_BITS}"
        )

"""The plan of a model of which only the shape is known: where its matrices would lie.

Programs have the same instructions whatever the weights are; what a constant of the arithmetic is,
such as a shift, only stands in their fields. So sizes and programs of a model can be had without
its weights: `Compiled(shape_plan(...), ()).program(position)`.

How many words a matrix takes of each channel is told by the weight stream of one chain's share of
it: with every block alike, all chains' are as long.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch

from golden.model_shapes import ModelShape
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.transformer import Residual
from hls_gen.compiler import head_strips
from hls_gen.matrices import Product, Stack, pays_sparse, place
from hls_gen.memory_map import MemoryMap
from hls_gen.plan import AttentionPlan, FeedForwardPlan, LayerPlan, Linear, ModelPlan, Part

_RESIDUAL = Residual(1, 1, 0)


@dataclass(frozen=True)
class WeightShape:
    """How the weights of the decoder layers are stored; the head's have 8 bits and are dense.

    Attributes:
        bits: of a weight: 2, 3, 4, 5, 6 or 8.
        keep: weights that each row of a block keeps, from 1 on; m or more are all.
        group_size: inputs of a scale, a multiple of m.
    """

    bits: int = 8
    keep: int = 16
    group_size: int = 128


def shape_plan(
    shape: ModelShape,
    config: CoreConfig,
    max_positions: int,
    chunk: int = 1,
    weights: WeightShape | None = None,
) -> ModelPlan:
    """Return the plan of a LLaMA-style model.

    Args:
        max_positions, chunk: as in `hls_gen.compiler.compile_model`.
        weights: `WeightShape()` by default.

    Raises:
        ConfigError: the model has another architecture, or does not fit the core.
    """
    check_architecture(shape)
    streams = _Streams(config, chunk, weights or WeightShape())
    layers = tuple(_layer_plan(shape, streams) for _ in range(shape.layers))
    head = tuple(streams.head(shape.vocabulary, shape.hidden))
    memory = MemoryMap(config, shape, max_positions, chunk, streams.bytes)
    return ModelPlan(memory, layers, 1, head)


def check_architecture(shape: ModelShape) -> None:
    """Refuse a model that no program computes.

    Raises:
        ConfigError: it is not like LLaMA.
    """
    reasons = {
        "its feed-forward network has no gate": not shape.gated,
        "attention and feed-forward network read the same input": shape.parallel,
        "positions come from a learned table": shape.positions > 0,
    }
    for reason, is_there in reasons.items():
        if is_there:
            raise ConfigError(
                f"{shape.name} cannot be compiled: {reason}; the compiler takes models like LLaMA"
            )


def _layer_plan(shape: ModelShape, streams: "_Streams") -> LayerPlan:
    """Return a layer with constants of no meaning."""
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    inputs = streams.linear(shape.hidden, queries, keys, keys)
    attention = AttentionPlan(inputs, streams.linear(queries, shape.hidden), 0, 0, 0, 0, 14)
    gate_up = streams.linear(shape.hidden, shape.feed_forward, shape.feed_forward)
    down = streams.linear(shape.feed_forward, shape.hidden)
    feed_forward = FeedForwardPlan(gate_up, down, 0, 1)
    return LayerPlan(1, attention, _RESIDUAL, 1, feed_forward, _RESIDUAL)


class _Streams:
    """Weight streams one behind the other, the same place in all channels."""

    def __init__(self, config: CoreConfig, chunk: int, weights: WeightShape) -> None:
        self._config, self._chunk, self._weights = config, chunk, weights
        self.bytes = 0

    def linear(self, inputs: int, *rows: int) -> Linear:
        """Add layers with the same inputs; products of several tokens take them in parts."""
        m = self._config.m
        strips = [-(-count // m) for count in rows]
        starts = [sum(strips[:k]) for k in range(len(rows))]
        parts = tuple(Part(s, count, 0) for s, count in zip(starts, rows, strict=True))
        return Linear(tuple(self._parts(sum(strips), inputs)), parts)

    def _parts(self, strips: int, inputs: int) -> Iterator[Product]:
        """Yield a matrix in parts of rows that chains can keep for all tokens."""
        most = strips
        if self._chunk > 1:
            least = 2 * self._config.all_chains
            words = self._measured(min(least, strips), inputs, self._weights).words
            if (times := self._config.replay_words // words) == 0:
                raise ConfigError(
                    f"replay_words is {self._config.replay_words}; a product of several tokens "
                    f"takes {words} words of each chain for {least * self._config.m} rows of "
                    f"{inputs} inputs: make it larger, or chunk 1"
                )
            most = times * least
        for first in range(0, strips, most):
            yield self._add(min(most, strips - first), inputs, self._weights, first)

    def head(self, vocabulary: int, inputs: int) -> Iterator[Linear]:
        """Yield the matrix of the logits in parts."""
        m, most = self._config.m, head_strips(self._config)
        for start in range(0, vocabulary, most * m):
            rows = min(vocabulary - start, most * m)
            product = self._add(-(-rows // m), inputs, WeightShape(keep=m), 0)
            yield Linear((product,), (Part(0, rows, 0),))

    def _add(self, strips: int, inputs: int, weights: WeightShape, first_strip: int) -> Product:
        product = self._measured(strips, inputs, weights)
        product = replace(product, offset=self.bytes, first_strip=first_strip)
        self.bytes += product.words * self._config.word_bytes
        return product

    def _measured(self, strips: int, inputs: int, weights: WeightShape) -> Product:
        """Return a matrix that begins at 0, from what one chain has of it."""
        chains, chain = self._config.all_chains, self._config.engine.chain
        kept = min((n for n in chain.keeps if n >= weights.keep), default=chain.m)
        lanes = 1 if pays_sparse(kept, weights.bits, chain) else 2
        share = lanes * -(-strips // (lanes * chains))
        mine = _share_of_a_chain(self._config, share, inputs, weights)
        return replace(mine, strips=mine.strips * chains, rows=strips * self._config.m)


@cache
def _share_of_a_chain(
    config: CoreConfig, strips: int, inputs: int, weights: WeightShape
) -> Product:
    """Return a matrix of so many strips on one chain."""
    m = config.m
    group = min(weights.group_size, -(-inputs // m) * m)
    shape = (strips * m, inputs)
    values = (torch.arange(inputs) % m < weights.keep).to(torch.int8).expand(shape)
    scales = torch.ones(strips * m, -(-inputs // group), dtype=torch.int64)
    matrix = Stack(values, scales, torch.zeros_like(scales), group, weights.bits, (0,))
    return place(matrix, replace(config, chains=1, cores=1), 0)[0]

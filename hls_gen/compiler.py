"""The compiler: from an integer transformer to the memories of cores, and their programs.

model = compile_model(transformer, config, max_positions=256, chunk=8)
model.images["general"], model.images["channel_0"], ...    what the memories hold
model.bases(position, tokens)                              what the base registers hold
model.program(position, tokens=8)                          what the core runs for these tokens

Of several cores these are the first one's; `model.core_images` and `model.programs(position)` have
those of all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from golden.block_sparse import BlockSparse
from golden.core_memories import GENERAL, channel
from golden.integer_linear import IntegerLinear
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.special_function_unit import FACTOR_BITS, LENGTH_BITS
from golden.special_functions.functions import rope_table
from golden.transformer import IntegerTransformer, Layer
from hls_gen.chunk import Chunk
from hls_gen.layer_program import TokenProgram
from hls_gen.matrices import Product, Stack, place, place_parts, rows_of, stack
from hls_gen.memory_map import MemoryMap, check_chunk
from hls_gen.plan import AttentionPlan, FeedForwardPlan, LayerPlan, Linear, ModelPlan, Part
from hls_gen.program import Program

LOGITS_SHARE = 8
"""A part of the logits takes at most this fraction of the vector buffer, if it is no less than a
full tile of all chains."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A model in the memories of one or several cores.

    Attributes:
        plan: all that programs need to know.
        core_images: of each core: of the ports "general" and "channel_0" on, uint8 [bytes], from
            address 0 on. Cache, hidden vector and logits are 0.
    """

    plan: ModelPlan
    core_images: tuple[dict[str, np.ndarray], ...]

    @property
    def images(self) -> dict[str, np.ndarray]:
        """The images of the only core, or of the first one."""
        return self.core_images[0]

    def bases(self, position: int, tokens: Sequence[int]) -> tuple[int, ...]:
        """Return the 16 base registers of every core for a program's tokens of the vocabulary."""
        return self.plan.memory.bases(position, tokens)

    def program(
        self,
        position: int,
        *,
        tokens: int = 1,
        blocks: BlockSparse | None = None,
        layers: Sequence[int] | None = None,
        head: bool = True,
        store_hidden: bool = False,
        core: int = 0,
    ) -> Program:
        """Return what a core runs for some tokens.

        It is the same for all positions of a bucket, see `MemoryMap.bucket`. The tokens' vectors
        are loaded from where the base registers from `Base.ROW` on say.

        Args:
            position: tokens in the cache. tokens: that follow, up to the plan's chunk.
            blocks: that they see of all in front of them; all, if nothing is said.
            layers: numbers of the decoder layers, all by default.
            head: the last token's logits are computed, and the first core stores them.
            store_hidden: it stores the last layer's outputs.
            core: number of the core whose program it is.

        Raises:
            ConfigError: as `hls_gen.chunk.Chunk`.
        """
        count = len(self.plan.layers)
        layers = range(count) if layers is None else layers
        norms = [2 * layer + which for layer in layers for which in range(2)]
        chunk = Chunk(self.plan, position, tokens, blocks, core)
        program = TokenProgram(chunk, norms + [2 * count] * head)
        for layer in layers:
            program.layer(layer)
        if store_hidden:
            program.store_hidden()
        if head:
            program.head()
        return program.program()

    def programs(self, position: int, **fields: Any) -> tuple[Program, ...]:
        """Return what each core runs for some tokens; see `program`."""
        cores = range(self.plan.memory.config.cores)
        return tuple(self.program(position, **fields, core=core) for core in cores)

    def logits(self, general: np.ndarray) -> torch.Tensor:
        """Return the logits that lie in the first core's general memory, int64 [vocabulary]."""
        memory = self.plan.memory
        return self._vectors(general, memory.logits, 1, memory.shape.vocabulary)[0]

    def hidden(self, general: np.ndarray, tokens: int = 1) -> torch.Tensor:
        """Return the vectors that `store_hidden` has left there, int64 [tokens, hidden]."""
        memory = self.plan.memory
        return self._vectors(general, memory.outputs, tokens, memory.shape.hidden)

    def _vectors(self, general: np.ndarray, offset: int, count: int, elements: int) -> torch.Tensor:
        """Return wide vectors that lie side by side in the general memory."""
        size = self.plan.memory.vector_bytes(elements)
        rows = general[offset : offset + count * size].reshape(count, size)
        data = np.ascontiguousarray(rows[:, : 4 * elements]).view("<i4")
        return torch.from_numpy(data.astype(np.int64))


def compile_model(
    transformer: IntegerTransformer, config: CoreConfig, max_positions: int, chunk: int = 1
) -> Compiled:
    """Return a model as `config.cores` cores run it.

    Args:
        max_positions: tokens that its cache has room for.
        chunk: most tokens of a program, 1 to 8.

    Raises:
        ConfigError: the model does not fit the cores.
    """
    if max_positions > transformer.max_positions:
        raise ConfigError(
            f"max_positions is {max_positions}; the model was made for {transformer.max_positions}"
        )
    check_chunk(chunk, max_positions)
    streams = _Streams(config, chunk)
    with _one_thread():
        layers = tuple(_layer_plan(layer, streams) for layer in transformer.layers)
        head = tuple(_head_parts(transformer.head, streams))
    memory = MemoryMap(config, transformer.shape, max_positions, chunk, streams.bytes)
    plan = ModelPlan(memory, layers, transformer.head_norm.epsilon, head)
    # What does not fit is refused now.
    Compiled(plan, ()).program(max_positions - chunk, tokens=chunk)
    general = _general_image(transformer, memory)
    images: tuple[dict[str, np.ndarray], ...]
    images = tuple({GENERAL: general} for _ in range(config.cores))
    for number, image in enumerate(streams.images(memory.channel_bytes)):
        core, chain = divmod(number, config.chains)
        images[core][channel(chain)] = image
    return Compiled(plan, images)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: a chain's share is so small that others only cost time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Streams:
    """Weight streams one behind the other, the same place in all channels.

    Args:
        chunk: most tokens of a program.
    """

    def __init__(self, config: CoreConfig, chunk: int) -> None:
        self.config = config
        self._chunk = chunk
        self.bytes = 0
        self._words: list[np.ndarray] = []

    def add(self, matrix: Stack) -> Product:
        """Add a matrix and return where it lies."""
        return self._add(*place(matrix, self.config, self.bytes))

    def _add(self, product: Product, words: np.ndarray) -> Product:
        self._words.append(words)
        self.bytes += product.words * self.config.word_bytes
        return product

    def linear(self, *layers: IntegerLinear) -> Linear:
        """Add layers with the same inputs; products of several tokens take them in parts."""
        matrix, config = stack(layers, self.config), self.config
        most = config.replay_words if self._chunk > 1 else None
        products = [self._add(*part) for part in place_parts(matrix, config, self.bytes, most)]
        parts = (
            Part(strip, len(layer.values), layer.shift)
            for strip, layer in zip(matrix.starts, layers, strict=True)
        )
        return Linear(tuple(products), tuple(parts))

    def images(self, size: int) -> Iterator[np.ndarray]:
        """Yield each channel's memory, core by core, uint8 [size]."""
        for number in range(self.config.all_chains):
            image = np.zeros(size, np.uint8)
            np.concatenate(
                [words[number].reshape(-1) for words in self._words], out=image[: self.bytes]
            )
            yield image


def _layer_plan(layer: Layer, streams: _Streams) -> LayerPlan:
    attention, network = layer.attention, layer.feed_forward
    return LayerPlan(
        attention_epsilon=layer.attention_norm.epsilon,
        attention=AttentionPlan(
            inputs=streams.linear(attention.query, attention.key, attention.value),
            output=streams.linear(attention.output),
            score_shift=attention.score_shift,
            score_fraction=attention.score_fraction,
            sum_shift=attention.sum_shift,
            output_shift=attention.output_shift,
            probability_bits=attention.probability_bits,
        ),
        attention_residual=layer.attention_residual,
        feed_forward_epsilon=layer.feed_forward_norm.epsilon,
        feed_forward=FeedForwardPlan(
            gate_up=streams.linear(network.gate, network.up),
            down=streams.linear(network.down),
            gate_shift=network.gate_shift,
            product_first=network.product_first,
        ),
        feed_forward_residual=layer.feed_forward_residual,
    )


def head_strips(config: CoreConfig) -> int:
    """Return the strips of a part of the logits' matrix."""
    tile = 2 * config.all_chains * config.strips
    strips = min(config.vector_depth // LOGITS_SHARE, ((1 << LENGTH_BITS) - 1) // config.m)
    return max(strips // tile, 1) * tile


def _head_parts(head: IntegerLinear, streams: _Streams) -> Iterator[Linear]:
    """Yield the matrix of the logits in parts whose outputs the vector buffer holds twice."""
    config = streams.config
    strips = head_strips(config)
    matrix = stack([head], config)
    rows = len(head.values)
    for start in range(0, rows, strips * config.m):
        end = start + strips * config.m
        product = streams.add(rows_of(matrix, start, end))
        yield Linear((product,), (Part(0, min(rows, end) - start, head.shift),))


def _general_image(transformer: IntegerTransformer, memory: MemoryMap) -> np.ndarray:
    image = np.zeros(memory.general_bytes, np.uint8)
    norms = [
        norm
        for layer in transformer.layers
        for norm in (layer.attention_norm, layer.feed_forward_norm)
    ]
    gammas = torch.stack([norm.gamma for norm in (*norms, transformer.head_norm)])
    most = (1 << (FACTOR_BITS - 1)) - 1
    positions = torch.arange(memory.max_positions)
    rotations = rope_table(positions, memory.shape.head_size, transformer.theta)
    for offset, vectors in (
        (memory.gamma(0), gammas.clamp(-most, most)),
        (memory.rotation(0), rotations),
        (memory.embedding, transformer.embedding),
    ):
        rows = _slots(vectors, memory)
        image[offset : offset + rows.size] = rows.reshape(-1)
    return image


def _slots(vectors: torch.Tensor, memory: MemoryMap) -> np.ndarray:
    """Return wide vectors [vectors, elements] as memory holds them, uint8 [vectors, bytes]."""
    missing = -vectors.shape[1] % memory.config.m
    return np.pad(vectors.numpy().astype("<i4"), ((0, 0), (0, missing))).view(np.uint8)

"""Where a model lies in a core's memories: the general one, and the channels.

    general    gammas of all norms | rotations of all positions | embedding | outputs | logits
    channel    weight streams, in the order of their use | keys and values of all layers

A vector of wide elements takes whole words of the vector buffer, its elements in slots of 32 bits.
Base registers say where each part begins, so a program does not depend on where the host puts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from golden.model_shapes import ModelShape
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import BASES, LENGTH_BASE
from golden.spec.special_function_unit import SLOT_BITS
from hls_gen.kv_cache import KvLayout


class Base(IntEnum):
    """Base registers of the programs.

    `ROW` and those behind it say where the wide vectors of a program's tokens lie: their rows of
    the embedding, or any other places. From `OUTPUTS` on lies what a program gives: logits, and the
    last layer's outputs.

    `LENGTH`, `ROTATIONS`, `NEW_KEYS` and `NEW_VALUES` say which positions of its bucket a program
    is run for: the positions in front of them, and the tables and the cache with so many rotations,
    keys and values less in front; see `MemoryMap.bucket`.
    """

    TABLES = 0
    LENGTH = LENGTH_BASE
    OUTPUTS = 2
    WEIGHTS = 3
    CACHE = 4
    ROTATIONS = 5
    NEW_KEYS = 6
    NEW_VALUES = 7
    ROW = 8

    @classmethod
    def _missing_(cls, value: object) -> "Base | None":
        """Return `ROW` for those behind it."""
        return cls.ROW if value in range(cls.ROW, BASES) else None


MAX_CHUNK = BASES - Base.ROW
"""Most tokens of a program: each has a base register."""


@dataclass(frozen=True)
class MemoryMap:
    """Offsets and sizes in bytes.

    Attributes:
        chunk: most tokens of a program; see `check_chunk`.
        weight_bytes: of all weight streams, in each channel.
    """

    config: CoreConfig
    shape: ModelShape
    max_positions: int
    chunk: int
    weight_bytes: int

    @property
    def cache(self) -> KvLayout:
        """The cache of a layer."""
        shape = self.shape
        return KvLayout(self.config, shape.kv_heads, shape.head_size, self.max_positions)

    def vector_words(self, elements: int) -> int:
        """Return the words of the vector buffer that a vector takes."""
        return -(-elements // self.config.m)

    def vector_bytes(self, elements: int) -> int:
        """Return the bytes that a vector takes in memory."""
        return self.vector_words(elements) * self.config.m * SLOT_BITS // 8

    def gamma(self, norm: int) -> int:
        """Return where a norm's factors lie: two for each layer, then the head's."""
        return norm * self.vector_bytes(self.shape.hidden)

    def rotation(self, position: int) -> int:
        """Return where a position's rotation lies."""
        norms = 2 * self.shape.layers + 1
        return self.gamma(norms) + position * self.vector_bytes(self.shape.head_size)

    @property
    def embedding(self) -> int:
        """Where the embedding begins."""
        return self.rotation(self.max_positions)

    def row(self, token: int) -> int:
        """Return where a token's row of the embedding lies."""
        return self.embedding + token * self.vector_bytes(self.shape.hidden)

    @property
    def outputs(self) -> int:
        """Where the last layer's outputs lie, of as many tokens as a program may have."""
        return self.row(self.shape.vocabulary)

    @property
    def logits(self) -> int:
        """Where the logits lie."""
        return self.outputs + self.chunk * self.vector_bytes(self.shape.hidden)

    @property
    def general_bytes(self) -> int:
        """Bytes of the general memory."""
        return self.logits + self.vector_bytes(self.shape.vocabulary)

    @property
    def channel_bytes(self) -> int:
        """Bytes of each channel."""
        return self.weight_bytes + self.shape.layers * self.cache.layer_bytes

    def keys(self, layer: int, head: int) -> int:
        """Return where a head's keys lie, from the cache's base on."""
        return layer * self.cache.layer_bytes + self.cache.keys(head)

    def values(self, layer: int, head: int) -> int:
        """Return where a head's values lie, from the cache's base on."""
        return layer * self.cache.layer_bytes + self.cache.values(head)

    def bucket(self, position: int, tokens: int) -> int:
        """Return the first position with the same program: that of tokens side by side.

        m positions have the same words of keys and values, and so have one program: all but the
        tokens that go beyond them, which have a program of their own.
        """
        place = position % self.config.m
        return position - place if place + tokens <= self.config.m else position

    def bases(self, position: int, tokens: Sequence[int]) -> tuple[int, ...]:
        """Return the base registers of a core whose memories hold this map from address 0 on.

        Args:
            position: of the first token. tokens: of the program, numbers in the vocabulary.
        """
        bases = [0] * BASES
        before = position - self.bucket(position, len(tokens))
        bases[Base.LENGTH] = before
        bases[Base.OUTPUTS] = self.outputs
        bases[Base.CACHE] = self.weight_bytes
        bases[Base.ROTATIONS] = before * self.vector_bytes(self.shape.head_size)
        bases[Base.NEW_KEYS] = self.weight_bytes + before * self.cache.key_step
        bases[Base.NEW_VALUES] = self.weight_bytes + before * self.cache.value_step
        for number, token in enumerate(tokens, Base.ROW):
            bases[number] = self.row(token)
        return tuple(bases)


def check_chunk(chunk: int, max_positions: int) -> None:
    """Refuse a number of tokens that no program reads.

    Raises:
        ConfigError: it is outside its range.
    """
    most = min(MAX_CHUNK, max_positions)
    if chunk not in range(1, most + 1):
        raise ConfigError(f"chunk is {chunk}; a program reads 1 to {most} tokens here")

"""What of a program's tokens lies where on the chip: words of the vector buffer and the activation
memory.

Each token has places of its own. Buffers of a head of keys and values are two where a unit may be
at the next one while another is still at the last. Those of the attention, of the feed-forward
network and of the head share their place; the program's tokens keep them apart.
"""

from dataclasses import dataclass

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError

SLOTS = 4
"""Vectors that are worked on in turn, so that none has to wait for a scalar of its own."""


@dataclass(frozen=True)
class Sizes:
    """Words of each vector; outputs of products are as many as strips that come out.

    Attributes:
        chunk: most tokens of a program.
        halves: of a probability: 1 or 2.
    """

    chunk: int
    hidden: int
    head: int
    heads: int
    kv_heads: int
    feed_forward: int
    halves: int
    scores: int
    mixed: int
    queries_keys_values: int
    attention_output: int
    gate_up: int
    down: int
    logits: int

    @property
    def group(self) -> int:
        """Heads of queries that share one of keys and values."""
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class Places:
    """Places of the same size, one behind the other; `places[n]` is the first word of one."""

    start: int
    size: int

    def __getitem__(self, number: int) -> int:
        return self.start + number * self.size

    def moved(self, words: int) -> "Places":
        """Return the places so many words behind."""
        return Places(self.start + words, self.size)


@dataclass(frozen=True)
class VectorBuffer:
    """Places of the wide vectors; see `hls_gen.layer_program`.

    Attributes:
        hidden, queries_keys_values, attention_output, gate_up, down: of each token.
        keys, values, attention: of each token, all heads.
        queries: of each head of keys and values, those that share it, token by token.
        key_rotations, query_rotations: of each token, once for each head of keys, and for each that
            shares one.
        normal: for each slot.
        gammas, logits: two, taken in turn.
        scores, mixed, totals: first words, for two heads of keys and values in turn, if there are
            two.
    """

    hidden: Places
    normal: Places
    gammas: Places
    key_rotations: Places
    query_rotations: Places
    queries_keys_values: Places
    keys: Places
    values: Places
    queries: Places
    attention: Places
    scores: Places
    mixed: Places
    totals: Places
    attention_output: Places
    gate_up: Places
    down: Places
    logits: Places


@dataclass(frozen=True)
class ActivationMemory:
    """Places of the INT8 vectors.

    Attributes:
        inputs, attention, keys, values, gated: of each token.
        queries: of each head of keys and values.
        probabilities: for two of them in turn, if there are two.
    """

    inputs: Places
    attention: Places
    keys: Places
    values: Places
    queries: Places
    probabilities: Places
    gated: Places


class _Words:
    """Hands out words one behind the other."""

    def __init__(self, begin: int = 0) -> None:
        self.end = begin

    def take(self, count: int, size: int) -> Places:
        places = Places(self.end, size)
        self.end = places[count]
        return places


def vector_buffer(sizes: Sizes, config: CoreConfig) -> VectorBuffer:
    """Return the places of the wide vectors.

    Raises:
        ConfigError: the vector buffer is too small.
    """
    chunk, turns = sizes.chunk, min(sizes.kv_heads, 2)
    queries = chunk * sizes.group
    keys = sizes.kv_heads * sizes.head
    common = _Words()
    hidden = common.take(chunk, sizes.hidden)
    normal = common.take(min(chunk, SLOTS), sizes.hidden)
    gammas = common.take(2, sizes.hidden)
    key_rotations = common.take(chunk, keys)
    query_rotations = common.take(chunk, sizes.group * sizes.head)
    attention, network, head = (_Words(common.end) for _ in range(3))
    places = VectorBuffer(
        hidden,
        normal,
        gammas,
        key_rotations,
        query_rotations,
        queries_keys_values=attention.take(chunk, sizes.queries_keys_values),
        keys=attention.take(chunk, keys),
        values=attention.take(chunk, keys),
        queries=attention.take(sizes.kv_heads, queries * sizes.head),
        attention=attention.take(chunk, sizes.heads * sizes.head),
        scores=attention.take(turns, queries * sizes.scores),
        mixed=attention.take(turns, queries * sizes.halves * sizes.mixed),
        totals=attention.take(turns, queries),
        attention_output=attention.take(chunk, sizes.attention_output),
        gate_up=network.take(chunk, sizes.gate_up),
        down=network.take(chunk, sizes.down),
        logits=head.take(2, sizes.logits),
    )
    _check_depth("vector_depth", config.vector_depth, max(attention.end, network.end, head.end))
    return places


def activation_memory(sizes: Sizes, config: CoreConfig) -> ActivationMemory:
    """Return the places of the INT8 vectors.

    Raises:
        ConfigError: the activation memory is too small.
    """
    chunk, turns = sizes.chunk, min(sizes.kv_heads, 2)
    queries = chunk * sizes.group
    common = _Words()
    inputs = common.take(chunk, sizes.hidden)
    mixed = common.take(chunk, sizes.heads * sizes.head)
    attention, network = _Words(common.end), _Words(common.end)
    places = ActivationMemory(
        inputs,
        mixed,
        keys=attention.take(chunk, sizes.kv_heads * sizes.head),
        values=attention.take(chunk, sizes.kv_heads * sizes.head),
        queries=attention.take(sizes.kv_heads, queries * sizes.head),
        probabilities=attention.take(turns, queries * sizes.halves * sizes.scores),
        gated=network.take(chunk, sizes.feed_forward),
    )
    _check_depth("activation_depth", config.activation_depth, max(attention.end, network.end))
    return places


def _check_depth(name: str, depth: int, needed: int) -> None:
    if needed > depth:
        raise ConfigError(
            f"{name} is {depth}; the model needs {needed} words: make it larger, or max_positions "
            "or chunk smaller"
        )

"""What of a token lies where on the chip: words of the vector buffer and the activation memory.

Buffers of one thing are two where a unit may be at the next one while another is still at the last.
Those of the layers and those of the head share their place; the program's tokens keep them apart.
"""

from dataclasses import dataclass

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError

Pair = tuple[int, int]


@dataclass(frozen=True)
class Sizes:
    """Words of each vector; outputs of products are as many as strips that come out.

    Attributes:
        halves: of a probability: 1 or 2.
    """

    hidden: int
    head: int
    heads: int
    kv_heads: int
    feed_forward: int
    positions: int
    halves: int
    scores: int
    mixed: int
    queries_keys_values: int
    attention_output: int
    gate_up: int
    down: int
    logits: int


@dataclass(frozen=True)
class VectorBuffer:
    """First words of the wide vectors; see `hls_gen.layer_program`.

    Attributes:
        mixed: of each of two heads, the outputs of both halves of the probabilities.
    """

    hidden: int
    normal: int
    gammas: Pair
    rotation: int
    queries_keys_values: int
    scores: Pair
    mixed: tuple[Pair, Pair]
    attention: int
    attention_output: int
    gate_up: int
    down: int
    logits: Pair


@dataclass(frozen=True)
class ActivationMemory:
    """First words of the INT8 vectors.

    Attributes:
        probabilities: of each of two heads, both halves.
    """

    inputs: int
    attention: int
    keys: int
    values: int
    queries: Pair
    probabilities: tuple[Pair, Pair]
    gated: int


class _Words:
    """Hands out words one behind the other."""

    def __init__(self, begin: int = 0) -> None:
        self.end = begin

    def take(self, words: int) -> int:
        begin, self.end = self.end, self.end + words
        return begin

    def pair(self, words: int) -> Pair:
        return self.take(words), self.take(words)


def vector_buffer(sizes: Sizes, config: CoreConfig) -> VectorBuffer:
    """Return the places of the wide vectors.

    Raises:
        ConfigError: the vector buffer is too small.
    """
    common = _Words()
    hidden, normal = common.pair(sizes.hidden)
    gammas = common.pair(sizes.hidden)
    rotation = common.take(sizes.kv_heads * sizes.head)
    layer, head = _Words(common.end), _Words(common.end)
    places = VectorBuffer(
        hidden,
        normal,
        gammas,
        rotation,
        queries_keys_values=layer.take(sizes.queries_keys_values),
        scores=layer.pair(sizes.scores),
        mixed=(layer.pair(sizes.mixed), layer.pair(sizes.mixed)),
        attention=layer.take(sizes.heads * sizes.head),
        attention_output=layer.take(sizes.attention_output),
        gate_up=layer.take(sizes.gate_up),
        down=layer.take(sizes.down),
        logits=head.pair(sizes.logits),
    )
    _check_depth("vector_depth", config.vector_depth, max(layer.end, head.end))
    return places


def activation_memory(sizes: Sizes, config: CoreConfig) -> ActivationMemory:
    """Return the places of the INT8 vectors.

    Raises:
        ConfigError: the activation memory is too small.
    """
    common = _Words()
    inputs = common.take(sizes.hidden)
    attention = common.take(sizes.heads * sizes.head)
    layer, network = _Words(common.end), _Words(common.end)
    keys, values = layer.pair(sizes.kv_heads * sizes.head)
    queries = layer.pair(sizes.head)
    first, second = (
        (layer.take(sizes.positions), layer.take(sizes.positions * (sizes.halves - 1)))
        for _ in range(2)
    )
    gated = network.take(sizes.feed_forward)
    _check_depth("activation_depth", config.activation_depth, max(layer.end, network.end))
    return ActivationMemory(inputs, attention, keys, values, queries, (first, second), gated)


def _check_depth(name: str, depth: int, needed: int) -> None:
    if needed > depth:
        raise ConfigError(
            f"{name} is {depth}; the model needs {needed} words: make it larger, or max_positions "
            "smaller"
        )

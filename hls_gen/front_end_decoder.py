"""The decoder in an operator graph: which operator plays which part, found from its end.

A decoder layer adds two branches to the vectors between the layers: attention, and a feed-forward
network with a gate or without. From the logits on each operator's inputs tell its part, so it does
not matter in which order a model computes them.
"""

from dataclasses import dataclass
from typing import TypeVar

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from hls_gen.graph import (
    Activation,
    Add,
    Attention,
    Embedding,
    Graph,
    LayerNorm,
    Linear,
    Multiply,
    Operator,
    PositionEmbedding,
    RmsNorm,
    Rotary,
)

Norm = RmsNorm | LayerNorm

Some = TypeVar("Some", bound=Operator)


@dataclass(frozen=True)
class DecoderLayer:
    """The operators of a decoder layer, but for its two additions.

    Attributes:
        rotary: of the queries; the keys have the same. None where nothing is rotated.
        gate: None where the feed-forward network has none; then the activation is `up`'s.
    """

    attention_norm: Norm
    query: Linear
    key: Linear
    value: Linear
    rotary: Rotary | None
    attention: Attention
    output: Linear
    feed_forward_norm: Norm
    gate: Linear | None
    up: Linear
    activation: Activation
    down: Linear

    @property
    def linears(self) -> dict[str, Linear]:
        """The linear layers by the names that LLaMA has for them."""
        named = {
            "self_attn.q_proj": self.query,
            "self_attn.k_proj": self.key,
            "self_attn.v_proj": self.value,
            "self_attn.o_proj": self.output,
            "mlp.gate_proj": self.gate,
            "mlp.up_proj": self.up,
            "mlp.down_proj": self.down,
        }
        return {name: linear for name, linear in named.items() if linear is not None}


@dataclass(frozen=True)
class Decoder:
    """A causal language model as embedding, layers, norm and head.

    Attributes:
        positions: None where they need no table.
    """

    embedding: Embedding
    positions: PositionEmbedding | None
    layers: tuple[DecoderLayer, ...]
    norm: Norm
    head: Linear

    @property
    def operators(self) -> tuple[Operator, ...]:
        """All operators that have weights or a function, in the order of their use."""
        ends = (self.embedding, self.positions), (self.norm, self.head)
        layers = (part for layer in self.layers for part in vars(layer).values())
        return tuple(part for part in (*ends[0], *layers, *ends[1]) if part is not None)

    def shape(self, name: str) -> ModelShape:
        """Return the shape of the model, which is called `name`.

        Raises:
            ConfigError: its layers have different shapes.
        """
        first = self.layers[0]
        for layer in self.layers:
            for mine, other in zip(layer.linears.values(), first.linears.values(), strict=True):
                if mine.shape != other.shape:
                    raise ConfigError(
                        f"{mine.path}: has {mine.shape[0]} rows and {other.path} has "
                        f"{other.shape[0]}; the layers of a model must be of one shape"
                    )
        return ModelShape(
            name=name,
            source="its operator graph",
            layers=len(self.layers),
            hidden=self.embedding.shape[0],
            heads=first.attention.heads,
            kv_heads=first.attention.kv_heads,
            head_size=first.attention.head_size,
            feed_forward=first.up.shape[0],
            vocabulary=self.head.shape[0],
            gated=first.gate is not None,
            tied=self.embedding.weight == self.head.weight,
            positions=self.positions.rows if self.positions else 0,
        )


def decoder_of(graph: Graph) -> Decoder:
    """Return the decoder that a graph is.

    Raises:
        ConfigError: it is another network; the message names the operator where it differs.
    """
    return _Finder(graph).decoder()


class _Finder:
    """Goes from the logits back to the embedding."""

    def __init__(self, graph: Graph) -> None:
        self._operators = graph.operators
        self._used: set[int] = set()

    def decoder(self) -> Decoder:
        head = self._at(len(self._operators) - 1, Linear, "the head")
        norm, place = self._norm(head.inputs[0], "the head's norm")
        layers: list[DecoderLayer] = []
        while self._is_layer(place):
            layer, place = self._layer(place)
            layers.insert(0, layer)
        if not layers:
            raise ConfigError(f"{norm.path}: reads no decoder layer; the model has none")
        embedding, positions = self._start(place)
        self._check_all_used()
        if len({layer.gate is None for layer in layers}) > 1:
            raise ConfigError("some layers have a gate and some have none; all must be alike")
        return Decoder(embedding, positions, tuple(layers), norm, head)

    def _is_layer(self, place: int) -> bool:
        """Return whether an operator ends a layer, and is not a table or the sum of two."""
        one = self._operators[place]
        if not isinstance(one, Add):
            return not isinstance(one, Embedding)
        parts = [self._operators[number] for number in one.inputs]
        return not all(isinstance(part, Embedding | PositionEmbedding) for part in parts)

    def _start(self, place: int) -> tuple[Embedding, PositionEmbedding | None]:
        one = self._operators[place]
        if isinstance(one, Embedding):
            return self._at(place, Embedding, "the embedding"), None
        self._used.add(place)
        places = sorted(one.inputs, key=lambda x: isinstance(self._operators[x], PositionEmbedding))
        return (
            self._at(places[0], Embedding, "the embedding"),
            self._at(places[1], PositionEmbedding, "the positions' embedding"),
        )

    def _layer(self, place: int) -> tuple[DecoderLayer, int]:
        """Return the layer that an addition ends, and the number of what it reads."""
        middle, down = self._branch(place, "the feed-forward network")
        gate, up, activation, norm = self._feed_forward(down)
        feed_forward_norm, read = self._norm(norm, "the feed-forward network's norm")
        self._check_reads(feed_forward_norm, read, middle)
        start, output = self._branch(middle, "the attention")
        attention = self._at(output.inputs[0], Attention, "the attention")
        rotary, (query, key, value) = self._projections(attention)
        norms = {linear.inputs[0] for linear in (query, key, value)}
        if len(norms) > 1:
            raise ConfigError(f"{key.path}: queries, keys and values do not read the same norm")
        attention_norm, read = self._norm(norms.pop(), "the attention's norm")
        self._check_reads(attention_norm, read, start)
        layer = DecoderLayer(
            *(attention_norm, query, key, value, rotary, attention, output),
            *(feed_forward_norm, gate, up, activation, down),
        )
        return layer, start

    def _branch(self, place: int, part: str) -> tuple[int, Linear]:
        """Return what an addition adds a linear layer to, and that layer."""
        added = self._at(place, Add, f"the addition behind {part}")
        for linear, other in (added.inputs, added.inputs[::-1]):
            is_linear = isinstance(self._operators[linear], Linear)
            if is_linear and not isinstance(self._operators[other], Linear):
                return other, self._at(linear, Linear, f"the last linear layer of {part}")
        raise ConfigError(
            f"{added.path}: adds {self._operators[added.inputs[0]].kind} and "
            f"{self._operators[added.inputs[1]].kind}; {part} ends with a linear layer that is "
            "added to what it reads"
        )

    def _feed_forward(self, down: Linear) -> tuple[Linear | None, Linear, Activation, int]:
        """Return gate, up and activation, and the number of the norm that they read."""
        if not isinstance(self._operators[down.inputs[0]], Multiply):
            activation = self._at(down.inputs[0], Activation, "the activation function")
            up = self._at(activation.inputs[0], Linear, "the first linear layer")
            return None, up, activation, up.inputs[0]
        product = self._at(down.inputs[0], Multiply, "the product with the gate")
        places = sorted(
            product.inputs, key=lambda x: not isinstance(self._operators[x], Activation)
        )
        activation = self._at(places[0], Activation, "the gate's activation function")
        gate = self._at(activation.inputs[0], Linear, "the gate")
        up = self._at(places[1], Linear, "the up projection")
        if gate.inputs != up.inputs:
            raise ConfigError(f"{gate.path}: does not read what {up.path} reads")
        return gate, up, activation, up.inputs[0]

    def _projections(
        self, attention: Attention
    ) -> tuple[Rotary | None, tuple[Linear, Linear, Linear]]:
        """Return the rotation, and the linear layers of queries, keys and values."""
        places, rotations = list(attention.inputs), []
        for number in range(2):
            if isinstance(self._operators[places[number]], Rotary):
                rotations.append(self._at(places[number], Rotary, "the rotation"))
                places[number] = rotations[-1].inputs[0]
        kinds = {(one.rates, one.side_by_side) for one in rotations}
        if len(rotations) == 1 or len(kinds) > 1:
            raise ConfigError(f"{attention.path}: queries and keys are rotated in different ways")
        query, key, value = (
            self._at(place, Linear, f"the linear layer of the {part}")
            for place, part in zip(places, ("queries", "keys", "values"), strict=True)
        )
        return (rotations[0] if rotations else None), (query, key, value)

    def _norm(self, place: int, part: str) -> tuple[Norm, int]:
        """Return a norm and the number of what it reads."""
        one = self._operators[place]
        if isinstance(one, LayerNorm):
            return self._at(place, LayerNorm, part), one.inputs[0]
        norm = self._at(place, RmsNorm, part)
        return norm, norm.inputs[0]

    def _at(self, place: int, kind: type[Some], part: str) -> Some:
        """Return an operator of a kind, which is `part` of the decoder."""
        one = self._operators[place]
        if not isinstance(one, kind):
            raise ConfigError(
                f"{one.path}: {one.kind} stands where {part} of a decoder like LLaMA's or OPT's "
                f"is: {kind.kind} is expected"
            )
        self._used.add(place)
        return one

    def _check_reads(self, norm: Norm, read: int, expected: int) -> None:
        """Refuse a branch that does not read what it is added to."""
        if read != expected:
            raise ConfigError(
                f"{norm.path}: reads {self._operators[read].path}, and its branch is added to "
                f"{self._operators[expected].path}; a decoder layer adds to what it reads"
            )

    def _check_all_used(self) -> None:
        for number, one in enumerate(self._operators):
            if number not in self._used:
                raise ConfigError(f"{one.path}: {one.kind} has no part in a decoder")

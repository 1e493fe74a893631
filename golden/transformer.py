"""The integer transformer: a LLaMA-style model as the core executes it, bit for bit.

Between the layers a token is a wide vector, 27 bits, whose binary point was chosen when the model
was made (`golden.transformer_quantise`). Each matrix product takes INT8 inputs, quantised with one
scale per token, and gives a wide vector. Keys and values go to the cache as INT8 with scales that
are known before. Everything else is `golden.special_functions`; docs/integer-model.md says what
each number is worth.

Tokens may be given one by one or many at once: a token's numbers are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from golden.block_sparse import BlockSparse, causal
from golden.integer_linear import IntegerLinear, plain_product
from golden.model_shapes import ModelShape
from golden.numbers import signed_range
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.special_function_unit import FACTOR_BITS, MAX_SHIFT
from golden.special_functions import functions, lane, scalars
from golden.special_functions.scalars import Scalar

NORM_SHIFT = -22
"""Of RMSNorm: its first product has 22 fraction bits."""

CACHE_SHIFT = 12
"""A key or value of 1 in the cache is a wide element of 2**12."""

ATTENTION_FRACTION_BITS = 16
"""Fraction bits of the attention's wide results, which count in units of the cached values."""

_TOKENS_AT_ONCE = 64
_UNSEEN = 64

Watch = Callable[[str, torch.Tensor], None]
"""Is given the name of each intermediate vector, like "layer 3 queries", and its values."""


@dataclass(frozen=True, eq=False)
class Norm:
    """RMSNorm and quantisation: a wide vector in, INT8 and the scale of the token out.

    Attributes:
        gamma: factors, int64 [inputs]. epsilon: as in `functions.rms_norm`.
    """

    gamma: torch.Tensor
    epsilon: int

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, Scalar]:
        """Return INT8 values, int64 [..., inputs], and their normalised magnitude."""
        largest = functions.magnitude(x)
        return quantise(functions.rms_norm(x, self.gamma, largest, self.epsilon, NORM_SHIFT))


@dataclass(frozen=True)
class Residual:
    """(x * first + y * second) / 2**shift: a residual connection that moves the binary point.

    Raises:
        ShapeError: a factor or the shift is more than the hardware has.
    """

    first: int
    second: int
    shift: int

    def __post_init__(self) -> None:
        most = signed_range(FACTOR_BITS)[1]
        if max(self.first, self.second) > most or not 0 <= self.shift <= MAX_SHIFT:
            raise ShapeError(
                f"a residual has the factors {self.first} and {self.second} and the shift "
                f"{self.shift}; allowed are up to {most}, and 0 to {MAX_SHIFT}"
            )

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the wide sum."""
        return functions.add(x, y, self.first, self.second, self.shift)


@dataclass(frozen=True, eq=False)
class Attention:
    """Grouped-query attention over the INT8 cache.

    Queries and keys have the pairs of the rotation side by side in each head.

    Attributes:
        score_shift: of the dequantisation of scores. score_fraction: their fraction bits.
        sum_shift: of the sum of both halves' products.
        output_shift: of the division by the sum of the probabilities.
        probability_bits: 7 for INT8 probabilities; 14 for two halves, in two lanes of the engine.
    """

    query: IntegerLinear
    key: IntegerLinear
    value: IntegerLinear
    output: IntegerLinear
    score_shift: int
    score_fraction: int
    sum_shift: int
    output_shift: int
    probability_bits: int


@dataclass(frozen=True, eq=False)
class FeedForward:
    """The gated feed-forward network: down(silu(gate(x)) * up(x)).

    Attributes:
        gate_shift: brings the gate's outputs to 16 fraction bits.
        product_first: SiLU's outputs times this, a power of two, meet `up`'s, which are factors.
    """

    gate: IntegerLinear
    up: IntegerLinear
    down: IntegerLinear
    gate_shift: int
    product_first: int


@dataclass(frozen=True, eq=False)
class Layer:
    """One decoder layer."""

    attention_norm: Norm
    attention: Attention
    attention_residual: Residual
    feed_forward_norm: Norm
    feed_forward: FeedForward
    feed_forward_residual: Residual


@dataclass
class Cache:
    """Keys and values of the tokens so far, INT8.

    Attributes:
        keys, values: of each layer, int8 [tokens, kv_heads, head_size]; keys are rotated.
    """

    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens that the first layer has seen."""
        return len(self.keys[0]) if self.keys else 0

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Add tokens to a layer; layers come in their order."""
        for kept, new in ((self.keys, keys), (self.values, values)):
            new = new.to(torch.int8)
            if layer == len(kept):
                kept.append(new)
            else:
                kept[layer] = torch.cat([kept[layer], new])


@dataclass(frozen=True, eq=False)
class IntegerTransformer:
    """A model whose every number is an integer.

    Attributes:
        embedding: wide rows, int32 [vocabulary, hidden].
        head_norm, head: what makes logits of the last layer's outputs.
        logit_fraction: fraction bits of the logits.
        theta: base of the rotary embedding.
        max_positions: for more tokens sums in the attention could saturate.
    """

    shape: ModelShape
    embedding: torch.Tensor
    layers: tuple[Layer, ...]
    head_norm: Norm
    head: IntegerLinear
    logit_fraction: int
    theta: float
    max_positions: int

    def hidden(
        self,
        tokens: torch.Tensor,
        cache: Cache | None = None,
        watch: Watch | None = None,
        blocks: BlockSparse | None = None,
    ) -> torch.Tensor:
        """Return the last layer's outputs, int64 [tokens, hidden].

        Args:
            tokens: int64 [tokens], that follow those in the cache.
            cache: is extended.
            watch: is given every intermediate vector, of up to 64 tokens at once.
            blocks: that these tokens see of all in front of them; all, if nothing is said.

        Raises:
            ShapeError: a token is not in the vocabulary. ConfigError: there are too many.
        """
        cache = Cache() if cache is None else cache
        total = cache.tokens + len(tokens)
        if total > self.max_positions:
            raise ConfigError(
                f"the text has {total} tokens; this model was made for {self.max_positions}"
            )
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(self.embedding):
            raise ShapeError(f"a token is not one of the {len(self.embedding)} of the vocabulary")
        parts = tokens.split(_TOKENS_AT_ONCE)
        return torch.cat([self._some(some, cache, watch, blocks) for some in parts])

    def _some(
        self,
        tokens: torch.Tensor,
        cache: Cache,
        watch: Watch | None,
        blocks: BlockSparse | None,
    ) -> torch.Tensor:
        """Do what `hidden` does: few tokens at once are faster than many, which fit in no cache."""
        positions = torch.arange(cache.tokens, cache.tokens + len(tokens))
        rotation = functions.rope_table(positions, self.shape.head_size, self.theta)
        seen = (blocks.seen if blocks else causal)(positions, cache.tokens + len(tokens))
        x = self.embedding[tokens].long()
        _show(watch, "embedding", x)
        for number, layer in enumerate(self.layers):
            see = _named(watch, f"layer {number}")
            y = self._attend(number, layer, x, rotation, seen, cache, see)
            x = layer.attention_residual(x, y)
            _show(see, "attention residual", x)
            x = layer.feed_forward_residual(x, feed_forward(layer, x, see))
            _show(see, "output", x)
        return x

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the wide logits, int64 [..., vocabulary], of the last layer's outputs."""
        return self.head(*self.head_norm(hidden))

    def forward(
        self, tokens: torch.Tensor, cache: Cache | None = None, watch: Watch | None = None
    ) -> torch.Tensor:
        """Return the logits of all tokens; see `hidden`."""
        return self.logits(self.hidden(tokens, cache, watch))

    def _attend(
        self,
        number: int,
        layer: Layer,
        x: torch.Tensor,
        rotation: torch.Tensor,
        seen: torch.Tensor,
        cache: Cache,
        watch: Watch | None,
    ) -> torch.Tensor:
        """Return the attention's wide outputs, int64 [tokens, hidden]; extends the cache."""
        attention = layer.attention
        inputs, token_scale = layer.attention_norm(x)
        _show(watch, "attention inputs", inputs)
        heads, size = self.shape.heads, self.shape.head_size
        queries, keys, values = (
            linear(inputs, token_scale).reshape(len(x), -1, size)
            for linear in (attention.query, attention.key, attention.value)
        )
        queries = functions.rope(queries, rotation[:, None])
        keys = functions.static_quantise(functions.rope(keys, rotation[:, None]), 1, CACHE_SHIFT)
        values = functions.static_quantise(values, 1, CACHE_SHIFT)
        for name, vector in (("queries", queries), ("keys", keys), ("values", values)):
            _show(watch, name, vector)
        cache.append(number, keys, values)
        query_bytes, query_scale = quantise(queries)
        _show(watch, "query bytes", query_bytes)
        mixed = attend(
            attention, query_bytes, query_scale, cache.keys[number], cache.values[number], seen
        ).reshape(len(x), heads * size)
        _show(watch, "attention", mixed)
        output = attention.output(*quantise(mixed))
        _show(watch, "attention output", output)
        return output


def quantise(x: torch.Tensor) -> tuple[torch.Tensor, Scalar]:
    """Return INT8 values and the normalised magnitude of each wide vector [..., n]."""
    magnitude = functions.magnitude(x)
    return functions.quantise(x, scalars.quantiser(magnitude)), scalars.normalise(magnitude)


def attend(
    attention: Attention,
    queries: torch.Tensor,
    query_scale: Scalar,
    keys: torch.Tensor,
    values: torch.Tensor,
    seen: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return each query's mixture of the values, wide, int64 [tokens, heads, head_size].

    Args:
        queries: INT8 [tokens, heads, head_size], with the scales [tokens, heads].
        keys, values: INT8 [positions, kv_heads, head_size].
        seen: the positions that each query sees, bool [tokens, positions]. If nothing is said, the
            queries are those of the last positions, and see all up to their own.
    """
    tokens, heads, size = queries.shape
    positions, kv_heads, _ = keys.shape
    if seen is None:
        seen = causal(torch.arange(positions - tokens, positions), positions)
    shared = (kv_heads, heads // kv_heads, tokens)
    by_head = queries.reshape(tokens, kv_heads, -1, size).permute(1, 2, 0, 3)
    own_scale = Scalar(*(part.T.reshape(shared) for part in query_scale))
    products = plain_product(by_head, keys.permute(1, 0, 2)[:, None])
    scores = functions.dequantise(products, own_scale, attention.score_shift)

    maximum = scores.masked_fill(~seen, int(scores.min())).amax(dim=-1, keepdim=True)
    # The hardware leaves out what a query does not see; here it is so low that its exp is 0.
    scores = torch.where(seen, scores, maximum - (_UNSEEN << attention.score_fraction))
    bits = attention.probability_bits
    p, total = functions.softmax(
        scores,
        scalars.exact(maximum.squeeze(-1)),
        fraction_bits=bits,
        shift=attention.score_fraction,
    )
    by_channel = values.permute(1, 2, 0)[:, None]
    if bits == 7:
        mixed = plain_product(lane.to_byte(p), by_channel)
    else:
        high, low = (plain_product(half, by_channel) for half in lane.halves(p))
        mixed = functions.add(high, low, 1 << 7, 1, attention.sum_shift)
    share = scalars.reciprocal(total)
    outputs = functions.dequantise(mixed, share, attention.output_shift)
    return outputs.permute(2, 0, 1, 3).reshape(tokens, heads, size)


def feed_forward(layer: Layer, x: torch.Tensor, watch: Watch | None = None) -> torch.Tensor:
    """Return the feed-forward network's wide outputs, int64 [tokens, hidden]."""
    network = layer.feed_forward
    inputs = layer.feed_forward_norm(x)
    _show(watch, "feed-forward inputs", inputs[0])
    gate, up = network.gate(*inputs), network.up(*inputs)
    _show(watch, "gate", gate)
    _show(watch, "up", up)
    first, shift = (1, network.gate_shift)
    if shift < 0:
        first, shift = 1 << -shift, 0
    gated = functions.multiply(functions.silu(gate, first, shift), up, network.product_first)
    _show(watch, "gated", gated)
    output = network.down(*quantise(gated))
    _show(watch, "feed-forward output", output)
    return output


def _show(watch: Watch | None, name: str, values: torch.Tensor) -> None:
    if watch is not None:
        watch(name, values)


def _named(watch: Watch | None, prefix: str) -> Watch | None:
    """Return a watch that puts `prefix` before the names."""
    if watch is None:
        return None
    return lambda name, values: watch(f"{prefix} {name}", values)

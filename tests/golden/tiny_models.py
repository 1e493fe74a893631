"""Random integer transformers, small enough to be interpreted in a moment."""

import torch

from golden.integer_linear import RealWeights, integer_linear
from golden.model_shapes import ModelShape
from golden.transformer import (
    ATTENTION_FRACTION_BITS,
    CACHE_SHIFT,
    Attention,
    FeedForward,
    IntegerTransformer,
    Layer,
)
from golden.transformer_quantise import norm_of, residual

HIDDEN_FRACTION, QUERY_FRACTION, GATE_FRACTION, UP_FRACTION = 20, 19, 18, 13
CACHE_UNITS = 30.0
"""Standard deviation of cached keys and values; some saturate."""


class Tiny:
    """Makes layers of a random model.

    Args:
        zeros: weights have zero points.
        kept: of 8 weights side by side so many are not 0.
    """

    def __init__(
        self,
        seed=0,
        *,
        layers=2,
        hidden=32,
        heads=2,
        kv_heads=1,
        head_size=16,
        feed_forward=40,
        vocabulary=50,
        bits=8,
        group_size=16,
        zeros=False,
        kept=8,
        probability_bits=14,
        max_positions=64,
    ):
        self.random = torch.Generator().manual_seed(seed)
        self.bits, self.group_size, self.zeros = bits, group_size, zeros
        self.kept, self.probability_bits = kept, probability_bits
        self.max_positions = max_positions
        self.shape = ModelShape(
            name="tiny",
            source="random numbers",
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_size=head_size,
            feed_forward=feed_forward,
            vocabulary=vocabulary,
        )

    def linear(self, rows, inputs, input_fraction, output_fraction, size=1.0):
        """A layer whose outputs are about `size` for inputs of about 1."""
        groups = -(-inputs // self.group_size)
        low = -(2 ** (self.bits - 1))
        shape = (rows, inputs)
        values = torch.randint(low + 1, -low, shape, generator=self.random).to(torch.int8)
        if self.kept < 8:
            places = torch.rand(rows, -(-inputs // 8), 8, generator=self.random).argsort(dim=2)
            values = values * (places < self.kept).flatten(1)[:, :inputs]
        step = size / inputs**0.5 / 2 ** (self.bits - 2)
        scales = step * (0.5 + torch.rand(rows, groups, generator=self.random).double())
        zeros = torch.zeros_like(scales)
        if self.zeros:
            zeros = torch.randint(-60, 60, scales.shape, generator=self.random) / 8
        real = RealWeights(values, scales, zeros.double(), self.group_size, self.bits)
        return integer_linear(real, input_fraction, output_fraction)

    def norm(self):
        gain = 0.5 + torch.rand(self.shape.hidden, generator=self.random)
        return norm_of(gain, 1e-5, HIDDEN_FRACTION)

    def layer(self):
        shape, norm_fraction = self.shape, self.norm()[1]
        queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        attention_norm, norm_fraction = self.norm()
        inputs = (shape.hidden, norm_fraction)
        sum_shift = self.max_positions.bit_length() - 6 if self.probability_bits == 14 else 0
        attention = Attention(
            query=self.linear(queries, *inputs, QUERY_FRACTION),
            key=self.linear(keys, *inputs, CACHE_SHIFT, CACHE_UNITS),
            value=self.linear(keys, *inputs, CACHE_SHIFT, CACHE_UNITS),
            output=self.linear(
                shape.hidden, queries, ATTENTION_FRACTION_BITS, HIDDEN_FRACTION + 1, 1 / CACHE_UNITS
            ),
            score_shift=QUERY_FRACTION - 2,
            score_fraction=15,
            sum_shift=sum_shift,
            output_shift=-sum_shift - ATTENTION_FRACTION_BITS,
            probability_bits=self.probability_bits,
        )
        feed_forward_norm, norm_fraction = self.norm()
        inputs = (shape.hidden, norm_fraction)
        feed_forward = FeedForward(
            gate=self.linear(shape.feed_forward, *inputs, GATE_FRACTION),
            up=self.linear(shape.feed_forward, *inputs, UP_FRACTION),
            down=self.linear(
                shape.hidden, shape.feed_forward, UP_FRACTION + 2, HIDDEN_FRACTION - 1
            ),
            gate_shift=GATE_FRACTION - 16,
            product_first=1 << 2,
        )
        return Layer(
            attention_norm,
            attention,
            residual(HIDDEN_FRACTION, HIDDEN_FRACTION + 1, HIDDEN_FRACTION),
            feed_forward_norm,
            feed_forward,
            residual(HIDDEN_FRACTION, HIDDEN_FRACTION - 1, HIDDEN_FRACTION),
        )

    def model(self):
        shape = self.shape
        rows = torch.randn(shape.vocabulary, shape.hidden, generator=self.random)
        layers = tuple(self.layer() for _ in range(shape.layers))
        norm, fraction = self.norm()
        head = self.linear(shape.vocabulary, shape.hidden, fraction, 16)
        embedding = torch.round(rows * 2.0**HIDDEN_FRACTION).to(torch.int32)
        return IntegerTransformer(
            shape, embedding, layers, norm, head, 16, 1000.0, self.max_positions
        )


def tiny_model(seed=0, **fields):
    return Tiny(seed, **fields).model()

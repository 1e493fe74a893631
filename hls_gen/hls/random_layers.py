"""Random decoder layers of the integer transformer, for the benches of kernels."""

from dataclasses import dataclass

import torch

from golden.integer_linear import IntegerLinear, RealWeights, integer_linear
from golden.model_shapes import ModelShape
from golden.transformer import (
    ATTENTION_FRACTION_BITS,
    CACHE_SHIFT,
    Attention,
    FeedForward,
    Layer,
    Norm,
)
from golden.transformer_quantise import norm_of, residual

HIDDEN_FRACTION, QUERY_FRACTION, UP_FRACTION = 20, 19, 13
"""Fraction bits of the residual, of queries, and of the gated product's second input."""

GATE_FRACTIONS = (18, 14)
"""Of the first one: SiLU's shift is to the right, or to the left."""

CACHE_UNITS = 60.0
"""Standard deviation of cached keys and values; some saturate."""


@dataclass
class RandomLayers:
    """Makes random layers of a shape.

    Attributes:
        bits: of a weight. group_size: inputs that share a scale.
    """

    shape: ModelShape
    random: torch.Generator
    max_positions: int
    probability_bits: int = 14
    bits: int = 8
    group_size: int = 32

    def layer(self, gate_fraction: int = GATE_FRACTIONS[0]) -> Layer:
        """Return a layer whose gate's outputs have so many fraction bits."""
        shape = self.shape
        attention_norm, fraction = self._norm()
        attention = self.attention(fraction)
        feed_forward_norm, fraction = self._norm()
        wide = (shape.feed_forward, shape.hidden, fraction)
        feed_forward = FeedForward(
            gate=self._linear(*wide, gate_fraction),
            up=self._linear(*wide, UP_FRACTION),
            down=self._linear(
                shape.hidden, shape.feed_forward, UP_FRACTION + 2, HIDDEN_FRACTION - 1
            ),
            gate_shift=gate_fraction - 16,
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

    def attention(self, fraction: int) -> Attention:
        """Return an attention for inputs with `fraction` bits."""
        shape, bits = self.shape, self.probability_bits
        queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        sum_shift = self.max_positions.bit_length() - 6 if bits == 14 else 0
        cached = (keys, shape.hidden, fraction, CACHE_SHIFT, CACHE_UNITS)
        return Attention(
            query=self._linear(queries, shape.hidden, fraction, QUERY_FRACTION),
            key=self._linear(*cached),
            value=self._linear(*cached),
            output=self._linear(
                shape.hidden,
                queries,
                ATTENTION_FRACTION_BITS,
                HIDDEN_FRACTION + 1,
                1 / CACHE_UNITS,
            ),
            score_shift=QUERY_FRACTION - 2,
            score_fraction=15,
            sum_shift=sum_shift,
            output_shift=-sum_shift - ATTENTION_FRACTION_BITS,
            probability_bits=bits,
        )

    def _norm(self) -> tuple[Norm, int]:
        gain = 0.5 + torch.rand(self.shape.hidden, generator=self.random)
        return norm_of(gain, 1e-5, HIDDEN_FRACTION)

    def _linear(
        self, rows: int, inputs: int, input_fraction: int, output_fraction: int, size: float = 1.0
    ) -> IntegerLinear:
        """Return a layer whose outputs are about `size` for inputs of about 1."""
        groups = -(-inputs // self.group_size)
        low = -(2 ** (self.bits - 1))
        values = torch.randint(low + 1, -low, (rows, inputs), generator=self.random)
        step = size / inputs**0.5 / 2 ** (self.bits - 2)
        scales = step * (0.5 + torch.rand(rows, groups, generator=self.random).double())
        zeros = torch.randint(-60, 60, scales.shape, generator=self.random).double() / 8
        real = RealWeights(values.to(torch.int8), scales, zeros, self.group_size, self.bits)
        return integer_linear(real, input_fraction, output_fraction)

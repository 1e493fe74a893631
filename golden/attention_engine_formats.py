"""The edges of the drive's attention engine: FP16 or INT8 in, fixed point inside, FP16 out.

FP16 keys and values stay as they are in the flash and become fixed point of 16 bits as they enter
the engine, with fraction bits that are known for a layer's kv head. INT8 ones are what they are:
the host chose a scale for each channel when it wrote them, multiplies the query with the keys'
scales before it sends it, and the output with the values'. A query comes as FP16. The heads of a
group share one exponent, so that their sums of |q| count in one unit.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from golden.numbers import check_range, saturate, signed_range
from golden.spec.attention_engine import AttentionConfig, KvFormat
from golden.spec.errors import ShapeError

HALF_EXPONENT_BIAS = 25
"""An FP16 number is significand * 2**(exponent - 25), the significand having 11 bits."""

_HALF_FIELDS = ((1, 15), (5, 10), (10, 0))


class Queries(NamedTuple):
    """Queries as the engine computes with them.

    Attributes:
        values: int64 [..., queries, head_size], worth values * 2**-fraction.
        fraction: of each group of queries, int64 [...].
    """

    values: torch.Tensor
    fraction: torch.Tensor


@dataclass(frozen=True, eq=False)
class KvHead:
    """Keys and values of one kv head as the engine computes with them.

    Attributes:
        keys, values: int64 [tokens, head_size], worth themselves * 2**-fraction.
        key_fraction, value_fraction: fraction bits; 0 for INT8, whose scales are the host's affair.
    """

    keys: torch.Tensor
    values: torch.Tensor
    key_fraction: int = 0
    value_fraction: int = 0

    def part(self, tokens: slice) -> "KvHead":
        """Return some of the tokens."""
        return KvHead(
            self.keys[tokens], self.values[tokens], self.key_fraction, self.value_fraction
        )


def is_finite(x: torch.Tensor) -> torch.Tensor:
    """Return for FP16 numbers whether they are finite; the engine reports it when one is not."""
    return _fields(x)[1] < 31


def to_fixed(x: torch.Tensor, fraction: torch.Tensor | int, bits: int) -> torch.Tensor:
    """Return FP16 numbers times 2**fraction, rounded half to even and saturated, int64.

    Infinities and NaNs count as what their fields would say if 31 were an exponent as any other:
    from 65536 on.

    Args:
        x: float16. fraction: int64, broadcastable to x. bits: of the signed result.

    Raises:
        ShapeError: x is not float16.
    """
    negative, exponent, mantissa = _fields(x)
    significand = mantissa + ((exponent > 0).long() << 10)
    shift = exponent.clamp(min=1) - HALF_EXPONENT_BIAS + fraction
    # A double holds a significand of 11 bits with any such exponent.
    magnitude = torch.round(torch.ldexp(significand.double(), shift)).clamp(max=2.0**bits).long()
    return saturate(torch.where(negative == 1, -magnitude, magnitude), bits)


def to_queries(config: AttentionConfig, x: torch.Tensor) -> Queries:
    """Return FP16 queries [..., queries, head_size] in fixed point, a group's with one exponent.

    It is the largest for which the largest |q| of the group has `query_bits`; they saturate without
    the least value.

    Raises:
        ShapeError: the shape is not the configuration's, or x is not float16.
    """
    if x.shape[-2:] != (config.queries, config.head_size):
        raise ShapeError(
            f"queries are {list(x.shape)}; the last two must be "
            f"[{config.queries}, {config.head_size}]"
        )
    _, exponent, mantissa = _fields(x)
    significand = mantissa + ((exponent > 0).long() << 10)
    # The place of the leading one of the largest, as a power of two that is just above it.
    place = torch.frexp(significand.double()).exponent + exponent.clamp(min=1) - HALF_EXPONENT_BIAS
    place = torch.where(significand > 0, place, -HALF_EXPONENT_BIAS).amax(dim=(-1, -2))
    fraction = config.query_bits - 1 - place
    values = to_fixed(x, fraction[..., None, None], config.query_bits)
    return Queries(values.clamp(min=-signed_range(config.query_bits)[1]), fraction)


def from_half(
    keys: torch.Tensor, values: torch.Tensor, key_fraction: int, value_fraction: int
) -> KvHead:
    """Return FP16 keys and values, float16 [tokens, head_size], in fixed point of 16 bits."""
    bits = KvFormat.FP16.bits
    return KvHead(
        to_fixed(keys, key_fraction, bits),
        to_fixed(values, value_fraction, bits),
        key_fraction,
        value_fraction,
    )


def from_bytes(keys: torch.Tensor, values: torch.Tensor) -> KvHead:
    """Return INT8 keys and values [tokens, head_size].

    Raises:
        ShapeError: they are not integers of 8 bits.
    """
    for name, given in (("keys", keys), ("values", values)):
        check_range(given, KvFormat.INT8.bits, name)
    return KvHead(keys.long(), values.long())


def fraction_for(largest: float) -> int:
    """Return the most fraction bits with which fixed point of 16 bits holds up to `largest`."""
    if largest <= 0:
        return KvFormat.FP16.bits
    most = signed_range(KvFormat.FP16.bits)[1]
    # frexp of the quotient: 2**(exponent - 1) <= most / largest.
    return int(np.frexp(most / largest)[1]) - 1


def channel_scales(x: torch.Tensor, headroom: float = 1.0) -> torch.Tensor:
    """Return what 1 is worth in INT8 for each channel, from x [..., tokens, channels]: the host's.

    Args:
        headroom: the range over the largest |x|.
    """
    largest = x.abs().amax(dim=-2).double() * headroom
    return torch.where(largest > 0, largest / signed_range(KvFormat.INT8.bits)[1], 1.0)


def to_bytes(x: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return x [..., tokens, channels] over its channels' scales as INT8, saturated."""
    scaled = torch.round(x.double() / scales.unsqueeze(-2))
    return saturate(scaled, KvFormat.INT8.bits).to(torch.int8)


def to_half(config: AttentionConfig, outputs: torch.Tensor, value_fraction: int) -> torch.Tensor:
    """Return the engine's outputs, int64, as FP16, rounded once, half to even.

    What is beyond FP16's range becomes its largest number, 65504. INT8 values' scales are not in
    it: the host multiplies with them.
    """
    fraction = config.output_fraction_bits + value_fraction
    # From float64 to float16 NumPy rounds once; torch goes by float32.
    real = np.ldexp(outputs.numpy().astype(np.float64), -fraction)
    most = float(np.finfo(np.float16).max)
    return torch.from_numpy(real.clip(-most, most).astype(np.float16))


def _fields(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return sign, exponent and mantissa of FP16 numbers, int64."""
    if x.dtype is not torch.float16:
        raise ShapeError(f"the numbers are {x.dtype}; the engine takes torch.float16")
    word = x.contiguous().view(torch.int16).long()
    negative, exponent, mantissa = (
        word >> shift & ((1 << bits) - 1) for bits, shift in _HALF_FIELDS
    )
    return negative, exponent, mantissa

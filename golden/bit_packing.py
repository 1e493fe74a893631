"""Weights of few bits, packed densely: the format of a segment of weights in memory.

A segment is a row of two's complement weights of one width, b bits. It is one string of bits:

- Bit k of weight n is bit `n * b + k` of the string: weights follow each other in their order,
  each with its lowest bit first, without a gap. A weight may cross the border of a byte or word.
- Bit s of the string is bit `s % 8` of byte `s // 8`; in words of w bits that is bit `s % w` of
  word `s // w`, since words are little-endian.
- Only behind the last weight there is padding, up to the end of a byte or of a word. `pack_bits`
  pads with zeros; a reader ignores what stands there.

So `count` weights take `count * b` bits, for odd widths as well.
"""

import numpy as np
import torch

from golden.numbers import check_range
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.expansion import WEIGHT_WIDTHS


def packed_bytes(count: int, bits: int, word_bits: int = 8) -> int:
    """Return the bytes of a segment of `count` weights, padded to whole words.

    Raises:
        ConfigError: a width that weights or words do not have.
    """
    _check_widths(bits, word_bits)
    return -(-count * bits // word_bits) * (word_bits // 8)


def pack_bits(values: torch.Tensor, bits: int, word_bits: int = 8) -> torch.Tensor:
    """Return segments in memory: uint8 [..., bytes], of integer weights [..., count].

    Args:
        values: one segment along the last dimension.
        bits: width of a weight: 2, 3, 4, 5, 6 or 8.
        word_bits: each segment is padded with zeros to whole words of so many bits.

    Raises:
        ConfigError: a width that weights or words do not have.
        ShapeError: values that are no integers of `bits` signed bits, or that have no dimension.
    """
    _check_widths(bits, word_bits)
    if values.ndim == 0:
        raise ShapeError("the weights are a single number; a row of them is needed")
    check_range(values, bits, "the row of weights")
    size = packed_bytes(values.shape[-1], bits, word_bits)
    packed = np.zeros((*values.shape[:-1], size), np.uint8)
    dense = pack_fields((values.numpy(force=True), bits))
    packed[..., : dense.shape[-1]] = dense
    return torch.from_numpy(packed)


def unpack_bits(data: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """Return the first `count` weights of each segment: int8 [..., count], of uint8 [..., bytes].

    Raises:
        ConfigError: a width that weights do not have.
        ShapeError: data that are no bytes, or too few.
    """
    _check_widths(bits)
    if data.dtype != torch.uint8 or data.ndim == 0:
        raise ShapeError(
            f"the packed weights are {data.dtype} of shape {list(data.shape)}; "
            "rows of torch.uint8 are needed"
        )
    if count < 0:
        raise ShapeError(f"{count} weights are asked for; none or more can be had")
    needed = packed_bytes(count, bits)
    if data.shape[-1] < needed:
        raise ShapeError(
            f"the packed weights have {data.shape[-1]} bytes; "
            f"{count} weights of {bits} bits take {needed}"
        )
    string = np.unpackbits(
        data.numpy(force=True), axis=-1, count=count * bits, bitorder="little"
    ).reshape(*data.shape[:-1], count, bits)
    unsigned = np.packbits(string, axis=-1, bitorder="little").reshape(string.shape[:-1])
    sign = np.uint8(1 << (bits - 1))
    return torch.from_numpy(((unsigned ^ sign) - sign).view(np.int8))


def pack_fields(*fields: tuple[np.ndarray, int]) -> np.ndarray:
    """Return rows of fields as bytes, uint8 [..., bytes]: the format above, several widths a row.

    Each field is integers [..., count] and their width, 1 to 64; the first one takes the lowest
    bits. Bits of a value above its width are dropped. Stream payloads are packed with it too.
    """
    strings = [
        np.unpackbits(
            np.ascontiguousarray(values, "<i8")[..., None].view(np.uint8),
            axis=-1,
            count=width,
            bitorder="little",
        ).reshape(*values.shape[:-1], values.shape[-1] * width)
        for values, width in fields
    ]
    return np.packbits(np.concatenate(strings, axis=-1), axis=-1, bitorder="little")


def _check_widths(bits: int, word_bits: int = 8) -> None:
    if bits not in WEIGHT_WIDTHS:
        *others, last = WEIGHT_WIDTHS
        allowed = f"{', '.join(map(str, others))} or {last}"
        raise ConfigError(f"the width of a weight is {bits!r}; allowed are {allowed} bits")
    if word_bits <= 0 or word_bits % 8:
        raise ConfigError(f"the width of a word is {word_bits!r}; whole bytes are needed")

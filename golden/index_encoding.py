"""How the places of kept weights may be written: encodings of a block's indices, and their size.

A block has m rows that keep N of m weights each. The hardware reads explicit indices; a bit mask
takes as many bits whatever N is; no encoding of one row takes less than log2 of its C(m, N) choices
(`RANKED` writes just that number).
"""

from enum import Enum
from math import comb

import numpy as np

from golden.spec.errors import ShapeError


class IndexEncoding(Enum):
    """How a row's N places among m are written."""

    EXPLICIT = "explicit indices"
    MASK = "bit mask"
    RANKED = "number of the choice"


def row_bits(encoding: IndexEncoding, n: int, m: int = 16) -> int:
    """Return the bits of one row's places; a dense row (n = m) or absent one (n = 0) needs none."""
    if n in (0, m):
        return 0
    if encoding is IndexEncoding.EXPLICIT:
        return n * (m - 1).bit_length()
    if encoding is IndexEncoding.MASK:
        return m
    return (comb(m, n) - 1).bit_length()


def block_bytes(encoding: IndexEncoding, n: int, weight_bits: int, m: int = 16) -> float:
    """Return the bytes of a block's weights and places; not whole where widths are odd."""
    return m * (n * weight_bits + row_bits(encoding, n, m)) / 8


def encode(encoding: IndexEncoding, indices: np.ndarray, m: int = 16) -> np.ndarray:
    """Return the code of each row, uint64 [rows], of its indices in rising order [rows, n].

    Raises:
        ShapeError: a row takes more than 64 bits.
    """
    rows, n = indices.shape
    index = indices.astype(np.uint64)
    bits = row_bits(encoding, n, m)
    if bits > 64:
        raise ShapeError(f"{n} {encoding.value} of {m} take {bits} bits; a code has at most 64")
    if bits == 0:
        return np.zeros(rows, np.uint64)
    if encoding is IndexEncoding.EXPLICIT:
        shift = np.arange(n, dtype=np.uint64) * np.uint64((m - 1).bit_length())
        return (index << shift).sum(axis=1, dtype=np.uint64)
    if encoding is IndexEncoding.MASK:
        return (np.uint64(1) << index).sum(axis=1, dtype=np.uint64)
    # The combinatorial number system: C(i1, 1) + C(i2, 2) + ... counts the choices before this one.
    return _choices(m, n)[np.arange(n), indices].sum(axis=1, dtype=np.uint64)


def decode(encoding: IndexEncoding, codes: np.ndarray, n: int, m: int = 16) -> np.ndarray:
    """Return the indices in rising order, uint8 [rows, n], of the codes uint64 [rows]."""
    if row_bits(encoding, n, m) == 0:
        return np.tile(np.arange(n, dtype=np.uint8), (len(codes), 1))
    if encoding is IndexEncoding.EXPLICIT:
        width = (m - 1).bit_length()
        shift = np.arange(n, dtype=np.uint64) * np.uint64(width)
        return ((codes[:, None] >> shift) & np.uint64((1 << width) - 1)).astype(np.uint8)
    if encoding is IndexEncoding.MASK:
        bits = (codes[:, None] >> np.arange(m, dtype=np.uint64)) & np.uint64(1)
        return np.nonzero(bits)[1].astype(np.uint8).reshape(len(codes), n)
    rest, indices = codes.copy(), np.zeros((len(codes), n), np.uint8)
    for place in reversed(range(n)):
        ways = _choices(m, n)[place]
        # The largest index whose choices do not exceed what is left.
        indices[:, place] = np.searchsorted(ways, rest, side="right") - 1
        rest -= ways[indices[:, place]]
    return indices


def _choices(m: int, n: int) -> np.ndarray:
    """Return C(i, place + 1), uint64 [n, m]."""
    return np.array([[comb(i, place + 1) for i in range(m)] for place in range(n)], np.uint64)

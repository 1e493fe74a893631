"""The drive's error-correcting code: a BCH code for the chunks of a page, and a CRC over the page.

A page is `chunks` chunks, one behind the other. A chunk in flash is, in this order:

- `data_bytes` of the page's data,
- `tag_bytes` for the page's owner; the last four of the last chunk are the page's CRC,
- the parity, `parity_bits` bits, and behind it zeros up to a whole word.

Bit s of a chunk is bit `s % 8` of its byte `s // 8`. As a polynomial over GF(2) bit s is the
coefficient of `x^(message_bits + parity_bits - 1 - s)`, so the bits go through an encoder in their
order. The zeros behind the parity belong to no polynomial; a decoder ignores what stands there.
"""

from dataclasses import dataclass
from functools import cached_property

from golden.spec.errors import ConfigError

PRIMITIVE_POLYNOMIALS = {
    3: 0xB,
    4: 0x13,
    5: 0x25,
    6: 0x43,
    7: 0x83,
    8: 0x11D,
    9: 0x211,
    10: 0x409,
    11: 0x805,
    12: 0x1053,
    13: 0x201B,
    14: 0x402B,
    15: 0x8003,
    16: 0x1100B,
}
"""By m, the primitive polynomial that makes GF(2^m); bit k is the coefficient of x^k.

For 5 to 15 those of Linux (lib/bch.c), with which it decodes NAND flash; for 3, 4 and 16 those of
Lin and Costello, Error Control Coding, table 2.7.
"""

CRC_BYTES = 4
"""Bytes of a page's CRC-32C."""

MAX_T = 40
MAX_DATA_BYTES = 4096
MAX_CHUNKS = 64
WORD_BITS = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class BchConfig:
    """A page's code and the width of the words in which it is read and written.

    Attributes:
        data_bytes: data of a chunk, whole words, at most 4096 bytes.
        tag_bytes: what a chunk has for the page's owner, whole words; 0, or 4 to 64 so that the
            last chunk's holds the CRC. Without it a page has no CRC.
        t: bits that can be corrected in a chunk, 1 to 40.
        word_bits: bits that enter or leave per cycle: 8, 16, 32, 64 or 128.
        search_bits: bits of a chunk with errors that the decoder's search looks at per cycle, 8 or
            more and at most word_bits; 0 for word_bits. Fewer need less logic, and chunks with
            errors take longer.
        chunks: chunks of a page, 1 to 64.
        field_bits: m of the field GF(2^m), 3 to 16; 0 for the smallest in which the chunk fits. A
            larger one can need less logic: its polynomial may have fewer terms.

    Raises:
        ConfigError: a field is outside its range, or no field is large enough for a chunk.
    """

    data_bytes: int = 1024
    tag_bytes: int = 8
    t: int = 8
    word_bits: int = 64
    search_bits: int = 0
    chunks: int = 4
    field_bits: int = 0

    def __post_init__(self) -> None:
        if self.word_bits not in WORD_BITS:
            raise ConfigError(f"word_bits is {self.word_bits!r}; allowed are 8, 16, 32, 64 and 128")
        whole = self.word_bytes
        if self.data_bytes not in range(whole, MAX_DATA_BYTES + 1, whole):
            raise ConfigError(
                f"data_bytes is {self.data_bytes!r}; words of {self.word_bits} bits need a "
                f"multiple of {whole}, at most {MAX_DATA_BYTES}"
            )
        if self.tag_bytes not in range(0, 65, whole) or 0 < self.tag_bytes < CRC_BYTES:
            raise ConfigError(
                f"tag_bytes is {self.tag_bytes!r}; allowed are 0, and the multiples of {whole} "
                f"from {max(whole, CRC_BYTES)} to 64"
            )
        if self.search_bits not in (0, *(bits for bits in WORD_BITS if bits <= self.word_bits)):
            raise ConfigError(
                f"search_bits is {self.search_bits!r}; allowed are 0, and 8, 16 ... up to "
                f"word_bits, which is {self.word_bits}"
            )
        if self.t not in range(1, MAX_T + 1):
            raise ConfigError(f"t is {self.t!r}; allowed are 1 to {MAX_T} bits")
        if self.chunks not in range(1, MAX_CHUNKS + 1):
            raise ConfigError(f"chunks is {self.chunks!r}; allowed are 1 to {MAX_CHUNKS}")
        fields = range(3, 17) if self.field_bits == 0 else [self.field_bits]
        if self.field_bits and self.field_bits not in PRIMITIVE_POLYNOMIALS:
            raise ConfigError(f"field_bits is {self.field_bits!r}; allowed are 0 and 3 to 16")
        if not any(self._fits(m) for m in fields):
            raise ConfigError(
                f"a chunk of {self.message_bytes} bytes with t = {self.t} does not fit into "
                f"GF(2^{fields[-1]}), which has room for {2 ** fields[-1] - 1} bits; "
                "take a smaller data_bytes or t"
            )

    @cached_property
    def m(self) -> int:
        """The field is GF(2^m)."""
        return self.field_bits or next(m for m in PRIMITIVE_POLYNOMIALS if self._fits(m))

    @property
    def order(self) -> int:
        """Elements of the field without 0: the length of the code that is shortened to a chunk."""
        return int(2**self.m - 1)

    @cached_property
    def parity_bits(self) -> int:
        """Bits of the parity: the degree of the generator polynomial."""
        return _parity_bits(self.m, self.t)

    @property
    def searched_bits(self) -> int:
        """Bits that are searched per cycle."""
        return self.search_bits or self.word_bits

    @property
    def searches(self) -> int:
        """Cycles in which a word is searched."""
        return self.word_bits // self.searched_bits

    @property
    def word_bytes(self) -> int:
        """Bytes of a word."""
        return self.word_bits // 8

    @property
    def lanes(self) -> int:
        """Bytes per cycle."""
        return self.word_bytes

    @property
    def message_bytes(self) -> int:
        """Bytes of a chunk that the code protects: data and tag."""
        return self.data_bytes + self.tag_bytes

    @property
    def message_bits(self) -> int:
        """Bits of a chunk that the code protects."""
        return 8 * self.message_bytes

    @property
    def message_words(self) -> int:
        """Words of a chunk's data and tag."""
        return self.message_bytes // self.word_bytes

    @property
    def parity_words(self) -> int:
        """Words of a chunk's parity, the last one padded with zeros."""
        return -(-self.parity_bits // self.word_bits)

    @property
    def chunk_words(self) -> int:
        """Words of a chunk in flash."""
        return self.message_words + self.parity_words

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk in flash."""
        return self.chunk_words * self.word_bytes

    @property
    def padding_bits(self) -> int:
        """Zeros behind a chunk's parity."""
        return self.parity_words * self.word_bits - self.parity_bits

    @property
    def page_bytes(self) -> int:
        """Data of a page."""
        return self.chunks * self.data_bytes

    @property
    def page_words(self) -> int:
        """Words of a page's data and tags."""
        return self.chunks * self.message_words

    @property
    def owner_bytes(self) -> int:
        """Bytes of a page's tags that its owner may use: all but the CRC."""
        return max(self.chunks * self.tag_bytes - CRC_BYTES, 0)

    @property
    def stored_bytes(self) -> int:
        """Bytes that a page takes in flash."""
        return self.chunks * self.chunk_bytes

    @property
    def spare_bytes(self) -> int:
        """Bytes that a flash page must have beyond `page_bytes`."""
        return self.stored_bytes - self.page_bytes

    def _fits(self, m: int) -> bool:
        """Return whether a chunk, with its padding, has no more bits than the code of GF(2^m)."""
        words = self.message_words - (-_parity_bits(m, self.t) // self.word_bits)
        return 2 * self.t <= 2**m - 2 and words * self.word_bits <= 2**m - 1


def _parity_bits(m: int, t: int) -> int:
    """Return how many powers of a primitive element share a minimal polynomial with 1, 3 ... 2t-1.

    The conjugates of a^k are its squares, the squares of those, and so on.
    """
    order = 2**m - 1
    return len({(k << shift) % order for k in range(1, 2 * t, 2) for shift in range(m)})

"""The configuration of the AXI4 masters between a core and its memories."""

import itertools
from dataclasses import dataclass

from golden.spec.errors import ConfigError

PAGE_BYTES = 4096
"""No burst crosses a multiple of this (Arm IHI 0022)."""


@dataclass(frozen=True)
class AxiConfig:
    """Readers and writers on AXI4 ports whose beats are words of the full data width.

    Attributes:
        data_bits: width of a word: 16, 32, ... 1024.
        address_bits: width of a byte address, 13 to 64.
        burst_beats: words of the longest burst: 2, 4, ... 256, at most 4096 bytes. No burst crosses
            a multiple of its own longest length. 16 is also what the AXI3 ports of HBM take.
        outstanding: bursts that may be in flight, 2 to 256.
        buffer_words: words in the queue behind a reader's port, or in front of a writer's: from two
            bursts to 1024. A reader asks only for what fits, so it hides a latency of about
            `buffer_words` less a burst.
        length_bits: width of a job's number of words, 1 to 32; a job has up to 2**length_bits.
        id_bits: width of the transaction identifiers, 1 to 32; they are always 0.
        tag_bits: width of a tag that a reader's job carries, and its error shows, 0 to 32.

    Raises:
        ConfigError: a field is outside its range.
    """

    data_bits: int = 256
    address_bits: int = 34
    burst_beats: int = 16
    outstanding: int = 16
    buffer_words: int = 128
    length_bits: int = 20
    id_bits: int = 1
    tag_bits: int = 0

    def __post_init__(self) -> None:
        if self.data_bits not in (powers := [16 << k for k in range(7)]):
            raise ConfigError(f"data_bits is {self.data_bits!r}; allowed are {_list(powers)}")
        most = min(256, PAGE_BYTES // self.word_bytes)
        if self.burst_beats not in (powers := [2 << k for k in range(most.bit_length() - 1)]):
            raise ConfigError(
                f"burst_beats is {self.burst_beats!r}; words of {self.data_bits} bits allow "
                f"{_list(powers)}"
            )
        check_range("address_bits", self.address_bits, 13, 64)
        check_range("outstanding", self.outstanding, 2, 256)
        check_range("buffer_words", self.buffer_words, 2 * self.burst_beats, 1024)
        check_range("length_bits", self.length_bits, 1, 32)
        check_range("id_bits", self.id_bits, 1, 32)
        check_range("tag_bits", self.tag_bits, 0, 32)

    @property
    def word_bytes(self) -> int:
        """Bytes of a word."""
        return self.data_bits // 8

    @property
    def byte_bits(self) -> int:
        """Bits of the number of a byte in its word."""
        return self.word_bytes.bit_length() - 1

    @property
    def beat_bits(self) -> int:
        """Bits of the number of a beat in its burst."""
        return self.burst_beats.bit_length() - 1

    def bursts(self, address: int, words: int) -> list[int]:
        """Return the words of each burst of a job of `words` words from byte `address` on."""
        first = address // self.word_bytes
        end = first + words
        edges = range(first - first % self.burst_beats, end, self.burst_beats)[1:]
        return [b - a for a, b in itertools.pairwise([first, *edges, end])]


def check_range(name: str, value: object, low: int, high: int) -> None:
    """Raise ConfigError where a field's value is not in the range from `low` to `high`."""
    if value not in range(low, high + 1):
        raise ConfigError(f"{name} is {value!r}; allowed are {low} to {high}")


def _list(values: list[int]) -> str:
    return f"{', '.join(map(str, values[:-1]))} and {values[-1]}"

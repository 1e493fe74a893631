"""The bit-width expansion unit's configuration, and the widths in which weights are stored."""

from dataclasses import dataclass

from golden.spec.errors import ConfigError

WEIGHT_WIDTHS = (2, 3, 4, 5, 6, 8)
"""The widths in bits of a stored weight."""

EXPANDED_BITS = 8
"""The width of a weight in the INT8 datapath, the widest stored one."""

MAX_WORD_BITS = 1024
"""The widest word: an AXI4 data bus ends there (Arm IHI 0022)."""


@dataclass(frozen=True)
class ExpansionConfig:
    """A unit that reads words of packed weights and gives `lanes` 8-bit weights per beat.

    Attributes:
        word_bits: width of a memory word, a multiple of `chunk_bits`, at most 1024.
        lanes: weights per beat: 1, 2, 4, 8, 16, 32 or 64.
        beat_bits: width of a job's number of beats, 1 to 32; a job has up to 2**beat_bits beats.

    Raises:
        ConfigError: a field is outside its range.
    """

    word_bits: int = 128
    lanes: int = 16
    beat_bits: int = 16

    def __post_init__(self) -> None:
        if self.lanes not in (1, 2, 4, 8, 16, 32, 64):
            raise ConfigError(f"lanes is {self.lanes!r}; allowed are 1, 2, 4, 8, 16, 32 and 64")
        if self.word_bits not in range(self.chunk_bits, MAX_WORD_BITS + 1, self.chunk_bits):
            raise ConfigError(
                f"word_bits is {self.word_bits!r}; {self.lanes} lanes need a multiple of "
                f"{self.chunk_bits}, at most {MAX_WORD_BITS}"
            )
        if self.beat_bits not in range(1, 33):
            raise ConfigError(f"beat_bits is {self.beat_bits!r}; allowed are 1 to 32 bits")

    @property
    def chunk_bits(self) -> int:
        """Bits of one beat of 8-bit weights, the most that a beat takes."""
        return EXPANDED_BITS * self.lanes

    @property
    def chunks(self) -> int:
        """Chunks in a word."""
        return self.word_bits // self.chunk_bits

    @property
    def max_beats(self) -> int:
        """The most beats of one job."""
        return int(2**self.beat_bits)

    def words(self, bits: int, beats: int) -> int:
        """Return how many words hold a segment of `beats` beats of `bits`-bit weights."""
        return -(-beats * self.lanes * bits // self.word_bits)

"""The hardware of a drive's attention engine: one configuration for generator, bench and simulator.

It names the three configurations that its parts have: what is computed, how pages are laid out, and
how they are protected.
"""

from dataclasses import dataclass
from functools import cached_property

from golden.spec.attention_engine import AttentionConfig, KvFormat, Selection
from golden.spec.bch import BchConfig
from golden.spec.errors import ConfigError
from golden.spec.kv_layout import KvLayoutConfig

CHUNK_BYTES = 1024
"""Data of a page that one BCH codeword protects."""

MIN_ROWS = 4
"""A head has at least so many beats: a sum is read, added to and written back within them."""


@dataclass(frozen=True)
class DriveEngineConfig:
    """An attention engine with one slice of hardware for each flash channel.

    Pages of tokens are paired: a page has keys and values of the same tokens, so a slice needs
    nothing of another one until the end. A group of query heads chooses together, by logits.

    Attributes:
        flash_channels: channels, each with error correction, filter and attention slice, 1 to 64.
        lanes: elements that a slice takes per cycle, a power of 2 from 1 to 16; a head has at least
            four times as many, and a word no fewer.
        head_size, queries, ratio, r, k, local, context_bits: of `AttentionConfig`; context_bits is
            at most 15.
        kv_bits: 16 for FP16, 8 for INT8.
        page_bytes, channels_per_page: of `KvLayoutConfig`; a page has 1024 bytes or more.
        t, word_bits, search_bits, field_bits: of `BchConfig`, for each 1024 bytes of a page.
        reads: pages that a flash channel may be asked for before it gives them, 2 to 256.
        buffer_pages: that a front end keeps, 2, 4, 8 or 16: one is received, one is read, and the
            others wait. With more of them a channel that has fewer pages of a job than the others
            goes further ahead.
        attempts: how often a page is read before it counts as lost, 1 to 16.

    Raises:
        ConfigError: a field is outside its range.
    """

    flash_channels: int = 8
    lanes: int = 4
    head_size: int = 128
    queries: int = 1
    kv_bits: int = 16
    ratio: int = 8
    r: int = 0
    k: int = 0
    local: int = 16
    context_bits: int = 15
    page_bytes: int = 4096
    channels_per_page: int = 2
    t: int = 8
    word_bits: int = 64
    search_bits: int = 32
    field_bits: int = 15
    reads: int = 16
    attempts: int = 4
    buffer_pages: int = 4

    def __post_init__(self) -> None:
        if self.kv_bits not in (8, 16):
            raise ConfigError(f"kv_bits is {self.kv_bits!r}; allowed are 8 (INT8) and 16 (FP16)")
        if self.context_bits not in range(10, 16):
            raise ConfigError(f"context_bits is {self.context_bits!r}; allowed are 10 to 15")
        if self.page_bytes < CHUNK_BYTES:
            raise ConfigError(
                f"page_bytes is {self.page_bytes!r}; at least {CHUNK_BYTES} are needed here"
            )
        if self.reads not in range(2, 257):
            raise ConfigError(f"reads is {self.reads!r}; allowed are 2 to 256 pages per channel")
        if self.attempts not in range(1, 17):
            raise ConfigError(f"attempts is {self.attempts!r}; allowed are 1 to 16")
        if self.buffer_pages not in (2, 4, 8, 16):
            raise ConfigError(f"buffer_pages is {self.buffer_pages!r}; allowed are 2, 4, 8 and 16")
        _ = self.attention, self.layout, self.code
        if self.lanes not in (1, 2, 4, 8, 16):
            raise ConfigError(f"lanes is {self.lanes!r}; allowed are 1, 2, 4, 8 and 16")
        if self.lanes > self.word_elements:
            raise ConfigError(
                f"lanes is {self.lanes}; a word of {self.word_bits} bits has "
                f"{self.word_elements} elements, take no more"
            )
        if self.head_size % self.lanes or self.head_size < MIN_ROWS * self.lanes:
            raise ConfigError(
                f"lanes is {self.lanes}; a head of {self.head_size} channels needs a divisor of "
                f"it, at most {self.head_size // MIN_ROWS}"
            )

    @property
    def kv_format(self) -> KvFormat:
        """How keys and values are stored."""
        return KvFormat.FP16 if self.kv_bits == 16 else KvFormat.INT8

    @cached_property
    def attention(self) -> AttentionConfig:
        """What is computed."""
        return AttentionConfig(
            head_size=self.head_size,
            queries=self.queries,
            kv_format=self.kv_format,
            ratio=self.ratio,
            r=self.r,
            k=self.k,
            local=self.local,
            selection=Selection.LOGITS,
            context_bits=self.context_bits,
        )

    @cached_property
    def layout(self) -> KvLayoutConfig:
        """How pages are filled and striped."""
        return KvLayoutConfig(
            page_bytes=self.page_bytes,
            head_size=self.head_size,
            kv_format=self.kv_format,
            channels_per_page=self.channels_per_page,
            paired=True,
            flash_channels=self.flash_channels,
        )

    @cached_property
    def code(self) -> BchConfig:
        """How a page is protected."""
        return BchConfig(
            data_bytes=CHUNK_BYTES,
            t=self.t,
            word_bits=self.word_bits,
            search_bits=self.search_bits,
            chunks=self.page_bytes // CHUNK_BYTES,
            field_bits=self.field_bits,
        )

    @property
    def word_elements(self) -> int:
        """Elements of a word that comes from a flash channel."""
        return self.word_bits // self.kv_bits

    @property
    def rows(self) -> int:
        """Beats of `lanes` channels in a head."""
        return self.head_size // self.lanes

    @property
    def max_k(self) -> int:
        """Tokens that the engine can choose, a power of 2 up to 4096; a job with more is refused.

        As many as the ratio asks for of the longest context.
        """
        most = self.attention.tokens(self.attention.max_context)
        return min(max(1 << (most - 1).bit_length(), 2), 4096, self.attention.max_context)

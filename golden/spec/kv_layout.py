"""How keys and values lie in a drive's flash, and how they are addressed.

A kv head's keys and values lie in pages of whole tokens, a *group* of them. A second copy of the
keys lies in pages of a few neighbouring channels of many tokens, a *span* of them. Groups and spans
are numbered from the sequence's first token; a page is addressed by the fields below.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from golden.spec.attention_engine import KvFormat
from golden.spec.errors import ConfigError

PAGE_BYTES = tuple(1 << bits for bits in range(8, 17))
"""Payloads that a page may have; flash has 4, 8 or 16 KB, tests less."""


class KvKind(IntEnum):
    """What a page holds.

    KEYS, VALUES: those of a group of tokens. PAIRS: both. KEY_CHANNELS: some channels of the keys
    of a span of tokens. 0 is no page of keys and values.
    """

    KEYS = 1
    VALUES = 2
    PAIRS = 3
    KEY_CHANNELS = 4


class Field(NamedTuple):
    """Bits of a packed address: `bits` of them, the lowest at `low`."""

    low: int
    bits: int

    @property
    def values(self) -> int:
        """Values that the field can have."""
        return 1 << self.bits


ADDRESS_FIELDS = {
    "index": Field(0, 20),
    "kind": Field(20, 4),
    "head": Field(24, 8),
    "layer": Field(32, 8),
    "batch": Field(40, 12),
    "task": Field(52, 12),
}
"""A page's address in 64 bits, whole hexadecimal digits for each field.

An address of single elements would take 38 bits and more, and does not fit into a command's 32; of
pages it would fit into 28 for one task of 256 sequences (InstInfer's lengths), but not with room
for several tasks and for the copy by channels. 64 bits are what NVMe's commands have for a first
block: CDW10 has the low half, CDW11 the high one.
"""

INDEX_FIELDS = {"channel_group": Field(0, 8), "span": Field(8, 12)}
"""The index of KEY_CHANNELS; that of the other kinds is a group's number."""


@dataclass(frozen=True)
class KvLayoutConfig:
    """Where the keys and values of a kv head lie.

    Attributes:
        page_bytes: of a page's payload; a power of 2 from 256 to 65536.
        head_size: channels of a head, a multiple of 8 from 16 to 256.
        kv_format: how an element is stored.
        channels_per_page: neighbouring channels in a page of the copy by channels: 1, 2, 4 or 8.
        paired: a page holds keys and values of the same tokens, half of it each.
        channel_copy: there is a copy of the keys by channels; dense attention needs none.
        flash_channels, dies, planes: units over which pages are striped: channels, dies of each,
            planes of each die; 1 to 64.

    Raises:
        ConfigError: a field is outside its range, or no token fits into a page.
    """

    page_bytes: int = 4096
    head_size: int = 128
    kv_format: KvFormat = KvFormat.FP16
    channels_per_page: int = 2
    paired: bool = False
    channel_copy: bool = True
    flash_channels: int = 8
    dies: int = 1
    planes: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.page_bytes, bool) or self.page_bytes not in PAGE_BYTES:
            raise ConfigError(
                f"page_bytes is {self.page_bytes!r}; allowed are the powers of 2 from 256 to 65536"
            )
        if self.head_size not in range(16, 257, 8):
            raise ConfigError(
                f"head_size is {self.head_size!r}; allowed are the multiples of 8 from 16 to 256"
            )
        if not isinstance(self.kv_format, KvFormat):
            raise ConfigError(
                f"kv_format is {self.kv_format!r}; allowed are KvFormat.INT8 and KvFormat.FP16"
            )
        if isinstance(self.channels_per_page, bool) or self.channels_per_page not in (1, 2, 4, 8):
            raise ConfigError(
                f"channels_per_page is {self.channels_per_page!r}; allowed are 1, 2, 4 and 8"
            )
        for name in ("flash_channels", "dies", "planes"):
            if getattr(self, name) not in range(1, 65):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; allowed are 1 to 64")
        if not self.group_tokens:
            raise ConfigError(
                f"page_bytes is {self.page_bytes}; a token takes {self.entry_bytes} bytes of a "
                "page, take larger pages"
            )

    @property
    def token_bytes(self) -> int:
        """Bytes of a token's key, or of its value."""
        return self.head_size * self.kv_format.stored_bytes

    @property
    def entry_bytes(self) -> int:
        """Bytes of a token in a page of a group."""
        return self.token_bytes * (1 + self.paired)

    @property
    def group_tokens(self) -> int:
        """Tokens of a group: what a page holds."""
        return self.page_bytes // self.entry_bytes

    @property
    def span_tokens(self) -> int:
        """Tokens of a span: of how many a page holds `channels_per_page` channels."""
        return self.page_bytes // (self.channels_per_page * self.kv_format.stored_bytes)

    @property
    def channel_groups(self) -> int:
        """Pages that hold all channels of a span."""
        return self.head_size // self.channels_per_page

    @property
    def token_kinds(self) -> tuple[KvKind, ...]:
        """Kinds of the pages of a group."""
        return (KvKind.PAIRS,) if self.paired else (KvKind.KEYS, KvKind.VALUES)

    @property
    def max_tokens(self) -> int:
        """Tokens of a sequence that can be addressed."""
        groups = ADDRESS_FIELDS["index"].values * self.group_tokens
        spans = INDEX_FIELDS["span"].values * self.span_tokens
        return min(groups, spans) if self.channel_copy else groups

    @property
    def units(self) -> int:
        """Planes of all dies: pages on different ones can be programmed at the same time."""
        return self.flash_channels * self.dies * self.planes

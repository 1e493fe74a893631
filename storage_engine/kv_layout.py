"""The layout of keys and values: pages packed and unpacked, counted, and found for a query.

A page of a group holds its tokens one behind the other, all channels of a token together; a paired
page has the keys from its first byte, the values from its middle. A page of KEY_CHANNELS holds its
channels one behind the other, all tokens of the span together. Elements are little-endian; what a
page has beyond them is 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from golden.spec.attention_engine import KvFormat
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.kv_layout import KvKind, KvLayoutConfig
from storage_engine.kv_address import KvAddress, SequenceId, channel_index


@dataclass(frozen=True)
class Footprint:
    """What the keys and values of one kv head of one sequence take.

    Attributes:
        content_bytes: keys and values once, without any copy.
        group_pages: pages of groups, the last of which may be partial. span_pages: pages of the
            copy by channels, of whole spans only.
        partial_tokens: tokens of the partial group, 0 if there is none.
        tail_tokens: tokens behind the last whole span; their keys are in groups only.
        page_bytes: of a page's payload.
    """

    content_bytes: int
    group_pages: int
    span_pages: int
    partial_tokens: int
    tail_tokens: int
    page_bytes: int

    @property
    def flash_bytes(self) -> int:
        """Payload of all pages."""
        return (self.group_pages + self.span_pages) * self.page_bytes

    @property
    def overhead(self) -> float:
        """Payload over content; 1.5 with the copy and nothing partial."""
        return self.flash_bytes / self.content_bytes


class KvLayout:
    """The layout of a configuration."""

    def __init__(self, config: KvLayoutConfig) -> None:
        self.config = config
        self.dtype = np.dtype(np.int8 if config.kv_format is KvFormat.INT8 else "<u2")
        """Of an element: INT8, or the bits of an FP16."""

    def footprint(self, context: int) -> Footprint:
        """Return what `context` tokens take, 1 or more."""
        config = self.config
        if not 1 <= context <= config.max_tokens:
            raise ConfigError(
                f"context is {context!r}; allowed are 1 to {config.max_tokens} tokens"
            )
        spans = context // config.span_tokens if config.channel_copy else 0
        groups = -(-context // config.group_tokens)
        return Footprint(
            content_bytes=2 * context * config.token_bytes,
            group_pages=groups * len(config.token_kinds),
            span_pages=spans * config.channel_groups,
            partial_tokens=context % config.group_tokens,
            tail_tokens=context - spans * config.span_tokens,
            page_bytes=config.page_bytes,
        )

    def unit(self, address: KvAddress) -> int:
        """Return the unit that a page should be on, 0 to units - 1.

        Consecutive groups are on consecutive units, so any run of them takes as many pages from
        each, give or take one. Keys and values of a group are half a turn apart. Unit u is on
        channel u mod flash_channels.
        """
        units = self.config.units
        turn = address.batch + address.layer + address.head
        if address.kind is KvKind.KEY_CHANNELS:
            return (turn + address.channel_group + address.span) % units
        half = units // 2 if address.kind is KvKind.VALUES else 0
        return (turn + address.index + half) % units

    def group_address(self, sequence: SequenceId, kind: KvKind, group: int) -> KvAddress:
        """Return the address of a page of a group."""
        return KvAddress(*sequence, kind, group)

    def token_pages(
        self, sequence: SequenceId, kind: KvKind, tokens: Iterable[int]
    ) -> list[KvAddress]:
        """Return the pages of `kind` in which any of `tokens` is, by ascending group."""
        groups = sorted({token // self.config.group_tokens for token in tokens})
        return [KvAddress(*sequence, kind, group) for group in groups]

    def channel_pages(
        self, sequence: SequenceId, channels: Iterable[int], context: int
    ) -> list[KvAddress]:
        """Return the pages in which any of `channels` is, of the whole spans of `context` tokens.

        The keys of the tokens behind those spans are in the groups of `tail_groups`.
        """
        wanted = sorted({channel // self.config.channels_per_page for channel in channels})
        return [
            KvAddress(*sequence, KvKind.KEY_CHANNELS, channel_index(span, group))
            for span in range(context // self.config.span_tokens)
            for group in wanted
        ]

    def tail_groups(self, context: int) -> range:
        """Return the groups that hold the keys of tokens behind the last whole span."""
        config = self.config
        first = context // config.span_tokens * config.span_tokens if config.channel_copy else 0
        return range(first // config.group_tokens, -(-context // config.group_tokens))

    def pack_group(self, *parts: np.ndarray) -> np.ndarray:
        """Return a page's payload, uint8 [page_bytes], of a group.

        Args:
            parts: keys or values; keys and values if paired. Each [tokens, head_size] of `dtype`,
                1 to group_tokens tokens.

        Raises:
            ShapeError: another number of parts, shape or type.
        """
        config = self.config
        if len(parts) != 1 + config.paired:
            raise ShapeError(f"{len(parts)} arrays make a group; {1 + config.paired} are needed")
        page = np.zeros(config.page_bytes, np.uint8)
        for number, part in enumerate(parts):
            self.check(part, config.group_tokens)
            content = np.ascontiguousarray(part).view(np.uint8).reshape(-1)
            start = number * config.page_bytes // 2
            page[start : start + len(content)] = content
        return page

    def unpack_group(self, page: np.ndarray, tokens: int) -> list[np.ndarray]:
        """Return what `pack_group` was given, of a page with so many tokens."""
        config = self.config
        found = []
        for number in range(1 + config.paired):
            start = number * config.page_bytes // 2
            content = page[start : start + tokens * config.token_bytes]
            found.append(content.view(self.dtype).reshape(tokens, config.head_size))
        return found

    def pack_span(self, keys: np.ndarray) -> np.ndarray:
        """Return the payloads, uint8 [channel_groups, page_bytes], of a span's keys by channels.

        Args:
            keys: [span_tokens, head_size] of `dtype`.

        Raises:
            ShapeError: another shape or type.
        """
        config = self.config
        self.check(keys, config.span_tokens)
        if len(keys) != config.span_tokens:
            raise ShapeError(f"{len(keys)} tokens make a span; {config.span_tokens} are needed")
        by_channel = np.ascontiguousarray(keys.T).view(np.uint8)
        return by_channel.reshape(config.channel_groups, config.page_bytes)

    def unpack_span(self, page: np.ndarray) -> np.ndarray:
        """Return [channels_per_page, span_tokens] of a page of KEY_CHANNELS."""
        return page.view(self.dtype).reshape(self.config.channels_per_page, -1)

    def check(self, part: np.ndarray, most: int) -> None:
        """Raise ShapeError unless `part` is [1 to `most`, head_size] of `dtype`."""
        size = self.config.head_size
        right = part.ndim == 2 and part.shape[1] == size and 1 <= len(part) <= most
        if part.dtype != self.dtype or not right:
            raise ShapeError(
                f"keys or values are {part.dtype} of shape {list(part.shape)}; "
                f"{self.dtype} of shape [1 to {most}, {size}] are needed"
            )

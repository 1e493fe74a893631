"""Keys and values of sequences in a drive: appended token by token, buffered, flushed, read.

A group that is not whole is in the drive's memory only. Whole groups wait there until there are
enough of them for a write, then all go to flash at once. The copy of the keys by channels is made
when a span is whole. It is not what a token's acknowledgement waits for, since it can always be
made again of the keys.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from golden.spec.errors import ConfigError, ShapeError
from golden.spec.kv_layout import INDEX_FIELDS, KvKind
from storage_engine.flash_errors import (
    DamagedError,
    DriveFullError,
    MissingError,
    UncorrectableError,
)
from storage_engine.flash_manager import FlashManager
from storage_engine.flash_writer import PageWrite
from storage_engine.kv_address import KvAddress, SequenceId, channel_index
from storage_engine.kv_layout import KvLayout


class Acknowledge(Enum):
    """When a token counts as safe.

    FLASHED: when flash has it; `flush` waits for that. A power cut loses what was not flushed.
    BUFFERED: at once. Capacitors then give power for `power_fail`, which flushes the memory.
    """

    FLASHED = "flashed"
    BUFFERED = "buffered"


@dataclass(frozen=True)
class StorePolicy:
    """How a store buffers.

    Attributes:
        acknowledge: when a token counts as safe.
        flush_pages: whole pages that are gathered for a write, 1 or more.
        buffer_pages: pages, whole and partial, that the memory has room for; at least
            flush_pages + 2. If more are needed, all are written, partial ones too.

    Raises:
        ConfigError: a field is outside its range.
    """

    acknowledge: Acknowledge = Acknowledge.FLASHED
    flush_pages: int = 64
    buffer_pages: int = 1024

    def __post_init__(self) -> None:
        if self.flush_pages < 1:
            raise ConfigError(f"flush_pages is {self.flush_pages!r}; 1 or more is needed")
        if self.buffer_pages < self.flush_pages + 2:
            raise ConfigError(
                f"buffer_pages is {self.buffer_pages!r}; flush_pages + 2, which is "
                f"{self.flush_pages + 2}, or more is needed"
            )


@dataclass
class _Sequence:
    """A sequence's tokens.

    Attributes:
        tokens: appended. flashed: of those, in flash. spans: whole spans in flash or waiting.
        partial: keys and values of the last group if it is not whole and in memory, else None.
        damaged: a part of it was lost.
    """

    tokens: int = 0
    flashed: int = 0
    spans: int = 0
    partial: list[np.ndarray] | None = None
    damaged: bool = False


@dataclass
class _Waiting:
    """Whole pages that wait for a write.

    Attributes:
        pages: by address. tokens: that a sequence has in flash when they are written.
    """

    pages: dict[int, PageWrite] = field(default_factory=dict)
    tokens: dict[SequenceId, int] = field(default_factory=dict)


class KvStore:
    """A drive's keys and values.

    Attributes:
        layout: of pages. manager: of the flash. policy: how it buffers.
        damaged: sequences of which a part was found to be lost.
    """

    def __init__(
        self, layout: KvLayout, manager: FlashManager, policy: StorePolicy | None = None
    ) -> None:
        payload = manager.reader.codec.payload_bytes
        if layout.config.page_bytes != payload:
            raise ConfigError(
                f"page_bytes is {layout.config.page_bytes}; the flash's pages have {payload}"
            )
        self.layout, self.manager, self.policy = layout, manager, policy or StorePolicy()
        self._sequences: dict[SequenceId, _Sequence] = {}
        self._waiting = _Waiting()
        self._find()

    @property
    def damaged(self) -> list[SequenceId]:
        """Sequences of which a part was found to be lost."""
        return [sequence for sequence, state in self._sequences.items() if state.damaged]

    @property
    def sequences(self) -> list[SequenceId]:
        """All sequences."""
        return list(self._sequences)

    @property
    def buffered_pages(self) -> int:
        """Pages in memory: whole ones that wait, and partial ones."""
        kinds = len(self.layout.config.token_kinds)
        partial = sum(state.partial is not None for state in self._sequences.values())
        return len(self._waiting.pages) + kinds * partial

    def tokens(self, sequence: SequenceId) -> int:
        """Return the tokens of a sequence, in flash or not; 0 if there is no such sequence."""
        state = self._sequences.get(sequence)
        return state.tokens if state else 0

    def acknowledged(self, sequence: SequenceId) -> int:
        """Return the tokens of a sequence that a power cut does not lose."""
        state = self._sequences.get(sequence, _Sequence())
        buffered = self.policy.acknowledge is Acknowledge.BUFFERED
        return state.tokens if buffered else state.flashed

    def append(self, sequence: SequenceId, keys: np.ndarray, values: np.ndarray) -> None:
        """Append tokens to a sequence.

        Args:
            keys, values: [tokens, head_size] of the layout's `dtype`, 1 token or more.

        Raises:
            ShapeError: another shape or type.
            ConfigError: the sequence cannot have so many tokens.
            DamagedError: a part of the sequence was lost.
            UncorrectableError: a key cannot be read that the copy by channels needs.
            DriveFullError: there is no room in flash. The tokens that `tokens` tells are there.
        """
        config = self.layout.config
        for part in (keys, values):
            self.layout.check(part, config.max_tokens)
        if len(keys) != len(values):
            raise ShapeError(f"{len(keys)} keys and {len(values)} values; as many are needed")
        state = self._sequences.setdefault(sequence, _Sequence())
        if state.damaged:
            raise DamagedError(f"a part of {sequence} was lost; reclaim its task")
        if state.tokens + len(keys) > config.max_tokens:
            raise ConfigError(
                f"{sequence} would have {state.tokens + len(keys)} tokens; "
                f"{config.max_tokens} is the most"
            )
        start = 0
        while start < len(keys):
            count = config.group_tokens - state.tokens % config.group_tokens
            some = slice(start, start + count)
            self._append_to_group(sequence, state, [keys[some], values[some]])
            start += count

    def flush(self) -> None:
        """Write all that is in memory; all tokens are in flash when this returns.

        A partial group is written too; it is written again when it has more tokens.

        Raises:
            DriveFullError: there is no room in flash.
        """
        writes = dict(self._waiting.pages)
        for sequence, state in self._sequences.items():
            if state.partial is not None and state.flashed < state.tokens:
                writes |= self._group_pages(sequence, state.tokens - 1, state.partial)
        self.manager.write(list(writes.values()))
        self._waiting = _Waiting()
        for state in self._sequences.values():
            state.flashed = state.tokens

    def power_fail(self) -> None:
        """Write what is acknowledged with the power that capacitors have left."""
        if self.policy.acknowledge is Acknowledge.BUFFERED:
            self.flush()

    def read(self, sequence: SequenceId, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and values of the tokens from `start` to before `stop`.

        Raises:
            MissingError: the sequence does not have them.
            UncorrectableError: a page cannot be read.
        """
        state = self._sequences.get(sequence, _Sequence())
        if not 0 <= start < stop <= state.tokens:
            raise MissingError(
                f"tokens {start} to {stop - 1} of {sequence} are asked for; it has {state.tokens}"
            )
        size = self.layout.config.group_tokens
        groups = range(start // size, -(-stop // size))
        parts = [self._read_group(sequence, state, group) for group in groups]
        first = start - groups[0] * size
        keys, values = (
            np.concatenate([part[n] for part in parts])[first : first + stop - start]
            for n in range(2)
        )
        return keys, values

    def read_channels(
        self, sequence: SequenceId, channels: Iterable[int], span: int
    ) -> dict[int, np.ndarray]:
        """Return the keys of a whole span, [span_tokens] for each channel, by channel.

        Raises:
            MissingError: the span is not whole.
            UncorrectableError: a page cannot be read.
        """
        per_page = self.layout.config.channels_per_page
        found = {}
        for channel in channels:
            group, row = divmod(channel, per_page)
            address = KvAddress(*sequence, KvKind.KEY_CHANNELS, channel_index(span, group))
            found[channel] = self.layout.unpack_span(self._page(address)[0])[row]
        return found

    def in_memory(self, address: KvAddress) -> PageWrite | None:
        """Return a page that is in memory, as it would be written; None if it is not there."""
        packed, state = address.pack(), self._sequences.get(address.sequence)
        pages = self._waiting.pages
        if packed not in pages and state is not None and state.partial is not None:
            pages = self._group_pages(address.sequence, state.tokens, state.partial)
        return pages.get(packed)

    def reclaim(self, task: int) -> None:
        """Forget all sequences of a task; they are gone for ever when this returns."""
        self.manager.reclaim(task)
        for sequence in [each for each in self._sequences if each.task == task]:
            del self._sequences[sequence]
            self._waiting.tokens.pop(sequence, None)
        pages = self._waiting.pages
        for packed in [each for each in pages if KvAddress.unpack(each).task == task]:
            del pages[packed]

    def _append_to_group(
        self, sequence: SequenceId, state: _Sequence, parts: list[np.ndarray]
    ) -> None:
        """Append tokens to the last group, whose room they do not exceed."""
        size = self.layout.config.group_tokens
        group = state.tokens // size
        if len(self._waiting.pages) >= self.policy.flush_pages:
            self._write_waiting()
        if self.buffered_pages + self._new_pages(state) > self.policy.buffer_pages:
            self._spill()
        if self.policy.acknowledge is Acknowledge.BUFFERED:
            self._keep_room(sequence.task)
        if state.tokens % size:
            before = self._read_group(sequence, state, group)
            parts = [np.concatenate(pair) for pair in zip(before, parts, strict=True)]
        tokens = group * size + len(parts[0])
        whole = len(parts[0]) == size
        if whole:
            self._waiting.pages |= self._group_pages(sequence, tokens - 1, parts)
            self._waiting.tokens[sequence] = tokens
        state.partial = None if whole else [part.copy() for part in parts]
        state.tokens = tokens
        self._copy_channels(sequence, state)

    def _new_pages(self, state: _Sequence) -> int:
        return 0 if state.partial is not None else len(self.layout.config.token_kinds)

    def _keep_room(self, task: int) -> None:
        """See to it that a power cut finds room for all in memory, and for a new group."""
        kinds = len(self.layout.config.token_kinds)
        pages = Counter(KvAddress.unpack(packed).task for packed in self._waiting.pages)
        for sequence, state in self._sequences.items():
            if state.partial is not None and state.flashed < state.tokens:
                pages[sequence.task] += kinds
        self.manager.promise(pages + Counter({task: kinds + self.layout.config.channel_groups}))

    def _spill(self) -> None:
        """Write all that is in memory, and forget it there."""
        self.flush()
        for state in self._sequences.values():
            state.partial = None

    def _write_waiting(self) -> None:
        self.manager.write(list(self._waiting.pages.values()))
        for sequence, tokens in self._waiting.tokens.items():
            state = self._sequences[sequence]
            state.flashed = max(state.flashed, tokens)
        self._waiting = _Waiting()

    def _copy_channels(self, sequence: SequenceId, state: _Sequence) -> None:
        """Make the copy by channels of spans that became whole."""
        config = self.layout.config
        while config.channel_copy and state.tokens >= (state.spans + 1) * config.span_tokens:
            span = state.spans
            first = span * config.span_tokens
            try:
                keys, _ = self.read(sequence, first, first + config.span_tokens)
            except UncorrectableError:
                state.damaged = True
                raise
            for group, payload in enumerate(self.layout.pack_span(keys)):
                address = KvAddress(*sequence, KvKind.KEY_CHANNELS, channel_index(span, group))
                self._wait(self._waiting.pages, address, payload, config.span_tokens)
            state.spans += 1

    def _group_pages(
        self, sequence: SequenceId, last: int, parts: list[np.ndarray]
    ) -> dict[int, PageWrite]:
        """Return the pages of the group of token `last`."""
        config = self.layout.config
        found: dict[int, PageWrite] = {}
        group = last // config.group_tokens
        contents = [parts] if config.paired else [[part] for part in parts]
        for kind, content in zip(config.token_kinds, contents, strict=True):
            address = KvAddress(*sequence, kind, group)
            self._wait(found, address, self.layout.pack_group(*content), len(parts[0]))
        return found

    def _wait(
        self, pages: dict[int, PageWrite], address: KvAddress, payload: np.ndarray, tokens: int
    ) -> None:
        packed = address.pack()
        pages[packed] = PageWrite(packed, self.layout.unit(address), payload, tokens)

    def _read_group(self, sequence: SequenceId, state: _Sequence, group: int) -> list[np.ndarray]:
        """Return keys and values of a group."""
        if state.partial is not None and group == state.tokens // self.layout.config.group_tokens:
            return state.partial
        found = []
        for kind in self.layout.config.token_kinds:
            payload, tokens = self._page(KvAddress(*sequence, kind, group))
            found += self.layout.unpack_group(payload, tokens)
        return found

    def _page(self, address: KvAddress) -> tuple[np.ndarray, int]:
        """Return a page that waits, or is in flash."""
        write = self._waiting.pages.get(address.pack())
        return (write.payload, write.tokens) if write else self.manager.read(address.pack())

    def _find(self) -> None:
        """Find the sequences that are in flash, and make copies by channels that are missing."""
        groups: dict[SequenceId, dict[KvKind, dict[int, int]]] = {}
        for packed, located in self.manager.table.items():
            address = KvAddress.unpack(packed)
            kinds = groups.setdefault(address.sequence, {kind: {} for kind in KvKind})
            kinds[address.kind][address.index] = located.tokens
        for sequence, kinds in groups.items():
            state = self._sequences[sequence] = self._state_of(kinds)
            if state.damaged:
                continue
            for span in range(state.tokens // self.layout.config.span_tokens):
                pages = self.layout.config.channel_groups
                there = all(
                    channel_index(span, n) in kinds[KvKind.KEY_CHANNELS] for n in range(pages)
                )
                if not there:
                    break
                state.spans = span + 1
            with suppress(UncorrectableError):  # then it is damaged
                self._copy_channels(sequence, state)
        with suppress(DriveFullError):  # then the copies stay in memory
            self._write_waiting()

    def _state_of(self, kinds: dict[KvKind, dict[int, int]]) -> _Sequence:
        """Return a sequence's state, of the tokens that its groups have.

        All pages of a group are written together, and whole groups before partial ones. So if they
        differ, or one is missing before the last, something was lost.
        """
        size = self.layout.config.group_tokens
        first, *others = (kinds[kind] for kind in self.layout.config.token_kinds)
        tokens = 0
        while first.get(tokens // size) and not tokens % size:
            if any(other.get(tokens // size) != first[tokens // size] for other in others):
                break
            tokens += first[tokens // size]
        groups = -(-tokens // size)
        spans = [index >> INDEX_FIELDS["span"].low for index in kinds[KvKind.KEY_CHANNELS]]
        behind = (max(spans, default=-1) + 1) * self.layout.config.span_tokens > tokens
        damaged = behind or any(len(pages) != groups for pages in (first, *others))
        return _Sequence(tokens, tokens, damaged=damaged)

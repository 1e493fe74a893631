"""The timing contract of the codec where streams wait: when each handshake happens, cycle by cycle.

The models below know no data, only of each chunk whether its syndromes are all 0 and whether there
was anything to search. From what the streams outside do in a cycle (inputs offered, outputs ready)
they say what the codec does in it (inputs ready, outputs offered). A bench holds every handshake of
the hardware against them, so a cycle that the hardware loses by itself never counts as a stall.
`BchEncoder.cycles` and `BchDecoder.cycles` say the same in closed form, where no stream waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from golden.spec.bch import BchConfig
from storage_engine.bch_chien import STAGES
from storage_engine.bch_decoder import ChunkTiming, buffer_depth
from storage_engine.bch_key_equation import BchKeyEquation


@dataclass
class WriteModel:
    """The CRC's writer and the encoder behind it."""

    config: BchConfig
    written: bool = False  # the writer offers a word
    encoded: bool = False  # the encoder does
    word: int = 0  # of the chunk that is encoded

    def outputs(self, flash_ready: bool) -> tuple[bool, bool]:
        """Return whether i_page is ready, and whether o_flash offers a word."""
        return not self.written or self._encoder_takes(flash_ready), self.encoded

    def step(self, page_valid: bool, flash_ready: bool) -> None:
        """Go on to the next cycle."""
        page_ready, _ = self.outputs(flash_ready)
        if not self.encoded or flash_ready:
            self.encoded = self._is_parity or self.written
            self.word = (self.word + self.encoded) % self.config.chunk_words
        if page_ready:
            self.written = page_valid

    @property
    def _is_parity(self) -> bool:
        return self.word >= self.config.message_words

    def _encoder_takes(self, flash_ready: bool) -> bool:
        return (not self.encoded or flash_ready) and not self._is_parity


@dataclass
class ReadModel:
    """The decoder; the CRC's checker behind it takes no time."""

    config: BchConfig
    chunks: Sequence[ChunkTiming]
    receiver: "_Receiver" = field(init=False)
    key: "_Key" = field(init=False)
    search: "_Search" = field(init=False)
    buffer: "_Buffer" = field(init=False)

    def __post_init__(self) -> None:
        self.receiver = _Receiver(self.config)
        self.key = _Key(self.config, self.chunks)
        self.search = _Search(self.config, self.chunks)
        self.buffer = _Buffer(buffer_depth(self.config))

    def outputs(self, page_ready: bool, status_ready: bool) -> tuple[bool, bool, bool]:
        """Return whether i_flash is ready, and whether o_page and o_status offer something."""
        receiver, buffer = self.receiver, self.buffer
        taken = self._key_takes(page_ready, status_ready)
        room = receiver.is_parity or buffer.level < buffer.depth
        found = self.search.offered
        return (
            receiver.ready(taken) and room,
            found is not None and not found.is_parity and buffer.offers,
            found is not None and found.last,
        )

    def step(self, flash_valid: bool, page_ready: bool, status_ready: bool) -> None:
        """Go on to the next cycle."""
        flash_ready, page_valid, _ = self.outputs(page_ready, status_ready)
        key_takes = self._key_takes(page_ready, status_ready)
        moves = self._search_moves(page_ready, status_ready)
        searches = self.search.takes(moves)
        enters = flash_valid and flash_ready
        self.buffer.step(enters and not self.receiver.is_parity, page_valid and page_ready)
        offered = self.key.offered
        self.key.step(self.receiver.offered, searches)
        self.receiver.step(enters, key_takes)
        self.search.step(moves, offered)

    def _search_moves(self, page_ready: bool, status_ready: bool) -> bool:
        found = self.search.offered
        if found is None:
            return True
        if found.is_parity:
            return not found.last or status_ready
        return self.buffer.offers and page_ready

    def _key_takes(self, page_ready: bool, status_ready: bool) -> bool:
        searches = self.search.takes(self._search_moves(page_ready, status_ready))
        return self.key.takes(self.receiver.offered, searches)


@dataclass
class _Receiver:
    """The syndromes."""

    config: BchConfig
    number: int = 0
    offered: bool = False

    @property
    def is_parity(self) -> bool:
        return self.number >= self.config.message_words

    def ready(self, taken: bool) -> bool:
        return self.number < self.config.chunk_words - 1 or not self.offered or taken

    def step(self, enters: bool, taken: bool) -> None:
        last = enters and self.number == self.config.chunk_words - 1
        self.offered = last or (self.offered and not taken)
        self.number = 0 if last else self.number + enters


@dataclass
class _Key:
    """The key equation: how far it is with a chunk, 0 for idle."""

    config: BchConfig
    chunks: Sequence[ChunkTiming]
    chunk: int = 0
    cycle: int = 0
    offered: bool = False

    def takes(self, offered: bool, searches: bool) -> bool:
        """Return whether it takes the syndromes that are offered."""
        if self.cycle == 0:
            return offered and self._free(searches) and not self.chunks[self.chunk].dirty
        return self.cycle == 2 * self.config.t

    def step(self, offered: bool, searches: bool) -> None:
        free = self._free(searches)
        clean = self.takes(offered, searches) and self.cycle == 0
        last = BchKeyEquation.cycles(self.config, clean=False) - 1
        done = self.cycle == last
        waits = not free and last - self.config.t - 1 <= self.cycle < last
        if self.cycle == 0:
            self.cycle = int(offered and self.chunks[self.chunk].dirty)
        elif not waits:
            self.cycle = 0 if done else self.cycle + 1
        self.chunk += clean or done
        self.offered = clean or done or (self.offered and not searches)

    def _free(self, searches: bool) -> bool:
        return not self.offered or searches


@dataclass(frozen=True)
class _Word:
    is_parity: bool
    last: bool


@dataclass
class _Search:
    """The search: words on their way, the last of them offered."""

    config: BchConfig
    chunks: Sequence[ChunkTiming]
    chunk: int = -1  # that is searched
    busy: bool = False
    number: int = 0
    part: int = 0
    stages: list[_Word | None] = field(default_factory=lambda: [None] * (STAGES - 1))

    @property
    def offered(self) -> _Word | None:
        return self.stages[-1]

    def takes(self, moves: bool) -> bool:
        """Return whether it is ready for the next chunk."""
        return moves and (not self.busy or (self._whole and self._last))

    def step(self, moves: bool, offered: bool) -> None:
        if not moves:
            return
        takes, whole = self.takes(moves), self._whole
        word = _Word(self.number >= self.config.message_words, self._last)
        self.stages = [word if self.busy and whole else None, *self.stages[:-1]]
        if takes:
            self.busy, self.number, self.part = offered, 0, 0
            self.chunk += offered
        else:
            self.number += whole
            self.part = 0 if whole else self.part + 1

    @property
    def _whole(self) -> bool:
        return self.part == self.config.searches - 1 or not self.chunks[self.chunk].searched

    @property
    def _last(self) -> bool:
        return self.number == self.config.chunk_words - 1


@dataclass
class _Buffer:
    """The buffer: words in its memory, and whether one is at its output."""

    depth: int
    level: int = 0
    offers: bool = False

    def step(self, enters: bool, leaves: bool) -> None:
        reads = self.level > 0 and (not self.offers or leaves)
        self.offers = reads or (self.offers and not leaves)
        self.level += enters - reads


def read_cycles(config: BchConfig, chunks: Sequence[ChunkTiming]) -> int:
    """Return the cycles from the first word taken to the last status given, if no stream waits."""
    model, statuses, taken, cycle = ReadModel(config, chunks), 0, 0, 0
    while statuses < len(chunks):
        ready, _, status = model.outputs(True, True)
        offered = taken < len(chunks) * config.chunk_words
        model.step(offered, True, True)
        taken += offered and ready
        statuses += status
        cycle += 1
    return cycle

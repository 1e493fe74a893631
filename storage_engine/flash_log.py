"""The log: what a drive must remember beside its pages, twice, on different units.

A log begins with all of the drive's state; then come records of what changed since. When a block
is full, or one fails, a new log is begun in other blocks; the old one counts until the beginning
of the new one is whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage_engine.flash_blocks import BlockTable, BlockUse
from storage_engine.flash_device import PageProgram
from storage_engine.flash_format import (
    RECORD_BYTES,
    PageCodec,
    PageHeader,
    PageType,
    Record,
    RecordType,
    StoredPage,
    pack_records,
    unpack_records,
)
from storage_engine.flash_state import DriveState

COPIES = 2
LOW = (1 << 32) - 1


class FlashLog:
    """The log of a drive.

    Attributes:
        number: of the log; a new one has the next.
        pages: programmed so far, copies counted.
        stale: the state has changed in a way that only a new log tells.
    """

    def __init__(self, blocks: BlockTable, codec: PageCodec, number: int) -> None:
        self.number = number
        self.pages = 0
        self.stale = True
        self._blocks, self._codec = blocks, codec
        self._taken: list[list[int]] = [[] for _ in range(COPIES)]
        self._old: list[int] = []  # blocks of logs that a new one replaces
        self._place = 0  # of the next page in the log

    def adopt(self, blocks: list[int]) -> None:
        """Take over the blocks of the log that a mount found, until a new one is whole."""
        self._blocks.hold(blocks, BlockUse.LOG)
        self._old = blocks

    def append(self, records: Sequence[Record]) -> None:
        """Write records to both copies; they count when this returns.

        Raises:
            DriveFullError: a new log is needed, and no block is free.
        """
        records = [*self._bad_records(), *records]
        self._blocks.state.apply(records)
        if not self.stale and self._fits(records) and self._write(records):
            return
        self.stale = True
        self.begin()

    def begin(self) -> None:
        """Begin a new log with the drive's state; then erase the old one.

        An old log that is whole must not be found where the new one is lost: it would tell of a
        state that is long past.

        Raises:
            DriveFullError: no block is free.
        """
        while self.stale:
            self._old += [block for taken in self._taken for block in taken]
            self.number += 1
            self._place = 0
            self._taken = [[] for _ in range(COPIES)]
            self._blocks.unlogged.clear()
            self.stale = not self._write(self._blocks.state.records(), beginning=True)
        self._erase_old()

    def _erase_old(self) -> None:
        records = []
        for block in self._old:
            if self._blocks.use[block] == BlockUse.LOG:
                self._blocks.close(block)
                self._blocks.wipe(block)
                records.append(Record(RecordType.ERASES, 0, block, self._blocks.erases(block)))
        self._old = []
        if records and self._fits(records):
            self.stale = not self._write(records)

    def beginning_blocks(self) -> int:
        """Return how many blocks the beginning of a new log takes, copies counted."""
        pages = -(-self._blocks.state.record_count // (self._codec.payload_bytes // RECORD_BYTES))
        return COPIES * -(-pages // self._blocks.flash.shape.pages_per_block)

    def _bad_records(self) -> list[Record]:
        found = [Record(RecordType.BAD, 0, block) for block in self._blocks.unlogged]
        self._blocks.unlogged.clear()
        return found

    def _fits(self, records: Sequence[Record]) -> bool:
        """Return whether the records have room in the log's last blocks."""
        per_block = self._blocks.flash.shape.pages_per_block
        pages = len(pack_records(records, self._codec.payload_bytes))
        return self._place + pages <= len(self._taken[0]) * per_block

    def _write(self, records: Sequence[Record], beginning: bool = False) -> bool:
        """Write records to both copies; return False if a block failed."""
        for count, payload in pack_records(records, self._codec.payload_bytes):
            slot = self._place % self._blocks.flash.shape.pages_per_block
            if slot == 0 and beginning:
                self._take_blocks()
            programs = [self._page(copy, slot, count, payload) for copy in range(COPIES)]
            results = self._program(programs)
            self.pages += COPIES
            if not all(results):
                self._blocks.suspect.update(
                    program.block
                    for program, good in zip(programs, results, strict=True)
                    if not good
                )
                return False
            self._place += 1
        return True

    def _program(self, programs: list[PageProgram]) -> list[bool]:
        """Program both copies, at the same time if they are on different units."""
        flash = self._blocks.flash
        if programs[0].block % flash.shape.units != programs[1].block % flash.shape.units:
            return flash.program(programs)
        return [flash.program([program])[0] for program in programs]

    def _take_blocks(self) -> None:
        unit = None
        for taken in self._taken:
            taken.append(self._blocks.take_any(BlockUse.LOG, unit))
            unit = taken[-1] % self._blocks.flash.shape.units

    def _page(self, copy: int, slot: int, count: int, payload: np.ndarray) -> PageProgram:
        block = self._taken[copy][-1]
        header = PageHeader(
            kind=PageType.LOG,
            tokens=count,
            generation=copy,
            erases=self._blocks.erases(block),
            address=self.number << 32 | self._place,
            sequence=self._blocks.state.committed,
        )
        return PageProgram(block, slot, self._codec.encode(header, payload))


@dataclass(frozen=True)
class FoundLog:
    """What a mount finds of the logs.

    Attributes:
        state: of the newest log whose beginning is whole, or None. used: its number, or 0.
        number: the highest number of any log. corrupt: records are missing.
    """

    state: DriveState | None
    used: int
    number: int
    corrupt: bool


def find_log(pages: Sequence[StoredPage]) -> FoundLog:
    """Return what the readable pages of all logs say.

    A log whose beginning is not whole was cut, and the one before it counts; but if pages are
    missing before others that are there, they were lost.
    """
    logs: dict[int, dict[int, StoredPage]] = {}
    for page in pages:
        number, place = page.header.address >> 32, page.header.address & LOW
        logs.setdefault(number, {})[place] = page
    corrupt = False
    for number in sorted(logs, reverse=True):
        log = logs[number]
        missing = len(log) <= max(log)
        corrupt |= missing
        state = DriveState()
        state.apply(unpack_records(log[place] for place in sorted(log)))
        # Each page knows what was committed when it was written, should that record be lost.
        state.committed = max(state.committed, *(p.header.sequence for p in log.values()))
        if state.whole:
            return FoundLog(state, number, max(logs), corrupt)
    return FoundLog(None, 0, max(logs, default=0), True)

"""Programming pages: into the open blocks of their task, on all units at the same time.

A block has pages of one task only, so a task's blocks are free when it is reclaimed. A block in
which a program fails takes no more; what counts in it is programmed elsewhere.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from storage_engine.flash_blocks import BlockTable, BlockUse
from storage_engine.flash_device import PageProgram
from storage_engine.flash_format import (
    ENTRY_BYTES,
    Entry,
    PageHeader,
    PageType,
    StoredPage,
    pack_summary,
    summary_pages,
)
from storage_engine.flash_reader import PageReader
from storage_engine.kv_address import task_of


class PageWrite(NamedTuple):
    """A page to be written: its packed address, the unit it should be on, payload and tokens."""

    address: int
    unit: int
    payload: np.ndarray
    tokens: int


class Located(NamedTuple):
    """Where a page is, and what its header says."""

    block: int
    page: int
    sequence: int
    tokens: int


@dataclass
class Batch:
    """Pages that count together.

    Attributes:
        first: the sequence of the first one. addresses: of all that are to be written.
        placed: where each is by now. blocks: all that were touched.
    """

    first: int
    addresses: frozenset[int]
    placed: dict[int, Located] = field(default_factory=dict)
    blocks: set[int] = field(default_factory=set)


class PageWriter:
    """Programs pages.

    Attributes:
        sequence: of the next page.
        promised: blocks that a later write will certainly need.
        data_pages: of a block, those that are not its summary.
    """

    def __init__(
        self,
        reader: PageReader,
        blocks: BlockTable,
        table: Mapping[int, Located],
        sequence: int,
    ) -> None:
        self.sequence = sequence
        self.promised = 0
        self._reader, self._blocks, self._table = reader, blocks, table
        self._flash, self._codec = reader.flash, reader.codec
        self._open: dict[tuple[int, int], int] = {}  # by task and unit
        self._writes: dict[int, PageWrite] = {}  # of the batch, should they be needed again
        pages = self._flash.shape.pages_per_block
        self._summary_pages = summary_pages(pages, self._codec.payload_bytes)
        self.data_pages = pages - self._summary_pages

    def room(self, task: int) -> int:
        """Return the pages that a task's open blocks can still take."""
        blocks = [block for (owner, _), block in self._open.items() if owner == task]
        return sum(self.data_pages - len(self._blocks.entries[block]) for block in blocks)

    def close_task(self, task: int) -> None:
        """Close all open blocks of a task."""
        for key in [key for key in self._open if key[0] == task]:
            self._blocks.close(self._open.pop(key))

    def open_block(self, write: PageWrite, reserve: int) -> int:
        """Return the open block that takes a page: on its unit, if blocks are not short.

        Raises:
            DriveFullError: no block is free.
        """
        task, units = task_of(write.address), self._flash.shape.units
        block = self._open.get((task, write.unit % units))
        if block is None and self._blocks.free > reserve + self.promised + units:
            block = self._blocks.take(BlockUse.OPEN, self._blocks.free_on(write.unit % units))
        if block is None:
            block = next((each for key, each in self._open.items() if key[0] == task), None)
        if block is None:
            block = self._blocks.take_any(BlockUse.OPEN)
        self._open[task, block % units] = block
        return block

    def program(
        self, batch: Batch, writes: Iterable[PageWrite], target: Callable[[PageWrite], int]
    ) -> None:
        """Program pages, one on each unit at a time, each into the block that `target` gives.

        Raises:
            DriveFullError: no block is free.
        """
        queues: dict[int, deque[PageWrite]] = {}
        for write in writes:
            queues.setdefault(write.unit, deque()).append(write)
        units = self._flash.shape.units
        while any(queues.values()):
            step: dict[int, tuple[PageWrite, int]] = {}
            for queue in filter(None, queues.values()):
                block = target(queue[0])
                if block % units not in step:
                    step[block % units] = queue.popleft(), block
            for write in self._program_step(batch, list(step.values())):
                queues.setdefault(write.unit, deque()).appendleft(write)
        self._writes.clear()

    def _program_step(self, batch: Batch, step: list[tuple[PageWrite, int]]) -> list[PageWrite]:
        """Program a page on each of some units; return what must be programmed elsewhere."""
        entries = [self._entry(write, block) for write, block in step]
        programs = [
            self._program(block, entry, write.payload)
            for (write, block), entry in zip(step, entries, strict=True)
        ]
        batch.blocks.update(block for _, block in step)
        results = self._flash.program(programs)
        again: list[PageWrite] = []
        for (write, block), entry, good in zip(step, entries, results, strict=True):
            if good:
                self._place(batch, write, block, entry)
                good = len(self._blocks.entries[block]) < self.data_pages or self._summarise(block)
            else:
                again.append(write)
            if not good:
                self._reader.counters.failed += 1
                again += self._retire(batch, block)
        return again

    def _place(self, batch: Batch, write: PageWrite, block: int, entry: Entry) -> None:
        self._blocks.entries[block].append(entry)
        self._blocks.add_live(block, 1)
        batch.placed[write.address] = Located(block, entry.page, entry.sequence, entry.tokens)
        self._writes[write.address] = write

    def _entry(self, write: PageWrite, block: int) -> Entry:
        generation = self._blocks.state.task(task_of(write.address)).generation
        page = len(self._blocks.entries[block])
        self.sequence += 1
        return Entry(page, write.address, self.sequence - 1, write.tokens, generation)

    def _program(self, block: int, entry: Entry, payload: np.ndarray) -> PageProgram:
        header = PageHeader(
            PageType.DATA,
            entry.tokens,
            entry.generation,
            self._blocks.erases(block),
            entry.address,
            entry.sequence,
        )
        return PageProgram(block, entry.page, self._codec.encode(header, payload))

    def _summarise(self, block: int) -> bool:
        """Write a full block's summary and close it; return whether that succeeded."""
        entries = self._blocks.entries[block]
        each = self._codec.payload_bytes // ENTRY_BYTES
        for number, payload in enumerate(pack_summary(entries, self._codec.payload_bytes)):
            header = PageHeader(
                PageType.SUMMARY,
                min(len(entries) - number * each, each),
                entries[0].generation,
                self._blocks.erases(block),
                entries[0].sequence,
                entries[-1].sequence,
            )
            stored = self._codec.encode(header, payload)
            self._reader.counters.summaries += 1
            if not self._flash.program([PageProgram(block, self.data_pages + number, stored)])[0]:
                return False
        self._shut(block)
        return True

    def _retire(self, batch: Batch, block: int) -> list[PageWrite]:
        """Close a block in which a program failed; return what must be programmed elsewhere."""
        self._blocks.suspect.add(block)
        mine = [address for address, at in batch.placed.items() if at.block == block]
        again = [self._writes[address] for address in mine]
        again += self.live_pages([block], but=batch.addresses)
        for address in mine:
            del batch.placed[address]
        self._blocks.live[block] -= len(mine)
        self._shut(block)
        return again

    def live_pages(self, blocks: Iterable[int], but: frozenset[int]) -> list[PageWrite]:
        """Return what counts in some blocks, as read, but for some addresses.

        A page that cannot be read stays where it is: who asks for it is told.
        """
        wanted, found = set(blocks), []
        for address, located in self._table.items():
            if located.block in wanted and address not in but:
                page = self._reader.read(located.block, located.page)
                if isinstance(page, StoredPage) and page.header.sequence == located.sequence:
                    unit = located.block % self._flash.shape.units
                    found.append(PageWrite(address, unit, page.payload, located.tokens))
        self._reader.counters.moved += len(found)
        return found

    def _shut(self, block: int) -> None:
        """Close a block, whoever wrote to it."""
        for key in [key for key, each in self._open.items() if each == block]:
            del self._open[key]
        self._blocks.close(block)

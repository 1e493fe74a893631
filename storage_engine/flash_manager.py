"""The drive's flash translation: pages by logical address, written in groups that count together.

Pages of a write are programmed first. Then one record in the log says that all of them count; only
then does the table know them, and `write` returns. So a write is there as a whole or not at all,
wherever the power is cut. docs/flash-management.md has the argument.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from storage_engine.flash_blocks import BlockTable, BlockUse
from storage_engine.flash_errors import DriveFullError, MissingError, UncorrectableError
from storage_engine.flash_format import Record, RecordType, StoredPage
from storage_engine.flash_log import FlashLog
from storage_engine.flash_reader import PageReader
from storage_engine.flash_state import GENERATIONS, DriveState, Gap
from storage_engine.flash_writer import Batch, Located, PageWrite, PageWriter
from storage_engine.kv_address import task_of


class FlashManager:
    """Pages of keys and values in flash.

    Made by `format_drive` or `mount_drive` of `flash_mount.py`.

    Attributes:
        table: where each page is, by its packed address.
        state: what the log says. blocks: what each is for. log: where the state is written.
        writer: programs pages. counters: what happened so far.
    """

    def __init__(
        self, reader: PageReader, state: DriveState, log_number: int, sequence: int
    ) -> None:
        self.reader, self.state = reader, state
        self.counters = reader.counters
        self.table: dict[int, Located] = {}
        self.blocks = BlockTable(reader.flash, state)
        self.log = FlashLog(self.blocks, reader.codec, log_number)
        self.writer = PageWriter(reader, self.blocks, self.table, sequence)

    def write(self, writes: Sequence[PageWrite]) -> None:
        """Write pages that count together; of several with one address the last.

        Raises:
            DriveFullError: there is no room; nothing has changed.
        """
        if not writes:
            return
        unique = list({write.address: write for write in writes}.values())
        self.make_room(Counter(task_of(write.address) for write in unique))
        self._write(unique, self._open_block)
        self.counters.written += len(unique)
        self._level_wear()

    def read(self, address: int) -> tuple[np.ndarray, int]:
        """Return a page's payload, uint8 [payload_bytes], and its tokens.

        Raises:
            MissingError: there is no such page.
            UncorrectableError: it cannot be read.
        """
        located = self.table.get(address)
        if located is None:
            raise MissingError(f"page {address:#018x} is not in the drive")
        block, page = located.block, located.page
        found = self.reader.read(block, page)
        if not isinstance(found, StoredPage) or found.header.sequence != located.sequence:
            self.counters.uncorrectable += 1
            where = self.reader.flash.shape.describe(block, page)
            raise UncorrectableError(
                f"page {address:#018x} cannot be read; it is at {where}", block, page
            )
        return found.payload, located.tokens

    def reclaim(self, task: int) -> None:
        """Forget all pages of a task; they are gone for ever when this returns.

        Raises:
            DriveFullError: the log has no room; nothing has changed.
        """
        generation = (self.state.task(task).generation + 1) % GENERATIONS
        before = self.state.task(task)
        try:
            record = Record(RecordType.RECLAIMED, task, generation, self.writer.sequence - 1)
            self.log.append([record])
        except DriveFullError:
            self.state.tasks[task] = before
            raise
        for address in [each for each in self.table if task_of(each) == task]:
            self.blocks.add_live(self.table.pop(address).block, -1)
        self.writer.close_task(task)
        self._level_wear()

    def adopt(self, table: dict[int, Located]) -> None:
        """Take over the pages that a mount found; no block of theirs takes any more data."""
        self.table.update(table)
        self.blocks.hold((located.block for located in table.values()), BlockUse.CLOSED)
        for located in table.values():
            self.blocks.add_live(located.block, 1)

    def make_room(self, pages: Mapping[int, int]) -> None:
        """See to it that so many pages of each task can be written, by moving data together.

        Raises:
            DriveFullError: that does not help.
        """
        while self._blocks_needed(pages) > self.blocks.free - self.reserve:
            if not self._compact():
                raise DriveFullError(
                    f"{sum(pages.values())} pages are to be written and there is room for "
                    f"{self.free_pages}; reclaim a task"
                )

    def promise(self, pages: Mapping[int, int]) -> None:
        """See to it that so many pages of each task will find room later, until the next promise.

        Raises:
            DriveFullError: there is no room; the promise before this one still holds.
        """
        self.make_room(pages)
        self.writer.promised = self._blocks_needed(pages)

    @property
    def reserve(self) -> int:
        """Blocks that writes leave free: for a new log, for moving data, for bad blocks."""
        return self.log.beginning_blocks() + self.reader.policy.spare_blocks

    @property
    def free_pages(self) -> int:
        """Pages that a task without any could write."""
        return max(self.blocks.free - self.reserve, 0) * self.writer.data_pages

    def _write(self, writes: Sequence[PageWrite], target: Callable[[PageWrite], int]) -> None:
        """Program pages, commit them, and only then let the table know them."""
        batch = Batch(self.writer.sequence, frozenset(write.address for write in writes))
        try:
            self.writer.program(batch, writes, target)
            self.log.append([Record(RecordType.COMMITTED, 0, 0, self.writer.sequence - 1)])
        except DriveFullError:
            self._abort(batch)
            raise
        for address, located in batch.placed.items():
            old = self.table.get(address)
            self.table[address] = located
            if old:
                self.blocks.add_live(old.block, -1)

    def _abort(self, batch: Batch) -> None:
        """See to it that pages of a write that was given up never count."""
        if self.writer.sequence > batch.first:
            count = self.writer.sequence - batch.first
            self.state.gaps.append(Gap(batch.first, count, set(batch.blocks)))
            self.log.stale = True
        for located in batch.placed.values():
            self.blocks.add_live(located.block, -1)
        self.counters.aborted += 1

    def _open_block(self, write: PageWrite) -> int:
        return self.writer.open_block(write, self.reserve)

    def _blocks_needed(self, pages: Mapping[int, int]) -> int:
        return sum(self._blocks_for(task, count) for task, count in pages.items())

    def _blocks_for(self, task: int, pages: int) -> int:
        """Return the blocks that must be opened for more pages of a task."""
        return -(-max(pages - self.writer.room(task), 0) // self.writer.data_pages)

    def _compact(self) -> bool:
        """Move what counts in a task's emptiest blocks together; return whether that freed one."""
        by_task: dict[int, set[int]] = {}
        for address, located in self.table.items():
            if self.blocks.use[located.block] == BlockUse.CLOSED:
                by_task.setdefault(task_of(address), set()).add(located.block)
        plans = [plan for task, blocks in by_task.items() if (plan := self._plan(task, blocks))]
        before = self.blocks.free
        if plans:
            victims = min(plans, key=lambda plan: sum(self.blocks.live[block] for block in plan))
            self._write(self.writer.live_pages(victims, frozenset()), self._open_block)
        return self.blocks.free > before

    def _plan(self, task: int, blocks: set[int]) -> list[int]:
        """Return the fewest of a task's blocks whose moving gives a free one; [] if none do."""
        pages = 0
        by_live = sorted(blocks, key=lambda block: (self.blocks.live[block], block))
        for count, block in enumerate(by_live, 1):
            pages += int(self.blocks.live[block])
            needed = self._blocks_for(task, pages)
            if needed > min(self.reader.policy.spare_blocks, self.blocks.free):
                break
            if needed < count:
                return by_live[:count]
        return []

    def _level_wear(self) -> None:
        """Move data that never change out of the least worn block into the most worn free one."""
        free = self.blocks.of_use(BlockUse.FREE)
        closed = [b for b in self.blocks.of_use(BlockUse.CLOSED) if self.blocks.live[b]]
        if not closed or len(free) <= self.reserve:
            return
        coldest = min(closed, key=self.blocks.erases)
        behind = max(map(self.blocks.erases, free)) - self.blocks.erases(coldest)
        if behind <= self.reader.policy.wear_spread:
            return
        target = self.blocks.take(BlockUse.OPEN, free, worn=True)
        if target is None:
            return

        def into(write: PageWrite) -> int:
            still = self.blocks.use[target] == BlockUse.OPEN
            return target if still else self._open_block(write)

        # If blocks run out now, the data stay where they are.
        with suppress(DriveFullError):
            self._write(self.writer.live_pages([coldest], frozenset()), into)
        if self.blocks.use[target] == BlockUse.OPEN:
            self.blocks.close(target)

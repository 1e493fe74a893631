"""Blocks of a flash: which are free, open, closed, of the log, or bad; and how worn they are."""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np

from storage_engine.flash_device import Flash
from storage_engine.flash_errors import DriveFullError
from storage_engine.flash_format import Entry
from storage_engine.flash_state import DriveState


class BlockUse(IntEnum):
    """What a block is for.

    FREE: nothing in it counts; it is erased when it is taken. OPEN: data are being written to it.
    CLOSED: it takes no more data. LOG: records. BAD: never touched again.
    """

    FREE = 0
    OPEN = 1
    CLOSED = 2
    LOG = 3
    BAD = 4


class BlockTable:
    """The blocks of a flash.

    Attributes:
        flash: what erases them. state: of the drive, which counts erases and knows bad blocks.
        use: uint8 [blocks], `BlockUse`. live: int64 [blocks], pages that count.
        entries: of open blocks, what was written to them.
        suspect: blocks in which a program failed; they become bad when nothing in them counts.
        unlogged: blocks that became bad since the log was told.
    """

    def __init__(self, flash: Flash, state: DriveState) -> None:
        self.flash, self.state = flash, state
        count = flash.shape.blocks
        self.use = np.full(count, BlockUse.FREE, np.uint8)
        self.live = np.zeros(count, np.int64)
        self.entries: dict[int, list[Entry]] = {}
        self.suspect: set[int] = set()
        self.unlogged: list[int] = []
        self._blank: set[int] = set()  # free, and erased since the drive was mounted
        for block in range(count):
            if flash.is_factory_bad(block) or block in state.bad:
                self.use[block] = BlockUse.BAD

    @property
    def free(self) -> int:
        """Free blocks."""
        return int(np.count_nonzero(self.use == BlockUse.FREE))

    def erases(self, block: int) -> int:
        """Return how often a block was erased."""
        return self.state.erases.get(block, 0)

    def of_use(self, use: BlockUse) -> list[int]:
        """Return the blocks of that use."""
        return [int(block) for block in np.flatnonzero(self.use == use)]

    def free_on(self, unit: int) -> list[int]:
        """Return the free blocks of a unit."""
        units = self.flash.shape.units
        return [unit + units * int(k) for k in np.flatnonzero(self.use[unit::units] == 0)]

    def take(self, use: BlockUse, candidates: list[int], worn: bool = False) -> int | None:
        """Return the least worn candidate (or the most), erased; None if none can be erased."""
        sign = -1 if worn else 1
        for block in sorted(candidates, key=lambda each: (sign * self.erases(each), each)):
            if block in self._blank or self._erase(block):
                self._blank.discard(block)
                self.use[block] = use
                self.entries[block] = []
                return block
        return None

    def wipe(self, block: int) -> None:
        """Erase a free block now; it need not be erased again when it is taken."""
        if self.use[block] == BlockUse.FREE and self._erase(block):
            self._blank.add(block)

    def _erase(self, block: int) -> bool:
        """Erase a block; if that fails it is bad."""
        erased = self.flash.erase(block)
        self.state.erased(block)
        if not erased:
            self.make_bad(block)
        return erased

    def take_any(self, use: BlockUse, avoid_unit: int | None = None) -> int:
        """Return the least worn free block, erased, if possible on another unit.

        Raises:
            DriveFullError: there is none.
        """
        free, units = self.of_use(BlockUse.FREE), self.flash.shape.units
        elsewhere = [block for block in free if block % units != avoid_unit]
        block = self.take(use, elsewhere)
        if block is None:
            block = self.take(use, [each for each in free if self.use[each] == BlockUse.FREE])
        if block is None:
            raise DriveFullError("no block is free; reclaim a task")
        return block

    def close(self, block: int) -> None:
        """Take no more data into an open block."""
        self.use[block] = BlockUse.CLOSED
        self.entries.pop(block, None)
        self.release(block)

    def hold(self, blocks: Iterable[int], use: BlockUse) -> None:
        """Note what blocks are for that a mount found in use."""
        for block in blocks:
            self.use[block] = use

    def add_live(self, block: int, pages: int) -> None:
        """Note that so many more of a block's pages count, or so many fewer."""
        self.live[block] += pages
        self.release(block)

    def release(self, block: int) -> None:
        """Free a closed block in which nothing counts; a suspect one becomes bad."""
        if self.use[block] != BlockUse.CLOSED or self.live[block]:
            return
        if block in self.suspect:
            self.make_bad(block)
        else:
            self.use[block] = BlockUse.FREE

    def make_bad(self, block: int) -> None:
        """Never touch a block again."""
        self.use[block] = BlockUse.BAD
        self.entries.pop(block, None)
        self.suspect.discard(block)
        self.state.bad.add(block)
        self.unlogged.append(block)

"""Flash as it behaves: what a manager may ask of it, and a model with all that can go wrong.

`Flash` is what the manager talks to. `FlashDevice` is one in memory. Bits are programmed from 1 to
0; only erasing a whole block makes them 1 again. The pages of a block are programmed in their
order. A program or an erase may fail; then the block is bad for ever. A cut of the power leaves
pages and blocks that were being worked on anywhere between their old and their new content, and
some of their bits may read otherwise each time.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from golden.spec.errors import ConfigError

ERASED = 0xFF


@dataclass(frozen=True)
class FlashShape:
    """How many of everything.

    Block b is on unit b mod units; unit u is on channel u mod channels, then planes count, then
    dies.

    Attributes:
        channels, dies, planes: units that work at the same time.
        blocks_per_unit, pages_per_block: of each.
        stored_bytes: of a page with all its spare bytes.

    Raises:
        ConfigError: a field is less than 1.
    """

    channels: int = 8
    dies: int = 1
    planes: int = 1
    blocks_per_unit: int = 64
    pages_per_block: int = 64
    stored_bytes: int = 4192

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}; a number of 1 or more is needed")

    @property
    def units(self) -> int:
        """Planes of all dies."""
        return self.channels * self.dies * self.planes

    @property
    def blocks(self) -> int:
        """Blocks of all units."""
        return self.units * self.blocks_per_unit

    def on_channel(self, block: int, page: int) -> tuple[int, int]:
        """Return a page's channel, and its number among that channel's pages."""
        number, channel = divmod(block, self.channels)
        return channel, number * self.pages_per_block + page

    def describe(self, block: int, page: int) -> str:
        """Return a page's physical address in words."""
        rest, channel = divmod(block % self.units, self.channels)
        die, plane = divmod(rest, self.planes)
        return (
            f"channel {channel}, die {die}, plane {plane}, block {block // self.units}, page {page}"
        )


class PageProgram(NamedTuple):
    """A page to be programmed: uint8 [stored_bytes] into `page` of `block`."""

    block: int
    page: int
    stored: np.ndarray


class Flash(Protocol):
    """What a flash front end offers."""

    @property
    def shape(self) -> FlashShape:
        """How many of everything."""

    def is_factory_bad(self, block: int) -> bool:
        """Return whether the maker marked the block as bad."""

    def read(self, block: int, page: int, retry: int) -> np.ndarray:
        """Return a page as read, uint8 [stored_bytes]; each retry reads with other thresholds."""

    def program(self, programs: Sequence[PageProgram]) -> list[bool]:
        """Program pages on different units at the same time; return which succeeded."""

    def erase(self, block: int) -> bool:
        """Erase a block; return whether it succeeded."""


class PowerCut(Exception):
    """The power is gone."""


class FlashMisuse(Exception):
    """What no manager may do: the model tells it, real flash would not."""


@dataclass(frozen=True)
class FlashFaults:
    """How bad a flash is; all drawn from a seed.

    Attributes:
        seed: of all draws.
        factory_bad: share of blocks that are bad from the beginning.
        program_fails, erase_fails: chance of each operation to fail.
        bit_errors: share of bits that a read gives wrongly; a retry gives a quarter of them.
        weak_pages: share of reads whose first try is unreadable.
        endurance: erases after which a block fails; 0 for never.
    """

    seed: int = 0
    factory_bad: float = 0.0
    program_fails: float = 0.0
    erase_fails: float = 0.0
    bit_errors: float = 0.0
    weak_pages: float = 0.0
    endurance: int = 0


class FlashDevice:
    """A flash in memory.

    Attributes:
        cells: what is stored, uint8 [blocks, pages_per_block, stored_bytes].
        erases: of each block, int64 [blocks].
        programs: pages programmed. reads: pages read.
        operations: programs and erases; pages that are programmed together count once.
        cut_at: the operation in which the power is cut; None for never.
    """

    def __init__(self, shape: FlashShape, faults: FlashFaults | None = None) -> None:
        self._shape = shape
        self.faults = faults or FlashFaults()
        self.random = np.random.default_rng(self.faults.seed)
        pages = (shape.blocks, shape.pages_per_block, shape.stored_bytes)
        self.cells = np.full(pages, ERASED, np.uint8)
        self.erases = np.zeros(shape.blocks, np.int64)
        self.programs = self.reads = self.operations = 0
        self.cut_at: int | None = None
        bad = np.flatnonzero(self.random.random(shape.blocks) < self.faults.factory_bad)
        self.broken = {int(block) for block in bad}
        self._factory_bad = frozenset(self.broken)
        self._next = np.zeros(shape.blocks, np.int64)  # page to be programmed; -1: erase first
        self._unsure: dict[tuple[int, int], np.ndarray] = {}  # bits that read otherwise each time
        self._powered = True

    @property
    def shape(self) -> FlashShape:
        """How many of everything."""
        return self._shape

    def copy(self) -> Self:
        """Return a flash in the same state that goes its own way from here."""
        return copy.deepcopy(self)

    def power_on(self) -> None:
        """Give the power back; it is not cut again before `cut_at` is set."""
        self._powered, self.cut_at = True, None

    def is_factory_bad(self, block: int) -> bool:
        """Return whether the block was bad from the beginning."""
        return block in self._factory_bad

    def read(self, block: int, page: int, retry: int) -> np.ndarray:
        """Return a page as read, with wrong bits."""
        self._check_power()
        self.reads += 1
        found = self.cells[block, page].copy()
        if (block, page) in self._unsure:
            share = self.random.choice([0.0, 0.5, 1.0])
            found &= ~(self._unsure[block, page] & self._mask(share))
        faults = self.faults
        if faults.bit_errors:
            wrong = self.random.binomial(8 * len(found), faults.bit_errors / 4**retry)
            self._flip(found, wrong)
        if faults.weak_pages and not retry and self.random.random() < faults.weak_pages:
            self._flip(found, len(found))
        return found

    def program(self, programs: Sequence[PageProgram]) -> list[bool]:
        """Program pages on different units; return which succeeded."""
        self._check_power()
        units = {block % self._shape.units for block, _, _ in programs}
        if len(units) != len(programs) or not programs:
            raise FlashMisuse("pages that are programmed together are not on different units")
        for block, page, stored in programs:
            if page != self._next[block] or len(stored) != self._shape.stored_bytes:
                raise FlashMisuse(f"page {page} of block {block}; next is {self._next[block]}")
        if self._cut_now():
            for block, page, stored in programs:
                self._tear_program(block, page, stored)
            raise PowerCut
        self.operations += 1
        return [self._program(block, page, stored) for block, page, stored in programs]

    def erase(self, block: int) -> bool:
        """Erase a block; return whether it succeeded."""
        self._check_power()
        if self._cut_now():
            self._tear_erase(block)
            raise PowerCut
        self.operations += 1
        self.erases[block] += 1
        worn = self.faults.endurance and self.erases[block] > self.faults.endurance
        if worn or self.random.random() < self.faults.erase_fails:
            self.broken.add(block)
        if block in self.broken:
            self._next[block] = -1
            return False
        self._fill_erased(block, 0, self._shape.pages_per_block)
        self._next[block] = 0
        return True

    def _program(self, block: int, page: int, stored: np.ndarray) -> bool:
        self.programs += 1
        self._next[block] += 1
        if self.random.random() < self.faults.program_fails:
            self.broken.add(block)
        if block in self.broken:
            self.cells[block, page] &= stored | self._mask(0.2)
            return False
        self.cells[block, page] &= stored
        return True

    def _tear_program(self, block: int, page: int, stored: np.ndarray) -> None:
        """Leave a page untouched, whole, or anywhere between."""
        share = self.random.choice([0.0, 0.02, self.random.random(), 0.98, 1.0])
        done = stored | ~self._mask(share)
        if share:
            self._next[block] = -1
            unsure = self.cells[block, page] & done & ~stored
            self._unsure[block, page] = unsure & self._mask(self.random.random())
        self.cells[block, page] &= done

    def _tear_erase(self, block: int) -> None:
        """Leave a block with some of its pages erased, some half, some as they were."""
        pages = self._shape.pages_per_block
        self._next[block] = -1
        self.erases[block] += 1
        first, last = sorted(self.random.integers(0, pages + 1, 2))
        self._fill_erased(block, first, last)
        for page in range(last, pages):
            share = self.random.choice([0.0, 0.02, 1.0])
            self.cells[block, page] |= self._mask(share)

    def _fill_erased(self, block: int, first: int, last: int) -> None:
        self.cells[block, first:last] = ERASED
        for page in range(first, last):
            self._unsure.pop((block, page), None)

    def _cut_now(self) -> bool:
        if self.cut_at is None or self.operations < self.cut_at:
            return False
        self._powered = False
        return True

    def _check_power(self) -> None:
        if not self._powered:
            raise PowerCut

    def _mask(self, share: float) -> np.ndarray:
        """Return bytes in which about so large a share of the bits is 1."""
        if share in (0.0, 1.0):
            return np.full(self._shape.stored_bytes, ERASED if share else 0, np.uint8)
        return np.packbits(self.random.random(8 * self._shape.stored_bytes) < share)

    def _flip(self, stored: np.ndarray, count: int) -> None:
        if not count:
            return
        bits = self.random.integers(0, 8 * len(stored), count)
        np.bitwise_xor.at(stored, bits // 8, (1 << bits % 8).astype(np.uint8))

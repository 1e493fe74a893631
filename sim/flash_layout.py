"""Where pages and blocks lie: numbers striped over channels, then planes, then dies, then rows.

Page n is on channel n mod C; what is left of n counts planes, then dies, then rows of pages. So
consecutive pages go to all channels in turn, and a die's planes get the same page of the same block
row, which planes that sense together need. Blocks are numbered in the same order.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import numpy as np

from golden.spec.errors import ConfigError
from sim.nand import Flash, Retry

MASK = 2**64 - 1
FEW = 64
"""Below so many pages a loop is faster than arrays; both give the same."""
CHUNK = 2**20
"""Pages drawn at a time, to stay small."""

Number = TypeVar("Number", int, Any)  # an integer, or an array of uint64 where all wraps alike


@dataclass(frozen=True)
class Piece:
    """A rectangle of consecutive pages on one unit: `rows` rows from `row`, in each all `planes`.

    Attributes:
        channel; unit: of the channel, a die or, where planes are independent, a plane.
        row: a page's place in its plane, counted over all blocks (or a block's place, for erasing).
    """

    channel: int
    unit: int
    row: int
    rows: int
    planes: tuple[int, ...]


class Stripe:
    """The layout of one drive."""

    def __init__(self, flash: Flash) -> None:
        geometry = flash.geometry
        self.channels = geometry.channels
        self.planes = geometry.planes_per_die
        self.dies = geometry.dies_per_channel
        self.pages, self.blocks = geometry.pages, geometry.blocks
        self.width = geometry.planes
        self._units_per_die = self.planes // flash.planes_per_unit

    def locate(self, number: int) -> tuple[int, int, int, int]:
        """Return the channel, its unit, the plane and the row of a page or block."""
        rest, channel = divmod(number, self.channels)
        rest, plane = divmod(rest, self.planes)
        row, die = divmod(rest, self.dies)
        return channel, die if self._units_per_die == 1 else die * self.planes + plane, plane, row

    def number(self, channel: int, unit: int, plane: int, row: int) -> int:
        """Return what `locate` was given."""
        die = unit // self._units_per_die
        return channel + self.channels * (plane + self.planes * (die + self.dies * row))

    def check(self, numbers: Sequence[int], what: str) -> None:
        """Raise ConfigError unless there are such pages or blocks."""
        if not numbers:
            return
        count = self.pages if what == "page" else self.blocks
        ends = (numbers[0], numbers[-1]) if isinstance(numbers, range) else numbers
        first, last = min(ends), max(ends)
        if not 0 <= first <= last < count:
            raise ConfigError(
                f"{what}s {first} to {last} are asked for; the drive has {what}s 0 to {count - 1}"
            )

    def pieces(self, numbers: range) -> list[Piece]:
        """Return consecutive pages or blocks as pieces, in the order of their first numbers."""
        first, last = numbers[0], numbers[-1]
        found: list[Piece] = []
        for channel in range(self.channels):
            for unit in range(self.dies * self._units_per_die):
                rows = {
                    plane: self._rows(first, last, self.number(channel, unit, plane, 0))
                    for plane in self._planes_of(unit)
                }
                found += _rectangles(channel, unit, rows)
        return sorted(found, key=lambda p: self.number(p.channel, p.unit, p.planes[0], p.row))

    def _planes_of(self, unit: int) -> range:
        """Return the planes of a unit."""
        if self._units_per_die == 1:
            return range(self.planes)
        return range(unit % self.planes, unit % self.planes + 1)

    def _rows(self, first: int, last: int, slot: int) -> tuple[int, int]:
        """Return the rows, from and up to, whose page at `slot` of the stripe is wanted."""
        return -((slot - first) // self.width), (last - slot) // self.width + 1


def _rectangles(channel: int, unit: int, rows: dict[int, tuple[int, int]]) -> Iterator[Piece]:
    """Yield pieces of planes whose rows begin and end at most one apart."""
    for row, end in pairwise(sorted({mark for span in rows.values() for mark in span})):
        planes = tuple(plane for plane, (a, b) in rows.items() if a <= row and end <= b)
        if planes:
            yield Piece(channel, unit, row, end - row, planes)


class Repetitions:
    """Which pages need a read retry, and how often: drawn from the seed and the page's number."""

    def __init__(self, retry: Retry) -> None:
        self._ends = [round(end * 2**53) for end in accumulate(retry.shares)]
        self._salt = _mix(retry.seed + 1)

    def of(self, pages: Sequence[int]) -> dict[int, int]:
        """Return the repetitions of those pages that need any."""
        if not self._ends:
            return {}
        if len(pages) < FEW:
            draws = ((page, self._draw(page)) for page in pages)
            return {p: 1 + bisect_right(self._ends, d) for p, d in draws if d < self._ends[-1]}
        found: dict[int, int] = {}
        for start in range(0, len(pages), CHUNK):
            numbers = np.asarray(pages[start : start + CHUNK], dtype=np.uint64)
            draws = self._draw(numbers)
            hit = np.flatnonzero(draws < self._ends[-1])
            times = 1 + np.searchsorted(self._ends, draws[hit], side="right")
            found.update(zip(numbers[hit].tolist(), times.tolist(), strict=True))
        return found

    def _draw(self, page: Number) -> Number:
        """Return a page's draw, 0 to 2**53 - 1; of an array, each element's."""
        return _mix(page ^ self._salt) >> 11


def _mix(x: Number) -> Number:
    """Return 64 bits well mixed from 64 bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)

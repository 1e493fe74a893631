"""A program in the making: instructions, and the tokens that what they read and write makes needed.

Whoever adds an instruction says which words it reads and writes. It must wait for

    what it reads     the last of each other unit that writes there
    what it writes    the last of each other unit that reads or writes there

Its own unit executes in order. A wait is left out where an earlier one tells as much: with an
instruction's end its unit's instructions in front of it have ended, and so has all that it waited
for. So there is a token only where one is needed, and units run as far ahead of each other as their
data allow.

A core decodes a program in order, and stops while one unit's queue is full. So a load is moved up,
until a product, another load or something that it must wait for stands in front of it: what it
loads is there when the product wants it.

Of several cores each has a schedule of its own with the same instructions in the same order, also
of those that only others execute. The strips of a product come from all cores into all their vector
buffers, where no token keeps their order. So in front of an instruction that meets strips in the
vector buffer, or whose strips meet what was used there, stands a BARRIER, the same one in all cores
unless one stands between already: it comes when all in front of it have left alone what products
write, and all behind it wait for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from golden.scoreboard import check_tokens
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction, instruction, mask_of
from golden.spec.isa import PRODUCTS, SystemOperation, Unit

_NEVER = -1


class Space(Enum):
    """What instructions of several units share, in units of its own."""

    VECTOR = auto()
    """Words of the vector buffer."""
    ACTIVATION = auto()
    """Words of the activation memory's first lane."""
    KEYS = auto()
    """Layers of the cache."""
    VALUES = auto()
    """Layers of the cache."""
    STREAMS = auto()
    """One place: the words that are loaded for products, which take them in their order."""


@dataclass(frozen=True)
class Region:
    """Some words side by side."""

    space: Space
    start: int
    count: int

    def meets(self, other: "Region") -> bool:
        """Return whether they have a word in common."""
        return (
            self.space is other.space
            and self.start < other.start + other.count
            and other.start < self.start + self.count
        )


@dataclass(frozen=True)
class Step:
    """An instruction without tokens, and what it reads and writes.

    Attributes:
        here: this core executes it, and not only others.
    """

    unit: Unit
    fields: Mapping[str, int]
    reads: tuple[Region, ...]
    writes: tuple[Region, ...]
    here: bool = True

    def follows(self, other: "Step") -> bool:
        """Return whether it must stay behind `other`."""
        return (
            _meet(self.reads, other.writes)
            or _meet(self.writes, other.writes)
            or _meet(self.writes, other.reads)
        )


class Schedule:
    """Adds instructions in their order; `instructions` gives what a core runs.

    Args:
        sizes: of each space but the streams.
        cores: that give each other their strips.
    """

    def __init__(self, sizes: Mapping[Space, int], cores: int = 1) -> None:
        self._sizes = {**sizes, Space.STREAMS: 1}
        self._cores = cores
        self._steps: list[Step] = []

    def add(
        self,
        unit: Unit,
        fields: Mapping[str, int],
        *,
        reads: Sequence[Region] = (),
        writes: Sequence[Region] = (),
        here: bool = True,
    ) -> None:
        """Add an instruction behind the others.

        Args:
            fields: its fields without masks; one that is left out has its default value.
            writes: of a product, what the strips of all cores may be written to.
            here: this core executes it, and not only others.

        Raises:
            ConfigError: a region reaches beyond its space.
        """
        for region in (*reads, *writes):
            size, end = self._sizes[region.space], region.start + region.count
            if not 0 <= region.start < end <= size:
                raise ConfigError(
                    f"{unit.name} uses {region.space.name} {region.start} to {end - 1}; there are "
                    f"0 to {size - 1}"
                )
        streams = [Region(Space.STREAMS, 0, 1)] if unit in PRODUCTS else []
        self._steps.append(Step(unit, fields, tuple(reads), (*writes, *streams), here))

    def instructions(self) -> tuple[Instruction, ...]:
        """Return a program: the instructions, and an END that comes when all have ended.

        Raises:
            ConfigError: an instruction has a field outside its range, or more tokens than a counter
                holds may lie between two units.
        """
        steps = self._steps
        if self._cores > 1:
            steps = _with_barriers(steps, self._sizes[Space.VECTOR])
        tokens = _Tokens(self._sizes)
        for step in _loads_first([step for step in steps if step.here]):
            tokens.add(step)
        instructions = tokens.instructions()
        check_tokens(instructions)
        return instructions


class _Tokens:
    """Adds waits and releases to instructions."""

    def __init__(self, sizes: Mapping[Space, int]) -> None:
        units = len(Unit)
        # The last instruction of each unit at each place.
        self._reads = {space: np.full((units, size), _NEVER) for space, size in sizes.items()}
        self._writes = {space: np.full((units, size), _NEVER) for space, size in sizes.items()}
        self._given: list[tuple[Unit, Mapping[str, int]]] = []
        self._waits: list[list[Unit]] = []
        self._releases: list[list[Unit]] = []
        self._last = np.full(units, _NEVER)
        # Of each unit the last instruction that has certainly ended: at the end of every
        # instruction, and at the start of each unit's last one.
        self._at_end: list[np.ndarray] = []
        self._at_start = np.full((units, units), _NEVER)

    def add(self, step: Step) -> None:
        """Add an instruction that waits for what it must follow."""
        needed = np.full(len(Unit), _NEVER)
        for regions, marks in (
            (step.reads, self._writes),
            (step.writes, self._writes),
            (step.writes, self._reads),
        ):
            for region in regions:
                np.maximum(needed, _part(marks, region).max(axis=1), out=needed)
        number = len(self._given)
        for regions, marks in ((step.reads, self._reads), (step.writes, self._writes)):
            for region in regions:
                _part(marks, region)[step.unit] = number
        self._append(step.unit, step.fields, needed)

    def instructions(self) -> tuple[Instruction, ...]:
        """Return all instructions, with an END behind the last one of each unit."""
        self._append(Unit.SYS, {"op": SystemOperation.END, "interrupt": 1}, self._last)
        return tuple(
            instruction(unit, wait=mask_of(unit, waits), release=mask_of(unit, releases), **fields)
            for (unit, fields), waits, releases in zip(
                self._given, self._waits, self._releases, strict=True
            )
        )

    def _append(self, unit: Unit, fields: Mapping[str, int], needed: np.ndarray) -> None:
        """Add an instruction that starts when the `needed` one of each unit has ended."""
        number = len(self._given)
        known = self._at_start[unit]
        waits = []
        # The latest first: it may tell of the others.
        for giver in sorted(unit.others, key=lambda other: needed[other], reverse=True):
            if needed[giver] > known[giver]:
                waits.append(giver)
                self._releases[needed[giver]].append(unit)
                known = np.maximum(known, self._at_end[needed[giver]])
        self._at_start[unit] = known
        last = self._last[unit]
        at_end = known.copy() if last == _NEVER else np.maximum(known, self._at_end[last])
        at_end[unit] = self._last[unit] = number
        self._at_end.append(at_end)
        self._given.append((unit, fields))
        self._waits.append(waits)
        self._releases.append([])


def _with_barriers(steps: Sequence[Step], depth: int) -> list[Step]:
    """Return the instructions with barriers between strips and all that they meet.

    What came before the first one may have used all of the vector buffer; and at the end no strips
    are left behind.

    Args:
        depth: of the vector buffer.
    """
    products = [step for step in steps if step.unit in PRODUCTS]
    given_to = dict.fromkeys(place for step in products for place in _vector(step.writes))
    barrier = Step(Unit.SYS, {"op": SystemOperation.BARRIER}, (), tuple(given_to))
    # Words that got strips, and words that were used, since the last barrier.
    given, used = np.zeros(depth, bool), np.ones(depth, bool)
    order = []
    for step in steps:
        is_product = step.unit in PRODUCTS
        for region in _vector((*step.reads, *step.writes)):
            words = slice(region.start, region.start + region.count)
            if given[words].any() or (is_product and used[words].any()):
                order.append(barrier)
                given[:] = used[:] = False
        for region in _vector((*step.reads, *step.writes)):
            words = slice(region.start, region.start + region.count)
            (given if is_product else used)[words] = True
        order.append(step)
    return [*order, barrier] if given.any() else order


def _vector(regions: Sequence[Region]) -> list[Region]:
    return [region for region in regions if region.space is Space.VECTOR]


def _loads_first(steps: Sequence[Step]) -> list[Step]:
    """Return the instructions with the loads moved up."""
    order: list[Step] = []
    for step in steps:
        place = len(order)
        if step.unit is Unit.LD:
            while place and order[place - 1].unit not in (Unit.LD, *PRODUCTS):
                if step.follows(order[place - 1]):
                    break
                place -= 1
        order.insert(place, step)
    return order


def _part(marks: Mapping[Space, np.ndarray], region: Region) -> np.ndarray:
    """Return the marks of a region, [units, words]."""
    return marks[region.space][:, region.start : region.start + region.count]


def _meet(some: Sequence[Region], others: Sequence[Region]) -> bool:
    return any(one.meets(other) for one in some for other in others)

"""The timing contract of what stands in front of a core's units: when instructions reach them.

See `hw.core_timing`.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import WORD_BITS, Unit
from hw.event_clock import Call, EventClock, Phase
from hw.load_timing import ReaderTiming
from hw.port_timing import PortTiming

QUEUE_DEPTH = 8
"""Instructions that wait in a unit's queue, see `hw.scoreboard`."""

IN_FLIGHT = 4
"""Instructions that a unit has started and not ended."""


class UnitTiming(Protocol):
    """A unit; it says itself when an instruction ends."""

    def take(self, one: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""


class FrontTiming:
    """Fetch and decoder: the words of a program, one per cycle, into the units' queues.

    Args:
        port: of the program's memory. address: where it lies there, in bytes.
        arrive: is given an instruction's number; returns whether its queue takes it in this cycle.
    """

    def __init__(
        self,
        clock: EventClock,
        config: CoreConfig,
        program: Sequence[Instruction],
        port: PortTiming,
        address: int,
        arrive: Callable[[int], bool],
    ) -> None:
        self._clock, self._arrive = clock, arrive
        self._words = [one.format.words for one in program]
        self._number, self._left = 0, self._words[0]  # of the instruction at work
        self._in_word = config.word_bits // WORD_BITS
        self._index = 0  # of the next word in its word of memory
        self._offered: int | None = None  # from when on the latter is
        self._earliest: int | None = 0  # from when on the decoder takes a word
        self._is_blocked = False
        self.reader = ReaderTiming(clock, config.general_axi, port, self._memory_word)
        self._job = (address, -(-sum(self._words) // self._in_word))

    def begin(self) -> None:
        """Begin with the program in this cycle."""
        self.reader.give(*self._job)

    def room(self) -> None:
        """A queue has room again."""
        if self._is_blocked:
            self._hand_out()

    def _memory_word(self, cycle: int) -> None:
        self._offered = cycle
        self._plan()

    def _plan(self) -> None:
        if self._offered is not None and self._earliest is not None:
            self._clock.at(max(self._offered, self._earliest), Phase.LOGIC, self._take_word)

    def _take_word(self) -> None:
        now = self._clock.now
        self._earliest = None
        self._left -= 1
        self._index += 1
        is_whole = self._left == 0
        if self._index == self._in_word or (is_whole and self._number == len(self._words) - 1):
            self._index, self._offered = 0, None
            self.reader.take()
        if is_whole:
            self._clock.at(now + 1, Phase.LOGIC, self._hand_out)
        else:
            self._earliest = now + 1
            self._plan()

    def _hand_out(self) -> None:
        """Offer a whole instruction; in the cycle in which it is taken the next one may begin."""
        self._is_blocked = not self._arrive(self._number)
        if self._is_blocked:
            return
        self._number += 1
        if self._number < len(self._words):
            self._left = self._words[self._number]
            self._earliest = self._clock.now
            self._plan()


class ScoreboardTiming:
    """`hw.scoreboard`: a queue for each unit, tokens between units, and instructions in flight.

    Attributes:
        units: by their names; none may be missing that has an instruction.
        room: is called when a queue has room again.
        over: is called in the cycle behind the last end.
        start, end: the cycles of each instruction, in the program's order.
    """

    def __init__(self, clock: EventClock, program: Sequence[Instruction]) -> None:
        self._clock, self._program = clock, program
        self.units: dict[Unit, UnitTiming] = {}
        self.room: Call = lambda: None
        self.over: Call = lambda: None
        self._queues: dict[Unit, deque[int]] = {unit: deque() for unit in Unit}
        self._levels = dict.fromkeys(Unit, 0)
        self._flying: dict[Unit, deque[int]] = {unit: deque() for unit in Unit}
        self._levels_flying = dict.fromkeys(Unit, 0)
        self._tokens: dict[tuple[Unit, Unit], int] = defaultdict(int)
        self.start = [-1] * len(program)
        self.end = [-1] * len(program)
        self._left = len(program)

    def arrive(self, number: int) -> bool:
        """Put an instruction into its queue in this cycle, if there is room."""
        unit = self._program[number].unit
        if self._levels[unit] == QUEUE_DEPTH:
            return False
        self._levels[unit] += 1
        self._clock.following(partial(self._is_queued, unit, number))
        return True

    def offer(self, unit: Unit) -> None:
        """Offer a unit its next instruction in this cycle, if that may start."""
        queue, now = self._queues[unit], self._clock.now
        if not queue or self._levels_flying[unit] == IN_FLIGHT:
            return
        number = queue[0]
        one = self._program[number]
        if any(self._tokens[giver, unit] == 0 for giver in one.waits):
            return
        if self.units[unit].take(one):
            queue.popleft()
            for giver in one.waits:
                self._tokens[giver, unit] -= 1
            self._flying[unit].append(number)
            self._levels_flying[unit] += 1
            self.start[number] = now
            self._clock.following(partial(self._has_started, unit))

    def ends(self, unit: Unit) -> None:
        """End a unit's oldest instruction in this cycle."""
        number = self._flying[unit].popleft()
        self.end[number] = self._clock.now
        self._left -= 1
        self._clock.following(partial(self._has_ended, unit, number))

    def _is_queued(self, unit: Unit, number: int) -> None:
        self._queues[unit].append(number)
        self._soon(unit)

    def _has_started(self, unit: Unit) -> None:
        self._levels[unit] -= 1
        self._clock.at(self._clock.now, Phase.LOGIC, self.room)
        self._soon(unit)

    def _has_ended(self, unit: Unit, number: int) -> None:
        self._levels_flying[unit] -= 1
        self._soon(unit)
        for taker in self._program[number].releases:
            self._tokens[unit, taker] += 1
            self._soon(taker)
        if self._left == 0:
            self.over()

    def _soon(self, unit: Unit) -> None:
        self._clock.at(self._clock.now, Phase.LOGIC, partial(self.offer, unit))

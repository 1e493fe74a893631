"""A core's timing contract: when each instruction of a program starts and ends.

It follows a program through the core, event by event: its words from memory through the decoder
into the queues of the units; tokens; the units at their work; and the words for the vector buffer,
of which one is written per cycle.

Exact when no memory is late, no two units use a memory's port at the same time, and nothing that a
product does hangs on others: that part of a core is a function that the caller gives. There is one
core, so no BARRIER is waited at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from golden.core_memories import ports_of
from golden.scoreboard import token_givers
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import BASES, Memory, Unit
from hw.event_clock import Call, EventClock, Phase
from hw.front_timing import FrontTiming, ScoreboardTiming
from hw.load_timing import LoadTiming, Offer, run_addresses
from hw.store_timing import store_cycles
from hw.system_unit import SystemUnit
from hw.vector_timing import VectorTiming

Durations = Callable[[Instruction], int]
"""Returns the cycles from an instruction's start to its end."""


@dataclass(frozen=True)
class CoreSchedule:
    """What a program does in time; cycle 0 is the first one in which the core is busy.

    Attributes:
        start, end: of each instruction, in the program's order.
        cycles: in which the core is busy, as its counter CYCLES has it without a SYS CLEAR.
        waits: cycles in which a word for the vector buffer waited for that of another unit.
    """

    start: list[int]
    end: list[int]
    cycles: int
    waits: int


class WritePort:
    """The way into the vector buffer: one word per cycle, as `hw.stream_merge` chooses.

    Attributes:
        writers: by their numbers, what is called when a word that is offered is taken.
        waits: see `CoreSchedule`.
    """

    def __init__(self, clock: EventClock) -> None:
        self._clock = clock
        self.writers: dict[int, Call] = {}
        self._offered: dict[int, int] = {}
        self._due: set[int] = set()  # not served in this round
        self._chosen = -1
        self.waits = 0

    def offer(self, writer: int, cycle: int) -> None:
        """Offer a word from a cycle on."""
        self._offered[writer] = cycle
        self._clock.at(cycle, Phase.CHOICE, self._choose)

    def _choose(self) -> None:
        """Take the lowest of those not served in this round, else the lowest of all."""
        now = self._clock.now
        offering = {writer for writer, cycle in self._offered.items() if cycle <= now}
        if not offering or self._chosen == now:
            return
        self._chosen = now
        due = offering & self._due
        chosen = min(due or offering)
        self._due = (self._due if due else set(self.writers)) - {chosen}
        del self._offered[chosen]
        if len(offering) > 1:
            self.waits += 1
            self._clock.at(now + 1, Phase.CHOICE, self._choose)
        self.writers[chosen]()


class _OneByOne:
    """A unit that takes an instruction when the one before has ended."""

    def __init__(self, clock: EventClock, durations: Durations, ends: Call) -> None:
        self._clock, self._durations, self._ends = clock, durations, ends
        self._free = 0

    def take(self, one: Instruction) -> bool:
        now = self._clock.now
        if now < self._free:
            return False
        end = now + self._durations(one)
        self._free = end + 1
        self._clock.at(end, Phase.LOGIC, self._ends)
        return True


class _Functions:
    """The vector unit, one instruction at a time; see `hw.vector_timing`."""

    def __init__(
        self, clock: EventClock, config: CoreConfig, offer: Offer, frees: Call, ends: Call
    ) -> None:
        self._clock, self._offer, self._frees, self._ends = clock, offer, frees, ends
        self._timing = VectorTiming(config.functions)
        self._left = 0
        self._offered = 0
        self._busy = False

    def take(self, one: Instruction) -> bool:
        now, job = self._clock.now, one.job()
        if self._busy:
            return False
        if (ready := self._timing.ready(job)) > now:
            self._clock.at(ready, Phase.LOGIC, self._frees)
            return False
        self._busy = True
        work = self._timing.take(job, now)
        self._left = work.wide
        if work.wide:
            self._offer_word(work.offered)
        else:
            self._clock.at(work.complete, Phase.LOGIC, self._end)
        return True

    def written(self) -> None:
        """Take the word that is offered."""
        now = self._clock.now
        self._timing.wait(now - self._offered)
        self._left -= 1
        if self._left:
            self._offer_word(now + 1)
        else:
            self._clock.at(now + 1, Phase.LOGIC, self._end)

    def _offer_word(self, cycle: int) -> None:
        self._offered = cycle
        self._offer(cycle)

    def _end(self) -> None:
        self._clock.following(self._rest)
        self._ends()

    def _rest(self) -> None:
        self._busy = False


class _Core:
    """The parts of a core, connected.

    Attributes:
        over: the cycle in which all instructions have ended.
    """

    def __init__(
        self,
        config: CoreConfig,
        program: Sequence[Instruction],
        bases: Sequence[int],
        products: Durations,
        address: int,
        latency: int,
    ) -> None:
        self.config = config
        self._bases, self._latency = bases, latency
        self.clock = EventClock()
        self.port = WritePort(self.clock)
        self.board = ScoreboardTiming(self.clock, program)
        self.over = 0
        offer_misc, offer_load = (partial(self.port.offer, number) for number in (0, 2))
        functions = _Functions(self.clock, config, offer_misc, *self._calls(Unit.MISC))
        load = LoadTiming(self.clock, config, bases, latency, offer_load, *self._calls(Unit.LD))
        self.port.writers = {0: functions.written, 2: load.written}
        self.board.units = {Unit.MISC: functions, Unit.LD: load}
        durations = {Unit.ST: self._store, Unit.MV: products, Unit.SYS: self._system}
        for unit, duration in durations.items():
            self.board.units[unit] = _OneByOne(self.clock, duration, self._calls(unit)[1])
        front = FrontTiming(self.clock, config, program, address, latency, self.board.arrive)
        self.board.room, self.board.over = front.room, self._is_over
        self.readers = [front.reader, load.general, *load.channels]

    def _calls(self, unit: Unit) -> tuple[Call, Call]:
        """Return what a unit calls when it is free again, and when an instruction ends."""
        return partial(self.board.offer, unit), partial(self.board.ends, unit)

    def _store(self, store: Instruction) -> int:
        length = store["length"]
        runs = [(address, length) for address in run_addresses(store, self._bases)]
        memory, ports = Memory(store["memory"]), len(ports_of(store))
        return store_cycles(self.config, memory, runs, ports, self._latency) - 1

    @staticmethod
    def _system(_: Instruction) -> int:
        return SystemUnit.cycles()

    def _is_over(self) -> None:
        self.over = self.clock.now
        for reader in self.readers:
            self.clock.following(reader.stop)


def _no_products(_: Instruction) -> int:
    raise ConfigError("the program has an MV; say with `products` how long it takes")


def _check(program: Sequence[Instruction]) -> None:
    """Refuse a program that a core does not execute to its end."""
    if [number for number, one in enumerate(program) if one.is_end] != [len(program) - 1]:
        raise ConfigError("the program does not end with its only END; add SYS op=END as its last")
    if any(one.unit is Unit.MM for one in program):
        raise ConfigError("the program has an MM, which no core executes yet; use MV")


def program_cycles(
    config: CoreConfig,
    program: Sequence[Instruction],
    bases: Sequence[int] = (0,) * BASES,
    *,
    products: Durations = _no_products,
    address: int = 0,
    latency: int = 1,
) -> CoreSchedule:
    """Return when a program's instructions start and end.

    Args:
        program: to its END.
        bases: the base registers, in bytes.
        products: of MV; a product's words are taken as soon as they come.
        address: of the program in its memory, in bytes.
        latency: of all memories, 1 or more.

    Raises:
        ConfigError: the program does not end with its only END, an instruction waits for a token
            that none in front of it gives, or is one that no core executes yet.
    """
    token_givers(program)
    _check(program)
    core = _Core(config, program, bases, products, address, latency)
    core.clock.run()
    rests = max(core.over + 1, *(reader.rests for reader in core.readers))
    return CoreSchedule(core.board.start, core.board.end, rests + 2, core.port.waits)

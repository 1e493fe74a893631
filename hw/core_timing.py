"""A core's timing contract: when each instruction of a program starts and ends.

It follows a program through the core, event by event: its words from memory through the decoder
into the queues of the units; tokens; the units at their work; the words for the vector buffer, of
which one is written per cycle; and the memories, of which each reads or writes a word per cycle.

Exact when every memory gives a word per cycle at one latency. There is one core, so no BARRIER is
waited at.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from golden.scoreboard import token_givers
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import BASES, Unit
from hw.event_clock import Call, EventClock, Phase
from hw.front_timing import FrontTiming, ScoreboardTiming
from hw.load_timing import LoadTiming, Offer
from hw.port_timing import ports_of_core
from hw.product_timing import Products, ProductTiming, ProgramProducts
from hw.store_timing import StoreTiming
from hw.system_unit import SystemUnit
from hw.vector_timing import VectorTiming


@dataclass(frozen=True)
class CoreSchedule:
    """What a program does in time; cycle 0 is the first one in which the core is busy.

    Attributes:
        start, end: of each instruction, in the program's order.
        cycles: in which the core is busy, as its counter CYCLES has it without a SYS CLEAR.
        waits: cycles in which a word for the vector buffer waited for that of another unit.
        written: ports at whose memories the last word moved was written.
    """

    start: list[int]
    end: list[int]
    cycles: int
    waits: int
    written: frozenset[str]


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


class _System:
    """The system unit, one instruction at a time."""

    def __init__(self, clock: EventClock, ends: Call) -> None:
        self._clock, self._ends = clock, ends
        self._free = 0

    def take(self, _: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""
        now = self._clock.now
        if now < self._free:
            return False
        end = now + SystemUnit.cycles()
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
        products: Products,
        address: int,
        latency: int,
        written: Collection[str],
    ) -> None:
        self.clock = clock = EventClock()
        self.port = WritePort(clock)
        self.board = board = ScoreboardTiming(clock, program)
        self.over = 0
        self.ports = ports = ports_of_core(clock, config, latency, written)
        misc, strips, loads = (partial(self.port.offer, number) for number in range(3))
        functions = _Functions(clock, config, misc, *self._calls(Unit.MISC))
        load = LoadTiming(clock, config, bases, ports, loads, *self._calls(Unit.LD))
        product = ProductTiming(
            clock, config, load.channels, products, strips, *self._calls(Unit.MV)
        )
        self.port.writers = {0: functions.written, 1: product.written, 2: load.written}
        board.units = {
            Unit.LD: load,
            Unit.ST: StoreTiming(clock, config, bases, ports, self._calls(Unit.ST)[1]),
            Unit.MV: product,
            Unit.MISC: functions,
            Unit.SYS: _System(clock, self._calls(Unit.SYS)[1]),
        }
        front = FrontTiming(clock, config, program, address, latency, board.arrive)
        board.room, board.over = front.room, self._is_over
        self.readers = [front.reader, load.general, *load.channels]

    def _calls(self, unit: Unit) -> tuple[Call, Call]:
        """Return what a unit calls when it is free again, and when an instruction ends."""
        return partial(self.board.offer, unit), partial(self.board.ends, unit)

    def _is_over(self) -> None:
        self.over = self.clock.now
        for reader in self.readers:
            self.clock.following(reader.stop)


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
    memories: Mapping[str, np.ndarray] | None = None,
    address: int = 0,
    latency: int = 1,
    written: Collection[str] = (),
) -> CoreSchedule:
    """Return when a program's instructions start and end.

    Args:
        program: to its END.
        bases: the base registers, in bytes.
        memories: of the channels, by port, uint8 [bytes]: the weight streams are read from there.
            Without packed products they are not needed.
        address: of the program in its memory, in bytes.
        latency: of all memories, 1 or more.
        written: `CoreSchedule.written` of the program before; a memory that was written and is
            read gives the next word, and takes none.

    Raises:
        ConfigError: the program does not end with its only END, an instruction waits for a token
            that none in front of it gives, is one that no core executes yet, takes words that no
            other one loads, or never ends.
        ShapeError: words are not a weight stream for each chain, or their product never ends.
    """
    token_givers(program)
    _check(program)
    products = ProgramProducts(config, program, bases, memories or {})
    core = _Core(config, program, bases, products, address, latency, written)
    core.clock.run()
    if -1 in core.board.end:
        number = core.board.end.index(-1)
        raise ConfigError(
            f"instruction {number}, {program[number].unit.name}, never ends; load no more words "
            "for products than these take"
        )
    rests = max(core.over + 1, *(reader.rests for reader in core.readers))
    last = frozenset(name for name, port in core.ports.items() if port.is_written(rests))
    return CoreSchedule(core.board.start, core.board.end, rests + 2, core.port.waits, last)


def successive_cycles(
    config: CoreConfig,
    programs: Sequence[Sequence[Instruction]],
    bases: Sequence[Sequence[int]],
    *,
    memories: Mapping[str, np.ndarray] | None = None,
    latency: int = 1,
) -> list[CoreSchedule]:
    """Return when the instructions of programs start and end that a core runs one after the other.

    They lie one behind the other in their memory, each from a word of memory on, as
    `hw.core_simulation.run_programs` puts them there.

    Args:
        bases: the base registers of each. memories, latency: see `program_cycles`.
    """
    address, schedules = 0, []
    written: Collection[str] = ()
    for program, own in zip(programs, bases, strict=True):
        schedule = program_cycles(
            config,
            program,
            own,
            memories=memories,
            address=address,
            latency=latency,
            written=written,
        )
        schedules.append(schedule)
        written = schedule.written
        address += config.program_bytes(sum(one.format.words for one in program))
    return schedules

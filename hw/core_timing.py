"""A core's timing contract: when each instruction of a program starts and ends.

It follows a program through the core, event by event: its words from memory through the decoder
into the queues of the units; tokens; the units at their work; the words for the vector buffer, of
which one is written per cycle; and the memories with their latency and bandwidth.

Exact for memories without random latency. For several cores see `hw.accelerator_timing`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

import numpy as np

from golden.scoreboard import token_givers
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import BASES, PRODUCTS, SystemOperation, Unit
from hw.core_ports import PROGRAM
from hw.event_clock import Call, EventClock
from hw.front_timing import FrontTiming, ScoreboardTiming
from hw.load_timing import LoadTiming
from hw.memory_model import PortRecord
from hw.port_timing import PortTiming, Timings, ports_of_core
from hw.product_timing import ProductTiming, ProgramProducts
from hw.recorded_port import RecordedPort
from hw.store_timing import StoreTiming
from hw.strip_timing import StripFork
from hw.unit_timing import Arrive, FunctionTiming, SystemTiming, WritePort


@dataclass(frozen=True)
class CoreSchedule:
    """What a program does in time; cycle 0 is the first one in which the core is busy.

    Attributes:
        start, end: of each instruction, in the program's order.
        cycles: in which the core is busy.
        counted: of these, those behind the last SYS CLEAR, as the core's counter CYCLES has it.
        waits: cycles in which a word for the vector buffer waited for that of another unit.
        written: ports at whose memories the last word moved was written.
    """

    start: list[int]
    end: list[int]
    cycles: int
    counted: int
    waits: int
    written: frozenset[str]


@dataclass(frozen=True, eq=False)
class Job:
    """A program with what it needs.

    Attributes:
        program, bases, memories, address, timing, written: see `program_cycles`.
        records: of ports whose memories do what they did in a run; see `hw.memory_stalls`.

    Raises:
        ConfigError: the program does not end with its only END, or an instruction waits for a token
            that none in front of it gives.
    """

    program: Sequence[Instruction]
    bases: Sequence[int] = (0,) * BASES
    memories: Mapping[str, np.ndarray] | None = None
    address: int = 0
    timing: Timings | None = None
    written: Collection[str] = ()
    records: Mapping[str, PortRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = self.program
        token_givers(program)
        if [number for number, one in enumerate(program) if one.is_end] != [len(program) - 1]:
            raise ConfigError(
                "the program does not end with its only END; add SYS op=END as its last"
            )

    def ports(self, clock: EventClock, config: CoreConfig) -> dict[str, PortTiming]:
        """Return the program's memories, by port."""
        ports = ports_of_core(clock, config, self.timing, self.written)
        ports |= {name: RecordedPort(clock, record) for name, record in self.records.items()}
        return ports


class CoreTiming:
    """The parts of a core, connected, with a program that has not begun.

    Args:
        arrive: at the barrier; None for a core that is alone.

    Raises:
        ConfigError: the program waits at a barrier, and the core is alone.

    Attributes:
        write_port: of the vector buffer. fork: of the core's strips.
    """

    def __init__(
        self, clock: EventClock, config: CoreConfig, job: Job, arrive: Arrive | None = None
    ) -> None:
        self._clock, self._job = clock, job
        self._ports = ports = job.ports(clock, config)
        bases, program = job.bases, job.program
        if arrive is None and _systems(program, SystemOperation.BARRIER):
            raise ConfigError("the program has a BARRIER, and the core is alone; leave it out")
        self.write_port = port = WritePort(clock)
        self._board = board = ScoreboardTiming(clock, program)
        self._begin = self._over = 0
        misc, loads = (partial(port.offer, number) for number in (0, 2))
        functions = FunctionTiming(clock, config, bases, misc, *self._calls(Unit.MISC))
        load = LoadTiming(clock, config, bases, ports, loads, *self._calls(Unit.LD))
        self.fork = StripFork(clock, port, lambda: product.written())
        products = ProgramProducts(config, program, bases, job.memories or {})
        calls = {unit: self._calls(unit) for unit in PRODUCTS}
        product = ProductTiming(clock, config, load.channels, products, self.fork.offer, calls)
        port.writers |= {0: functions.written, 2: load.written}
        board.units = {
            Unit.LD: load,
            Unit.ST: StoreTiming(clock, config, bases, ports, self._calls(Unit.ST)[1]),
            **dict.fromkeys(PRODUCTS, product),
            Unit.MISC: functions,
            Unit.SYS: SystemTiming(clock, arrive, self._calls(Unit.SYS)[1]),
        }
        self._front = front = FrontTiming(
            clock, config, program, ports[PROGRAM], job.address, board.arrive
        )
        board.room, board.over = front.room, self._is_over
        self._readers = [front.reader, load.general, *load.channels]

    def begin(self) -> None:
        """Begin in this cycle, the first one in which the core is busy."""
        self._begin = self._clock.now
        self._front.begin()

    def schedule(self) -> CoreSchedule:
        """Return what the program did, when all time has passed.

        Raises:
            ConfigError: an instruction has not ended.
        """
        board, program, begin = self._board, self._job.program, self._begin
        if -1 in board.end:
            number = board.end.index(-1)
            raise ConfigError(
                f"instruction {number}, {program[number].unit.name}, never ends; load no more "
                "words for products than these take"
            )
        rests = max(self._over + 1, *(reader.rests for reader in self._readers))
        cycles = rests + 2 - begin
        clears = [
            board.start[number] - begin for number in _systems(program, SystemOperation.CLEAR)
        ]
        return CoreSchedule(
            start=[cycle - begin for cycle in board.start],
            end=[cycle - begin for cycle in board.end],
            cycles=cycles,
            counted=cycles - 1 - max(clears, default=-1),
            waits=self.write_port.waits,
            written=frozenset(name for name, port in self._ports.items() if port.is_written(rests)),
        )

    def _calls(self, unit: Unit) -> tuple[Call, Call]:
        """Return what a unit calls when it is free again, and when an instruction ends."""
        return partial(self._board.offer, unit), partial(self._board.ends, unit)

    def _is_over(self) -> None:
        self._over = self._clock.now
        for reader in self._readers:
            self._clock.following(reader.stop)


def _systems(program: Sequence[Instruction], operation: SystemOperation) -> list[int]:
    """Return the numbers of a program's SYS instructions of one kind."""
    return [
        number
        for number, one in enumerate(program)
        if one.unit is Unit.SYS and one["op"] == operation
    ]


def program_cycles(
    config: CoreConfig,
    program: Sequence[Instruction],
    bases: Sequence[int] = (0,) * BASES,
    *,
    memories: Mapping[str, np.ndarray] | None = None,
    address: int = 0,
    timing: Timings | None = None,
    written: Collection[str] = (),
) -> CoreSchedule:
    """Return when a program's instructions start and end.

    Args:
        program: to its END.
        bases: the base registers, in bytes.
        memories: of the channels, by port, uint8 [bytes]: the weight streams are read from there.
            Without packed products they are not needed.
        address: of the program in its memory, in bytes.
        timing: of the ports' memories, as `hw.core_simulation.run_programs` takes it.
        written: `CoreSchedule.written` of the program before; a memory that was written and is
            read gives the next word, and takes none.

    Raises:
        ConfigError: the program does not end with its only END, waits at a barrier, an instruction
            waits for a token that none in front of it gives, takes words that no other one loads,
            or never ends; or a memory's latency is random.
        ShapeError: words are not a weight stream for each chain, or their product never ends.
    """
    clock = EventClock()
    core = CoreTiming(clock, config, Job(program, bases, memories, address, timing, written))
    core.begin()
    clock.run()
    return core.schedule()


def successive_cycles(
    config: CoreConfig,
    programs: Sequence[Sequence[Instruction]],
    bases: Sequence[Sequence[int]],
    *,
    memories: Mapping[str, np.ndarray] | None = None,
    timing: Timings | None = None,
) -> list[CoreSchedule]:
    """Return when the instructions of programs start and end that a core runs one after the other.

    They lie one behind the other in their memory, each from a word of memory on, as
    `hw.core_simulation.run_programs` puts them there. Between them the memories rest.

    Args:
        bases: the base registers of each. memories, timing: see `program_cycles`.
    """
    schedules: list[CoreSchedule] = []
    written: Collection[str] = ()
    addresses = program_addresses(config, programs)
    for program, own, address in zip(programs, bases, addresses, strict=True):
        schedule = program_cycles(
            config,
            program,
            own,
            memories=memories,
            address=address,
            timing=timing,
            written=written,
        )
        schedules.append(schedule)
        written = schedule.written
    return schedules


def program_addresses(config: CoreConfig, programs: Sequence[Sequence[Instruction]]) -> list[int]:
    """Return where programs begin that lie one behind the other, in bytes."""
    sizes = [config.program_bytes(sum(one.format.words for one in each)) for each in programs]
    return [0, *accumulate(sizes)][: len(programs)]

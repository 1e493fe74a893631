"""An event simulation of a core of ours that runs a compiled program.

It is given the program, the memories' latency and bandwidth, and the kinds of words in the weight
streams, and nothing that was measured. Of the units' timing contracts it takes how long a product,
a pass of the special functions and a store last alone, when nothing makes them wait. All waiting is
its own: the decoder in front of full queues, tokens, units that are busy, memory channels, and the
queues behind these.

It is coarser than the contract of the whole core (`hw.core_timing`), which is exact: words move in
bursts, and units do not meet at the vector buffer's port nor at a memory that both read and write.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np
import simpy

from golden.core_memories import GENERAL, channel, ports_of
from golden.scoreboard import token_givers
from golden.spec.axi import AxiConfig
from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import BASES, PRODUCTS, WORD_BITS, Memory, Unit
from hw.axi_reader import ISSUE_CYCLES
from hw.core_ports import PROGRAM
from hw.fifo import Fifo
from hw.front_timing import IN_FLIGHT, QUEUE_DEPTH
from hw.load_expander import LOOPS
from hw.load_timing import run_addresses
from hw.matrix_unit_timing import transfers
from hw.matrix_unit_work import Product
from hw.memory_model import MemoryTiming
from hw.port_timing import Timings
from hw.product_timing import ProgramProducts, tokens_of
from hw.store_timing import store_cycles
from hw.system_unit import SystemUnit
from hw.vector_timing import VectorTiming

Steps = Generator[Any, Any, None]

HAND_OVER = 1
"""Cycles from an end to what waits for its token, and from a queue to its unit."""


@dataclass(frozen=True)
class Schedule:
    """When each instruction starts and ends, in cycles from the program's begin.

    Attributes:
        cycles: of the whole program. busy: of each unit.
    """

    start: list[float]
    end: list[float]
    cycles: float
    busy: dict[Unit, float] = field(default_factory=dict)


def simulate_program(
    config: CoreConfig,
    program: Sequence[Instruction],
    bases: Sequence[int] = (0,) * BASES,
    *,
    memories: Mapping[str, np.ndarray],
    timing: Timings | None = None,
) -> Schedule:
    """Return when the instructions of a program of one core start and end.

    Args:
        bases: the base registers, in bytes.
        memories: of the channels, by port, uint8 [bytes]: weight streams are read from there.
        timing: of the ports' memories; a word per cycle and no latency for others.

    Raises:
        ConfigError: an instruction waits for a token that none in front of it gives, or takes words
            that no other one loads.
    """
    core = _Core(config, program, bases, memories, timing or {})
    core.env.run()
    cycles = max(core.end)
    busy = dict.fromkeys(Unit, 0.0)
    for one, start, end in zip(program, core.start, core.end, strict=True):
        busy[one.unit] += end - start
    return Schedule(core.start, core.end, cycles, busy)


class _Channel:
    """A memory behind a reader: bursts that are asked for while there is room for their words."""

    def __init__(self, env: simpy.Environment, axi: AxiConfig, timing: MemoryTiming) -> None:
        self._env, self._axi = env, axi
        self._latency = ISSUE_CYCLES + timing.latency + Fifo.cycles()
        self._word = float(1 / timing.words_per_cycle)
        self._free = 0.0
        self.jobs = simpy.Store(env, capacity=1)
        self.room = simpy.Container(env, axi.buffer_words, axi.buffer_words)
        self.words = simpy.Container(env)
        env.process(self._read())

    def give(self, address: int, words: int) -> Any:
        """Give a job; it is taken when the last burst of the one before has begun."""
        return self.jobs.put(list(self._axi.bursts(address, words)))

    def _read(self) -> Steps:
        while True:
            bursts = yield self.jobs.get()
            for words in bursts:
                yield self.room.get(words)
                self._free = max(self._free, self._env.now + self._latency) + words * self._word
                self._env.process(self._come(self._free, words))
                yield self._env.timeout(1)

    def _come(self, cycle: float, words: int) -> Steps:
        yield self._env.timeout(cycle - self._env.now)
        yield self.words.put(words)

    def take(self, words: int) -> Steps:
        """Wait for words, and make room for others."""
        yield self.words.get(words)
        yield self.room.put(words)


class _Ideal(NamedTuple):
    """A product to which nothing happens.

    Attributes:
        cycles: from taken to complete, both counted.
        chains: that read words from memory.
        bursts: words, and the cycle behind the begin in which the last of them is taken.
    """

    cycles: int
    chains: list[int]
    bursts: list[tuple[int, int]]


def _ideal(config: CoreConfig, product: Product) -> _Ideal:
    """Return what the contract of the matrix unit says of a product alone."""
    passed = transfers(config.engine, [product])
    chains = np.flatnonzero(product.reads).tolist()
    taken = np.max([passed[f"i__{chain}"] for chain in chains], axis=0)
    ends = [*range(config.burst_beats, len(taken), config.burst_beats), len(taken)]
    bursts = [(end - begin, int(taken[end - 1])) for begin, end in pairwise([0, *ends])]
    return _Ideal(passed["complete"][0] + 1, chains, bursts)


class _Core:
    """The units of a core, each of which works on its queue, and the decoder in front of them."""

    def __init__(
        self,
        config: CoreConfig,
        program: Sequence[Instruction],
        bases: Sequence[int],
        memories: Mapping[str, np.ndarray],
        timing: Timings,
    ) -> None:
        self.env = env = simpy.Environment()
        self._config, self._program, self._bases, self._timing = config, program, bases, timing
        self._givers = token_givers(program)
        self.start = [0.0] * len(program)
        self.end = [0.0] * len(program)
        self._ended = [env.event() for _ in program]
        self._queues = {unit: simpy.Store(env) for unit in Unit}
        self._room = {unit: simpy.Container(env, QUEUE_DEPTH, QUEUE_DEPTH) for unit in Unit}
        self._channels = {
            name: _Channel(
                env,
                config.general_axi if name == GENERAL else config.axi,
                timing.get(name, MemoryTiming()),
            )
            for name in (GENERAL, *map(channel, range(config.chains)))
        }
        self._jobs = ProgramProducts(config, program, bases, memories)
        self._known: dict[int, tuple[Product, _Ideal]] = {}
        self._engine = simpy.Resource(env)
        self._vectors = VectorTiming(config.functions)
        env.process(self._decode())
        env.process(self._load())
        work = {Unit.ST: self._store, Unit.MISC: self._pass, Unit.SYS: self._system}
        work |= dict.fromkeys(PRODUCTS, self._product)
        for unit, does in work.items():
            env.process(self._serve(unit, does))

    # In front of the units

    def _decode(self) -> Steps:
        """Hand out the instructions, a word of them per cycle, each into its unit's queue."""
        timing = self._timing.get(PROGRAM, MemoryTiming())
        word = WORD_BITS / self._config.word_bits / float(timing.words_per_cycle)
        comes: float = ISSUE_CYCLES + timing.latency + Fifo.cycles()
        for number, one in enumerate(self._program):
            count = one.format.words
            comes += count * word
            yield self.env.timeout(max(count, comes - self.env.now))
            yield self._room[one.unit].get(1)
            yield self._queues[one.unit].put(number)

    def _next(self, unit: Unit) -> Generator[Any, Any, int]:
        """Wait for a unit's next instruction and its tokens; return its number."""
        number = yield self._queues[unit].get()
        yield self.env.all_of([self._ended[giver] for giver in self._givers[number]])
        yield self.env.timeout(HAND_OVER)
        return int(number)

    def _starts(self, number: int) -> None:
        self.start[number] = self.env.now
        self._room[self._program[number].unit].put(1)

    def _ends(self, number: int) -> None:
        self.end[number] = self.env.now
        self._ended[number].succeed()

    def _serve(self, unit: Unit, work: Callable[[int, Instruction], Steps]) -> Steps:
        """Do a unit's instructions, one after the other."""
        for one in self._program:
            if one.unit is unit:
                number = yield from self._next(unit)
                yield from work(number, self._program[number])
                self._ends(number)

    # The units

    def _product(self, number: int, one: Instruction) -> Steps:
        """Take words as they come; those of further tokens are there."""
        with self._engine.request() as engine:
            yield engine
            self._starts(number)
            product = self._jobs(one)
            if id(product) not in self._known:
                # It keeps the product, and so its identity.
                self._known[id(product)] = product, _ideal(self._config, product)
            ideal = self._known[id(product)][1]
            late, begin = 0.0, self.env.now
            channels = [self._channels[channel(k)] for k in ideal.chains]
            for words, cycle in ideal.bursts:
                yield self.env.timeout(begin + cycle + late - self.env.now)
                yield self.env.all_of([self.env.process(each.take(words)) for each in channels])
                late = self.env.now - begin - cycle
            left = ideal.cycles * tokens_of(one) - 1 + late
            yield self.env.timeout(begin + left - self.env.now)

    def _pass(self, number: int, one: Instruction) -> Steps:
        job = one.job(self._bases)
        ready = self._vectors.ready(job)
        if ready > self.env.now:
            yield self.env.timeout(ready - self.env.now)
        self._starts(number)
        complete = self._vectors.take(job, ceil(self.env.now)).complete
        yield self.env.timeout(complete - self.env.now)

    def _store(self, number: int, one: Instruction) -> Steps:
        self._starts(number)
        runs = [(address, one["length"]) for address in run_addresses(one, self._bases)]
        ports = ports_of(one)
        timing = self._timing.get(ports[0])
        memory = Memory(one["memory"])
        yield self.env.timeout(store_cycles(self._config, memory, runs, len(ports), timing) - 1)

    def _system(self, number: int, one: Instruction) -> Steps:
        self._starts(number)
        yield self.env.timeout(SystemUnit.cycles())

    def _load(self) -> Steps:
        """Give runs to the readers; instructions end in their order, some in flight."""
        flying = simpy.Resource(self.env, IN_FLIGHT)
        before: Any = None
        for one in self._program:
            if one.unit is not Unit.LD:
                continue
            number = yield from self._next(Unit.LD)
            place = flying.request()
            yield place
            self._starts(number)
            load = self._program[number]
            ports = [self._channels[port] for port in ports_of(load)]
            for address in run_addresses(load, self._bases):
                yield self.env.timeout(1)
                yield self.env.all_of([port.give(address, load["length"]) for port in ports])
            words = prod(load[f"count_{level}"] for level in LOOPS) * load["length"]
            general = self._channels[GENERAL] if ports[0] is self._channels[GENERAL] else None
            ending = self._complete(number, general, words, before, flying, place)
            before = self.env.process(ending)

    def _complete(
        self,
        number: int,
        general: "_Channel | None",
        words: int,
        before: Any,
        flying: simpy.Resource,
        place: Any,
    ) -> Steps:
        """End a load behind the one before; one for the vector buffer when its words have come."""
        if before is not None:
            yield before
        while general and words:
            here = min(words, self._config.burst_beats)
            yield from general.take(here)
            words -= here
        yield self.env.timeout(1)
        self._ends(number)
        flying.release(place)

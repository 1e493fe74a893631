"""The store unit's timing contract: when an instruction's words reach the memories, and its end.

It follows each word through the cutter, the writer's packer and its queue, to the response. What is
known is worked out ahead of time; where it hangs on a word that has not left, it waits for that.
"""

import itertools
from collections import deque
from collections.abc import Generator, Mapping, Sequence

from golden.core_memories import ports_of
from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import Memory
from hw.event_clock import Call, EventClock, Phase
from hw.fifo import Fifo
from hw.load_timing import run_addresses
from hw.memory_model import MemoryTiming
from hw.port_timing import PortTiming

Steps = Generator[None, None, None]
"""Work that is broken off until a word has left."""

FIRST_RUN = 2
"""The cycle in which the first run is offered, behind that in which the instruction is taken."""

TURN_CYCLES = 3
"""Cycles from the last response of a port to the first job for the next one."""


class _Source:
    """What is taken of the words of memory that are read on the chip.

    Attributes:
        offered: the cycle from which the next one is offered.
    """

    def __init__(self, config: CoreConfig, memory: Memory, begin: int) -> None:
        self._config = config
        self._halves = memory == Memory.ACTIVATION  # a word of that memory is half of one
        self._taken = 0
        self.offered = begin + FIRST_RUN + (2 if self._halves else 1)

    def take(self, now: int) -> None:
        """Take one in cycle `now`."""
        self._taken += 1
        if not self._halves:
            self.offered = now + 1
            return
        # Behind the whole memory, reading begins anew.
        anew = 2 * self._taken % self._config.activation_depth == 0
        self.offered = max(now + 2, self.offered + 2 + anew)


class _Cutter:
    """When the cutter takes runs and makes words.

    Attributes:
        left: when its last word left.
    """

    def __init__(self, config: CoreConfig, source: _Source, begin: int) -> None:
        self._size = config.word_bytes
        self._source = source
        self._used = 0  # bytes of the word kept
        self._run = begin + FIRST_RUN - 1
        self._made = 0
        self.left = 0

    def take(self) -> int:
        """Take a run; return when."""
        self._run = max(self._run + 1, self._made)
        return self._run

    def make(self, count: int) -> int:
        """Make a word of `count` bytes, when the one before leaves at the earliest; return when."""
        self._made = max(self._run + 1, self._made + 1, self.left)
        taken = self._used + count
        if self._used == 0 or taken > self._size:
            self._made = max(self._made, self._source.offered)
            self._source.take(self._made)
        self._used = taken % self._size
        return self._made


class _Writer:
    """When the writer packs words of memory, and bursts begin and are answered.

    Args:
        resume: is called when a word has left.

    Attributes:
        port: that is written.
        packed: when the last word of memory was packed.
    """

    def __init__(self, clock: EventClock, config: CoreConfig, resume: Call) -> None:
        self._clock, self._resume = clock, resume
        self._config = config.write_axi
        self.port: PortTiming
        self._words = 0
        self._queued = 0
        self._leaves: list[int] = []
        self._begins: list[int] = []
        self._lasts: deque[int] = deque()  # words up to each burst's end
        self._responds: list[int] = []
        self.packed = 0

    def answered(self) -> Generator[None, None, int]:
        """Wait for the last response; return when it comes."""
        while len(self._responds) < len(self._begins):
            yield
        return self._responds[-1]

    def pack(self, earliest: int, ends_burst: bool) -> Steps:
        """Pack a word of memory, not before `earliest`, and put it into the queue."""
        config, begins = self._config, self._begins
        self.packed = max(self.packed + 1, self._queued, earliest)
        self._queued = self.packed + 1
        if self._words >= config.buffer_words:
            number = self._words - config.buffer_words
            while len(self._leaves) <= number:
                yield
            self._queued = max(self._queued, self._leaves[number] + 1)
        self._words += 1
        if ends_burst:
            if len(begins) >= config.outstanding:
                self._queued = max(self._queued, begins[-config.outstanding] + 1)
            yield from self._begin()

    def _begin(self) -> Steps:
        """Begin the burst of all words that are queued, as soon as that is possible."""
        begins, responds = self._begins, self._responds
        begin = self._queued + Fifo.cycles()
        if begins:
            begin = max(begin, begins[-1] + 1)
        number = len(begins) - self._config.outstanding
        if number >= 0:
            while len(responds) <= number:
                yield
            begin = max(begin, responds[number] + 1)
        begins.append(begin)
        before = self._lasts[-1] if self._lasts else len(self._leaves)
        self._lasts.append(self._words)
        self.port.write(begin + 1, self._words - before, self._left)

    def _left(self) -> None:
        """A word leaves in this cycle; its memory answers the last one of a burst."""
        responds = self._responds
        self._leaves.append(self._clock.now)
        if len(self._leaves) == self._lasts[0]:
            self._lasts.popleft()
            responds.append(self.port.answer())
        self._resume()


class StoreTiming:
    """`hw.store_unit.StoreUnit`.

    Args:
        bases: the base registers. ports: by their names.
        ends: is called in the cycle in which an instruction is complete.
    """

    def __init__(
        self,
        clock: EventClock,
        config: CoreConfig,
        bases: Sequence[int],
        ports: Mapping[str, PortTiming],
        ends: Call,
    ) -> None:
        self._clock, self._config, self._bases = clock, config, bases
        self._ports, self._ends = ports, ends
        self._steps: Steps | None = None

    def take(self, store: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""
        if self._steps is not None:
            return False
        length = store["length"]
        runs = [(address, length) for address in run_addresses(store, self._bases)]
        ports = [self._ports[name] for name in ports_of(store)]
        self.store(Memory(store["memory"]), runs, ports)
        return True

    def store(
        self, memory: Memory, runs: Sequence[tuple[int, int]], ports: Sequence[PortTiming]
    ) -> None:
        """Begin in this cycle to store runs in one port after the other.

        Args:
            memory: that is read on the chip. runs: byte address and bytes of each.
        """
        self._steps = self._work(memory, runs, ports)
        self._go_on()

    def _go_on(self) -> None:
        if self._steps is not None:
            next(self._steps, None)

    def _work(
        self, memory: Memory, runs: Sequence[tuple[int, int]], ports: Sequence[PortTiming]
    ) -> Steps:
        now = self._clock.now
        cutter = _Cutter(self._config, _Source(self._config, memory, now), now)
        writer = _Writer(self._clock, self._config, self._go_on)
        begin = turn = 0  # when the writer took its last job, and may take the first one of a port
        for writer.port in ports:
            for run in runs:
                queued = cutter.take() + Fifo.cycles()
                begin = max(queued, begin + 1, writer.packed, turn)
                yield from _write(self._config, cutter, writer, run, begin)
            turn = (yield from writer.answered()) + TURN_CYCLES
        self._clock.at(turn - 1, Phase.LOGIC, self._end)

    def _end(self) -> None:
        self._clock.following(self._rest)
        self._ends()

    def _rest(self) -> None:
        self._steps = None


def store_cycles(
    config: CoreConfig,
    memory: Memory,
    runs: Sequence[tuple[int, int]],
    ports: int,
    timing: MemoryTiming | None = None,
) -> int:
    """Return the cycles from an instruction taken to its completion, both counted.

    Exact with memories that nobody else uses, and that take every address at once.

    Args:
        memory: that is read on the chip.
        runs: byte address and bytes of each.
        ports: that get these runs, one after the other.
        timing: of their memories, without random latency; the default of `MemoryTiming`.
    """
    clock = EventClock()
    end = 0

    def ends() -> None:
        nonlocal end
        end = clock.now

    unit = StoreTiming(clock, config, (), {}, ends)
    unit.store(memory, runs, [PortTiming(clock, timing) for _ in range(ports)])
    clock.run()
    return end + 1


def _write(
    config: CoreConfig, cutter: _Cutter, writer: _Writer, run: tuple[int, int], begin: int
) -> Steps:
    """Cut and write a run whose job the writer takes in cycle `begin`."""
    (address, length), size = run, config.word_bytes
    cuts = [min(size, length - at) for at in range(0, length, size)]
    words = (address + length - 1) // size - address // size + 1
    ends = [
        k == beats - 1 for beats in config.write_axi.bursts(address, words) for k in range(beats)
    ]
    for count, ends_burst in itertools.zip_longest(cuts, ends):
        if count is None:  # the last word of memory, of what is left of the last cut
            yield from writer.pack(begin + 1, ends_burst)
        else:
            yield from writer.pack(max(begin, cutter.make(count)) + 1, ends_burst)
            cutter.left = writer.packed

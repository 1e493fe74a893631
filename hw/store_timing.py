"""The store unit's timing contract: the cycles of an instruction when only its memories wait.

It follows each word through the cutter, the writer's packer and its queue, to the response.
"""

import itertools
from collections.abc import Sequence

from golden.spec.core import CoreConfig
from golden.spec.isa import Memory
from hw.fifo import Fifo

FIRST_RUN = 2
"""The cycle in which the first run is offered, behind that in which the instruction is taken."""

TURN_CYCLES = 3
"""Cycles from the last response of a port to the first job for the next one."""


class _Source:
    """What is taken of the words of memory that are read on the chip.

    Attributes:
        offered: the cycle from which the next one is offered.
    """

    def __init__(self, config: CoreConfig, memory: Memory) -> None:
        self._config = config
        self._halves = memory == Memory.ACTIVATION  # a word of that memory is half of one
        self._taken = 0
        self.offered = FIRST_RUN + (2 if self._halves else 1)

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

    def __init__(self, config: CoreConfig, source: _Source) -> None:
        self._size = config.word_bytes
        self._source = source
        self._used = 0  # bytes of the word kept
        self._run = FIRST_RUN - 1
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

    Attributes:
        packed: when the last word of memory was packed.
        answered: when the last burst was.
    """

    def __init__(self, config: CoreConfig, latency: int) -> None:
        self._config = config.write_axi
        self._latency = latency
        self._words = 0
        self._queued = 0
        self._leaves: list[int] = []
        self._begins: list[int] = []
        self._responds: list[int] = []
        self.packed = 0

    @property
    def answered(self) -> int:
        return self._responds[-1]

    def pack(self, earliest: int, ends_burst: bool) -> None:
        """Pack a word of memory, not before `earliest`, and put it into the queue."""
        config, begins = self._config, self._begins
        self.packed = max(self.packed + 1, self._queued, earliest)
        self._queued = self.packed + 1
        if self._words >= config.buffer_words:
            left = self._leaves[self._words - config.buffer_words]
            self._queued = max(self._queued, left + 1)
        self._words += 1
        if ends_burst:
            if len(begins) >= config.outstanding:
                self._queued = max(self._queued, begins[-config.outstanding] + 1)
            self._begin()

    def _begin(self) -> None:
        """Begin the burst of all words that are queued, as soon as that is possible."""
        begins, leaves, responds = self._begins, self._leaves, self._responds
        begin = self._queued + Fifo.cycles()
        if begins:
            begin = max(begin, begins[-1] + 1)
        if len(begins) >= self._config.outstanding:
            begin = max(begin, responds[-self._config.outstanding] + 1)
        begins.append(begin)
        first = max(begin, leaves[-1] if leaves else 0) + 1
        leaves += range(first, first + self._words - len(leaves))
        responds.append(max(leaves[-1] + self._latency, responds[-1] + 1 if responds else 0))


def store_cycles(
    config: CoreConfig, memory: Memory, runs: Sequence[tuple[int, int]], ports: int, latency: int
) -> int:
    """Return the cycles from an instruction taken to its completion, both counted.

    Exact with memories that take an address at once and then a word per cycle, and respond
    `latency` cycles after a burst's last word, 1 or more.

    Args:
        memory: that is read on the chip.
        runs: byte address and bytes of each.
        ports: that get these runs, one after the other.
    """
    cutter = _Cutter(config, _Source(config, memory))
    writer = _Writer(config, latency)
    begin = turn = 0  # when the writer took its last job, and may take the first one of a port
    for _ in range(ports):
        for run in runs:
            queued = cutter.take() + Fifo.cycles()
            begin = max(queued, begin + 1, writer.packed, turn)
            _write(config, cutter, writer, run, begin)
        turn = writer.answered + TURN_CYCLES
    return turn


def _write(
    config: CoreConfig, cutter: _Cutter, writer: _Writer, run: tuple[int, int], begin: int
) -> None:
    """Cut and write a run whose job the writer takes in cycle `begin`."""
    (address, length), size = run, config.word_bytes
    cuts = [min(size, length - at) for at in range(0, length, size)]
    words = (address + length - 1) // size - address // size + 1
    ends = [
        k == beats - 1 for beats in config.write_axi.bursts(address, words) for k in range(beats)
    ]
    for count, ends_burst in itertools.zip_longest(cuts, ends):
        if count is None:  # the last word of memory, of what is left of the last cut
            writer.pack(begin + 1, ends_burst)
        else:
            writer.pack(max(begin, cutter.make(count)) + 1, ends_burst)
            cutter.left = writer.packed

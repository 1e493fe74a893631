"""The timing contract of a memory behind a core's port, which reads and writes share.

It is that of `hw.memory_model` with a word per cycle and a fixed latency. Of a reader and a writer
that both want the next word, each gets its turn.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection

from golden.core_memories import GENERAL, channel
from golden.spec.core import CoreConfig
from hw.axi_reader import ISSUE_CYCLES
from hw.event_clock import Call, EventClock, Phase

NEVER = -1
"""Of a word that was written: none was."""


class PortTiming:
    """A memory behind a port.

    Args:
        latency: from an address taken to its first word, and from a burst's last word to its
            response, 1 or more.
        is_written: the last word that was moved was written.

    Attributes:
        comes: the cycles in which the words that have been asked for come, of the port's whole
            life; those behind the present cycle may still be put off.
    """

    def __init__(self, clock: EventClock, latency: int, is_written: bool = False) -> None:
        self._clock = clock
        self.latency = latency
        self.comes = array("q")
        # Bursts that are read: when they began, and the number of their last word.
        self._bursts: deque[tuple[int, int]] = deque()
        # Words to be written: from when on they are offered, and what to call when they are taken.
        self._offered: deque[tuple[int, Call]] = deque()
        self._written = 0 if is_written else NEVER

    def is_written(self, cycle: int) -> bool:
        """Tell whether, of all words read up to a cycle and all written, the last was written."""
        came = bisect_right(self.comes, cycle)
        return self._written > NEVER and (came == 0 or self.comes[came - 1] <= self._written)

    @property
    def rests(self) -> int:
        """The first cycle in which no word comes any more, of those that have been asked for."""
        return self.comes[-1] + 1 if self.comes else 0

    def read(self, words: int) -> None:
        """Begin a burst in this cycle."""
        first = max(self._clock.now + ISSUE_CYCLES - 1 + self.latency, self.rests)
        self.comes.extend(range(first, first + words))
        self._bursts.append((self._clock.now, len(self.comes) - 1))

    def write(self, cycle: int, words: int, taken: Call) -> None:
        """Offer the words of a burst from a cycle on, behind those of earlier ones.

        Args:
            taken: is called in the cycle in which a word is taken.
        """
        waits = bool(self._offered)
        self._offered.extend([(cycle, taken)] * words)
        if not waits:
            self._clock.at(cycle, Phase.LOGIC, self._write)

    def _write(self) -> None:
        """Take the word that is offered, unless it is the turn of one that is read."""
        now = self._clock.now
        if self._is_turn_of_reads():
            self._clock.at(now + 1, Phase.LOGIC, self._write)
            return
        _, taken = self._offered.popleft()
        self._written = now
        self._put_off(now + 1)
        if self._offered:
            self._clock.at(max(now + 1, self._offered[0][0]), Phase.LOGIC, self._write)
        taken()

    def _is_turn_of_reads(self) -> bool:
        """Tell whether the last word was written, and others are waited for.

        The memory decides it at the end of the cycle before.
        """
        now, bursts = self._clock.now, self._bursts
        while bursts and self.comes[bursts[0][1]] <= now:
            bursts.popleft()
        # An address is taken in the cycle behind that in which its burst begins.
        return bool(bursts) and bursts[0][0] + ISSUE_CYCLES <= now and self.is_written(now)

    def _put_off(self, cycle: int) -> None:
        """Let no word come in a cycle: it comes in the next one, and others behind it."""
        comes, number = self.comes, bisect_left(self.comes, cycle)
        while number < len(comes) and comes[number] == cycle:
            cycle += 1
            comes[number] = cycle
            number += 1


def ports_of_core(
    clock: EventClock, config: CoreConfig, latency: int, written: Collection[str] = ()
) -> dict[str, PortTiming]:
    """Return the ports of a core that loads and stores use, by their names.

    Args:
        written: those of whose memories the last word moved was written.
    """
    names = [GENERAL, *map(channel, range(config.chains))]
    return {name: PortTiming(clock, latency, name in written) for name in names}

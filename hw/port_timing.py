"""The timing contract of a memory behind a core's port, which reads and writes share.

It is that of `hw.memory_model` for regular memories: those of a fixed latency, whatever their
bandwidth. Of a reader and a writer that both want the next word, each gets its turn.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from hw.axi_reader import ISSUE_CYCLES
from hw.core_ports import port_names
from hw.event_clock import Call, EventClock, Phase
from hw.memory_model import MemoryTiming

NEVER = -1
"""Of a word that was written: none was."""

Timings = Mapping[str, MemoryTiming]
"""Of ports, by their names; the default of `MemoryTiming` for others."""


class _Credit(NamedTuple):
    """What a memory has saved, when a cycle begins and before it gives a word there."""

    cycle: int
    amount: int


class _Rate(NamedTuple):
    """A word costs `price`; a cycle brings `gain`. What is saved is not much more than a word."""

    gain: int
    price: int

    @property
    def most(self) -> int:
        """The most that is saved."""
        return self.price + self.gain - 1

    def at(self, last: _Credit, cycle: int) -> int:
        """Return what is saved at the beginning of a cycle, if nothing has moved since `last`."""
        return min(last.amount + (cycle - last.cycle) * self.gain, self.most)

    def give(self, last: _Credit, due: int, words: int) -> tuple[list[int], _Credit]:
        """Return when words come of which the first is due in a cycle, and what is left then."""
        begin = max(due, last.cycle)
        have = self.at(last, begin)
        first = begin + max(0, -((have - self.price) // self.gain))
        if self.gain == self.price:
            comes = list(range(first, first + words))
        else:
            later = range(2, words + 1)
            comes = [first, *(begin - (have - n * self.price) // self.gain for n in later)]
        following = comes[-1] + 1
        left = have + (following - begin) * self.gain - words * self.price
        return comes, _Credit(following, left)


@dataclass
class _Burst:
    """A burst that is read.

    Attributes:
        begin: when it began. due: before this no word comes.
        first, last: numbers of its words.
        before, after: what the memory has saved in front of the first and behind the last word.
    """

    begin: int
    due: int
    first: int
    last: int
    before: _Credit
    after: _Credit = field(init=False)


class PortTiming:
    """A memory behind a port.

    When it begins to be used it has rested for a word's time.

    Args:
        timing: latency counts from an address taken to its first word, and from a burst's last word
            to its response.
        is_written: the last word that was moved was written.

    Attributes:
        comes: the cycles in which the words that have been asked for come, of the port's whole
            life; those behind the present cycle may still be put off.

    Raises:
        ConfigError: the latency is random.
    """

    def __init__(
        self, clock: EventClock, timing: MemoryTiming | None = None, is_written: bool = False
    ) -> None:
        timing = timing or MemoryTiming()
        if timing.extra_latency:
            raise ConfigError(
                f"extra_latency is {timing.extra_latency}; the timing contract is of memories "
                "without random latency, so 0 is needed"
            )
        self._clock = clock
        self._latency = timing.latency
        self._rate = _Rate(timing.words_per_cycle.numerator, timing.words_per_cycle.denominator)
        self.comes = array("q")
        self._bursts: deque[_Burst] = deque()  # of which words are still to come
        self._last = _Credit(0, self._rate.most)  # behind all others
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
        self._forget()
        begin, first = self._clock.now, len(self.comes)
        due = begin + ISSUE_CYCLES - 1 + self._latency
        before = self._bursts[-1].after if self._bursts else self._last
        burst = _Burst(begin, due, first, first + words - 1, before)
        comes, burst.after = self._rate.give(before, due, words)
        self.comes.extend(comes)
        self._bursts.append(burst)

    def write(self, cycle: int, words: int, taken: Call) -> None:
        """Offer the words of a burst from a cycle on, behind those of earlier ones.

        Args:
            taken: is called in the cycle in which a word is taken.
        """
        waits = bool(self._offered)
        self._offered.extend([(cycle, taken)] * words)
        if not waits:
            self._clock.at(cycle, Phase.LOGIC, self._write)

    def answer(self) -> int:
        """Return when a burst is answered whose last word is taken in this cycle."""
        return self._clock.now + self._latency

    def _write(self) -> None:
        """Let the word that is offered be taken as soon as the memory does."""
        now = self._clock.now
        if not self._accepts():
            self._clock.at(now + 1, Phase.LOGIC, self._write)
            return
        _, taken = self._offered.popleft()
        self._written = now
        if self._offered:
            self._clock.at(max(now + 1, self._offered[0][0]), Phase.LOGIC, self._write)
        taken()

    def _accepts(self) -> bool:
        """Take the word, if the memory can and it is not the turn of reads."""
        self._forget()
        credit, price = self._credit(), self._rate.price
        if credit.amount < price or self._is_turn_of_reads():
            return False
        self._put_off(_Credit(credit.cycle, credit.amount - price))
        return True

    def _forget(self) -> None:
        """Drop bursts all of whose words have come."""
        while self._bursts and self.comes[self._bursts[0].last] <= self._clock.now:
            self._last = self._bursts.popleft().after

    def _credit(self) -> _Credit:
        """Return what the memory has saved in the next cycle, if no word is written in this one."""
        following = self._clock.now + 1
        if not self._bursts:
            return _Credit(following, self._rate.at(self._last, following))
        burst = self._bursts[0]
        came = bisect_left(self.comes, following, burst.first) - burst.first
        if not came:
            return _Credit(following, self._rate.at(burst.before, following))
        begin = max(burst.due, burst.before.cycle)
        earned = self._rate.at(burst.before, begin) + (following - begin) * self._rate.gain
        return _Credit(following, earned - came * self._rate.price)

    def _is_turn_of_reads(self) -> bool:
        """Tell whether the last word was written, and others are waited for.

        The memory decides it at the end of the cycle before.
        """
        now, bursts = self._clock.now, self._bursts
        # An address is taken in the cycle behind that in which its burst begins.
        return bool(bursts) and bursts[0].begin + ISSUE_CYCLES <= now and self.is_written(now)

    def _put_off(self, last: _Credit) -> None:
        """Let all words that are still to come follow what the memory has saved now."""
        number = bisect_left(self.comes, last.cycle)
        for burst in self._bursts:
            burst.first, burst.before = max(burst.first, number), last
            words = burst.last + 1 - burst.first
            comes, last = self._rate.give(last, burst.due, words)
            self.comes[burst.first : burst.last + 1] = array("q", comes)
            burst.after = last
        if not self._bursts:
            self._last = last


def ports_of_core(
    clock: EventClock,
    config: CoreConfig,
    timing: Timings | None = None,
    written: Collection[str] = (),
) -> dict[str, PortTiming]:
    """Return the ports of a core by their names.

    Args:
        written: those of whose memories the last word moved was written.
    """
    timing = timing or {}
    return {
        name: PortTiming(clock, timing.get(name), name in written) for name in port_names(config)
    }

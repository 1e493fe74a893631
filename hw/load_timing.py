"""The timing contracts of a reader in front of its memory, and of a core's loads.

They follow runs, bursts and words as they come; see `hw.event_clock`. A memory takes every address
at once, gives a burst's first word some cycles later, and then a word per cycle.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod

from golden.core_memories import numbers_in
from golden.spec.axi import AxiConfig
from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import ADDRESS_BITS
from hw.axi_reader import ISSUE_CYCLES
from hw.event_clock import Call, EventClock, Phase
from hw.fifo import Fifo
from hw.load_expander import LOOPS

Offer = Callable[[int], None]
"""Says that something is offered from a cycle on."""


def run_addresses(one: Instruction, bases: Sequence[int]) -> Iterator[int]:
    """Yield the byte address of each run of an LD or ST, in their order.

    Args:
        bases: the base registers, in bytes.
    """
    begin = bases[one["base"]] + one["offset"]
    loops = [
        [index * one[f"stride_{level}"] for index in range(one[f"count_{level}"])]
        for level in reversed(LOOPS)
    ]
    for offsets in product(*loops):
        yield (begin + sum(offsets)) % (1 << ADDRESS_BITS)


class ReaderTiming:
    """`hw.axi_reader.AxiReader` and its memory.

    Args:
        latency: of the memory, 1 or more.
        offer: is called for every word when it is known from which cycle on it is offered; then it
            waits for `take`. Without it, all words are taken at once.
        frees: is called in the cycle in which the last burst of a job begins.

    Attributes:
        rests: the first cycle in which no burst is in flight, of those that have begun.
    """

    def __init__(
        self,
        clock: EventClock,
        config: AxiConfig,
        latency: int,
        offer: Offer | None = None,
        frees: Call = lambda: None,
    ) -> None:
        self._clock, self._config, self._latency = clock, config, latency
        self._offer, self._frees = offer, frees
        self._bursts: deque[int] = deque()  # words of each burst of the job that has not begun
        self._ends: deque[int] = deque(maxlen=config.outstanding)  # when the last bursts' did
        self._offered: deque[int] = deque()  # words that are not taken
        self._taken: deque[int] = deque(maxlen=config.buffer_words)  # when the last ones were
        self._asked_count = self._taken_count = 0
        self._waits_for_room = False
        self._stopped = False
        self.rests = 0

    def give(self, address: int, words: int) -> bool:
        """Give a job in this cycle; return whether it is taken."""
        if self._bursts:
            return False
        self._bursts.extend(self._config.bursts(address, words))
        self._plan()
        return True

    def take(self) -> None:
        """Take the word that is offered."""
        self._offered.popleft()
        self._taken.append(self._clock.now)
        self._taken_count += 1
        if self._waits_for_room:
            self._plan()
        if self._offered:
            self._offer_next()

    def stop(self) -> None:
        """Begin no further burst."""
        self._stopped = True

    def _plan(self) -> None:
        """Let the next burst begin when it can."""
        config = self._config
        begin = self._clock.now + 1
        if len(self._ends) == config.outstanding:
            begin = max(begin, self._ends[0] + 1)
        # So many words must have been taken in front of it.
        needed = self._asked_count + self._bursts[0] - config.buffer_words
        self._waits_for_room = needed > self._taken_count
        if self._waits_for_room:
            return
        if needed > 0:
            begin = max(begin, self._taken[needed - self._taken_count - 1] + 1)
        self._clock.at(begin, Phase.LOGIC, self._begin)

    def _begin(self) -> None:
        if self._stopped:
            return
        beats = self._bursts.popleft()
        first = max(self._clock.now + ISSUE_CYCLES - 1 + self._latency, self.rests)
        self.rests = first + beats
        self._ends.append(self.rests - 1)
        self._asked_count += beats
        offered = range(first + Fifo.cycles(), self.rests + Fifo.cycles())
        if self._offer is None:
            self._taken.extend(offered)
            self._taken_count += beats
        else:
            waits = not self._offered
            self._offered.extend(offered)
            if waits:
                self._offer_next()
        if self._bursts:
            self._plan()
        else:
            self._frees()

    def _offer_next(self) -> None:
        assert self._offer is not None
        before = self._taken[-1] if self._taken else -1
        self._offer(max(self._offered[0], before + 1))


class LoadTiming:
    """`hw.load_unit.LoadUnit`: runs, readers, the packer of wide words, and the order of ends.

    Words for the chains are taken as soon as they come.

    Args:
        bases: the base registers. latency: of all memories, 1 or more.
        offer: is called when it is known from which cycle on a word for the vector buffer is
            offered; then it waits for `written`.
        frees: is called in the cycle from which on another instruction is taken.
        ends: is called in the cycle in which an instruction is complete.
    """

    def __init__(
        self,
        clock: EventClock,
        config: CoreConfig,
        bases: Sequence[int],
        latency: int,
        offer: Offer,
        frees: Call,
        ends: Call,
    ) -> None:
        self._clock, self._bases = clock, bases
        self._offer, self._frees, self._ends = offer, frees, ends
        general = ReaderTiming(clock, config.general_axi, latency, self._word, self._serve)
        self.general = general
        self.channels = [
            ReaderTiming(clock, config.axi, latency, frees=self._serve)
            for _ in range(config.chains)
        ]
        # The present instruction: its runs, and who has not got the one that is offered.
        self._addresses: Iterator[int] = iter(())
        self._left = 0
        self._address = self._length = 0
        self._ports: list[ReaderTiming] = []
        self._unserved: list[ReaderTiming] = []
        # Words of memory that are left of each instruction for the vector buffer.
        self._words: deque[int] = deque()
        self._is_upper = False
        # Instructions that have begun: whether they are for the vector buffer.
        self._kinds: deque[bool] = deque()
        self._given = self._written = 0
        self._ended = -1

    def take(self, load: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""
        if self._left:
            return False
        self._addresses = run_addresses(load, self._bases)
        self._left = prod(load[f"count_{level}"] for level in LOOPS)
        self._length = load["length"]
        self._ports = [self.channels[k] for k in numbers_in(load["channels"])] or [self.general]
        self._kinds.append(self._ports[0] is self.general)
        if self._kinds[-1]:
            self._words.append(self._left * self._length)
        self._clock.at(self._clock.now + 1, Phase.LOGIC, self._offer_run)
        return True

    def written(self) -> None:
        """Take the word that is offered."""
        self._words[0] -= 1
        ends = self._words[0] == 0
        self._is_upper = not (self._is_upper or ends)
        if ends:
            self._words.popleft()
            self._clock.following(self._all_written)
        self.general.take()

    def _offer_run(self) -> None:
        self._address = next(self._addresses)
        self._unserved = list(self._ports)
        self._serve()

    def _serve(self) -> None:
        """Give the run that is offered to the ports that can take it in this cycle."""
        if not self._unserved:
            return
        self._unserved = [
            port for port in self._unserved if not port.give(self._address, self._length)
        ]
        if self._unserved:
            return
        self._left -= 1
        if self._left:
            self._clock.at(self._clock.now + 1, Phase.LOGIC, self._offer_run)
        else:
            self._clock.following(self._all_given)
            self._frees()

    def _word(self, cycle: int) -> None:
        """Of two words of memory the first is taken at once, the second is offered."""
        if self._is_upper or self._words[0] == 1:
            self._offer(cycle)
        else:
            self._clock.at(cycle, Phase.LOGIC, self.written)

    def _all_given(self) -> None:
        self._given += 1
        self._clock.at(self._clock.now, Phase.LOGIC, self._end)

    def _all_written(self) -> None:
        self._written += 1
        self._clock.at(self._clock.now, Phase.LOGIC, self._end)

    def _end(self) -> None:
        """End the oldest instruction, if it can; one in a cycle."""
        now = self._clock.now
        if not self._kinds or not self._given or self._ended == now:
            return
        is_general = self._kinds[0]
        if is_general and not self._written:
            return
        self._kinds.popleft()
        self._given -= 1
        self._written -= is_general
        self._ended = now
        self._ends()
        self._clock.at(now + 1, Phase.LOGIC, self._end)


def load_cycles(
    config: CoreConfig, load: Instruction, bases: Sequence[int], latency: int = 1
) -> int:
    """Return the cycles from an LD instruction taken to its completion, both counted.

    Exact for one that follows none, when what comes is taken at once.

    Args:
        bases: the base registers, in bytes. latency: of the memories, 1 or more.
    """
    clock = EventClock()
    end = 0

    def offer(cycle: int) -> None:
        clock.at(cycle, Phase.CHOICE, unit.written)

    def ends() -> None:
        nonlocal end
        end = clock.now

    unit = LoadTiming(clock, config, bases, latency, offer, lambda: None, ends)
    unit.take(load)
    clock.run()
    return end + 1

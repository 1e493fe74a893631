"""The timing contracts of a reader in front of its memory, and of a core's loads.

They follow runs, bursts and words as they come; see `hw.event_clock`. For the memory, see
`hw.port_timing`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from math import prod

from golden.core_memories import GENERAL, channel, ports_of
from golden.spec.axi import AxiConfig
from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import ADDRESS_BITS
from hw.event_clock import Call, EventClock, Phase
from hw.fifo import Fifo
from hw.load_expander import LOOPS
from hw.port_timing import PortTiming, Timings, ports_of_core

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
    """`hw.axi_reader.AxiReader` at its port.

    Args:
        frees: is called in the cycle in which the last burst of a job begins.

    Attributes:
        offer: is called in the cycle from which on a word is offered; then that waits for `take`.
            Without it, who takes the words looks at `offers`.
    """

    def __init__(
        self,
        clock: EventClock,
        config: AxiConfig,
        port: PortTiming,
        offer: Offer | None = None,
        frees: Call = lambda: None,
    ) -> None:
        self._clock, self._config, self._port = clock, config, port
        self.offer, self._frees = offer, frees
        self._bursts: deque[int] = deque()  # words of each burst of the job that has not begun
        # Numbers of the last words of the last bursts.
        self._lasts: deque[int] = deque(maxlen=config.outstanding)
        self._taken = 0
        self._waits_for_room = False
        self._stopped = False

    @property
    def rests(self) -> int:
        """The first cycle in which no burst is in flight, of those that have begun."""
        return self._port.rests

    @property
    def offers(self) -> bool:
        """Whether a word is offered in this cycle."""
        comes = self._port.comes
        return self._taken < len(comes) and comes[self._taken] + Fifo.cycles() <= self._clock.now

    def has(self, words: int) -> bool:
        """Tell whether so many words have come that nobody has taken."""
        last = self._taken + words - 1
        comes = self._port.comes
        return not words or (last < len(comes) and comes[last] <= self._clock.now)

    def give(self, address: int, words: int) -> bool:
        """Give a job in this cycle; return whether it is taken."""
        if self._bursts:
            return False
        self._bursts.extend(self._config.bursts(address, words))
        self._plan(self._clock.now + 1)
        return True

    def take(self) -> None:
        """Take the word that is offered."""
        self._taken += 1
        following = self._clock.now + 1
        if self._waits_for_room:
            self._plan(following)
        if self.offer:
            self._await_word(following)

    def stop(self) -> None:
        """Begin no further burst."""
        self._stopped = True

    def _plan(self, earliest: int) -> None:
        """Let the next burst begin when there is room for its words."""
        asked = len(self._port.comes)
        self._waits_for_room = asked + self._bursts[0] - self._taken > self._config.buffer_words
        if not self._waits_for_room:
            self._clock.at(earliest, Phase.LOGIC, self._begin)

    def _begin(self) -> None:
        if self._stopped:
            return
        comes, lasts, now = self._port.comes, self._lasts, self._clock.now
        if len(lasts) == self._config.outstanding and comes[lasts[0]] >= now:
            self._clock.at(comes[lasts[0]] + 1, Phase.LOGIC, self._begin)
            return
        waits = self._taken < len(comes)
        self._port.read(self._bursts.popleft())
        lasts.append(len(comes) - 1)
        if self.offer and not waits:
            self._await_word(now + 1)
        if self._bursts:
            self._plan(now + 1)
        else:
            self._frees()

    def _await_word(self, earliest: int) -> None:
        """Offer the next word when it has come; that may be put off."""
        comes = self._port.comes
        if self._taken < len(comes):
            cycle = max(earliest, comes[self._taken] + Fifo.cycles())
            self._clock.at(cycle, Phase.LOGIC, self._offer_word)

    def _offer_word(self) -> None:
        assert self.offer is not None
        now = self._clock.now
        if self.offers:
            self.offer(now)
        else:
            self._await_word(now)


class LoadTiming:
    """`hw.load_unit.LoadUnit`: runs, readers, the packer of wide words, and the order of ends.

    Args:
        bases: the base registers. ports: by their names.
        offer: is called when it is known from which cycle on a word for the vector buffer is
            offered; then it waits for `written`.
        frees: is called in the cycle from which on another instruction is taken.
        ends: is called in the cycle in which an instruction is complete.

    Attributes:
        general, channels: the readers; the words of the latter wait for who takes them.
    """

    def __init__(
        self,
        clock: EventClock,
        config: CoreConfig,
        bases: Sequence[int],
        ports: Mapping[str, PortTiming],
        offer: Offer,
        frees: Call,
        ends: Call,
    ) -> None:
        self._clock, self._bases = clock, bases
        self._offer, self._frees, self._ends = offer, frees, ends
        general = ReaderTiming(clock, config.general_axi, ports[GENERAL], self._word, self._serve)
        self.general = general
        self.channels = [
            ReaderTiming(clock, config.axi, ports[channel(k)], frees=self._serve)
            for k in range(config.chains)
        ]
        self._readers = {GENERAL: general}
        self._readers |= {channel(k): reader for k, reader in enumerate(self.channels)}
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
        self._ports = [self._readers[port] for port in ports_of(load)]
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
    config: CoreConfig, load: Instruction, bases: Sequence[int], timing: Timings | None = None
) -> int:
    """Return the cycles from an LD instruction taken to its completion, both counted.

    Exact for one that follows none, when what comes is taken at once.

    Args:
        bases: the base registers, in bytes. timing: see `hw.core_timing.program_cycles`.
    """
    clock = EventClock()
    ports = ports_of_core(clock, config, timing)
    end = 0

    def offer(cycle: int) -> None:
        clock.at(cycle, Phase.CHOICE, unit.written)

    def ends() -> None:
        nonlocal end
        end = clock.now

    unit = LoadTiming(clock, config, bases, ports, offer, lambda: None, ends)
    for reader in unit.channels:
        reader.offer = partial(_take, clock, reader)
    unit.take(load)
    clock.run()
    return end + 1


def _take(clock: EventClock, reader: ReaderTiming, cycle: int) -> None:
    """Take a word as soon as it is offered."""
    clock.at(cycle, Phase.CHOICE, reader.take)

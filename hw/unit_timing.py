"""The timing contracts of a core's system and vector units, and of its vector buffer's writers.

See `hw.core_timing`.
"""

from collections.abc import Callable, Sequence
from functools import partial

from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import SystemOperation
from hw.event_clock import Call, EventClock, Phase
from hw.load_timing import Offer
from hw.system_unit import SystemUnit
from hw.vector_timing import VectorTiming

Arrive = Callable[[Call], None]
"""Says that a core is at a barrier from this cycle on, and what to call in that of its release."""


class WritePort:
    """The way into the vector buffer: one word per cycle, as `hw.stream_merge` chooses.

    Attributes:
        writers: by their numbers, what is called when a word that is offered is taken.
        waits: cycles in which a word waited for that of another writer.
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


class SystemTiming:
    """`hw.system_unit.SystemUnit`, one instruction at a time.

    Args:
        arrive: at a barrier; of a core that is alone None, and then it has none.
        ends: is called in the cycle in which an instruction ends.
    """

    def __init__(self, clock: EventClock, arrive: Arrive | None, ends: Call) -> None:
        self._clock, self._arrive, self._ends = clock, arrive, ends
        self._busy = False

    def take(self, one: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""
        if self._busy:
            return False
        self._busy = True
        if one["op"] == SystemOperation.BARRIER:
            assert self._arrive is not None
            self._clock.following(partial(self._arrive, self._end))
        else:
            self._clock.at(self._clock.now + SystemUnit.cycles(), Phase.LOGIC, self._end)
        return True

    def _end(self) -> None:
        self._clock.following(self._rest)
        self._ends()

    def _rest(self) -> None:
        self._busy = False


class FunctionTiming:
    """The vector unit, one instruction at a time; see `hw.vector_timing`.

    Args:
        bases: the base registers.
        offer, frees, ends: see `hw.product_timing.ProductTiming`; of MISC.
    """

    def __init__(
        self,
        clock: EventClock,
        config: CoreConfig,
        bases: Sequence[int],
        offer: Offer,
        frees: Call,
        ends: Call,
    ) -> None:
        self._clock, self._bases = clock, bases
        self._offer, self._frees, self._ends = offer, frees, ends
        self._timing = VectorTiming(config.functions)
        self._left = 0
        self._offered = 0
        self._busy = False

    def take(self, one: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""
        now, job = self._clock.now, one.job(self._bases)
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

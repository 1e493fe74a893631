"""Time for timing contracts that follow events: what happens in a cycle, and in which order.

What a contract cannot say in closed form it plays: in each cycle only what changes is looked at.
"""

import heapq
from collections.abc import Callable
from enum import IntEnum
from itertools import count

Call = Callable[[], None]


class Phase(IntEnum):
    """The parts of a cycle, in their order."""

    REGISTERS = 0
    """What the cycle before has changed is seen from now on."""
    LOGIC = 1
    """Streams offer and take."""
    CHOICE = 2
    """All that is offered in this cycle is known, and who shares something gets it."""
    STEP = 3
    """All that is taken is known, and a unit that is followed cycle by cycle goes on."""


PATIENCE = 1 << 9
"""Cycles in which only units go on that are followed cycle by cycle, and even these do nothing,
after which nothing will come."""


class EventClock:
    """Calls what is to happen, in the order of cycles and phases.

    Attributes:
        now: the present cycle.
        progress: of each unit that is followed cycle by cycle, what changes when it does anything
            or something is on its way to it.
    """

    def __init__(self) -> None:
        self.now = 0
        self.progress: list[Callable[[], int]] = []
        self._looked = 0  # when something had happened
        self._seen: list[int] = []  # of `progress`, then
        self._events: list[tuple[int, Phase, int, Call]] = []
        self._number = count()

    @property
    def is_stuck(self) -> bool:
        """Whether time passes and nothing happens any more."""
        if self.now - self._looked < PATIENCE:
            return False
        seen, self._seen = self._seen, [progress() for progress in self.progress]
        self._looked = self.now
        return seen == self._seen

    def at(self, cycle: int, phase: Phase, call: Call) -> None:
        """Let something happen in a cycle from now on; in one phase, what was asked for first."""
        heapq.heappush(self._events, (cycle, phase, next(self._number), call))

    def following(self, call: Call) -> None:
        """Let a register change with the next cycle."""
        self.at(self.now + 1, Phase.REGISTERS, call)

    def run(self) -> None:
        """Let time pass until nothing is left to happen."""
        while self._events:
            self.now, phase, _, call = heapq.heappop(self._events)
            if phase is not Phase.STEP:
                self._looked, self._seen = self.now, []
            call()

"""A calendar of fine-grained events that runs inside SimPy.

A SimPy process or event per NAND page would be too slow. The calendar keeps its own events in whole
picoseconds and calls their handlers in order of time, then of entry. It takes one SimPy event to
wake, and then runs ahead as long as no other SimPy event is due: until then nobody can observe the
state or add to it. What it completes becomes a SimPy event at its time, and it runs no further than
that. So processes of a larger system see each change at its time, as if every event were SimPy's.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any

import simpy

from sim.nand import PS_PER_S

Handler = Callable[[int, Any], None]
Entry = tuple[int, int, Handler, Any]

NORMAL, AFTER_ALL_OTHERS = 1, 2
"""SimPy's priorities: of what is completed; of waking, which waits for all that may add events."""


class Calendar:
    """Events of one part of a system.

    Attributes:
        entries: a heap of (time, serial number, handler, argument); a handler is called with the
            time and the argument.
        limit: the time up to which the calendar may run now.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.entries: list[Entry] = []
        self.serial = count()
        self.limit: float = 0
        self._now = 0
        self._wake_at: float = inf
        self._answer_at: float = inf

    @property
    def now(self) -> int:
        """The time, in picoseconds."""
        return max(self._now, round(self.env.now * PS_PER_S))

    def push(self, time: int, handler: Handler, argument: object = None) -> None:
        """Enter an event, from a handler."""
        heappush(self.entries, (time, next(self.serial), handler, argument))

    def begin(self, time: int, handler: Handler) -> None:
        """Enter an event that is due at `time`, which is now, from a SimPy process."""
        heappush(self.entries, (time, next(self.serial), handler, None))
        if time < self._wake_at:
            self._wake(time)

    def succeed(self, event: simpy.Event, time: int) -> None:
        """Let a SimPy event happen at `time`, not past, its value itself.

        If anybody waits for it, what follows may add events, so do not run beyond.
        """
        _happen(event, event, self.env, time, NORMAL)
        if event.callbacks and time < self.limit:
            self.limit = self._answer_at = time

    def replace(self, old: list[Entry], new: list[Entry]) -> None:
        """Put entries in the place of others."""
        gone = {serial for _, serial, _, _ in old}
        self.entries[:] = [e for e in self.entries if e[1] not in gone] + new
        heapify(self.entries)

    def _wake(self, time: float) -> None:
        """Have the calendar run at `time`, which is before it would."""
        self._wake_at = time
        event = simpy.Event(self.env)
        event.callbacks.append(self._run)
        _happen(event, time, self.env, time, AFTER_ALL_OTHERS)

    def _run(self, event: simpy.Event) -> None:
        """Handle all that is due, and what follows while no other SimPy event is nearer."""
        now = event.value
        if now >= self._wake_at:
            self._wake_at = inf
        entries, others = self.entries, self.env.peek()
        ahead = inf if others == inf else round(others * PS_PER_S)
        self._answer_at = inf
        self.limit = ahead if ahead > now else now + 1
        while entries and entries[0][0] < self.limit:
            time, _, handler, argument = heappop(entries)
            self._now = time
            handler(time, argument)
        if entries:
            # Who waits for a completion mostly asks for more then: one waking does for both.
            wake = min(entries[0][0], self._answer_at)
            if wake < self._wake_at:
                self._wake(wake)


def _happen(
    event: simpy.Event, value: object, env: simpy.Environment, time: float, priority: int
) -> None:
    """Schedule `event` with its value at `time` picoseconds, as SimPy's own Timeout does."""
    event._ok, event._value = True, value
    delay = time / PS_PER_S - env.now
    env.schedule(event, priority, delay if delay > 0 else 0)

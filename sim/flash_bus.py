"""The bus of a flash channel: one thing at a time, commands or data first.

What asks for the bus gives a function that is called with the time at which it gets it, and
returns the time at which it leaves it. Commands and data wait in a queue each, in the order of
asking; only a command goes between the pages of several planes. With `commands_first` a free die
is put to work before waiting data leave, as OpenSSD's firmware does. Without it, commands wait
until no data do, as in MQSim: dies of a channel then begin together and send one after another, so
the array rests while data leave.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from sim.flash_calendar import Calendar

Grant = Callable[[int, int, Any], int]
"""Called with the time of asking, the time of getting the bus, and the argument."""


class Job:
    """Something waiting for the bus since `asked`."""

    __slots__ = ("argument", "asked", "grant")

    def __init__(self, asked: int, grant: Grant, argument: object) -> None:
        self.asked, self.grant, self.argument = asked, grant, argument


class Bus:
    """One channel's bus.

    Attributes:
        free: the time from which on it is free.
        commands, data: what waits.
        ending: an event is pending that will call `freed`; nothing waits without one.
    """

    def __init__(self, calendar: Calendar, commands_first: bool, command_ps: int) -> None:
        self.calendar = calendar
        self.free = 0
        self.commands: deque[Job] = deque()
        self.data: deque[Job] = deque()
        self.ending = False
        self._commands_first = commands_first
        # Commands without length need no turn, unless data go first by rule.
        self._at_once = commands_first and command_ps == 0
        self._on_freed = self._freed

    def command(self, time: int, grant: Grant, argument: object) -> None:
        """Ask for a command."""
        if self._at_once:
            grant(time, time, argument)
        elif self.ending or time < self.free:
            self._wait(self.commands, Job(time, grant, argument))
        else:
            self.free = grant(time, time, argument)

    def transfer(self, time: int, grant: Grant, argument: object) -> None:
        """Ask for a transfer. What is granted calls `freed` at its end."""
        if self.ending or time < self.free:
            self._wait(self.data, Job(time, grant, argument))
        else:
            self.free = grant(time, time, argument)
            self.ending = True

    def resume(self, asked: int, grant: Grant, argument: object) -> None:
        """Put the rest of a transfer before all other data; `freed` is called next."""
        self.data.appendleft(Job(asked, grant, argument))

    def freed(self, time: int) -> None:
        """Give the bus to what waits, now that a transfer has ended and its unit has gone on."""
        self.ending = False
        while self.commands or self.data:
            if time < self.free:
                self.ending = True
                self.calendar.push(self.free, self._on_freed)
                return
            if self.commands and (self._commands_first or not self.data):
                job = self.commands.popleft()
                self.free = job.grant(job.asked, time, job.argument)
            else:
                job = self.data.popleft()
                self.free = job.grant(job.asked, time, job.argument)
                self.ending = True
                return

    def _wait(self, queue: deque[Job], job: Job) -> None:
        queue.append(job)
        if not self.ending:
            self.ending = True
            self.calendar.push(self.free, self._on_freed)

    def _freed(self, time: int, _: object) -> None:
        self.freed(time)

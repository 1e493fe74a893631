"""Skipping whole periods of a long read, once a channel's state repeats.

Nothing in a channel depends on the absolute time or row, but for the kind of page and the pages
that need repetitions. So when its state, taken relative to the time and to the row that its first
unit begins, is the same as some rows before, what happened between will happen again and again.
All of it is moved ahead by k periods: pending events, rows, counts. What limits k is the shortest
run of work left, the next page with a repetition, and the time at which anything else in the
system may happen and look at the counts.
"""

from bisect import bisect_left
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from sim.flash_calendar import Entry
from sim.flash_channel import Channel
from sim.flash_work import COUNTED, Group

if TYPE_CHECKING:
    from sim.flash_backend import Request

MANY = 2**62
"""More periods than any read has."""

BEGUN, READ_, REPEATED, QUEUE = map(COUNTED.index, ("begun", "read", "repeated", "queue"))


@dataclass
class Mark:
    """A channel at one moment: its state, the time, its counts, and its first unit's row."""

    state: tuple[Any, ...]
    time: int
    counts: tuple[int, ...]
    row: int


class Skipper:
    """Watches one channel."""

    def __init__(self, channel: Channel, active: set["Request"]) -> None:
        self._channel, self._active = channel, active
        self._first = channel.units[0]
        self._request: Request | None = None
        self._mark: Mark | None = None
        self._steps = self._keep = 0
        self._failing_rows: list[int] = []

    def look(self, time: int, _: object) -> None:
        """Compare the channel's state with the one kept, and skip if they are the same.

        A state is kept for twice as many rows as the one before, so that a period of any length is
        found (Brent's algorithm).
        """
        if not self._all_on_one_read():
            self._mark = None
            return
        entries = self._entries()
        row = self._first.queue[0].row
        state = self._state(time, row, entries)
        mark = self._mark
        if mark and mark.state == state:
            self._skip(time, row, mark, entries)
            self._mark = None
        elif mark is None or self._steps == self._keep:
            self._keep = 2 * self._keep if mark else 1
            self._steps = 0
            self._mark = Mark(state, time, self._channel.counts.values(), row)
        self._steps += 1

    def _all_on_one_read(self) -> bool:
        """Return whether all units work on the same long read, and no other request can finish."""
        units = self._channel.units
        if self._channel.failing or not all(unit.queue and not unit.writing for unit in units):
            return False
        request = units[0].queue[0].request
        runs = [*(unit.queue[0] for unit in units), *(group.run for group in self._in_flight())]
        if any(run.request is not request for run in runs):
            return False
        if request is not self._request:
            self._request, self._mark = request, None
            self._failing_rows = self._channel.rows_of(request.repetitions)
        return len(self._active) == 1 or self._all_active_wait_here()

    def _all_active_wait_here(self) -> bool:
        """Return whether each active request has work here behind what may be skipped."""
        waiting = {run.request for u in self._channel.units for run in (*u.queue, *u.erases)}
        return self._active <= waiting

    def _in_flight(self) -> list[Group]:
        """Return the groups in the units' registers."""
        units = self._channel.units
        return [g for u in units for g in (u.sensing, u.copying, u.sending) if g]

    def _entries(self) -> list[Entry]:
        """Return the channel's pending events in their order."""
        entries = self._channel.calendar.entries
        own = (self._channel, self._channel.bus)
        return sorted(e for e in entries if getattr(e[2], "__self__", None) in own)

    def _state(self, time: int, row: int, entries: list[Entry]) -> tuple[Any, ...]:
        """Return all that the future depends on, relative to now."""
        channel = self._channel
        return (
            channel.kind_of(row),
            max(channel.bus.free - time, 0),
            channel.bus.ending,
            max(channel.ecc_free - time, -channel.page_ps),
            tuple((e[0] - time, e[2].__name__, _number(e[3])) for e in entries),
            *(
                tuple(
                    (job.asked - time, job.grant.__name__, _number(job.argument)) for job in queue
                )
                for queue in (channel.bus.commands, channel.bus.data)
            ),
            tuple(
                (
                    unit.held,
                    unit.queue[0].groups,
                    unit.queue[0].at,
                    unit.queue[0].row - row,
                    _relative(unit.sensing, row, time),
                    _relative(unit.copying, row, time),
                    _relative(unit.sending, row, time),
                )
                for unit in channel.units
            ),
        )

    def _skip(self, time: int, row: int, mark: Mark, entries: list[Entry]) -> None:
        """Move the channel ahead by as many periods as possible."""
        channel, period, rows = self._channel, time - mark.time, row - mark.row
        runs = [unit.queue[0] for unit in channel.units]
        delta = [now - then for now, then in zip(channel.counts.values(), mark.counts, strict=True)]
        times = min(
            min(run.rows - 1 for run in runs) // rows,
            self._periods_before_others(time, period),
            self._periods_before_failure(rows),
        )
        if times < 1 or delta[REPEATED]:
            return
        ahead = times * period
        channel.bus.free += ahead
        channel.ecc_free += ahead
        for job in (*channel.bus.commands, *channel.bus.data):
            job.asked += ahead
        channel.calendar.replace(entries, [(e[0] + ahead, *e[1:]) for e in entries])
        for unit in channel.units:
            unit.queue[0].row += times * rows
            unit.queue[0].rows -= times * rows
        for group in self._in_flight():
            group.row += times * rows
            group.asked += ahead
        channel.counts.add(delta, times)
        # A page of the i-th period skipped has waited i periods longer than its like before.
        channel.counts.queue += delta[BEGUN] * period * (times * (times + 1) // 2)
        runs[0].request.finish(times * delta[READ_], time)

    def _periods_before_others(self, time: int, period: int) -> int:
        """Return how many periods end before anything else in the system can happen."""
        limit = self._channel.calendar.limit
        return MANY if limit == inf else int(limit - time) // period - 1

    def _periods_before_failure(self, rows: int) -> int:
        """Return how many periods have no page that fails at first, nor anything else at its end.

        The rows from the first one in flight to the last one begun are clean too, if any are.
        """
        begun = [unit.queue[0].row for unit in self._channel.units]
        first = min(*begun, *(group.row for group in self._in_flight()))
        behind = bisect_left(self._failing_rows, first)
        if behind == len(self._failing_rows):
            return MANY
        return (self._failing_rows[behind] - max(begun)) // rows - 1


def _number(argument: Any) -> int | None:
    """Return the unit that an event or a job is about."""
    return getattr(argument, "number", None)


def _relative(group: Group | None, row: int, time: int) -> tuple[Any, ...] | None:
    if group is None:
        return None
    partly = 0 < group.sent < group.pages  # how long it waits for the bus is not yet counted
    return (group.row - row, group.planes, group.sent, group.asked - time if partly else None)

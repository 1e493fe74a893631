"""One flash channel: its bus, its ECC, and the dies on it, as handlers of calendar events.

A *unit* is what senses by itself: a die, or a plane where planes read independently. It takes reads
and programs in the order of their requests, and repetitions first; erasing waits until it has
nothing else to do. All times are whole picoseconds.

A read of n planes, where every step but the sense may wait:

    command on the bus -> sense -> [copy to the cache register] -> n pages on the bus -> ECC

Without cache read a unit begins its next read when the last byte has left. With it, the next sense
begins when the copy is made; the copy needs an empty cache register. The last read of a series has
no successor to run beside, so it is not copied.
"""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sim.flash_bus import Bus
from sim.flash_calendar import Calendar
from sim.flash_layout import Stripe
from sim.flash_work import PROGRAM, READ, Counts, Group, Planes, Run, Span, Unit
from sim.nand import PS_PER_US, Flash, picoseconds

if TYPE_CHECKING:
    from sim.flash_stream import Skipper

FEWEST_ROWS = 8
"""Rows of a run from which on its rhythm is looked for."""


class Channel:
    """A channel and its units."""

    def __init__(
        self,
        number: int,
        flash: Flash,
        stripe: Stripe,
        calendar: Calendar,
        trace: list[Span] | None = None,
    ) -> None:
        self.number, self._stripe, self.calendar, self._trace = number, stripe, calendar, trace
        self.units = [Unit(unit) for unit in range(flash.units_per_channel)]
        self.counts = Counts()
        self.skipper: Skipper | None = None
        self.ecc_free = 0
        self.failing = 0
        timing = flash.timing
        self.page_ps = flash.page_ps
        self._ecc_page_ps = flash.ecc_page_ps
        self._decodes = flash.ecc_page_ps > flash.page_ps
        self._ecc_ps = picoseconds(flash.ecc.latency_us)
        self._command_ps = picoseconds(timing.command_us)
        self.bus = Bus(calendar, flash.commands_first, self._command_ps)
        self._copy_ps = picoseconds(timing.cache_busy_us)
        self._setup_ps = picoseconds(flash.retry.setup_us)
        self._program_ps, self._erase_ps = map(picoseconds, (timing.program_us, timing.erase_us))
        self._sense_ps = [round(us * PS_PER_US) for us in timing.read_us]
        self._pages_per_block = flash.geometry.pages_per_block
        self._width = flash.planes_per_sense
        # Commands may go between the pages of a group.
        self._paged = flash.commands_first and self._command_ps > 0
        self._cached = flash.cache_read
        # Bound once: the calendar gets them by the million.
        self._on_sensed, self._on_sent = self._sensed, self._sent
        self._on_read, self._on_send = self._grant_read, self._grant_send

    def kind_of(self, row: int) -> int:
        """Return what of a row decides how long it and those after it take to sense."""
        kinds = len(self._sense_ps)
        in_block = row % self._pages_per_block
        return in_block if self._pages_per_block % kinds else in_block % kinds

    def rows_of(self, pages: Iterable[int]) -> list[int]:
        """Return the rows of those pages that are on this channel, in their order."""
        places = map(self._stripe.locate, pages)
        return sorted({row for channel, _, _, row in places if channel == self.number})

    def start(self, time: int, unit: Unit) -> None:
        """Let an idle unit begin its next work, if there is any."""
        queue = unit.queue
        if queue:
            group = self._take(queue)
            if group.run.kind is READ:
                unit.sensing = group
                self._count_begin(time, group)
                self.bus.command(time, self._on_read, unit)
            else:
                unit.writing = group
                self.bus.transfer(time, self._grant_program, unit)
        elif unit.erases:
            unit.writing = self._take(unit.erases)
            self.bus.command(time, self._grant_erase, unit)

    def _take(self, queue: deque[Run]) -> Group:
        """Return the next group of a queue, with those behind it that fit the same operation."""
        run = queue[0]
        row, planes = run.row, run.groups[run.at]
        run.at += 1
        if run.at == len(run.groups):
            run.at = 0
            run.row += 1
            run.rows -= 1
            if not run.rows:
                queue.popleft()
                if len(planes) < self._width and queue and not run.again:
                    return Group(run, row, planes, self._join(queue, run, row, planes))
        return Group(run, row, planes)

    def _join(self, queue: deque[Run], run: Run, row: int, planes: Planes) -> tuple[Run, ...]:
        """Return the runs behind `run` that are pages of the same row in other planes."""
        joined: list[Run] = []
        taken = set(planes)
        while queue:
            other = queue[0]
            same = (other.kind, other.row, other.rows, other.again) == (run.kind, row, 1, 0)
            if not same or len(other.groups) > 1 or not taken.isdisjoint(other.groups[0]):
                break
            taken.update(other.groups[0])
            joined.append(queue.popleft())
        return tuple(joined)

    def _count_begin(self, time: int, group: Group) -> None:
        """Count how long a group waited in its queue."""
        if group.run.again:
            return
        counts = self.counts
        counts.begun += group.pages
        for run, planes in group.parts() if group.joined else ((group.run, group.planes),):
            counts.queue += len(planes) * (time - run.request.submitted)

    def _grant_read(self, asked: int, time: int, unit: Unit) -> int:
        """Send a read's command, and sense."""
        group = unit.sensing
        assert group is not None
        end = time + self._command_ps
        self.counts.bus += self._command_ps
        if not group.run.again:
            self.counts.command += group.pages * (end - asked)
        if self._trace is not None:
            self._log(unit, "command", time, end, group)
        self._sense(end, unit, group)
        return end

    def _sense(self, time: int, unit: Unit, group: Group) -> None:
        """Sense a group from now on."""
        counts, run = self.counts, group.run
        sense = self._sense_ps[group.row % self._pages_per_block % len(self._sense_ps)]
        counts.senses += 1
        if run.again:
            sense += self._setup_ps
        else:
            counts.sense += group.pages * sense
        counts.array += group.pages * sense
        if self._trace is not None:
            self._log(unit, "sense", time, time + sense, group)
        self.calendar.push(time + sense, self._on_sensed, unit)
        if self.skipper and unit.number == run.at == 0 and run.rows >= FEWEST_ROWS:
            self.calendar.push(time, self.skipper.look)

    def _sensed(self, time: int, unit: Unit) -> None:
        """Go on with what is now in the array's register."""
        if not self._cached:
            unit.sending, unit.sensing = unit.sensing, None
            self.bus.transfer(time, self._on_send, unit)
        elif unit.sending is not None:
            unit.held = True
            self._count_register(unit, -time)
        else:
            self._hand_over(time, unit)

    def _hand_over(self, time: int, unit: Unit) -> None:
        """Copy to the empty cache register and begin the next read, if there is one."""
        if unit.queue and unit.queue[0].kind is READ:
            unit.copying = self._take(unit.queue)
            self._count_begin(time, unit.copying)
            self.bus.command(time, self._grant_copy, unit)
        else:
            unit.sending, unit.sensing = unit.sensing, None
            self.bus.transfer(time, self._on_send, unit)

    def _grant_copy(self, asked: int, time: int, unit: Unit) -> int:
        """Send the next read's command, which first copies what was sensed."""
        group = unit.copying
        assert group is not None
        end = time + self._command_ps
        copied = end + self._copy_ps
        self.counts.bus += self._command_ps
        self._count_register(unit, copied - asked)
        if not group.run.again:
            self.counts.command += group.pages * (end - asked)
            self.counts.register += group.pages * self._copy_ps
        if self._trace is not None:
            self._log(unit, "command", time, end, group)
        self.calendar.push(copied, self._copied, unit)
        return end

    def _count_register(self, unit: Unit, time: int) -> None:
        """Add `time` to how long the pages sensed lie in the register."""
        assert unit.sensing is not None
        if not unit.sensing.run.again:
            self.counts.register += unit.sensing.pages * time

    def _copied(self, time: int, unit: Unit) -> None:
        """Send the cache register while the array senses the next read."""
        unit.sending, unit.sensing, unit.copying = unit.sensing, unit.copying, None
        self.bus.transfer(time, self._on_send, unit)
        assert unit.sensing is not None
        self._sense(time, unit, unit.sensing)

    def _grant_send(self, asked: int, time: int, unit: Unit) -> int:
        """Put the pages on the bus, or the next of them."""
        group = unit.sending
        assert group is not None
        counts, page = self.counts, self.page_ps
        # In one piece if nobody can tell: no command goes between, no page is looked at by itself.
        pages = 1 if self._paged or self._one_by_one(group) else group.pages
        end = time + pages * page
        counts.bus += pages * page
        if not group.run.again:
            counts.bus_wait += pages * (time - asked) + page * (pages * (pages - 1) // 2)
            counts.transfer += pages * page
        if self._trace is not None:
            self._log(unit, "transfer", time, end, group)
        group.sent += pages
        group.asked = asked
        self.calendar.push(end, self._on_sent, unit)
        return end

    def _sent(self, time: int, unit: Unit) -> None:
        """Give the pages to ECC, and go on with the unit and the bus."""
        group = unit.sending
        assert group is not None
        if self._one_by_one(group):
            self._decode(time, unit, group)
        elif group.sent == group.pages:
            self.counts.read += group.pages
            self.counts.ecc += group.pages * self._ecc_ps
            group.run.request.finish(group.pages, time + self._ecc_ps)
        if group.sent < group.pages:
            self.bus.resume(group.asked, self._on_send, unit)
        else:
            unit.sending = None
            if unit.held:
                unit.held = False
                self._count_register(unit, time)
                self._hand_over(time, unit)
            elif unit.sensing is None:
                self.start(time, unit)
        self.bus.freed(time)

    def _one_by_one(self, group: Group) -> bool:
        """Return whether ECC looks at each page by itself: it may queue, fail, or end a request."""
        return bool(self._decodes or group.joined or group.run.request.repetitions)

    def _decode(self, time: int, unit: Unit, group: Group) -> None:
        """Decode the page that has just come."""
        owners = [(run, plane) for run, planes in group.parts() for plane in planes]
        run, plane = owners[group.sent - 1]
        decoded = time
        if self._decodes:
            # It works on a page while it comes.
            begin = max(time - self.page_ps, self.ecc_free)
            decoded = self.ecc_free = max(time, begin + self._ecc_page_ps)
        decoded += self._ecc_ps
        if not run.again:
            self.counts.ecc += decoded - time
        self._judge(decoded, unit, run, group.row, plane)

    def _judge(self, decoded: int, unit: Unit, run: Run, row: int, plane: int) -> None:
        """Finish a page, or have it read again."""
        request, again = run.request, run.again - 1
        if not run.again:
            number = self._stripe.number(self.number, unit.number, plane, row)
            again = request.repetitions.get(number, 0)
        if again:
            self.failing += 1
            repeat = Run(request, row, 1, ((plane,),), again)
            repeat.failed = run.failed or decoded
            self.calendar.push(decoded, self._repeat, (unit, repeat))
        else:
            self.counts.read += 1
            if run.again:
                self.counts.repeat += decoded - run.failed
            request.finish(1, decoded)
        if run.again:
            self.failing -= 1
            self.counts.repeated += 1

    def _repeat(self, time: int, work: tuple[Unit, Run]) -> None:
        """Queue a repetition before all else."""
        unit, run = work
        unit.queue.appendleft(run)
        if unit.idle:
            self.start(time, unit)

    def _grant_program(self, asked: int, time: int, unit: Unit) -> int:
        """Send a program's command and data."""
        group = unit.writing
        assert group is not None
        end = time + self._command_ps + group.pages * self.page_ps
        self.counts.bus += end - time
        if self._trace is not None:
            self._log(unit, "data in", time, end, group)
        self.calendar.push(end, self._loaded, unit)
        return end

    def _loaded(self, time: int, unit: Unit) -> None:
        """Program what has come in."""
        self._use_array(time, unit, self._program_ps)
        self.bus.freed(time)

    def _grant_erase(self, asked: int, time: int, unit: Unit) -> int:
        """Send an erase's command, and erase."""
        group = unit.writing
        assert group is not None
        end = time + self._command_ps
        self.counts.bus += self._command_ps
        if self._trace is not None:
            self._log(unit, "command", time, end, group)
        self._use_array(end, unit, self._erase_ps)
        return end

    def _use_array(self, time: int, unit: Unit, array_ps: int) -> None:
        """Program or erase from now on."""
        group = unit.writing
        assert group is not None
        self.counts.array += group.pages * array_ps
        if self._trace is not None:
            self._log(unit, group.run.kind, time, time + array_ps, group)
        self.calendar.push(time + array_ps, self._written, unit)

    def _written(self, time: int, unit: Unit) -> None:
        """Finish a program or an erase."""
        group, unit.writing = unit.writing, None
        assert group is not None
        if group.run.kind is PROGRAM:
            self.counts.programmed += group.pages
        else:
            self.counts.erased += group.pages
        for run, planes in group.parts():
            run.request.finish(len(planes), time)
        self.start(time, unit)

    def _log(self, unit: Unit, what: str, begin: int, end: int, group: Group) -> None:
        """Keep a span of the trace."""
        assert self._trace is not None
        planes = tuple(plane for _, planes in group.parts() for plane in planes)
        self._trace.append(Span(self.number, unit.number, what, begin, end, group.row, planes))

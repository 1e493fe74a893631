"""The flash of a drive as an event model: requests of pages in, SimPy events out.

    env = simpy.Environment()
    backend = FlashBackend(env, load_drive("instcsd").flash)
    done = backend.read(range(1000))  # a SimPy event: `yield done` in a process
    env.run(done)
    print(done.latency_us, backend.results().gb_per_s)

Work is timed page by page in a calendar of its own (`flash_calendar.py`), so a drive composes with
the other processes of a system. Long reads of consecutive pages settle into a rhythm; once a
channel's state repeats, whole periods are skipped at a time, which gives the same result to the
picosecond (`flash_stream.py`).
"""

from collections.abc import Iterable, Sequence

import simpy

from sim.flash_calendar import Calendar
from sim.flash_channel import Channel
from sim.flash_layout import Repetitions, Stripe
from sim.flash_results import Done, FlashResults, make_results
from sim.flash_stream import Skipper
from sim.flash_work import ERASE, PROGRAM, READ, Counts, Run, Span, Unit
from sim.nand import PS_PER_US, Flash


class Request(simpy.Event):
    """Pages to read or program, or blocks to erase; happens when all are done.

    Attributes:
        kind: READ, PROGRAM or ERASE; pages: how many pages (or blocks).
        submitted, finished: in picoseconds; finished is the last page's so far.
        repetitions: of the pages that fail at first, by their numbers.
    """

    def __init__(
        self, backend: "FlashBackend", kind: str, pages: int, repetitions: dict[int, int]
    ) -> None:
        super().__init__(backend.env)
        self.kind, self.pages, self.repetitions = kind, pages, repetitions
        self.submitted = self.finished = backend.calendar.now
        self._left, self._backend = pages, backend

    def finish(self, pages: int, time: int) -> None:
        """Take note that so many pages are done at `time`."""
        self._left -= pages
        if time > self.finished:
            self.finished = time
        if not self._left:
            self._backend.complete(self)

    @property
    def latency_us(self) -> float:
        """From submission to the last page, in microseconds."""
        return (self.finished - self.submitted) / PS_PER_US


class FlashBackend:
    """Channels, dies and planes of one drive.

    Args:
        skip: whether periods of long reads are skipped; the results are the same, but later.
        trace: whether every busy span is kept in `spans`; nothing is skipped then.
    """

    def __init__(
        self, env: simpy.Environment, flash: Flash, *, skip: bool = True, trace: bool = False
    ) -> None:
        self.env, self.flash = env, flash
        self.calendar = Calendar(env)
        self.spans: list[Span] | None = [] if trace else None
        self.active: set[Request] = set()
        self.done: list[Done] = []
        self.stripe = Stripe(flash)
        self._repetitions = Repetitions(flash.retry)
        self._waking: list[tuple[Channel, Unit]] = []
        self.channels = [
            Channel(number, flash, self.stripe, self.calendar, self.spans)
            for number in range(flash.geometry.channels)
        ]
        self._groups = {
            planes: _split(planes, flash.planes_per_sense)
            for planes in _intervals(flash.geometry.planes_per_die)
        }
        if skip and not trace:
            for channel in self.channels:
                channel.skipper = Skipper(channel, self.active)

    def read(self, pages: range | Sequence[int]) -> Request:
        """Read pages; consecutive ones as a range.

        Raises:
            ConfigError: the drive has no such page.
        """
        return self._submit(READ, pages, self._repetitions.of(pages))

    def program(self, pages: range | Sequence[int]) -> Request:
        """Program pages. Whether they are erased is not checked.

        Raises:
            ConfigError: the drive has no such page.
        """
        return self._submit(PROGRAM, pages, {})

    def erase(self, blocks: range | Sequence[int]) -> Request:
        """Erase blocks, each when its die has nothing else to do (reclaiming dead blocks).

        Raises:
            ConfigError: the drive has no such block.
        """
        return self._submit(ERASE, blocks, {})

    def results(self) -> FlashResults:
        """Return what has been done until now."""
        counts = Counts()
        for channel in self.channels:
            counts.add(channel.counts.values())
        waiting = [request.submitted for request in self.active]
        now = self.calendar.now
        return make_results(self.flash, counts, self.channels, self.done, waiting, now)

    def complete(self, request: Request) -> None:
        """Let a request happen, whose pages are all done."""
        self.active.discard(request)
        self.done.append((request.kind, request.submitted, request.finished))
        self.calendar.succeed(request, request.finished)

    def _submit(
        self, kind: str, numbers: range | Sequence[int], repetitions: dict[int, int]
    ) -> Request:
        self.stripe.check(numbers, "block" if kind == ERASE else "page")
        request = Request(self, kind, len(numbers), repetitions)
        if not numbers:
            self.complete(request)
            return request
        self.active.add(request)
        was_waking = bool(self._waking)
        if isinstance(numbers, range) and numbers.step == 1 and len(numbers) > self.stripe.width:
            self._queue_pieces(request, numbers)
        else:
            self._queue_pages(request, numbers)
        if self._waking and not was_waking:
            self.calendar.begin(request.submitted, self._start)
        return request

    def _queue_pieces(self, request: Request, numbers: range) -> None:
        for piece in self.stripe.pieces(numbers):
            groups = self._groups[piece.planes]
            run = Run(request, piece.row, piece.rows, groups)
            self._queue(self.channels[piece.channel], piece.unit, run)

    def _queue_pages(self, request: Request, numbers: Iterable[int]) -> None:
        locate, channels, groups = self.stripe.locate, self.channels, self._groups
        for number in numbers:
            channel, unit, plane, row = locate(number)
            self._queue(channels[channel], unit, Run(request, row, 1, groups[plane,]))

    def _queue(self, channel: Channel, number: int, run: Run) -> None:
        """Add work to a unit, and wake it if it has none."""
        unit = channel.units[number]
        (unit.erases if run.kind is ERASE else unit.queue).append(run)
        if not unit.waking and unit.idle:
            unit.waking = True
            self._waking.append((channel, unit))

    def _start(self, time: int, _: object) -> None:
        """Start the units that were idle, when all that is submitted at this time is queued."""
        waking, self._waking = self._waking, []
        for channel, unit in waking:
            unit.waking = False
            if unit.idle:
                channel.start(time, unit)


def _split(planes: tuple[int, ...], at_once: int) -> tuple[tuple[int, ...], ...]:
    """Return planes in groups of `at_once`."""
    return tuple(planes[i : i + at_once] for i in range(0, len(planes), at_once))


def _intervals(planes: int) -> list[tuple[int, ...]]:
    """Return all sets of neighbouring planes: those that an extent can meet in one row."""
    return [tuple(range(a, b)) for a in range(planes) for b in range(a + 1, planes + 1)]

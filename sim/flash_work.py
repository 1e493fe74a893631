"""What a flash channel works on: runs of pages, units that take them, and what is counted."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sim.flash_backend import Request

READ, PROGRAM, ERASE = "read", "program", "erase"

Planes = tuple[int, ...]


class Run:
    """Work waiting at a unit: from `row` on `rows` rows, in each the groups of planes in turn.

    Attributes:
        kind: READ, PROGRAM or ERASE.
        groups: what one array operation takes each; at: the next of them in the first row.
        again: repetitions that a page still needs, this one among them; 0 for a first read.
        failed: when ECC first gave it up.
    """

    __slots__ = ("again", "at", "failed", "groups", "kind", "request", "row", "rows")

    def __init__(
        self, request: "Request", row: int, rows: int, groups: tuple[Planes, ...], again: int = 0
    ) -> None:
        self.request, self.kind = request, request.kind
        self.row, self.rows, self.groups, self.at = row, rows, groups, 0
        self.again, self.failed = again, 0


class Group:
    """Pages of one row in one array operation: `planes` of `run`, and of runs that joined it.

    Attributes:
        pages: of all of them; sent: how many of these have left.
        asked: when the bus was asked for, if not all of them have left.
    """

    __slots__ = ("asked", "joined", "pages", "planes", "row", "run", "sent")

    def __init__(self, run: Run, row: int, planes: Planes, joined: tuple[Run, ...] = ()) -> None:
        self.run, self.row, self.planes, self.joined = run, row, planes, joined
        self.pages = len(planes)
        for other in joined:
            self.pages += len(other.groups[0])
        self.sent = self.asked = 0

    def parts(self) -> list[tuple[Run, Planes]]:
        """Return each run with its planes."""
        return [(self.run, self.planes), *((run, run.groups[0]) for run in self.joined)]


class Unit:
    """What senses by itself, its queues, and what is in its registers.

    Attributes:
        sensing: in the array or the register behind it; copying: the read that follows it while it
            moves to the cache register; sending: on its way out.
        writing: being programmed or erased.
        held: the sense is done, but the cache register is not empty.
        waking: it is about to be started.
    """

    __slots__ = (
        *("copying", "erases", "held", "number", "queue", "sending", "sensing", "waking"),
        "writing",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.queue: deque[Run] = deque()
        self.erases: deque[Run] = deque()
        self.sensing: Group | None = None
        self.copying: Group | None = None
        self.sending: Group | None = None
        self.writing: Group | None = None
        self.held = self.waking = False

    @property
    def idle(self) -> bool:
        """Whether it can begin anything."""
        return self.sensing is None and self.sending is None and self.writing is None


@dataclass(slots=True)
class Counts:
    """What a channel did, in pages and picoseconds.

    Waits and times of reads are summed over pages. `queue` to `repeat` add up to the time of all
    pages read, from request to decoded; `bus` and `array` are the busy times of the bus and of the
    planes.
    """

    begun: int = 0
    read: int = 0
    senses: int = 0
    repeated: int = 0
    programmed: int = 0
    erased: int = 0
    bus: int = 0
    array: int = 0
    queue: int = 0
    command: int = 0
    sense: int = 0
    register: int = 0
    bus_wait: int = 0
    transfer: int = 0
    ecc: int = 0
    repeat: int = 0

    def add(self, delta: Sequence[int], times: int = 1) -> None:
        """Add `times` times as much as `delta` says, in the order of the fields."""
        for name, value in zip(COUNTED, delta, strict=True):
            setattr(self, name, getattr(self, name) + times * value)

    def values(self) -> tuple[int, ...]:
        """Return all counts in the order of the fields."""
        return tuple([getattr(self, name) for name in COUNTED])


COUNTED = tuple(field.name for field in fields(Counts))
READ_PARTS = ("queue", "command", "sense", "register", "bus_wait", "transfer", "ecc", "repeat")
"""What a page's read time is made of."""

BUS_WORK = ("command", "transfer", "data in")


class Span(NamedTuple):
    """Work from `start` to `end`, picoseconds: of the bus (BUS_WORK), or of planes of a unit."""

    channel: int
    unit: int
    what: str
    start: int
    end: int
    row: int
    planes: Planes

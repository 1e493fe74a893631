"""The timing contract of a core's strips on their ways to the vector buffers of all cores.

See `hw.accelerator`.
"""

from collections.abc import Sequence

from hw.event_clock import Call, EventClock, Phase
from hw.unit_timing import WritePort

OWN_STRIPS = 1
"""A core's own product among the writers of its vector buffer, see `hw.core_units`."""

OTHER_STRIPS = 3
"""The first one of the other cores."""

PATH_DEPTH = 2
"""Strips in the queue between two cores."""


class StripPath:
    """The queue from a core to another one's vector buffer.

    Args:
        port, writer: of the other core.
        taken: is called in the cycle in which a strip enters.
        empty: is called when none is on its way any more.
    """

    def __init__(
        self, clock: EventClock, port: WritePort, writer: int, taken: Call, empty: Call
    ) -> None:
        self._clock, self._port, self._writer = clock, port, writer
        self._taken, self._empty = taken, empty
        self._level = 0
        self._waits = False  # a strip, for room
        port.writers[writer] = self._written

    @property
    def is_empty(self) -> bool:
        """Whether no strip is on its way."""
        return self._level == 0

    def offer(self) -> None:
        """Offer a strip from this cycle on."""
        self._waits = self._level == PATH_DEPTH
        if not self._waits:
            self._clock.following(self._has_entered)
            self._taken()

    def _has_entered(self) -> None:
        self._level += 1
        if self._level == 1:
            self._port.offer(self._writer, self._clock.now)

    def _written(self) -> None:
        self._clock.following(self._has_left)

    def _has_left(self) -> None:
        self._level -= 1
        now = self._clock.now
        if self._waits:
            self._clock.at(now, Phase.LOGIC, self.offer)
        if self._level:
            self._port.offer(self._writer, now)
        else:
            self._empty()


class StripFork:
    """A core's strips, each of which goes to its own vector buffer and into all paths.

    Args:
        port: of the core.
        written: is called in the cycle in which the last one takes a strip.

    Attributes:
        paths: to the other cores.
    """

    def __init__(self, clock: EventClock, port: WritePort, written: Call) -> None:
        self._clock, self._port, self._written = clock, port, written
        self.paths: Sequence[StripPath] = ()
        self._left = 0
        port.writers[OWN_STRIPS] = self.taken

    def offer(self, cycle: int) -> None:
        """Offer a strip from a cycle on."""
        self._left = 1 + len(self.paths)
        self._port.offer(OWN_STRIPS, cycle)
        for path in self.paths:
            self._clock.at(cycle, Phase.LOGIC, path.offer)

    def taken(self) -> None:
        """One of those that get the strip takes it in this cycle."""
        self._left -= 1
        if not self._left:
            self._written()

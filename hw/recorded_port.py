"""A memory behind a port that does again what one did in a run; see `hw.memory_stalls`."""

from hw.axi_reader import ISSUE_CYCLES
from hw.event_clock import EventClock
from hw.memory_model import PortRecord
from hw.port_timing import PortTiming


class RecordedPort(PortTiming):
    """A memory that lets the core wait as a record says, beginning with its first burst and word.

    Bursts and words beyond the record's are those of a memory of a word per cycle.
    """

    def __init__(self, clock: EventClock, record: PortRecord) -> None:
        super().__init__(clock)
        self._asked, self._came = record.asked.tolist(), record.came.tolist()
        self._taken, self._waited = record.taken.tolist(), record.waited.tolist()
        self._responses = record.answered.tolist()
        self._asks = self._takes = self._answers = 0
        self._waits = 0  # of the word that is offered, so far
        self._answered = 0

    def read(self, words: int) -> None:
        """Begin a burst in this cycle."""
        asks = self._clock.now + ISSUE_CYCLES - 1
        first, following = len(self.comes), self.rests
        came = self._came[first : first + words]
        since = self._asked[self._asks] if came else 0
        self._asks += 1
        for number in range(words):
            wait = came[number] - since if number < len(came) else 1
            following = max(asks + wait, following)
            self.comes.append(following)
            following += 1

    def answer(self) -> int:
        """Return when a burst is answered whose last word is taken in this cycle."""
        wait = 1
        if self._answers < len(self._responses):
            wait = self._responses[self._answers] - self._taken[self._takes - 1]
        self._answers += 1
        self._answered = max(self._clock.now + wait, self._answered + 1)
        return self._answered

    def _accepts(self) -> bool:
        waited = self._waited[self._takes] if self._takes < len(self._waited) else 0
        accepts = self._waits == waited
        self._waits = 0 if accepts else self._waits + 1
        self._takes += accepts
        return accepts

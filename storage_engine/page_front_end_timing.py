"""The timing contract of a channel's front end where streams wait, cycle by cycle.

Like `storage_engine.bch_timing`, of whose decoder this is the continuation: from what the streams
outside do in a cycle (inputs offered, outputs ready) the model says what the front end does in it
(inputs ready, outputs offered). `PageFrontEnd.cycles` says the same in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.bch_timing import ReadModel
from storage_engine.element_reader import ElementReader
from storage_engine.page_front_end import PageTiming, waiting_pages


class Offers(NamedTuple):
    """What the front end does in a cycle."""

    request_ready: bool
    flash_ready: bool
    valid: bool
    verdict_valid: bool


@dataclass
class FrontEndModel:
    """The decoder, the buffer behind it, its pages that wait, and the filter with what it reads.

    Behind the last of `pages` words may come, but no whole page.
    """

    config: DriveEngineConfig
    pages: Sequence[PageTiming]
    requested: bool = False
    judged: int = 0  # pages
    chunk: int = 0  # of the page that is received
    waiting: list[tuple[bool, ...]] = field(default_factory=list)  # steps of good pages
    steps: tuple[bool, ...] = ()  # of the page that is read
    at: int = 0
    decoder: ReadModel = field(init=False)
    stages: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        chunks = [chunk for page in self.pages for chunk in page.chunks]
        self.decoder = ReadModel(self.config.code, [*chunks, *chunks[:1]])
        self.stages = [False] * ElementReader.cycles(self.config)

    def outputs(self, ready: bool, verdict_ready: bool) -> Offers:
        """Return what it does, from whether o and o_verdict are taken."""
        verdict_valid = self._verdict_valid
        judges = verdict_valid and verdict_ready
        flash_ready, _, _ = self.decoder.outputs(self.requested, not self._last or judges)
        return Offers(not self.requested or judges, flash_ready, self.stages[-1], verdict_valid)

    def step(
        self, request_valid: bool, flash_valid: bool, ready: bool, verdict_ready: bool
    ) -> None:
        """Go on to the next cycle."""
        judges = self._verdict_valid and verdict_ready
        status_ready = not self._last or judges
        status_taken = self.decoder.outputs(self.requested, status_ready)[2] and status_ready
        self.decoder.step(flash_valid, self.requested, status_ready)
        if not self.requested or judges:
            self.requested = request_valid
        begins = bool(self.waiting) and not self._busy
        self._read(ready)
        if judges:
            page = self.pages[self.judged]
            self.judged += 1
            if page.good:
                self.waiting.append(page.steps)
                begins |= not waiting_pages(self.config)
        if begins:
            steps = self.waiting.pop(0)
            self.steps, self.at = steps if any(steps) else (), 0
        if status_taken:
            self.chunk = 0 if self._last else self.chunk + 1

    def _read(self, ready: bool) -> None:
        advance = not self.stages[-1] or ready
        beat = self._busy and self.steps[self.at]
        if self._busy and (advance or not beat):
            self.at += 1
        if advance:
            self.stages = [beat, *self.stages[:-1]]

    @property
    def _busy(self) -> bool:
        return self.at < len(self.steps)

    @property
    def _last(self) -> bool:
        return self.chunk == self.config.code.chunks - 1

    @property
    def _verdict_valid(self) -> bool:
        status = self.decoder.outputs(self.requested, False)[2]
        room = waiting_pages(self.config)
        full = len(self.waiting) == room if room else self._busy
        return status and self._last and not (self.pages[self.judged].good and full)


def front_end_cycles(config: DriveEngineConfig, pages: Sequence[PageTiming]) -> int:
    """Return the cycles from the first word taken to the last verdict or beat, if none waits."""
    model = FrontEndModel(config, pages)
    model.requested = True
    left = len(pages) * config.code.chunks * config.code.chunk_words
    beats = sum(sum(page.steps) for page in pages if page.good)
    verdicts, cycle = len(pages), 0
    while verdicts or beats:
        offers = model.outputs(True, True)
        model.step(True, left > 0, True, True)
        left -= left > 0 and offers.flash_ready
        verdicts -= offers.verdict_valid
        beats -= offers.valid
        cycle += 1
    return cycle

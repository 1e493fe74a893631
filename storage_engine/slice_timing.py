"""The slice's timing contract where streams wait: its control, cycle by cycle, without its numbers.

`AttentionSlice.cycles` says the same in closed form for jobs in which no stream waits.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.attention_slice import AttentionSlice, weight_cycles
from storage_engine.engine_layouts import ElementKind, SliceCommand
from storage_engine.slice_query import BANKS, word_bits

PAIRS = BANKS
"""Where pages of pairs are counted, behind those of the banks."""


class Command(NamedTuple):
    """What decides when a command is done; as in `slice_command_layout`."""

    kind: SliceCommand
    pages: int = 0
    span: int = 0
    tokens: int = 0


class Beat(NamedTuple):
    """What decides when a beat is taken: its kind, if it ends a token or a page, and its span."""

    kind: ElementKind
    ends_token: bool
    ends_page: bool
    span: int

    @property
    def counter(self) -> int:
        """Return where its page is counted."""
        approximate = self.kind in (ElementKind.CHANNEL, ElementKind.TAIL_KEYS)
        return self.span % BANKS if approximate else PAIRS


class Offers(NamedTuple):
    """What the slice says in a cycle: which inputs it takes, and which outputs it offers."""

    command: bool
    query: bool
    beat: bool
    approximate: bool
    partial: bool


class SliceModel:
    """The control of a slice that gets these commands and beats; call `outputs`, then `step`."""

    def __init__(
        self, config: DriveEngineConfig, commands: Sequence[Command], beats: Sequence[Beat]
    ) -> None:
        self._config = config
        self._commands, self._beats = deque(commands), deque(beats)
        self._latency = weight_cycles(config)
        self._cycle = 0
        self._settled = self._issued = 0
        self._offered = self._loaded = False
        self._pages = [0] * (BANKS + 1)
        self._weights: deque[int] = deque()  # from which cycle on each is there
        self._tail_ends: set[int] = set()
        self._approximate_ready = self._partial_ready = False

    def outputs(
        self, command_valid: bool, beat_valid: bool, approximate_ready: bool, partial_ready: bool
    ) -> Offers:
        """Return what the slice says while the streams outside do this."""
        self._approximate_ready, self._partial_ready = approximate_ready, partial_ready
        command = self._commands[0] if command_valid else None
        self._command = command
        return Offers(
            self._finishes(command),
            command is not None and command.kind is SliceCommand.BEGIN and not self._loaded,
            beat_valid and self._takes(self._beats[0], command),
            self._offered and command is not None and command.kind is SliceCommand.SPAN,
            self._offered and command is not None and command.kind is SliceCommand.PARTIAL,
        )

    def step(self, beat_taken: bool, loaded: bool) -> None:
        """Go on by a cycle.

        Args:
            loaded: the queries' last beat is taken.
        """
        command = self._command
        finishes = self._finishes(command)
        if command is not None:
            self._carry_out(command)
        self._loaded = (self._loaded or loaded) and not finishes
        if beat_taken:
            self._take(self._beats.popleft())
        if command is not None and command.kind is SliceCommand.BEGIN:
            self._pages = [0] * (BANKS + 1)
            self._weights.clear()
        if finishes and command is not None:
            if command.kind is not SliceCommand.BEGIN:
                self._pages[_counter(command)] = 0
            self._commands.popleft()
            self._settled = self._issued = 0
        self._cycle += 1

    def _takes(self, beat: Beat, command: Command | None) -> bool:
        if command is None or command.kind is SliceCommand.BEGIN:
            return False
        pairs = beat.counter == PAIRS
        if pairs != (command.kind is SliceCommand.PARTIAL):
            return False
        if not pairs and beat.span not in (command.span, command.span + 1):
            return False
        if (pairs or beat.span == command.span) and self._reached(command):
            return False
        if beat.kind is ElementKind.VALUES:
            return bool(self._weights) and self._weights[0] <= self._cycle
        gap = AttentionSlice.tail_gap(self._config)
        collides = gap > 0 and self._cycle - gap in self._tail_ends
        return not (beat.kind is ElementKind.CHANNEL and collides)

    def _take(self, beat: Beat) -> None:
        if beat.ends_token:
            if beat.kind is ElementKind.KEYS:
                self._weights.append(self._cycle + self._latency)
            elif beat.kind is ElementKind.VALUES:
                self._weights.popleft()
            elif beat.kind is ElementKind.TAIL_KEYS:
                self._tail_ends.add(self._cycle)
        if beat.ends_page:
            self._pages[beat.counter] += 1

    def _reached(self, command: Command) -> bool:
        if command.kind is SliceCommand.BEGIN:
            return True
        return self._pages[_counter(command)] == command.pages

    def _works(self) -> bool:
        return self._settled == self._latency

    def _advances(self, command: Command) -> bool:
        partial = command.kind is SliceCommand.PARTIAL
        ready = self._partial_ready if partial else self._approximate_ready
        return not self._offered or ready

    def _issues(self, command: Command) -> bool:
        return self._works() and self._issued < self._steps(command) and self._advances(command)

    def _steps(self, command: Command) -> int:
        """Return the words that a command clears, or the beats that it gives."""
        if command.kind is SliceCommand.BEGIN:
            return 1 << word_bits(self._config)
        if command.kind is SliceCommand.SPAN:
            return -(-command.tokens // self._config.lanes)
        return AttentionSlice.partial_beats(self._config)

    def _finishes(self, command: Command | None) -> bool:
        if command is None or not self._works() or not self._advances(command):
            return False
        begin = command.kind is SliceCommand.BEGIN
        return self._issued == self._steps(command) and (not begin or self._loaded)

    def _carry_out(self, command: Command) -> None:
        advances, issues = self._advances(command), self._issues(command)
        if self._reached(command) and not self._works():
            self._settled += 1
        if issues:
            self._issued += 1
        if advances:
            self._offered = issues and command.kind is not SliceCommand.BEGIN


def _counter(command: Command) -> int:
    return command.span % BANKS if command.kind is SliceCommand.SPAN else PAIRS

"""The matrix engine's timing contract where streams wait: the same job, with the waits of a log.

From the log of handshakes come only waits in which the engine has no part: before each beat of an
input, the cycles in which none was offered since the one before was taken; and the cycles in which
a sink was not ready. When the engine takes a beat and gives an output follows from these. So a
cycle that the engine loses by itself never counts as a stall, not even where it takes a beat late.

`hw.engine_timing` says the same in larger steps, for jobs in which no stream waits. It need not
look at the depths of queues, nor at pipelines that stop and keep the gaps between their beats.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, zip_longest

import numpy as np

from golden.matrix_engine import Mode, Sweep, output_rows
from golden.passes import Passes
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import expansion, group_scale, weight_feed
from hw.accumulator_bank import AccumulatorBank
from hw.activation_buffer import HALVES, JOB_CYCLES, OFFSET_CYCLES, OFFSETS, READ_AHEAD
from hw.chain_control import COLUMNS
from hw.chain_unit import unit_streams
from hw.engine_timing import COLLECT_CYCLES, columns_of
from hw.fifo import Fifo
from hw.player import Trace
from hw.sparse_chain import SparseChain

GEAR_CYCLES = weight_feed.LATENCY - Fifo.cycles() - expansion.STAGES
"""Cycles from expanded weights given to the first beat of them offered to the chain."""

LONG_AGO = -(10**9)
"""Times are cycles since the first sweep was offered. This one holds nothing up."""


def transfers(
    config: MatrixEngineConfig,
    chains: Sequence[Passes],
    sweeps: Sequence[Sweep],
    batches: int,
    mode: Mode,
    trace: Trace,
) -> dict[str, list[int]]:
    """Return when each stream's beats pass, as cycles since the first sweep was offered.

    Args:
        chains: the passes of every chain.
        sweeps: jobs of the activation buffers for one batch of tokens.
        batches: times that all is done, with other tokens.
        trace: of all streams; beats that it lacks count as offered at once.
    """
    start = int(np.argmax(trace.valid["i_sweep"]))
    sources: dict[str, _Source] = {}
    sinks = {f"o__{c}": _Sink(trace.ready[f"o__{c}"][start:]) for c in range(config.chains)}
    units = []
    for (number, passes), sink in zip(enumerate(chains), sinks.values(), strict=True):
        mine = {}
        for name in unit_streams(config):
            is_shared = (name == "i_activation") == (mode is Mode.MATRIX_VECTOR)
            stream = name if name == "i_sweep" else f"{name}__{0 if is_shared else number}"
            mine[name] = sources.setdefault(stream, _Source(_waits(trace, stream, start)))
            mine[name].takers += 1
        units.append(_Unit(config, passes, mode, mine, sink))
    for _ in range(batches):
        _do_batch(units, sweeps)
    return {stream: end.taken for stream, end in (sources | sinks).items()}


def _do_batch(units: Sequence["_Unit"], sweeps: Sequence[Sweep]) -> None:
    """Let the units do all columns of all sweeps, side by side."""
    number = 0
    for sweep in sweeps:
        for unit in units:
            unit.begin_job()
        for given in range(sweep.times * sweep.columns):
            # Beat by beat, for a shared one is offered when all have taken the one before.
            for _ in zip_longest(*(unit.column(number, given % sweep.columns) for unit in units)):
                pass
            number += 1


def _waits(trace: Trace, stream: str, start: int) -> list[int]:
    """Return before each beat the cycles in which none was offered, for the first since `start`."""
    withheld = np.cumsum(~trace.valid[stream])
    return np.diff(withheld[trace.transfers(stream)], prepend=start).tolist()


class _Source:
    """A stream into one or more units, each of which takes every beat.

    Attributes:
        takers: how many units. offered: since when the present beat is offered. taken: when each
            beat before was taken, by the last unit.
    """

    def __init__(self, waits: Sequence[int]) -> None:
        self._waits = iter(waits)
        self._takes: list[int] = []
        self.takers = 0
        self.offered = next(self._waits, 0)
        self.taken: list[int] = []

    def take(self, when: int) -> None:
        """Give the present beat to a unit; when all have it, the next one is the present one."""
        self._takes.append(when)
        if len(self._takes) == self.takers:
            self.taken.append(max(self._takes))
            self.offered = self.taken[-1] + 1 + next(self._waits, 0)
            self._takes.clear()


class _Sink:
    """A stream out of a unit; `taken`: when each beat was taken."""

    def __init__(self, ready: np.ndarray) -> None:
        now = np.where(ready, np.arange(len(ready)), len(ready))
        self._next_ready = np.minimum.accumulate(now[::-1])[::-1].tolist()
        self.taken: list[int] = []

    def take(self, offered: int) -> int:
        """Take a beat, and return when."""
        is_logged = offered < len(self._next_ready)
        self.taken.append(self._next_ready[offered] if is_logged else offered)
        return self.taken[-1]


class _Queue:
    """A `Fifo` behind a source."""

    def __init__(self, source: _Source, depth: int) -> None:
        self._source = source
        self._left = _history(depth)

    def fetch(self) -> int:
        """Return when the next beat is at the queue's head, if those before have left."""
        taken = max(self._source.offered, self._left[0] + 1)
        self._source.take(taken)
        return taken + Fifo.cycles()

    def leave(self, when: int) -> None:
        """Let the fetched beat go."""
        self._left.append(when)


class _Pipeline:
    """Registers that all move, but not while the beat in the last one is not taken."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._free = LONG_AGO
        self._stops: deque[tuple[int, int]] = deque(maxlen=depth)

    def enter(self, when: int) -> tuple[int, int]:
        """Return when a beat that comes at `when` enters, and when it stands in the last one."""
        entered = max(when, self._free)
        for begin, end in self._stops:
            if begin <= entered < end:
                entered = end
        self._free = entered + 1
        offered = entered + self._depth
        for begin, end in self._stops:
            if entered < begin < offered:
                offered += end - begin
        return entered, offered

    def leave(self, offered: int, taken: int) -> None:
        """Let a beat go; this is to be told before the next one enters."""
        if taken > offered:
            self._stops.append((offered, taken))


class _Feed:
    """A `WeightFeed`, followed in the order of its beats."""

    def __init__(
        self, config: MatrixEngineConfig, passes: Passes, sources: Mapping[str, _Source]
    ) -> None:
        self._passes, self._segments = passes, sources["i_segment"]
        self._words = _Queue(sources["i_word"], config.weight_depth)
        self._indices = _Queue(sources["i_index"], config.index_depth)
        self._headers = _Queue(sources["i_pass"], config.pass_depth)
        self._expansion, self._gear = _Pipeline(expansion.STAGES), _Pipeline(GEAR_CYCLES)
        self._beats_at_once = _beats_at_once(passes)
        self._expanded = cycle(_expanded_beats(passes, config))
        self._word = self._weights = self._header = LONG_AGO

    def beat(self, at: int, number: int, allowed: int) -> int:
        """Return when the chain takes a pass's beat, which it may from `allowed` on."""
        has_index, is_last = not self._passes.dense[at], number == self._passes.n[at] - 1
        if number % self._beats_at_once == 0:
            self._expand()
        if number == 0:
            self._header = self._headers.fetch()
        index = self._indices.fetch() if has_index else LONG_AGO
        entered, offered = self._gear.enter(max(self._weights, index, self._header))
        if (number + 1) % self._beats_at_once == 0:
            self._expansion.leave(self._weights, entered)
        if has_index:
            self._indices.leave(entered)
        if is_last:
            self._headers.leave(entered)
        taken = max(offered, allowed)
        self._gear.leave(offered, taken)
        return taken

    def _expand(self) -> None:
        """Bring as many weights as the expansion unit gives at once to the gear."""
        begins_word, ends_word, ends_segment = next(self._expanded)
        if begins_word:
            self._word = self._words.fetch()
        entered, self._weights = self._expansion.enter(max(self._word, self._segments.offered))
        if ends_word:
            self._words.leave(entered)
        if ends_segment:
            self._segments.take(entered)


class _Unit:
    """A `ChainUnit`, whose inputs, beats and rows are followed in the order of its passes."""

    def __init__(
        self,
        config: MatrixEngineConfig,
        passes: Passes,
        mode: Mode,
        sources: Mapping[str, _Source],
        sink: _Sink,
    ) -> None:
        self._config, self._passes, self._sink = config, passes, sink
        # Rows that leave a strip in a lane; with pairs half of them.
        self._rows_of_lane = output_rows(passes, config, mode).shape[1]
        self._bounds, self._ends_group = columns_of(passes)
        self._sweeps, self._activations = sources["i_sweep"], sources["i_activation"]
        self._scales, self._feed = sources["i_scale"], _Feed(config, passes, sources)
        self._reader, self._scaler = _Pipeline(READ_AHEAD), _Pipeline(group_scale.STAGES)
        # When the last jobs were read, the last columns done, strips scaled, and groups' sums used.
        self._read, self._done = _history(HALVES), _history(COLUMNS)
        self._drained, self._offset_used = _history(config.strips), _history(OFFSETS)
        self._job = self._loaded = LONG_AGO
        self._written: list[int] = []
        self._scaled = LONG_AGO  # when the last row was
        # The sum of activations of the present group, if it is known; strips that wait for it.
        self._offset: int | None = None
        self._waiting: deque[tuple[int, int, list[int]]] = deque()

    def begin_job(self) -> None:
        """Take a sweep."""
        self._job = max(self._sweeps.offered, self._read[0] + 1)
        self._sweeps.take(self._job)
        self._read.append(LONG_AGO)
        self._written = []

    def column(self, number: int, place: int) -> Iterator[None]:
        """Load a column, the job's `place`-th, and do its passes.

        Yields after each step, in which it takes one beat of any stream at most.
        """
        ends_group = self._ends_group[number]
        for i in range(self._config.m):
            self._load(place * self._config.m + i, ends_group and i == self._config.m - 1)
            yield
        if ends_group:
            self._offset = self._loaded + OFFSET_CYCLES
            yield from self._scale_rows()
        for at in range(self._bounds[number], self._bounds[number + 1]):
            yield from self._pass(at)
        if ends_group:
            self._offset = None

    def _load(self, number: int, ends_group: bool) -> None:
        """Bring an input of the job into the chain."""
        if number == len(self._written):
            taken = max(self._activations.offered, self._job + JOB_CYCLES)
            self._activations.take(taken)
            self._written.append(taken)
        room = self._offset_used[0] if ends_group else LONG_AGO
        read, offered = self._reader.enter(max(self._written[number], room) + 1)
        self._read[-1] = read
        self._loaded = max(offered, self._done[0] + 1)
        self._reader.leave(offered, self._loaded)

    def _pass(self, at: int) -> Iterator[None]:
        """Do a pass; if it finishes a strip's group, the strip's rows follow."""
        finishes = self._passes.last[at]
        # Strips that wait have not been scaled; they are never as many as there is room for.
        room = self._drained[len(self._waiting)] if finishes else LONG_AGO
        beats = []
        for number in range(self._passes.n[at]):
            beats.append(self._feed.beat(at, number, max(self._loaded, room) + 1))
            yield
        if self._passes.end_column[at]:
            self._done.append(beats[-1])
        if finishes:
            self._waiting.append((at, beats[-1] + Fifo.cycles(), self._rows(beats)))
            yield from self._scale_rows()

    def _rows(self, beats: Sequence[int]) -> list[int]:
        """Return when each row, or pair, of a strip can leave its banks at the earliest.

        Args:
            beats: when the chain took those of the strip's last pass.
        """
        n, length = len(beats), self._config.chain_length
        last = SparseChain.latency(self._config.chain) + AccumulatorBank.cycles()
        # Row q * n + j leaves with beat j, behind multiplier q * n + n - 1.
        rows = [beats[row % n] + last - (length - n - row // n * n) for row in range(length)]
        return np.reshape(rows, (-1, self._rows_of_lane)).max(axis=0).tolist()

    def _scale_rows(self) -> Iterator[None]:
        """Take the rows that wait, one after the other, if their group's offset is known."""
        while self._waiting and self._offset is not None:
            at, tag, rows = self._waiting[0]
            gives = self._passes.group[at] == self._passes.groups - 1
            collected = LONG_AGO
            for row in rows:
                # The collector holds one row, until it is scaled.
                collected = max(row, tag, self._scaled)
                needed = max(collected + COLLECT_CYCLES, self._offset, self._scales.offered)
                self._scaled, finished = self._scaler.enter(needed)
                self._scales.take(self._scaled)
                if gives:
                    self._scaler.leave(finished, self._sink.take(finished))
                yield
            self._waiting.popleft()
            self._drained.append(collected)
            if self._passes.end_group[at]:
                self._offset_used.append(self._scaled)


def _expanded_beats(passes: Passes, config: MatrixEngineConfig) -> list[tuple[bool, bool, bool]]:
    """Return for each beat of the expansion unit what happens with it.

    A beat may begin a word, be the word's last one, and be its segment's last one.
    """
    found: list[tuple[bool, bool, bool]] = []
    for beats in np.bincount(passes.tile, weights=passes.n) // _beats_at_once(passes):
        # Slots are read in chunks, the chunks of a word one by one; a segment begins with a word.
        chunks = -(-np.arange(beats + 1) * passes.bits // expansion.CHUNK_SLOTS)
        begins_word = np.diff(-(-chunks // config.expansion.chunks)) > 0
        ends_word = np.diff(chunks // config.expansion.chunks) > 0
        ends_word[-1] |= chunks[-1] % config.expansion.chunks > 0
        ends_segment = np.arange(beats) == beats - 1
        marks = (begins_word, ends_word, ends_segment)
        found += zip(*(mark.tolist() for mark in marks), strict=True)
    return found


def _beats_at_once(passes: Passes) -> int:
    """Return how many of the chain's beats one of the expansion unit is."""
    return 1 if passes.shares_activations else passes.config.products_per_dsp


def _history(length: int) -> deque[int]:
    """Return the times of the last `length` events; at first they are long ago."""
    return deque([LONG_AGO] * length, length)

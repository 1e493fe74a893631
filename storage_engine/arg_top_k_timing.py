"""The timing contract of the arg-top-k unit where streams wait: each handshake, cycle by cycle.

From what the streams outside do in a cycle the model says what the unit does in it. When a score
moves depends on the scores where an input has paused, so the model has them. A bench holds every
handshake of the hardware against it, so a cycle that the hardware loses by itself never counts as a
stall. `ArgTopK.cycles` says the same in closed form, where no stream waits.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from golden.spec.arg_top_k import ArgTopKConfig
from storage_engine.arg_top_k import OPEN_JOBS
from storage_engine.arg_top_k_bitmap import WORD_BITS
from storage_engine.arg_top_k_cases import Job
from storage_engine.arg_top_k_sorter import MergeStage

ENTERING_JOBS = 2


class _Entry(NamedTuple):
    score: int
    beat: int
    last: bool
    ends: bool


class _Best(NamedTuple):
    score: int
    below: int
    """The index, negative: of two equal scores the larger of these pairs comes first."""


@dataclass
class _Queue:
    """A queue in block RAM: what is read from it waits at its output."""

    depth: int
    rows: deque[_Entry] = field(default_factory=deque)
    head: _Entry | None = None

    @property
    def ready(self) -> bool:
        return len(self.rows) < self.depth

    def step(self, entry: _Entry | None, takes: bool) -> None:
        if takes:
            self.head = None
        if self.head is None and self.rows:
            self.head = self.rows.popleft()
        if entry is not None:
            self.rows.append(entry)


class _Stage:
    """A merge of rows in pairs."""

    def __init__(self, half: int) -> None:
        first, second = MergeStage.depths(half)
        self.queues = _Queue(first), _Queue(second)
        self.side = 0  # that is filled
        self.done = [False, False]
        self.second_ends = False

    @property
    def ready(self) -> bool:
        return self.queues[self.side].ready

    def choose(self) -> tuple[int, _Entry] | None:
        """Return what is offered, and from which queue."""
        a, b = (None if done else q.head for q, done in zip(self.queues, self.done, strict=True))
        through = self.done[1] or (a is not None and a.ends)
        if a is not None and (through or (b is not None and a.score >= b.score)):
            ends = a.ends or (self.second_ends if b is None else b.ends)
            return 0, a._replace(last=a.last and through, ends=ends)
        if b is not None and not through and (a is not None or self.done[0]):
            return 1, b._replace(last=b.last and self.done[0])
        return None

    def step(self, entry: _Entry | None, chosen: tuple[int, _Entry] | None) -> None:
        """Go on: `entry` comes in, `chosen` is taken."""
        if chosen is not None:
            side, given = chosen
            head = self.queues[side].head
            assert head is not None
            self.second_ends = head.ends if side else self.second_ends
            self.done[side] = self.done[side] or head.last
            if given.last:
                self.done = [False, False]
        for side, queue in enumerate(self.queues):
            enters = entry if side == self.side else None
            queue.step(enters, chosen is not None and chosen[0] == side)
        if entry is not None and entry.last:
            self.side = 0 if self.side or entry.ends else 1


class _Lane:
    """A sorter and the list behind it."""

    def __init__(self, config: ArgTopKConfig, lane: int) -> None:
        self.config, self.lane = config, lane
        self.stages = [_Stage(1 << stage) for stage in range(config.stages)]
        self.runs: deque[list[_Entry]] = deque([[]])  # from the one that is read to the written one
        self.behind = False  # the run that is written is not read any more
        self.at = 0
        self.list: list[_Entry] = []
        self.next: list[_Entry] = []
        self.list_at = 0
        self.heads: list[_Entry | None] = [None, None]  # of list and run
        self.run_done = False
        self.run = 0
        self.o: _Best | None = None

    @property
    def none(self) -> bool:
        """No more comes in this job, if the run is its last one."""
        return self.run_done and self.run == 0 and self.o is None

    def ready(self) -> bool:
        return self.stages[0].ready

    def step(self, entry: _Entry | None, last_run: int, takes: bool, done: bool) -> None:
        """Go on: `entry` comes in, the best one is taken, the job is done."""
        chosen = [stage.choose() for stage in self.stages]
        room = self.behind or len(self.runs) < 3
        readies = [*(stage.ready for stage in self.stages[1:]), room]
        moves = [c if ready else None for c, ready in zip(chosen, readies, strict=True)]
        inputs = [entry, *(None if move is None else move[1] for move in moves)]
        final = self.run == last_run
        free = not final or self.o is None or takes
        side = self._choose() if free else None
        leaves = self.heads[side] if side is not None else None
        finishes = done or (
            not final and leaves is not None and len(self.next) == self.config.max_k - 1
        )
        if free:
            self.o = None
        if side is not None and leaves is not None:
            self.heads[side] = None
            self.run_done = self.run_done or (side == 1 and leaves.last)
            if final:
                index = leaves.beat * self.config.lanes + self.lane
                self.o = _Best(leaves.score, -index)
            else:
                self.next.append(leaves)
        if finishes:
            self._finish(final)
        self._fetch()
        self._write(inputs[-1])
        for stage, enters, move in zip(self.stages, inputs[:-1], moves, strict=True):
            stage.step(enters, move)

    def _choose(self) -> int | None:
        a, b = self.heads
        if self.run and a is None:
            return None
        if b is None:
            return 0 if a is not None and self.run_done else None
        return 0 if a is not None and a.score >= b.score else 1

    def _finish(self, final: bool) -> None:
        """Leave the run behind, and the list too."""
        self.list, self.next = ([] if final else self.next), []
        self.run = 0 if final else self.run + 1
        self.heads, self.at, self.list_at = [None, None], 0, 0
        self.run_done = False
        self.o = None if final else self.o
        if len(self.runs) == 1:
            self.behind = True
        else:
            self.runs.popleft()

    def _fetch(self) -> None:
        """Read the heads that are not there, of what had been written before this cycle."""
        if self.heads[0] is None and self.list_at < len(self.list):
            self.heads[0] = self.list[self.list_at]
            self.list_at += 1
        ended = self.run_done or self.behind
        if self.heads[1] is None and not ended and self.at < len(self.runs[0]):
            self.heads[1] = self.runs[0][self.at]
            self.at += 1

    def _write(self, entry: _Entry | None) -> None:
        if entry is None:
            return
        self.runs[-1].append(entry)
        if entry.last and self.behind:
            self.runs, self.behind = deque([[]]), False
        elif entry.last:
            self.runs.append([])


class _Node:
    """The better one of two."""

    def __init__(self, sources: Sequence["_Lane | _Node"]) -> None:
        self.sources = sources
        self.o: _Best | None = None

    @property
    def none(self) -> bool:
        return self.o is None and all(source.none for source in self.sources)

    def chooses(self, takes: bool) -> int | None:
        """Return the source that is taken, if this node's own is or is not."""
        if self.o is not None and not takes:
            return None
        a, b = self.sources
        if a.o is not None and (b.none or (b.o is not None and a.o > b.o)):
            return 0
        if b.o is not None and (a.none or (a.o is not None and a.o < b.o)):
            return 1
        return None


@dataclass
class _Bitmap:
    """The marks of a job."""

    marks: list[int] = field(default_factory=list)
    word: list[int] = field(default_factory=list)  # those that are given next
    closed: bool = False
    drains: bool = False
    fetched: bool = False
    fetch: int = 0

    @property
    def last(self) -> bool:
        return len(self.marks) == 1

    def step(self, mark: int | None, last: bool, takes: bool) -> None:
        if takes and self.last:
            vars(self).update(vars(_Bitmap()))
            return
        moves = len(self.word) <= 1 and (takes or not self.word)
        reads = self.drains and (not self.fetched or moves)
        if takes:
            self.marks.remove(self.word.pop(0))
        if moves and self.fetched:
            self.word = sorted(n for n in self.marks if n // WORD_BITS == self.fetch - 1)
        if reads:
            self.fetch, self.fetched = self.fetch + 1, True
        self.drains = self.closed
        if mark is not None:
            self.marks.append(mark)
            self.closed = last


class ArgTopKModel:
    """The unit."""

    def __init__(self, config: ArgTopKConfig, jobs: Sequence[Job]) -> None:
        self.config = config
        self.asked = deque(jobs)
        self.entering: deque[Job] = deque()
        self.chosen: deque[Job] = deque()
        self.beat = 0
        self.number = 0
        self.lanes = [_Lane(config, lane) for lane in range(config.lanes)]
        self.levels: list[list[_Node]] = []
        sources: list[_Lane | _Node] = list(self.lanes)
        while len(sources) > 1:
            pairs = zip(sources[::2], sources[1::2], strict=True)
            self.levels.append([_Node(pair) for pair in pairs])
            sources = list(self.levels[-1])
        self.root = sources[0]
        self.bitmaps = [_Bitmap(), _Bitmap()]
        self.marking = self.giving = 0
        self.low = -1 << (config.score_bits - 1)

    def outputs(self) -> tuple[bool, bool, bool]:
        """Return whether i_job and i are ready, and whether o offers an index."""
        return (
            len(self.entering) < ENTERING_JOBS and len(self.chosen) < OPEN_JOBS,
            bool(self.entering) and all(lane.ready() for lane in self.lanes),
            bool(self.bitmaps[self.giving].word),
        )

    def step(self, job_valid: bool, valid: bool, ready: bool) -> None:
        """Go on to the next cycle."""
        job_ready, takes, offers = self.outputs()
        best, bitmap = self.root.o, self.bitmaps[self.marking]
        marks = best is not None and not bitmap.closed
        last = marks and self.number == self.chosen[0].kept - 1
        gives = [offers and ready and n == self.giving for n in range(2)]
        last_given = offers and ready and self.bitmaps[self.giving].last
        for n, each in enumerate(self.bitmaps):
            marked = -best.below if best is not None and marks and n == self.marking else None
            each.step(marked, last, gives[n])
        self.giving ^= last_given
        self.marking ^= last
        if marks:
            self.number = 0 if last else self.number + 1
        last_run = self.config.runs(self.chosen[0].count) - 1 if self.chosen else 0
        self._step_lanes(takes and valid, last_run, marks, last)
        if last:
            self.chosen.popleft()
        if job_valid and job_ready:
            job = self.asked.popleft()
            self.entering.append(job)
            self.chosen.append(job)

    def _step_lanes(self, enters: bool, last_run: int, marks: bool, done: bool) -> None:
        taken: dict[int, bool] = {id(self.root): marks}
        for level in reversed(self.levels):
            for node in level:
                choice = node.chooses(taken[id(node)])
                for side, source in enumerate(node.sources):
                    taken[id(source)] = side == choice
        for level in reversed(self.levels):
            for node in level:
                new = [source.o for source in node.sources if taken[id(source)]]
                if node.o is None or taken[id(node)]:
                    node.o = new[0] if new else None
                if done:
                    node.o = None
        entries = self._entries() if enters else [None] * self.config.lanes
        for lane, entry in zip(self.lanes, entries, strict=True):
            lane.step(entry, last_run, taken[id(lane)], done)

    def _entries(self) -> list[_Entry | None]:
        job, beat, lanes = self.entering[0], self.beat, self.config.lanes
        is_last = beat == self.config.beats(job.count) - 1
        ends = is_last or (beat + 1) % self.config.max_k == 0
        scores = job.scores[beat * lanes : (beat + 1) * lanes].tolist()
        scores += [self.low] * (lanes - len(scores))
        self.beat = 0 if is_last else beat + 1
        if is_last:
            self.entering.popleft()
        return [_Entry(score, beat, True, ends) for score in scores]


def job_cycles(config: ArgTopKConfig, jobs: Sequence[Job]) -> int:
    """Return the cycles from the first score taken to the last index given, if no stream waits."""
    model = ArgTopKModel(config, jobs)
    left, cycle, begin = sum(job.kept for job in jobs), 0, -1
    beats = sum(config.beats(job.count) for job in jobs)
    while left:
        _, takes, gives = model.outputs()
        if takes and begin < 0:
            begin = cycle
        model.step(bool(model.asked), beats > 0, True)
        beats -= takes and beats > 0
        left -= gives
        cycle += 1
    return cycle - begin

"""Machines that serve requests, in SimPy: what they do next, and how long it takes."""

import heapq
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from typing import Any

import simpy

from sim.requests import Request
from sim.serving_policies import rows
from sim.serving_times import Times


@dataclass
class Job:
    """A request on its way.

    Attributes:
        done: tokens of its prompt that are read. late: seconds by which its tokens reach it later.
        begin, first, end: when its prompt begins to be read, its first token, its last.
    """

    request: Request
    done: int = 0
    late: float = 0.0
    begin: float = -1.0
    first: float = -1.0
    end: float = -1.0

    @property
    def longest(self) -> int:
        """Tokens of its sequence at the end."""
        return self.request.prefill + self.request.decode


@dataclass
class Log:
    """What a machine did.

    Attributes:
        busy: seconds in which it worked. held, most_held: bytes of cache, now and at most.
        passes: by sequences that decode and whether prompts were read too, how many passes, the
            sum of their contexts and of the prompts' tokens.
        reads: by prompts and their length, how often prompts alone were read.
    """

    busy: float = 0.0
    held: float = 0.0
    most_held: float = 0.0
    passes: dict[tuple[int, bool], list[float]] = field(default_factory=dict)
    reads: dict[tuple[int, int], int] = field(default_factory=dict)

    def hold(self, size: float) -> None:
        """Take `size` bytes more, or give them back."""
        self.held += size
        self.most_held = max(self.most_held, self.held)

    def ran(self, batch: int, times: int, contexts: float, tokens: int = 0) -> None:
        """Note passes: how many, and the sums of their contexts and of prompts' tokens."""
        found = self.passes.setdefault((batch, tokens > 0), [0.0, 0.0, 0.0])
        for place, value in enumerate((times, contexts, tokens)):
            found[place] += value


Steps = Generator[simpy.Event, Any, None]


class Machine(ABC):
    """A machine with a queue.

    Attributes:
        env, times: the simulation's clock, and how long passes take.
        room: bytes of caches that fit. A request waits until its whole sequence fits, so that none
            is ever evicted; requests are taken in the order in which they came.
        sequences: the most at a time.
        every_step: whether each pass is an event; else many that repeat are one.
    """

    def __init__(
        self, env: simpy.Environment, times: Times, room: float, sequences: int, every_step: bool
    ) -> None:
        self.env = env
        self.times = times
        self.room = room
        self.sequences = sequences
        self.every_step = every_step
        self.log = Log()
        self.waiting: deque[Job] = deque()
        self.arrived = env.event()

    def give(self, job: Job) -> None:
        """Take a request into the queue."""
        self.waiting.append(job)
        if not self.arrived.triggered:
            self.arrived.succeed()

    def run(self) -> Steps:
        """Serve for ever."""
        while True:
            if self.arrived.triggered:
                self.arrived = self.env.event()
            self.admit()
            yield from self.work()

    @abstractmethod
    def admit(self) -> None:
        """Take from the queue what there is room for."""

    @abstractmethod
    def work(self) -> Steps:
        """Do the next pass or passes, or wait for a request."""

    def spend(self, seconds: float) -> simpy.Event:
        """Return the event that `seconds` of work are done."""
        self.log.busy += seconds
        return self.env.timeout(seconds)


class ContinuousMachine(Machine):
    """Every pass decodes all sequences that run, and reads chunks of prompts.

    Attributes:
        chunk: tokens of a pass.
    """

    def __init__(self, *machine: Any, chunk: int) -> None:
        super().__init__(*machine)
        self.chunk = chunk
        self.reading: deque[Job] = deque()
        self.running: list[tuple[int, int, Job]] = []
        self.contexts = 0.0
        self.passes = 0
        self._order = count()

    def admit(self) -> None:
        """Take requests while there is room for the next one's whole sequence."""
        while self.waiting and len(self.reading) + len(self.running) < self.sequences:
            size = self.times.size(self.waiting[0].longest)
            if self.log.held + size > self.room:
                return
            job = self.waiting.popleft()
            self.log.hold(size)
            if job.done < job.request.prefill:
                job.begin = self.env.now
                self.reading.append(job)
            else:
                self._start(job)

    def work(self) -> Steps:
        """Read and decode; else only decode; else wait."""
        if self.reading:
            yield from self._mixed()
        elif self.running:
            yield from self._decode()
        else:
            yield self.arrived

    def _mixed(self) -> Steps:
        batch = len(self.running)
        context = self.contexts / batch if batch else 0.0
        left, chunks = max(self.chunk - batch, 1), []
        for job in self.reading:
            new = min(left, job.request.prefill - job.done)
            if not new:
                break
            chunks.append((new, job.done + new))
            left -= new
        yield self.spend(self.times.mixed(batch, context, chunks))
        self.log.ran(batch, 1, context, sum(new for new, _ in chunks))
        self._advance(1)
        for _, seen in chunks:
            self.reading[0].done = seen
            if seen == self.reading[0].request.prefill:
                job = self.reading.popleft()
                job.late = self.times.request
                job.first = self.env.now + job.late
                self._start(job)

    def _decode(self) -> Steps:
        """Decode until a sequence ends, or until a request comes that may have room."""
        batch = len(self.running)
        context = self.contexts / batch
        passes = 1 if self.every_step else self.running[0][0] - self.passes
        begin, seconds = self.env.now, self.times.steps(batch, context, passes)
        if self.waiting or passes == 1:
            yield self.env.timeout(seconds)
        else:
            yield self.env.timeout(seconds) | self.arrived
            if (elapsed := self.env.now - begin) < seconds:
                passes = self.times.fitting(batch, context, passes, elapsed)
                seconds = self.times.steps(batch, context, passes)
                yield self.env.timeout(max(begin + seconds - self.env.now, 0.0))
        self.log.busy += seconds
        growth = self.times.growth * passes * (passes - 1) / 2
        self.log.ran(batch, passes, passes * context + growth)
        self._advance(passes)

    def _start(self, job: Job) -> None:
        """Begin to decode a sequence; what is to be decoded is rounded up to whole passes."""
        passes = ceil(job.request.decode / self.times.growth)
        if not passes:
            self._leave(job)
            return
        heapq.heappush(self.running, (self.passes + passes, next(self._order), job))
        self.contexts += job.request.prefill

    def _advance(self, passes: int) -> None:
        self.passes += passes
        self.contexts += len(self.running) * passes * self.times.growth
        while self.running and self.running[0][0] <= self.passes:
            _, _, job = heapq.heappop(self.running)
            done = ceil(job.request.decode / self.times.growth) * self.times.growth
            self.contexts -= job.request.prefill + done
            self._leave(job)

    def _leave(self, job: Job) -> None:
        job.end = self.env.now + job.late
        self.log.hold(-self.times.size(job.longest))


class BatchMachine(Machine):
    """Takes what waits as one batch, and the next when its longest sequence has ended.

    Attributes:
        packed: whether short prompts lie side by side; else all are padded to the longest.
    """

    def __init__(self, *machine: Any, packed: bool) -> None:
        super().__init__(*machine)
        self.packed = packed
        self.batch: list[Job] = []

    def admit(self) -> None:
        """Take requests while the batch fits."""
        self.batch = []
        while self.waiting and len(self.batch) < self.sequences:
            taken = [*self.batch, self.waiting[0]]
            if self._size(taken) > self.room:
                break
            self.batch.append(self.waiting.popleft())

    def _size(self, jobs: list[Job]) -> float:
        """Return the bytes of a batch's caches."""
        if self.packed:
            return sum(self.times.size(job.longest) for job in jobs)
        prompt = max(job.request.prefill for job in jobs)
        return len(jobs) * self.times.size(prompt + max(job.request.decode for job in jobs))

    def work(self) -> Steps:
        """Read the batch's prompts, then decode until the last has ended."""
        if not self.batch:
            yield self.arrived
            return
        jobs, size = self.batch, self._size(self.batch)
        self.log.hold(size)
        lengths = [job.request.prefill for job in jobs]
        longest, batch = max(lengths), len(jobs)
        prompts = rows(lengths) if self.packed else batch
        for job in jobs:
            job.begin = self.env.now
        yield self.spend(self.times.read(prompts, longest))
        self.log.reads[prompts, longest] = self.log.reads.get((prompts, longest), 0) + 1
        for job in jobs:
            job.first = job.end = self.env.now
        context = sum(lengths) / batch if self.packed else float(longest)
        yield from self._decode(jobs, context)
        self.log.hold(-size)

    def _decode(self, jobs: list[Job], context: float) -> Steps:
        growth, done = self.times.growth, 0
        ends = {job.request.decode: ceil(job.request.decode / growth) for job in jobs}
        for end in sorted({*ends.values()} - {0}):
            while done < end:
                passes = 1 if self.every_step else end - done
                here = context + done * growth
                yield self.spend(self.times.steps(len(jobs), here, passes))
                more = growth * passes * (passes - 1) / 2
                self.log.ran(len(jobs), passes, passes * here + more)
                done += passes
            for job in jobs:
                if ends[job.request.decode] == end:
                    job.end = self.env.now

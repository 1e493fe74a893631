"""How long the passes of a serving machine take, and what memory its requests take."""

from collections.abc import Sequence
from functools import cached_property

from golden.model_shapes import ModelShape
from sim.operators import ATTENTION
from sim.stepping import TOLERANCE
from sim.system import System
from sim.workload import Pass, Workload, prefill_passes

Chunk = tuple[int, int]
"""Tokens of a prompt that go through, and the context that the last of them sees."""


class Times:
    """The times of one system with one model.

    A decode pass takes as long as one in which all sequences have the mean of their contexts. Over
    contexts its time is a chain of lines: between two powers of two, a stretch whose middle lies on
    the line of its ends is that line, else it is halved.
    """

    def __init__(self, system: System, model: ModelShape) -> None:
        self.system = system
        self.model = model
        self.growth = system.emission.tokens
        self._known: dict[tuple[int, int], float] = {}
        self._lines: dict[tuple[int, int, int], bool] = {}
        self._shared: dict[tuple[int, int, int], float] = {}
        self._attention: dict[Chunk, float] = {}
        self._reads: dict[tuple[int, int], float] = {}
        self._sizes: dict[int, float] = {}

    # Decode passes

    def steps(self, batch: int, context: float, count: int) -> float:
        """Return the time of `count` decode passes, the first at a mean context."""
        return self._walk(batch, context, count, None)[1]

    def fitting(self, batch: int, context: float, count: int, seconds: float) -> int:
        """Return the fewest passes, at most `count`, that take at least `seconds`."""
        return self._walk(batch, context, count, seconds)[0]

    def _walk(
        self, batch: int, context: float, count: int, seconds: float | None
    ) -> tuple[int, float]:
        """Return passes, and the time that they take together, line by line."""
        done, taken = 0, 0.0
        while done < count:
            low, high = self._line_at(batch, context)
            first, last = self._at(batch, low), self._at(batch, high)
            slope = (last - first) / (high - low)
            begin, grows = first + slope * (context - low), slope * self.growth
            here = min(max(int((high - context) / self.growth), 1), count - done)
            taken_here = _sum(begin, grows, here)
            if seconds is not None and taken + taken_here >= seconds:
                here = _fewest(begin, grows, here, seconds - taken)
                return done + here, taken + _sum(begin, grows, here)
            done, taken = done + here, taken + taken_here
            context += here * self.growth
        return done, taken

    def _line_at(self, batch: int, context: float) -> tuple[int, int]:
        """Return the ends of the line that a context is on."""
        low = 1 << (max(int(context), 1).bit_length() - 1)
        high = 2 * low
        while not self._is_line(batch, low, high):
            middle = (low + high) // 2
            low, high = (low, middle) if context < middle else (middle, high)
        return low, high

    def _is_line(self, batch: int, low: int, high: int) -> bool:
        key = (batch, low, high)
        if key not in self._lines:
            line = (self._at(batch, low) + self._at(batch, high)) / 2
            middle = self._at(batch, (low + high) // 2) if high - low > 1 else line
            self._lines[key] = abs(middle - line) <= TOLERANCE * line
        return self._lines[key]

    def _at(self, batch: int, context: int) -> float:
        key = (batch, context)
        if key not in self._known:
            self._known[key] = self.system.turn_seconds(self.model, batch, context)
        return self._known[key]

    # Passes that read prompts

    def mixed(self, batch: int, context: float, chunks: Sequence[Chunk]) -> float:
        """Return the time of a pass that decodes `batch` sequences and reads chunks of prompts.

        Weights are read once for all tokens; every chunk has its own attention.
        """
        tokens = sum(new for new, _ in chunks)
        if not batch:
            (new, seen), others = chunks[0], chunks[1:]
            job = Pass(1, new, seen, extra=tokens - new, prompt=True)
            alone = self.system.seconds(self.model, job)
            return alone + sum(map(self._chunk_attention, others))
        seconds = self.steps(batch, context, 1) + self._more(batch, context, tokens)
        return seconds + sum(map(self._chunk_attention, chunks))

    def _more(self, batch: int, context: float, tokens: int) -> float:
        """Return what more tokens through the weights add to a decode pass."""
        near = 1 << (max(int(context), 1).bit_length() - 1)
        key = (batch, near, tokens)
        if key not in self._shared:
            both = self.system.seconds(self.model, Pass(batch, 1, near, extra=tokens))
            alone = self.system.seconds(self.model, Pass(batch, 1, near))
            self._shared[key] = max(both - alone, 0.0)
        return self._shared[key]

    def _chunk_attention(self, chunk: Chunk) -> float:
        if chunk not in self._attention:
            cost = self.system.step(self.model, Pass(1, *chunk, prompt=True))
            self._attention[chunk] = cost.parts.get(ATTENTION, 0.0)
        return self._attention[chunk]

    def read(self, batch: int, length: int) -> float:
        """Return the time in which prompts of one length are read, nothing else going on."""
        key = (batch, length)
        if key not in self._reads:
            workload = Workload(batch=batch, prefill=length, decode=0)
            cost = self.system.read(self.model, workload)
            assert cost is not None
            self._reads[key] = cost.seconds
        return self._reads[key]

    @cached_property
    def request(self) -> float:
        """Seconds of a request outside the passes: it waits so long, the machine does not."""
        workload = Workload(prefill=1, decode=0)
        passes = prefill_passes(workload, self.system.chunk)
        alone = sum(self.system.seconds(self.model, job) for job in passes)
        return max(self.read(1, 1) - alone, 0.0)

    # Memory

    def size(self, length: int) -> float:
        """Return the bytes of the cache of a sequence of `length` tokens."""
        if length not in self._sizes:
            workload = Workload(prefill=length, decode=0)
            self._sizes[length] = self.system.footprint(self.model, workload).cache
        return self._sizes[length]


def _sum(first: float, grows: float, count: int) -> float:
    return count * first + grows * count * (count - 1) / 2


def _fewest(first: float, grows: float, most: int, seconds: float) -> int:
    """Return the fewest terms, from 1 to `most`, whose sum is at least `seconds`."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if _sum(first, grows, middle) >= seconds:
            high = middle
        else:
            low = middle + 1
    return low

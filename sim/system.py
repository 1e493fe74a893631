"""What every system is to the simulator: it says what a pass of a model costs on it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pydantic import Field, PositiveFloat, PositiveInt

from golden.model_shapes import ModelShape
from golden.spec.records import Record
from sim.cost import Cost, total
from sim.operators import Forward, forward
from sim.stepping import stretches
from sim.technique import Cache, Emission, Technique
from sim.workload import Pass, Workload


class Published(Record):
    """A measured decode rate at batch 1: contexts from the first to the last, both included."""

    model: str
    contexts: tuple[PositiveInt, PositiveInt]
    tokens_per_s: PositiveFloat
    source: str


@dataclass(frozen=True)
class Span:
    """A time in which one unit works: what a trace shows.

    Attributes:
        unit: whose track; name: what is done; part: its class of operators.
        start, seconds: from the pass's begin, and how long.
    """

    unit: str
    name: str
    part: str
    start: float
    seconds: float


@dataclass(frozen=True)
class Footprint:
    """What a workload takes of the memory, and what there is, in bytes, all devices together.

    Attributes:
        weights, cache, working: what is held at the end of the longest sequence.
        held: bytes that the system's memory has for them.
    """

    weights: float
    cache: float
    working: float
    held: float

    @property
    def needed(self) -> float:
        """All that is held at the end."""
        return self.weights + self.cache + self.working

    @property
    def short(self) -> float:
        """Bytes that are missing; 0 where it fits."""
        return max(self.needed - self.held, 0.0)


class System(Record, ABC):
    """A machine that runs language models.

    Attributes:
        name: its file's name; title: as a chart shows it.
        published: measured figures to set beside estimates.
        techniques: what changes the work, in order; see `sim/treat.py`.
    """

    name: str
    title: str
    published: tuple[Published, ...] = ()
    techniques: tuple[Technique, ...] = Field(default=(), exclude=True, repr=False)

    @property
    def chunk(self) -> int | None:
        """The most tokens of a prompt that go through at a time; None for all."""
        return None

    @property
    @abstractmethod
    def resources(self) -> tuple[str, ...]:
        """What could be made faster: "memory", "compute", ..."""

    @abstractmethod
    def faster(self, resource: str, factor: float) -> "System":
        """Return the same system with one resource `factor` times as fast."""

    @property
    @abstractmethod
    def bytes_per_s(self) -> float:
        """Peak bytes per second of the memory that holds the weights, all devices together."""

    @property
    def link_bytes_per_s(self) -> float | None:
        """What it can send to another such machine; None where this is not known."""
        return None

    @property
    @abstractmethod
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for this system takes for granted, one sentence each."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The system and its number formats as a chart shows them."""

    @abstractmethod
    def check(self, workload: Workload) -> None:
        """Raise ConfigError unless this system can do such a workload."""

    @abstractmethod
    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what the workload takes of the memory."""

    @abstractmethod
    def remedy(self, model: ModelShape, workload: Workload) -> str:
        """Return what to do where a workload does not fit: half a sentence."""

    @abstractmethod
    def prefill(self, model: ModelShape, workload: Workload) -> Cost | None:
        """Return the cost of reading the prompts; None where this is not modelled."""

    @abstractmethod
    def step(self, model: ModelShape, job: Pass) -> Cost:
        """Return the cost of one decode step."""

    def seconds(self, model: ModelShape, job: Pass) -> float:
        """Return the time of one decode step."""
        return self.step(model, job).seconds

    # What techniques change

    def cannot(self, model: ModelShape, job: Pass) -> str | None:
        """Return why it cannot do such a pass with its techniques; None if it can.

        A system whose `step` asks `work` for the operators says here which of them it has no way
        to do. The others have no techniques.
        """
        return "its model takes no techniques yet"

    def work(self, model: ModelShape, job: Pass) -> Forward:
        """Return the operators of a pass as the techniques leave them."""
        work = forward(model, job)
        for technique in self.techniques:
            work = technique.forward(work, model, job)
        return work

    def cached(self, model: ModelShape, context: int, bits: float) -> Cache:
        """Return what a sequence keeps, where an element has `bits` by default."""
        cache = Cache(context * model.cached_elements, bits)
        for technique in self.techniques:
            cache = technique.cache(cache, model, context)
        return cache

    def added_bytes(self, model: ModelShape, workload: Workload) -> float:
        """Return the bytes that techniques hold beside weights and cache, draft model included."""
        return sum(technique.added_bytes(model, workload) for technique in self.techniques)

    @property
    def emission(self) -> Emission:
        """How many tokens a decode pass gives."""
        found = (technique.emission() for technique in self.techniques)
        return next(filter(None, found), Emission(1.0, 1))

    # Many steps

    def turn(self, model: ModelShape, batch: int, context: int) -> Cost:
        """Return the cost of a decode pass after `context` tokens, and of guessing for it."""
        guessed = self.emission
        cost = self.step(model, Pass(batch, guessed.verified, context + guessed.verified - 1))
        if guessed.draft is None:
            return cost
        alone = self.model_copy(update={"techniques": ()})
        draft = alone.step(guessed.draft, Pass(batch, 1, context))
        return total([(1, cost), (guessed.guesses, draft.renamed("draft model"))])

    def turn_seconds(self, model: ModelShape, batch: int, context: int) -> float:
        """Return the time of the same."""
        if self.emission.verified == 1:
            return self.seconds(model, Pass(batch, 1, context))
        return self.turn(model, batch, context).seconds

    def read(self, model: ModelShape, workload: Workload) -> Cost | None:
        """Return the cost of reading the prompts, by the draft model too."""
        cost, draft = self.prefill(model, workload), self.emission.draft
        if cost is None or draft is None:
            return cost
        alone = self.model_copy(update={"techniques": ()})
        also = alone.prefill(draft, workload)
        return also and cost + also.renamed("draft model")

    def steps(self, model: ModelShape, batch: int, first: int, count: int) -> Cost:
        """Return the cost of `count` tokens of each sequence, the first after `first` tokens."""
        chosen, each = self._stretches(model, batch, first, count), self.emission.tokens
        return total(
            (times / each, self.turn(model, batch, context)) for context, times in chosen.items()
        )

    def _stretches(self, model: ModelShape, batch: int, first: int, count: int) -> dict[int, float]:
        def seconds(context: int) -> float:
            return self.turn_seconds(model, batch, context)

        return stretches(seconds, first, first + count - 1)

    def steps_seconds(self, model: ModelShape, batch: int, first: int, count: int) -> float:
        """Return the time of the same."""
        chosen, each = self._stretches(model, batch, first, count), self.emission.tokens
        return sum(
            times / each * self.turn_seconds(model, batch, context)
            for context, times in chosen.items()
        )

    @abstractmethod
    def spans(self, model: ModelShape, job: Pass) -> list[Span]:
        """Return what every unit does in one pass, by an event simulation."""

    def joules(self, cost: Cost) -> float | None:
        """Return the energy of passes; None where it is not modelled."""
        return None

    @property
    def watts(self) -> float | None:
        """The power limit of all devices together, where it is known."""
        return None

    @property
    def price_usd(self) -> float | None:
        """What all devices cost, where it is known."""
        return None

    def spread(self) -> float | None:
        """Return the share by which measured times lie around the estimate; None if unknown.

        Four of five measurements that no constant was fitted on lie within it.
        """
        return None

    def published_at(self, model: str, context: int) -> Published | None:
        """Return the figure measured on `model` at `context`, if there is one."""
        for point in self.published:
            if point.model == model and point.contexts[0] <= context <= point.contexts[1]:
                return point
        return None

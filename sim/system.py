"""What every system is to the simulator: it says what a pass of a model costs on it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pydantic import PositiveFloat, PositiveInt

from golden.model_shapes import ModelShape
from golden.spec.records import Record
from sim.cost import Cost, total
from sim.stepping import stretches
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
    """

    name: str
    title: str
    published: tuple[Published, ...] = ()

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

    def steps(self, model: ModelShape, batch: int, first: int, count: int) -> Cost:
        """Return the cost of `count` decode steps, the first at a context of `first` tokens."""
        chosen = self._stretches(model, batch, first, count)
        return total(
            (times, self.step(model, Pass(batch, 1, context))) for context, times in chosen.items()
        )

    def _stretches(self, model: ModelShape, batch: int, first: int, count: int) -> dict[int, float]:
        def seconds(context: int) -> float:
            return self.seconds(model, Pass(batch, 1, context))

        return stretches(seconds, first, first + count - 1)

    def steps_seconds(self, model: ModelShape, batch: int, first: int, count: int) -> float:
        """Return the time of `count` decode steps."""
        chosen = self._stretches(model, batch, first, count)
        return sum(
            times * self.seconds(model, Pass(batch, 1, context))
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

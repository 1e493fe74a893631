"""What every system is to the simulator: a memory, a compute unit, and the formats it takes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import PositiveFloat, PositiveInt, model_validator

from golden.spec.errors import ConfigError
from golden.spec.records import Record
from sim.hardware import Memory
from sim.memory_formats import CacheFormat, WeightFormat
from sim.operators import Operator


@dataclass(frozen=True)
class Tile:
    """The piece of an operator that is loaded as one and then computed.

    Attributes:
        bytes: read from main memory; seconds: of computing; cycles: the same by the compute unit's
            timing contract, 0 where it has none.
    """

    bytes: int
    seconds: float
    cycles: int = 0


class Published(Record):
    """A measured decode rate at batch 1: contexts from the first to the last, both included."""

    model: str
    contexts: tuple[PositiveInt, PositiveInt]
    tokens_per_s: PositiveFloat
    source: str


class System(Record, ABC):
    """A machine that decodes.

    Attributes:
        name: its file's name; title: as a chart shows it.
        weights, cache: the formats in memory; another weight format may be given per estimate.
        published: measured figures to set beside estimates.
    """

    name: str
    title: str
    weights: WeightFormat
    cache: CacheFormat
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _runs_its_own_format(self) -> "System":
        self.check(self.weights)
        return self

    @property
    @abstractmethod
    def main_memory(self) -> Memory:
        """The memory that holds weights and KV cache."""

    @property
    @abstractmethod
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for this kind of system takes for granted, one sentence each."""

    @abstractmethod
    def check(self, weights: WeightFormat) -> None:
        """Raise ConfigError unless this system can take `weights`."""

    @abstractmethod
    def label(self, weights: WeightFormat) -> str:
        """Return the system and its weight format as a chart shows them."""

    @abstractmethod
    def bytes_read(self, operator: Operator, weights: WeightFormat) -> int:
        """Return the bytes that `operator` reads from main memory."""

    @abstractmethod
    def tiles(self, operator: Operator, weights: WeightFormat) -> list[Tile]:
        """Return `operator` in tiles: all the bytes it reads and all its compute time."""

    def published_at(self, model: str, context: int) -> Published | None:
        """Return the figure measured on `model` at `context`, if there is one."""
        for point in self.published:
            if point.model == model and point.contexts[0] <= context <= point.contexts[1]:
                return point
        return None

    def check_fits(self, bytes_read: int) -> None:
        """Raise ConfigError if one step reads more bytes than the memory holds."""
        memory = self.main_memory
        if bytes_read > memory.bytes:
            raise ConfigError(
                f"weights and KV cache take {bytes_read / 2**30:.2f} GiB; "
                f"the memory of {self.name} holds {memory.gib:g} GiB"
            )


def split(total: int, ends: Sequence[int]) -> list[int]:
    """Return `total` in integer parts as large as the steps of 0, *ends, their sum exact."""
    marks = [total * end // ends[-1] for end in ends]
    return steps(marks)


def steps(marks: Sequence[int]) -> list[int]:
    """Return the differences of 0, *marks."""
    return [mark - before for before, mark in pairwise([0, *marks])]

"""What a technique is: a change of the work that a model is, whatever machine does it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from golden.model_shapes import ModelShape
from golden.spec.records import Record
from sim.operators import VALUES, Forward, Operator
from sim.result import Quality, Result
from sim.workload import Pass, Workload

if TYPE_CHECKING:
    from sim.system import System


@dataclass(frozen=True)
class Cache:
    """What one sequence keeps of its keys and values.

    Attributes:
        elements: of keys and values, all layers; bits: of each, scales included.
        beside: bits that are kept beside them.
    """

    elements: float
    bits: float
    beside: float = 0.0

    @property
    def bytes(self) -> float:
        """Bytes of all."""
        return (self.elements * self.bits + self.beside) / 8


@dataclass(frozen=True)
class Emission:
    """How many tokens a pass gives where some are guessed and then verified.

    Attributes:
        tokens: that a pass gives a sequence, on average, at least 1.
        verified: tokens of each sequence that go through the model in a pass.
        draft: the small model that guesses, and guesses: its passes for one of the model's; None
            and 0 where guessing takes no time.
    """

    tokens: float
    verified: int
    draft: ModelShape | None = None
    guesses: int = 0


class Technique(Record, ABC):
    """A change of the work; its fields are its options, each with a default.

    A technique is one file of `sim/techniques/`, which gives it its name. It overrides what it
    changes; everything else stays as it is. Several are applied in the order in which they are
    given: each gets what those before it left.

    Attributes:
        title: one line for lists. source: where formulas and defaults are from.
        touches: what it changes; two that touch the same are refused.
    """

    title: ClassVar[str]
    source: ClassVar[str]
    touches: ClassVar[str]

    @classmethod
    def name(cls) -> str:
        """Return its name, which is its file's."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    def refusal(self, system: "System", model: ModelShape) -> str | None:
        """Return why it makes no sense on a system or a model; None if it does."""
        return None

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators of a pass: bytes and multiply-accumulates."""
        return work

    def cache(self, cache: Cache, model: ModelShape, context: int) -> Cache:
        """Return what a sequence of `context` tokens keeps."""
        return cache

    def added_bytes(self, model: ModelShape, workload: Workload) -> float:
        """Return the bytes that are held beside the model's weights and its cache."""
        return 0.0

    def emission(self) -> Emission | None:
        """Return how many tokens a pass gives; None for one."""
        return None

    def metrics(
        self, system: "System", model: ModelShape, workload: Workload, result: Result
    ) -> dict[str, float]:
        """Return further figures of a result, with their units in their names."""
        return {}

    @abstractmethod
    def quality(self) -> Quality | None:
        """Return what was measured to be lost with these options; None if nothing was measured."""

    def assumptions(self) -> tuple[str, ...]:
        """Return what it takes for granted, one sentence each."""
        return ()


def weights(work: Forward, parts: tuple[str, ...], **fields: Any) -> Forward:
    """Return a pass in which the operators on weights of these parts have other fields."""

    def changed(one: Operator) -> Operator:
        return replace(one, **fields) if one.part in parts and not one.cached else one

    return Forward(tuple(map(changed, work.layer)), work.layers, tuple(map(changed, work.tail)))


def cached(work: Forward, changed: Callable[[Operator], Iterable[Operator]]) -> Forward:
    """Return a pass with other operators for each of those on keys or values."""
    layer: list[Operator] = []
    for one in work.layer:
        layer += changed(one) if one.cached else [one]
    return Forward(tuple(layer), work.layers, work.tail)


def positions(operator: Operator, count: int, matrices: int | None = None) -> Operator:
    """Return an operator on keys or values that reads `count` positions, of some heads only."""
    matrices = operator.matrices if matrices is None else matrices
    vectors = operator.cached // (operator.matrices * position_count(operator))
    size = {"inputs" if _is_of_values(operator) else "rows": count}
    held = matrices * count * vectors
    return replace(operator, matrices=matrices, cached=held, **size)  # type: ignore[arg-type]


def few_tokens(operator: Operator, count: int, new: int, dense: float) -> Operator:
    """Return an operator on keys or values of which each of `new` tokens chooses `count` positions.

    No two of the tokens are taken to choose the same.

    Args:
        dense: share of the layers that read all positions; the mean over all layers is returned.
    """
    seen = position_count(operator)
    count = min(max(count, 1), seen)
    read = round(min(count * new, seen) * (1 - dense) + seen * dense)
    used = count * (1 - dense) + seen * dense
    some = positions(operator, read)
    return replace(some, vectors=operator.vectors * used / read)


def few_channels(
    operator: Operator, name: str, channels: int, layers: float, bits: float | None = None
) -> Operator:
    """Return a product with few channels of all keys, done in a share `layers` of the layers.

    Args:
        bits: of an element, where it is not the cache's format.
    """
    own = operator.bits if bits is None else bits
    return replace(operator, name=name, inputs=channels, kept=operator.kept * layers, bits=own)


def position_count(operator: Operator) -> int:
    """Return the positions that an operator on keys or values reads."""
    return operator.inputs if _is_of_values(operator) else operator.rows


def _is_of_values(operator: Operator) -> bool:
    return operator.name.endswith(VALUES)

"""What the nodes of an exported model stand for, while its operators are being found.

A vector is told by the operator that gave it and by how it was moved since: each of its elements is
a sum of elements of that operator's output, times constants. Reshaping, splitting heads, repeating
them and rotating pairs are all of that kind, so they are followed exactly, element by element, and
it does not matter in which steps a model does them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch

TOKENS = -1
"""In place of an operator's number: the tokens' numbers in the vocabulary."""


@dataclass(frozen=True, eq=False)
class Term:
    """Elements of an operator's output, times constants.

    Attributes:
        index: of the elements in the output, which is [positions, ...], flat; int64.
        factor: float64, of the same shape.
    """

    index: torch.Tensor
    factor: torch.Tensor

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> "Term":
        """Return it with its elements in other places."""
        return Term(move(self.index), move(self.factor))

    def times(self, factor: "torch.Tensor | float") -> "Term":
        """Return it multiplied."""
        factor = self.factor * factor
        return Term(self.index.expand(factor.shape), factor)


@dataclass(frozen=True, eq=False)
class Vector:
    """A sum of terms of one operator's output.

    Attributes:
        size: elements of that output.
    """

    source: int
    size: int
    terms: tuple[Term, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """As the float model's tensor."""
        return tuple(self.terms[0].index.shape)

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> "Vector":
        """Return it with its elements in other places."""
        return replace(self, terms=tuple(term.moved(move) for term in self.terms))

    def times(self, factor: "torch.Tensor | float") -> "Vector":
        """Return it multiplied with constants."""
        return replace(self, terms=tuple(term.times(factor) for term in self.terms))

    @cached_property
    def is_multiplied(self) -> bool:
        """Whether an element is a sum, or is multiplied with a constant."""
        return len(self.terms) > 1 or not bool((self.terms[0].factor == 1).all())

    @cached_property
    def is_whole(self) -> bool:
        """Whether it is all of its operator's output, in its order."""
        index = self.terms[0].index.flatten()
        return not self.is_multiplied and torch.equal(index, torch.arange(self.size))


@dataclass(frozen=True)
class Parameter:
    """A weight of the float model, by its name."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Squares:
    """The squares of a vector; with `mean` their mean over the last dimension."""

    of: Vector
    mean: bool = False


@dataclass(frozen=True, eq=False)
class Spread:
    """The mean of a vector's squares, plus epsilon; with `inverse` one over its root."""

    of: Vector
    epsilon: float
    inverse: bool = False


@dataclass(frozen=True, eq=False)
class Normal:
    """A vector over the root of the mean of its squares, plus epsilon."""

    of: Vector
    epsilon: float


def whole(source: int, *shape: int) -> Vector:
    """Return all of an operator's output, [1, positions, ...]."""
    index = torch.arange(prod(shape)).reshape(shape)
    factor = torch.ones(shape, dtype=torch.float64)
    return Vector(source, index.numel(), (Term(index, factor),))

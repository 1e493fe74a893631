"""What to look at next: all points of a grid, random ones, or what Optuna's samplers propose.

A search gives batches of points and is told what came of them, in the same order: so it does not
depend on how many processes work on a batch, and a search that is told again what a study holds
goes on where it stopped.
"""

import itertools
import json
import math
import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from golden.spec.errors import ConfigError
from sim.explore.point import Outcome, Point, fits_board, objectives
from sim.explore.space import Parameter, Space, size

MOST_REFUSED = 5_000
"""Proposals in a row that are known or not allowed, before a space counts as used up."""


class Search(ABC):
    """Proposes points.

    Attributes:
        batch: points of a batch, the last one aside.
    """

    batch = 512

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self._points = self._propose()

    def ask(self) -> list[Point]:
        """Return the next batch; nothing where there is none."""
        return list(itertools.islice(self._points, self.batch))

    def tell(self, outcomes: Sequence[Outcome]) -> None:  # noqa: B027 (few searches learn)
        """Take what came of the first points of the last batch, in their order."""

    @abstractmethod
    def _propose(self) -> Iterator[Point]:
        """Yield points that the space allows, each once."""

    def _allows(self, point: Point) -> bool:
        return self.space.allows(point) and fits_board(self.space, point)


class Grid(Search):
    """All points, the last parameter quickest."""

    def __init__(self, space: Space, seed: int) -> None:
        for one in space.chosen:
            if not one.values:
                raise ConfigError(
                    f"{one.name} has a range without steps; a grid needs a step, or choices"
                )
        super().__init__(space, seed)

    def _propose(self) -> Iterator[Point]:
        return filter(self._allows, self._from({}, self.space.chosen))

    def _from(self, begun: Point, left: Sequence[Parameter]) -> Iterator[Point]:
        if not left:
            yield begun
            return
        first, *others = left
        if not first.counts(begun):
            yield from self._from(begun, others)
            return
        for value in first.values:
            yield from self._from(begun | {first.name: value}, others)


class Seen:
    """What was proposed so far.

    Attributes:
        refused: proposals since the last one that was used.
    """

    def __init__(self, space: Space) -> None:
        self._points: set[str] = set()
        self._most = size(space)
        self.refused = 0

    @property
    def all(self) -> bool:
        """Whether nothing new is left, or so little that it is not found."""
        return len(self._points) == self._most or self.refused >= MOST_REFUSED

    def is_new(self, point: Point) -> bool:
        """Return whether a proposal is the first of its kind, and note it."""
        before = len(self._points)
        self._points.add(json.dumps(point, sort_keys=True))
        self.refused += 1
        return len(self._points) > before


class Random(Search):
    """Points at random, each choice as likely as the others."""

    def _propose(self) -> Iterator[Point]:
        draw, seen = random.Random(self.seed), Seen(self.space)
        while not seen.all:
            point = self.space.point_of(lambda one: _drawn(one, draw))
            if seen.is_new(point) and self._allows(point):
                seen.refused = 0
                yield point


def _drawn(one: Parameter, draw: random.Random) -> Any:
    if one.span is None:
        return draw.choice(one.values)
    first, last = one.span
    if one.log:
        return math.exp(draw.uniform(math.log(first), math.log(last)))
    return draw.uniform(first, last)


class Optuna(Search):
    """What one of Optuna's multi-objective samplers proposes.

    A point that is not allowed, known or without result is told as failed, which samplers skip.
    """

    batch = 32

    def __init__(self, space: Space, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = optuna.samplers
        make: dict[str, Any] = {
            "nsga2": samplers.NSGAIISampler,
            "nsga3": samplers.NSGAIIISampler,
            "tpe": samplers.TPESampler,
        }
        self._failed = optuna.trial.TrialState.FAIL
        with warnings.catch_warnings():
            # That a sampler may change is why constraints.txt has Optuna's exact version.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = make[space.search](seed=seed)
        directions = [optuna.study.StudyDirection.MAXIMIZE] * len(space.objectives)
        self._study = optuna.create_study(sampler=sampler, directions=directions)
        self._asked: list[tuple[Any, Point]] = []
        super().__init__(space, seed)

    def ask(self) -> list[Point]:
        """Return the next batch; nothing where there is none."""
        self._asked = []
        return super().ask()

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take what came of the first points of the last batch, in their order."""
        for (trial, point), outcome in zip(self._asked, outcomes, strict=False):
            record = outcome.record
            found = None if record is None else objectives(self.space, point, record)
            if found is None or not all(map(math.isfinite, found)):
                self._study.tell(trial, state=self._failed)
                continue
            trial.set_constraint("constraints", 0.0 if outcome.feasible else 1.0)
            self._study.tell(trial, found)

    def _propose(self) -> Iterator[Point]:
        seen = Seen(self.space)
        while not seen.all:
            trial = self._study.ask()
            point = self.space.point_of(lambda one, trial=trial: _suggested(one, trial))  # type: ignore[misc]
            if not seen.is_new(point) or not self._allows(point):
                self._study.tell(trial, state=self._failed)
                continue
            seen.refused = 0
            self._asked.append((trial, point))
            yield point


def _suggested(one: Parameter, trial: Any) -> Any:
    """Return what a trial proposes; choices go by their place, numbers in their order."""
    if one.span is not None:
        return trial.suggest_float(one.name, *one.span, log=one.log)
    if len(one.values) == 1:
        return one.values[0]
    if all(isinstance(value, int | float) for value in one.values):
        return sorted(one.values)[trial.suggest_int(one.name, 0, len(one.values) - 1)]
    return one.values[trial.suggest_categorical(one.name, range(len(one.values)))]


def make_search(space: Space, seed: int) -> Search:
    """Return the search that a space asks for.

    Raises:
        ConfigError: it cannot search such a space.
    """
    kinds: dict[str, type[Search]] = {"grid": Grid, "random": Random}
    return kinds.get(space.search, Optuna)(space, seed)

"""An exploration: a search, an engine that simulates what it proposes, a study that keeps it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golden.spec.errors import ConfigError
from sim.explore.engine import make_engine
from sim.explore.point import Outcome
from sim.explore.search import make_search
from sim.explore.space import load_space
from sim.explore.study import Study

BUDGET = 1_000
"""Points of a search that would not end by itself."""


@dataclass(frozen=True)
class Explored:
    """What an exploration did.

    Attributes:
        points: that it added; wall_s: how long that took.
    """

    points: int
    wall_s: float

    @property
    def points_per_s(self) -> float:
        """The rate."""
        return self.points / self.wall_s if self.points else 0.0


def explore(
    space_file: Path,
    study_file: Path,
    *,
    seed: int = 0,
    budget: int | None = None,
    workers: int = 1,
    engine: str = "local",
    progress: Callable[[int, int | None], None] = lambda done, of: None,
) -> Explored:
    """Search a space, and keep every point in a study; a study that was begun is gone on with.

    Args:
        budget: points that the study has at most at the end; None for all of a grid, and `BUDGET`
            of any other search.
        progress: is called with the points that the study has, and how many there may be.

    Raises:
        ConfigError: something about the space, the study or the numbers is wrong.
        OutputError: the study cannot be written. ToolError: a working process died.
    """
    begin = time.perf_counter()
    space, text = load_space(space_file)
    if budget is not None and budget < 1:
        raise ConfigError(f"--budget is {budget}; at least 1 point is needed")
    if budget is None and space.search != "grid":
        budget = BUDGET
    search = make_search(space, seed)
    added = first = 0
    with (
        make_engine(engine, space, workers) as machine,
        Study.create(study_file, space, text, seed) as study,
    ):
        while budget is None or first < budget:
            batch = search.ask()
            if not batch:
                break
            batch = batch[: None if budget is None else budget - first]
            known: dict[int, Outcome] = {}
            for one in study.points(first, first + len(batch)):
                if one.configuration != batch[one.number - first]:
                    raise ConfigError(
                        f"{study_file} holds another point {one.number} than this search proposes; "
                        "it was made by another version: name another file"
                    )
                known[one.number] = one.outcome
            left = [(first + k, one) for k, one in enumerate(batch) if first + k not in known]
            for number, command, outcome in machine.run(left):
                study.add(number, batch[number - first], command, outcome)
                known[number] = outcome
                added += 1
                progress(first + len(known), budget)
            search.tell([known[first + k] for k in range(len(batch))])
            first += len(batch)
        if first == 0:
            raise ConfigError(
                f"{space_file}: no point is in the space; its conditions, or its limits, refuse all"
            )
    return Explored(added, time.perf_counter() - begin)

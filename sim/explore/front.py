"""The front of a study: the points that no other one beats in every objective."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from sim.explore.point import objectives
from sim.explore.space import Space
from sim.explore.study import Stored

Item = TypeVar("Item")


def front(space: Space, points: Iterable[Stored]) -> list[Stored]:
    """Return the feasible points that no other one beats, the best in the first objective first.

    Of points that are equal in all objectives, the first one stands for all.
    """
    found = []
    for one in points:
        record = one.outcome.record
        if record is not None and one.outcome.feasible:
            reached = objectives(space, one.configuration, record)
            if reached is not None:
                found.append((reached, one))
    return unbeaten(found)


def unbeaten(points: Sequence[tuple[list[float], Item]]) -> list[Item]:
    """Return what no other one is at least as good as in all numbers; the larger, the better."""
    kept: list[tuple[list[float], Item]] = []
    # Only what comes before in this order can beat a point.
    for reached, one in sorted(points, key=lambda pair: pair[0], reverse=True):
        if not any(all(a >= b for a, b in zip(best, reached, strict=True)) for best, _ in kept):
            kept.append((reached, one))
    return [one for _, one in kept]

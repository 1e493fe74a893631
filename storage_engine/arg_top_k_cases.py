"""Random cases for the bench of the arg-top-k unit, and how much of it they cover."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from golden.numbers import signed_range
from golden.spec.arg_top_k import ArgTopKConfig

Cross = tuple[str, str, bool, bool]
"""Values of a job's scores, its size, idle sources, stalling sink."""


@dataclass(frozen=True)
class Job:
    """Scores, int64 [count], and how many of them are kept, at most."""

    scores: torch.Tensor
    k: int

    @property
    def count(self) -> int:
        """Number of scores."""
        return len(self.scores)

    @property
    def kept(self) -> int:
        """How many are kept."""
        return min(self.k, self.count)


@dataclass(frozen=True)
class Case:
    """Jobs that follow each other.

    Attributes:
        name: what a person calls it.
        config: of the unit.
        jobs: the jobs.
        hit: their crosses.
        idle: the sources pause at random; stall: the sink does.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: ArgTopKConfig
    jobs: tuple[Job, ...]
    hit: tuple[Cross, ...] = ()
    idle: bool = False
    stall: bool = False
    reset_after: int = 0


Values = Callable[[ArgTopKConfig, np.random.Generator, int], np.ndarray]


def _any(config: ArgTopKConfig, random: np.random.Generator, count: int) -> np.ndarray:
    low, high = signed_range(config.score_bits)
    return random.integers(low, high, count, endpoint=True)


def _few(config: ArgTopKConfig, random: np.random.Generator, count: int) -> np.ndarray:
    return random.choice(_any(config, random, 3), count)


def _equal(config: ArgTopKConfig, random: np.random.Generator, count: int) -> np.ndarray:
    return np.repeat(_any(config, random, 1), count)


def _extremes(config: ArgTopKConfig, random: np.random.Generator, count: int) -> np.ndarray:
    low, high = signed_range(config.score_bits)
    return random.choice([low, low + 1, -1, 0, high - 1, high], count)


VALUES: dict[str, Values] = {
    "any": _any,
    "few": _few,
    "equal": _equal,
    "extremes": _extremes,
    "ascending": lambda config, random, count: np.sort(_any(config, random, count)),
    "descending": lambda config, random, count: -np.sort(~_any(config, random, count)) - 1,
}
"""By its name, a choice of scores."""

Size = Callable[[ArgTopKConfig, np.random.Generator], tuple[int, int]]


def _some(config: ArgTopKConfig, random: np.random.Generator, most: int) -> int:
    return int(random.integers(1, most, endpoint=True))


def _runs(config: ArgTopKConfig, random: np.random.Generator, more: int) -> int:
    """Return some whole runs of scores, and `more`, if so many fit."""
    run = config.lanes * config.max_k
    count = run * int(random.integers(1, min(config.max_scores // run, 4), endpoint=True))
    return min(count + more, config.max_scores)


SIZES: dict[str, Size] = {
    "any": lambda c, r: (
        _some(c, r, min(c.max_scores, 3 * c.lanes * c.max_k)),
        _some(c, r, c.max_k),
    ),
    "k = 1": lambda c, r: (_some(c, r, min(c.max_scores, 2 * c.max_k)), 1),
    "most k": lambda c, r: (_runs(c, r, 0) - _some(c, r, c.lanes) + 1, c.max_k),
    "k = count": lambda c, r: (_some(c, r, c.max_k),) * 2,
    "count < k": lambda c, r: (_some(c, r, c.max_k - 1), c.max_k),
    "whole runs": lambda c, r: (_runs(c, r, 0), _some(c, r, c.max_k)),
    "a short last run": lambda c, r: (_runs(c, r, _some(c, r, c.lanes + 1)), _some(c, r, c.max_k)),
    "tiny": lambda c, r: (_some(c, r, 2 * c.lanes), _some(c, r, 2)),
}
"""By its name, a choice of a job's count and k."""


def crosses(config: ArgTopKConfig) -> list[Cross]:
    """Return every combination that there is."""
    pauses = [(idle, stall) for idle in (False, True) for stall in (False, True)]
    return [(values, size, *pause) for values in VALUES for size in SIZES for pause in pauses]


def random_cases(config: ArgTopKConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; as many as `crosses` has hit every cross.

    A quarter of them begins with a try that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    every = crosses(config)
    order = random.permutation(len(every))
    return [
        _case(config, random, number, every[order[number % len(order)]]) for number in range(count)
    ]


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    hit = {cross for case in cases for cross in case.hit}
    return len(hit) / len(crosses(cases[0].config))


def _case(config: ArgTopKConfig, random: np.random.Generator, number: int, cross: Cross) -> Case:
    idle, stall = cross[2:]
    others = int(random.integers(0, 3))
    kinds = [
        (str(random.choice(list(VALUES))), str(random.choice(list(SIZES))), idle, stall)
        for _ in range(others)
    ]
    kinds.insert(int(random.integers(0, others, endpoint=True)), cross)
    jobs = tuple(_job(config, random, kind) for kind in kinds)
    beats = sum(config.beats(job.count) for job in jobs)
    reset_after = int(random.integers(1, 2 * beats + 1)) if random.random() < 0.25 else 0
    name = f"random {number}: {', '.join(map(str, cross))}"
    return Case(name, config, jobs, tuple(kinds), idle, stall, reset_after)


def _job(config: ArgTopKConfig, random: np.random.Generator, kind: Cross) -> Job:
    count, k = SIZES[kind[1]](config, random)
    return Job(torch.from_numpy(VALUES[kind[0]](config, random, count)).long(), k)

"""A memory that streams tiles into a double buffer while a compute unit works on them."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import simpy


class Tile(NamedTuple):
    """The piece of an operator that is loaded as one and then computed.

    Attributes:
        bytes: read from main memory; seconds: of computing; cycles: the same by the compute unit's
            timing contract.
    """

    bytes: int
    seconds: float
    cycles: int = 0


@dataclass(frozen=True)
class Stretch:
    """When an operator's tiles were loaded and computed, in seconds from the begin.

    Attributes:
        load: begin of the first load and end of the last; compute: the same of computing.
    """

    load: tuple[float, float]
    compute: tuple[float, float]


def run(step: Sequence[Sequence[Tile]], bytes_per_s: float) -> list[Stretch]:
    """Return when each operator of `step` was loaded and computed.

    One process streams every tile from memory into a double buffer, another computes the tiles in
    order. So the memory runs ahead, over operators' boundaries too, until both halves are taken.
    """
    env = simpy.Environment()
    free_halves = simpy.Container(env, capacity=2, init=2)
    loaded = simpy.Store(env)
    loads: list[tuple[float, float]] = []
    computes: list[tuple[float, float]] = []

    def load() -> Generator[Any, Any, None]:
        for tiles in step:
            begin = None
            for tile in tiles:
                yield free_halves.get(1)
                begin = env.now if begin is None else begin
                yield env.timeout(tile.bytes / bytes_per_s)
                loaded.put(tile)
            loads.append((begin or 0.0, env.now))

    def compute() -> Generator[Any, Any, None]:
        for tiles in step:
            begin = None
            for _ in tiles:
                tile = yield loaded.get()
                begin = env.now if begin is None else begin
                yield env.timeout(tile.seconds)
                free_halves.put(1)
            computes.append((begin or 0.0, env.now))

    env.process(load())
    env.process(compute())
    env.run()
    return [Stretch(*both) for both in zip(loads, computes, strict=True)]


def durations(step: Sequence[Sequence[Tile]], bytes_per_s: float) -> list[float]:
    """Return how long each operator takes, from the end of the one before to its own.

    It is what `run` gives, without events: a tile's load begins when the one before is loaded and
    the one two before is computed; computing it begins when it is loaded and the one before done.
    """
    loaded = before = computed = 0.0
    finished = [0.0]
    for tiles in step:
        for tile in tiles:
            loaded = (loaded if loaded > before else before) + tile.bytes / bytes_per_s
            before = computed
            computed = (loaded if loaded > computed else computed) + tile.seconds
        finished.append(computed)
    return [now - last for last, now in pairwise(finished)]

"""Cores that load tiles into double buffers, compute them and finish them, in step at barriers."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import simpy


class Tile(NamedTuple):
    """The piece of an operator that is loaded as one, then computed, then finished.

    Attributes:
        bytes: read from main memory, and written to it.
        load, compute, finish: seconds of the memory channels, the multipliers, and the special
            functions on what these gave.
    """

    bytes: int = 0
    load: float = 0.0
    compute: float = 0.0
    finish: float = 0.0


@dataclass(frozen=True)
class Stage:
    """What lies between two barriers: each core's tiles of one operator.

    Attributes:
        name: what is done; part: its class of operators.
        cores: the tiles of each core, in the order of use.
        latency: seconds from the barrier to the first byte of memory, where there is any.
        barrier: seconds from the last core's end to the next stage's begin.
    """

    name: str
    part: str
    cores: tuple[tuple[Tile, ...], ...]
    latency: float = 0.0
    barrier: float = 0.0

    @property
    def bytes(self) -> int:
        """Bytes that all cores move."""
        return sum(tile.bytes for tiles in self.cores for tile in tiles)

    def delay(self, tiles: Sequence[Tile]) -> float:
        """Return how long a core waits for its first byte."""
        return self.latency if any(tile.bytes for tile in tiles) else 0.0


@dataclass(frozen=True)
class Stretch:
    """When a core's unit worked in a stage, in seconds from the begin: first begin, last end."""

    unit: str
    core: int
    stage: int
    begin: float
    end: float


UNITS = ("memory", "compute", "functions")


def run(stages: Sequence[Stage]) -> list[Stretch]:
    """Return when each core's units worked in each stage, by an event simulation.

    In each core, one process streams the stage's tiles from memory into a double buffer, one
    computes them in order and frees their halves, and one finishes what came out. The next stage
    begins when all cores are through.
    """
    env = simpy.Environment()
    found: list[Stretch] = []

    def unit(
        number: int, core: int, stage: int, seconds: Sequence[float], calls: Sequence[Any]
    ) -> Generator[Any, Any, None]:
        """Work on all tiles: wait for the one before, take the time, and tell the next one."""
        wait, tell = calls
        begin = None
        for each in seconds:
            yield wait()
            begin = env.now if begin is None else begin
            yield env.timeout(each)
            tell()
        if any(seconds):
            found.append(Stretch(UNITS[number], core, stage, begin or 0.0, env.now))

    def work(core: int, number: int, stage: Stage) -> Generator[Any, Any, None]:
        tiles = stage.cores[core]
        yield env.timeout(stage.delay(tiles))
        halves = simpy.Container(env, capacity=2, init=2)
        loaded, computed = (simpy.Container(env, init=0) for _ in range(2))
        calls = [
            (lambda: halves.get(1), lambda: loaded.put(1)),
            (lambda: loaded.get(1), lambda: (halves.put(1), computed.put(1))),
            (lambda: computed.get(1), lambda: None),
        ]
        columns = zip(*((tile.load, tile.compute, tile.finish) for tile in tiles), strict=True)
        yield env.all_of(
            [
                env.process(unit(place, core, number, seconds, calls[place]))
                for place, seconds in enumerate(columns)
            ]
        )

    def whole() -> Generator[Any, Any, None]:
        for number, stage in enumerate(stages):
            cores = [core for core, tiles in enumerate(stage.cores) if tiles]
            yield env.all_of([env.process(work(core, number, stage)) for core in cores])
            yield env.timeout(stage.barrier)

    env.process(whole())
    env.run()
    return found


def duration(stage: Stage) -> float:
    """Return how long a stage takes, with its barrier: what `run` gives, without events.

    A tile's load begins when the one before is loaded and the one two before is computed; computing
    it begins when it is loaded and the one before computed, finishing when that is done.
    """
    distinct = dict.fromkeys(stage.cores)
    return max(stage.delay(tiles) + _through(tiles) for tiles in distinct) + stage.barrier


def _through(tiles: Sequence[Tile]) -> float:
    loaded = before = computed = finished = 0.0
    for tile in tiles:
        loaded = (loaded if loaded > before else before) + tile.load
        before = computed
        computed = (loaded if loaded > computed else computed) + tile.compute
        finished = (computed if computed > finished else finished) + tile.finish
    return finished

"""Where points are simulated: in this process, or in several on this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, NamedTuple

from golden.spec.errors import ConfigError, ToolError
from sim.explore import point as points
from sim.explore.point import Outcome, Point
from sim.explore.space import Space

CHUNK = 8
"""Points that a process gets at a time: enough that asking for them costs little."""

MOST_WORKERS = 1024

Numbered = tuple[int, Point]


class Answer(NamedTuple):
    """What came of a point, and the command that simulates it."""

    number: int
    command: str
    outcome: Outcome


class Engine:
    """Simulates points one after the other, in this process; a context manager."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def __enter__(self) -> "Engine":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what it began."""

    def run(self, batch: Sequence[Numbered]) -> Iterator[Answer]:
        """Yield what comes of points, as it comes."""
        for one in batch:
            yield from answers(self.space, [one])


def answers(space: Space, chunk: Sequence[Numbered]) -> list[Answer]:
    """Return what comes of some points."""
    return [
        Answer(number, points.command(point), points.evaluate(space, point))
        for number, point in chunk
    ]


class LocalEngine(Engine):
    """Simulates points in processes of their own.

    Raises:
        ToolError: one of them died.
    """

    def __init__(self, space: Space, workers: int) -> None:
        super().__init__(space)
        # A fork of a process with threads may hang; a server without any forks these.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(space.model_dump(),)
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes; what they have not begun is left."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, batch: Sequence[Numbered]) -> Iterator[Answer]:
        """Yield what comes of points, as it comes."""
        try:
            begun = [
                self._pool.submit(_work, batch[first : first + CHUNK])
                for first in range(0, len(batch), CHUNK)
            ]
            for done in as_completed(begun):
                yield from done.result()
        except BrokenProcessPool:
            raise ToolError(
                "a process that simulates points was ended from outside (is there enough memory?); "
                "what is done is kept: run the same command again, with fewer --workers if need be"
            ) from None


_space: Space | None = None
"""Of a working process."""


def _begin(fields: dict[str, Any]) -> None:
    """Prepare a working process: an interrupt is for the first process, whose end is its end."""
    global _space
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _space = Space(**fields)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _work(chunk: Sequence[Numbered]) -> list[Answer]:
    assert _space is not None
    return answers(_space, chunk)


def make_engine(name: str, space: Space, workers: int) -> Engine:
    """Return an engine by name.

    Raises:
        ConfigError: there is no such engine, or the number of workers is not allowed.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise ConfigError(f"--workers is {workers}; 1 to {MOST_WORKERS:,} are allowed")
    if name != "local":
        raise ConfigError(f"there is no engine {name!r}; known is local")
    return Engine(space) if workers == 1 else LocalEngine(space, workers)

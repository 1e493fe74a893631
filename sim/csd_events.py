"""Passes over drives that attend, as SimPy events: for traces, and to hold closed forms against."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from sim.csd_engine import DriveJob
from sim.flash_backend import FlashBackend
from sim.flash_load import random_pages
from sim.operators import ATTENTION
from sim.system import Span

COMPUTE = "compute"


@dataclass(frozen=True)
class Layer:
    """Seconds of one layer of a decode step.

    Attributes:
        compute: of what computes. commands: of all sequences' commands to a drive.
        sent, returned: of q, k and v on a drive's link, and of the result.
        read, engine: of a drive's flash and its engine, which overlap; attend: from the begin of
            one to the end of the other.
    """

    compute: float
    commands: float
    sent: float
    read: float
    engine: float
    attend: float
    returned: float


def run(layer: Layer, layers: int, drives: int) -> list[Span]:
    """Return what everything does in a decode step, all drives alike."""
    env = simpy.Environment()
    spans: list[Span] = []

    def busy(unit: str, name: str, part: str, seconds: float) -> Generator[Any, Any, None]:
        if seconds:
            spans.append(Span(unit, name, part, env.now, seconds))
            yield env.timeout(seconds)

    def attend(drive: str) -> Generator[Any, Any, None]:
        yield from busy(f"{drive} link", "q, k, v", ATTENTION, layer.sent)
        pages = env.process(busy(f"{drive} flash", "KV pages", ATTENTION, layer.read))
        yield env.timeout(layer.attend - layer.engine)  # the first head's pages, or a slow flash
        yield pages & env.process(busy(f"{drive} engine", "attention", ATTENTION, layer.engine))
        yield from busy(f"{drive} link", "result", ATTENTION, layer.returned)

    def step() -> Generator[Any, Any, None]:
        for number in range(layers):
            yield from busy(COMPUTE, f"layer {number}", "", layer.compute)
            yield from busy("host", "commands", ATTENTION, layer.commands)
            yield env.all_of([env.process(attend(f"drive {one}")) for one in range(drives)])

    env.process(step())
    env.run()
    return spans


def stored_seconds(layers: int, compute: float, write: float) -> float:
    """Return the time of prompts whose layers are stored while the next one is computed."""
    return compute + (layers - 1) * max(compute, write) + write


def run_stored(layers: int, compute: float, write: float, drives: int) -> list[Span]:
    """Return what everything does while prompts are read and stored.

    One layer at most waits to be stored: two are held where they are computed.
    """
    env = simpy.Environment()
    spans: list[Span] = []
    computed, free = simpy.Store(env), simpy.Container(env, capacity=2, init=2)

    def prompts() -> Generator[Any, Any, None]:
        for number in range(layers):
            yield free.get(1)
            spans.append(Span(COMPUTE, f"layer {number}", "", env.now, compute))
            yield env.timeout(compute)
            computed.put(number)

    def store() -> Generator[Any, Any, None]:
        for _ in range(layers):
            number = yield computed.get()
            for one in range(drives):
                name = f"keys and values of layer {number}"
                spans.append(Span(f"drive {one} flash", name, ATTENTION, env.now, write))
            yield env.timeout(write)
            free.put(1)

    env.process(prompts())
    env.process(store())
    env.run()
    return spans


def page_by_page(drive: DriveJob, seed: int = 0) -> float:
    """Return the seconds of a drive's job with an event for each page: the closed form's yardstick.

    Heads share pages and work evenly. All are asked for at once; the engine works on one after the
    other, each when its pages are there.

    Args:
        seed: of the pages, where they are read here and there.
    """
    jobs = drive.heads
    env = simpy.Environment()
    backend = FlashBackend(env, drive.flash)
    engine = simpy.Resource(env)
    first, then = round(drive.first_pages / jobs), round((drive.pages - drive.first_pages) / jobs)
    numbers = iter(random_pages(drive.flash, (first + then) * jobs, seed))

    def pages(job: int, count: int) -> Sequence[int]:
        if drive.scattered:
            return [next(numbers) for _ in range(count)]
        return range(job * count, (job + 1) * count)

    def attend(job: int) -> Generator[Any, Any, None]:
        if first:
            yield backend.read(pages(job, first))
        yield backend.read(pages(job, then))
        with engine.request() as turn:
            yield turn
            yield env.timeout(drive.engine / jobs)

    for job in range(jobs):
        env.process(attend(job))
    env.run()
    return float(env.now)

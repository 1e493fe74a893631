"""Loads to put on a flash backend: a stream, readers that wait for each page, and arrivals."""

import random
from collections.abc import Generator, Iterator
from typing import Any

import simpy

from sim.flash_backend import FlashBackend
from sim.flash_results import FlashResults
from sim.nand import Flash


def stream(flash: Flash, pages: int, *, skip: bool = True) -> FlashResults:
    """Read `pages` consecutive pages in one request."""
    env = simpy.Environment()
    backend = FlashBackend(env, flash, skip=skip)
    env.run(backend.read(range(pages)))
    return backend.results()


def closed_loop(flash: Flash, pages: int, depth: int, seed: int = 0) -> FlashResults:
    """Read single random pages, `depth` of them always under way."""
    env = simpy.Environment()
    backend = FlashBackend(env, flash)
    numbers = random_pages(flash, pages, seed)

    def reader() -> Generator[Any, Any, None]:
        for number in numbers:
            yield backend.read((number,))

    for _ in range(depth):
        env.process(reader())
    env.run()
    return backend.results()


def arrivals(flash: Flash, pages: int, pages_per_us: float, seed: int = 0) -> FlashResults:
    """Read single random pages that arrive by a Poisson process, whether or not others wait."""
    env = simpy.Environment()
    backend = FlashBackend(env, flash)
    draw = random.Random(seed + 1)

    def source() -> Generator[Any, Any, None]:
        for number in random_pages(flash, pages, seed):
            yield env.timeout(draw.expovariate(pages_per_us) * 1e-6)
            backend.read((number,))

    env.process(source())
    env.run()
    return backend.results()


def random_at_once(flash: Flash, pages: int, seed: int = 0) -> FlashResults:
    """Read random pages in one request: every die has work from the start."""
    env = simpy.Environment()
    backend = FlashBackend(env, flash)
    env.run(backend.read(list(random_pages(flash, pages, seed))))
    return backend.results()


def random_pages(flash: Flash, pages: int, seed: int) -> Iterator[int]:
    """Yield the numbers of `pages` random pages."""
    draw = random.Random(seed)
    for _ in range(pages):
        yield draw.randrange(flash.geometry.pages)

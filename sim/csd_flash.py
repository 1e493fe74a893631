"""How long a drive's flash takes to read many pages at once, without an event for each.

The event model (`flash_backend.py`) is run for a few numbers of pages. Between them time is
interpolated; beyond the last, every further page takes what the closed form of `nand_bounds.py`
says. Tests compare that with event runs of as many pages.
"""

from bisect import bisect_left
from functools import cache
from statistics import fmean

from sim.flash_load import random_at_once, stream
from sim.nand import Flash
from sim.nand_bounds import random_reads, streaming

SIZES = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Numbers of pages for which the event model is run."""

RUNS, PAGES = 8, 8192
"""How many runs are averaged where pages are scattered: RUNS, or as many as have PAGES together."""


def read_seconds(flash: Flash, pages: float, scattered: bool) -> float:
    """Return how long an idle drive reads `pages` pages that are all asked for at once.

    Args:
        pages: how many; a mean over several drives or jobs need not be whole.
        scattered: pages here and there; else in a row.
    """
    if pages <= 0:
        return 0.0
    times = _times(flash, scattered)
    if pages >= SIZES[-1]:
        bounds = random_reads(flash) if scattered else streaming(flash)
        more = (pages - SIZES[-1]) * flash.geometry.page_bytes
        return times[-1] + more / (bounds.gb_per_s * 1e9)
    place = bisect_left(SIZES, pages)
    if place == 0:
        return times[0]
    low, high = SIZES[place - 1], SIZES[place]
    share = (pages - low) / (high - low)
    return times[place - 1] * (1 - share) + times[place] * share


@cache
def _times(flash: Flash, scattered: bool) -> tuple[float, ...]:
    """Return what the event model takes for each of SIZES, on average."""
    if not scattered:
        return tuple(stream(flash, min(size, flash.geometry.pages)).seconds for size in SIZES)
    found = []
    for size in SIZES:
        seeds = range(max(min(RUNS, PAGES // size), 1))
        found.append(fmean(random_at_once(flash, size, seed).seconds for seed in seeds))
    return tuple(found)

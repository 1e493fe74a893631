"""What a drive's flash can do at most, by closed form: the event model's yardstick.

All bounds are for full use without end effects: every die always has a next page to read.

Let n be the pages of one array operation, t_c the command's bus time, t_x a page's bus time, tR the
sense, t_b the copy to the cache register, r the mean repetitions of a page and s their set-up.

- A die reads n pages in `t_c + tR + n t_x`; with cache read, where the next sense runs beside the
  transfers, in `t_c + t_b + max(tR, n t_x)`. A repetition adds `t_c + s + tR + t_x`, as one page
  is read alone.
- Where data go before commands, the D dies of a channel fall in step: all sense, then one after
  another sends, before any senses again. So a die takes `t_c + tR + D n t_x`.
- A channel moves n pages in `t_c + n t_x`; a repetition adds `t_c + t_x`.
- ECC takes a page in its slowest stage's time, 1 + r times.

The smallest of the three is the limit. With D equal dies on a channel and no command time the limit
is reached exactly: dies that share a bus fall in step, one behind another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from sim.nand import PS_PER_US, Flash


@dataclass(frozen=True)
class ReadBounds:
    """Limits of reading pages, in payload bytes of the whole drive.

    Attributes:
        array_gb_per_s, channel_gb_per_s, ecc_gb_per_s: what each could deliver alone.
        gb_per_s: the smallest of them, and `limited_by` its name.
        crossover_dies: dies per channel from which on the channel limits, not the array.
        latency_us: of one page on an idle drive, without repetitions.
    """

    array_gb_per_s: float
    channel_gb_per_s: float
    ecc_gb_per_s: float
    crossover_dies: float
    latency_us: float

    @property
    def gb_per_s(self) -> float:
        """What the drive can deliver."""
        return min(self._limits.values())

    @property
    def limited_by(self) -> str:
        """`array`, `channel` or `ecc`."""
        return min(self._limits, key=self._limits.__getitem__)

    @property
    def _limits(self) -> dict[str, float]:
        return {
            "array": self.array_gb_per_s,
            "channel": self.channel_gb_per_s,
            "ecc": self.ecc_gb_per_s,
        }


def streaming(flash: Flash) -> ReadBounds:
    """Return the limits of reading consecutive pages: planes sense together where they can."""
    return _bounds(flash, flash.planes_per_sense)


def random_reads(flash: Flash) -> ReadBounds:
    """Return the limits of reading single pages here and there: one page per array operation.

    It is reached only while every die has a page to read. With few requests at a time some dies
    idle; see `closed_loop_pages_per_us`.
    """
    return _bounds(flash, 1)


def page_latency_us(flash: Flash, kind: int = 0, pages: int = 1) -> float:
    """Return how long `pages` pages of one array operation take on an idle drive.

    Args:
        kind: index into `read_us`.
    """
    tail = max(0, flash.ecc_page_ps - flash.page_ps)
    if tail and pages > 1:  # the pages queue in ECC
        tail = flash.ecc_page_ps * pages - flash.page_ps * pages
    timing = flash.timing
    on_bus = pages * flash.page_ps / PS_PER_US
    decoded = tail / PS_PER_US + flash.ecc.latency_us
    return timing.command_us + timing.read_us[kind] + on_bus + decoded


def planes_to_fill_channels(flash: Flash) -> int:
    """Return how many planes must sense at any time to keep all channels busy (Little's law)."""
    read_us = _mean(flash.timing.read_us)
    return ceil(flash.geometry.channels * read_us / (flash.page_ps / PS_PER_US))


def program_gb_per_s(flash: Flash) -> float:
    """Return the limit of programming consecutive pages: data in, then tPROG."""
    n, timing = flash.planes_per_sense, flash.timing
    bus_us = timing.command_us + n * flash.page_ps / PS_PER_US
    per_us = min(flash.units_per_channel * n / (bus_us + timing.program_us), n / bus_us)
    return _gb_per_s(flash, per_us)


def closed_loop_pages_per_us(flash: Flash, depth: int) -> tuple[float, float]:
    """Return bounds on single random pages read with `depth` requests always under way.

    The upper one is the asymptotic bound: no more than depth / latency, nor than the drive's limit.
    The lower one is the throughput of a closed network of as many queues, balanced and with
    exponential times; constant times do better. It leaves out the wait for the bus, so it holds
    where the array limits.
    """
    bounds = random_reads(flash)
    limit = bounds.gb_per_s * 1e3 / flash.geometry.page_bytes
    array = bounds.array_gb_per_s * 1e3 / flash.geometry.page_bytes
    units = flash.units_per_channel * flash.geometry.channels
    upper = min(depth / bounds.latency_us, limit)
    return min(array * depth / (depth + units - 1), upper), upper


def queued_latency_us(service_us: float, load: float) -> float:
    """Return the mean time in a queue with Poisson arrivals and constant service (M/D/1).

    That is a die whose transfers take no time, or a channel whose senses take none.

    Args:
        load: of the server, from 0 to below 1. Source: Pollaczek-Khinchine.
    """
    return service_us * (1 + load / (2 * (1 - load)))


def _bounds(flash: Flash, n: int) -> ReadBounds:
    timing, retries = flash.timing, flash.retry.mean
    page_us = flash.page_ps / PS_PER_US
    bus_us = timing.command_us + n * page_us
    again_us = timing.command_us + flash.retry.setup_us + _mean(timing.read_us) + page_us
    die_us = _die_us(flash, n) + n * retries * again_us
    channel_us = bus_us + n * retries * (timing.command_us + page_us)
    ecc_us = max(flash.ecc_page_ps, flash.page_ps) / PS_PER_US * (1 + retries)
    return ReadBounds(
        array_gb_per_s=_gb_per_s(flash, flash.units_per_channel * n / die_us),
        channel_gb_per_s=_gb_per_s(flash, n / channel_us),
        ecc_gb_per_s=_gb_per_s(flash, 1 / ecc_us),
        crossover_dies=die_us / channel_us * flash.planes_per_unit / flash.geometry.planes_per_die,
        latency_us=page_latency_us(flash),
    )


def _die_us(flash: Flash, n: int) -> float:
    """Return how long a die takes for n pages at a time, again and again."""
    timing, on_bus = flash.timing, n * flash.page_ps / PS_PER_US
    if not flash.commands_first:
        return timing.command_us + _mean(timing.read_us) + flash.units_per_channel * on_bus
    if flash.cache_read:
        overlapped = _mean([max(read_us, on_bus) for read_us in timing.read_us])
        return timing.command_us + timing.cache_busy_us + overlapped
    return timing.command_us + _mean(timing.read_us) + on_bus


def _gb_per_s(flash: Flash, pages_per_us: float) -> float:
    """Return the drive's payload rate where each channel has this rate of pages."""
    return flash.geometry.channels * pages_per_us * flash.geometry.page_bytes / 1e3


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

"""What a run of the flash model gives: bandwidth, latencies, use, and where the time went."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sim.flash_channel import Channel
from sim.flash_work import READ, READ_PARTS, Counts
from sim.nand import PS_PER_S, PS_PER_US, Flash

Done = tuple[str, int, int]
"""A request that is done: its kind, when it was submitted and when it finished, in picoseconds."""


@dataclass(frozen=True)
class Latency:
    """Latencies of requests, in microseconds; all 0 where there was none."""

    mean_us: float = 0.0
    p50_us: float = 0.0
    p95_us: float = 0.0
    p99_us: float = 0.0
    max_us: float = 0.0


@dataclass(frozen=True)
class FlashResults:
    """A run from the first submission to the last completion, or until now if work is under way.

    Attributes:
        seconds: between these two.
        pages_read, pages_programmed, blocks_erased: done; pages_repeated: reads again after ECC
            failed; senses: array operations of reading.
        gb_per_s: payload read per second; program_gb_per_s: programmed.
        latency: of read requests.
        channel_use: busy share of each channel, commands and parity included.
        plane_use: busy share of all planes: sensing, programming, erasing.
        read_us: where a page's time went on average, from the request to the decoded page.
    """

    seconds: float
    pages_read: int
    pages_programmed: int
    blocks_erased: int
    pages_repeated: int
    senses: int
    gb_per_s: float
    program_gb_per_s: float
    latency: Latency
    channel_use: tuple[float, ...]
    plane_use: float
    read_us: dict[str, float] = field(default_factory=dict)


def make_results(
    flash: Flash,
    counts: Counts,
    channels: Sequence[Channel],
    done: Sequence[Done],
    waiting: Sequence[int],
    now: int,
) -> FlashResults:
    """Return the results of the requests done, and of what the channels counted.

    Args:
        counts: of all channels together.
        waiting: when the requests were submitted that are not done.
        now: in picoseconds, as all times.
    """
    begin = min((*(submitted for _, submitted, _ in done), *waiting), default=now)
    end = now if waiting else max((finished for _, _, finished in done), default=now)
    span = max(end - begin, 1)
    page_bytes = flash.geometry.page_bytes
    per_page = PS_PER_US * max(counts.read, 1)
    return FlashResults(
        seconds=(end - begin) / PS_PER_S,
        pages_read=counts.read,
        pages_programmed=counts.programmed,
        blocks_erased=counts.erased,
        pages_repeated=counts.repeated,
        senses=counts.senses,
        gb_per_s=counts.read * page_bytes * PS_PER_S / span / 1e9,
        program_gb_per_s=counts.programmed * page_bytes * PS_PER_S / span / 1e9,
        latency=_latency([(end - begin) / PS_PER_US for kind, begin, end in done if kind == READ]),
        channel_use=tuple(channel.counts.bus / span for channel in channels),
        plane_use=counts.array / span / flash.geometry.planes,
        read_us={part: getattr(counts, part) / per_page for part in READ_PARTS},
    )


def _latency(latencies_us: list[float]) -> Latency:
    if not latencies_us:
        return Latency()
    p50, p95, p99 = np.percentile(latencies_us, (50, 95, 99)).tolist()
    return Latency(sum(latencies_us) / len(latencies_us), p50, p95, p99, max(latencies_us))

"""Measures the flash model: its speed, and what it says beside closed forms and beside MQSim.

Run by `python -m benchmarks.nand`, or with the names of tables: speed, crossover, mqsim, drives.
Prints the tables of docs/flash-model.md. Only `speed` depends on the machine; it counts CPU time.
"""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from sim.flash_load import arrivals, closed_loop, random_at_once, stream
from sim.flash_results import FlashResults
from sim.nand import Flash, PlaneReads, Retry, drive_names, load_drive
from sim.nand_bounds import closed_loop_pages_per_us, program_gb_per_s, random_reads, streaming

PAGES = 100_000

MQSIM = (
    # page bytes, tR us, planes per sense, GB/s measured with MQSim 7ec40e3b
    (4096, 40, 1, 2.51),
    (4096, 75, 1, 1.51),
    (16384, 40, 1, 5.97),
    (16384, 75, 1, 4.28),
    (16384, 40, 2, 7.80),
)


def main() -> None:
    """Print all tables, or those named on the command line."""
    tables: dict[str, Callable[[], None]] = {
        "speed": speed,
        "crossover": crossover,
        "mqsim": mqsim,
        "drives": drives,
    }
    for name in sys.argv[1:] or tables:
        tables[name]()
        print(flush=True)


def speed() -> None:
    """Print pages simulated per second of CPU time."""
    flash = _changed(load_drive("instcsd").flash, timing={"command_us": 0.175})
    retried = flash.model_copy(update={"retry": Retry(shares=(0.003,), setup_us=5)})
    load = random_reads(flash).gb_per_s * 1e3 / flash.geometry.page_bytes / 2
    table = Table("pages", "pages simulated per second")
    for what, pages, run in (
        ("one extent, page by page", PAGES, lambda n: stream(flash, n, skip=False)),
        ("one extent of random pages", PAGES, lambda n: random_at_once(flash, n)),
        ("256 readers, a SimPy process each", PAGES, lambda n: closed_loop(flash, n, 256)),
        ("Poisson arrivals at half load", PAGES, lambda n: arrivals(flash, n, load)),
        ("one extent with 0.3 % retries", PAGES, lambda n: stream(retried, n)),
        ("one extent, periods skipped", 100 * PAGES, lambda n: stream(flash, n)),
    ):
        table.row(what, f"{pages / _cpu_seconds(run, pages):,.0f}")


def crossover() -> None:
    """Print how the limit moves from the array to the channel."""
    base = load_drive("instcsd").flash
    table = Table("dies per channel", "array", "channel", "stream", "of the lower", "limited by")
    for dies in range(1, 7):
        flash = _changed(base, geometry={"dies_per_channel": dies})
        bound, rate = streaming(flash), stream(flash, 2000 * flash.geometry.planes).gb_per_s
        table.row(
            dies,
            f"{bound.array_gb_per_s:.2f}",
            f"{bound.channel_gb_per_s:.2f}",
            f"{rate:.2f}",
            f"{rate / bound.gb_per_s:.2%}",
            bound.limited_by,
        )


def mqsim() -> None:
    """Print our figures for MQSim's five runs, by either order on the bus, as if it had 32 dies."""
    columns = ("page", "tR", "planes", "MQSim", "data first", "closed form", "commands first")
    table = Table(*columns)
    for page_bytes, read_us, planes, measured in MQSIM:
        flash = _changed(
            load_drive("instcsd").flash.model_copy(update={"plane_reads": PlaneReads.TOGETHER}),
            geometry={"page_bytes": page_bytes, "planes_per_die": planes},
            timing={"read_us": (read_us,)},
        )
        alike = flash.model_copy(update={"commands_first": False})
        runs = [stream(each, 2000 * flash.geometry.planes).gb_per_s for each in (alike, flash)]
        table.row(
            f"{page_bytes // 1024} KB",
            f"{read_us} us",
            planes,
            f"{measured:.2f}",
            f"{runs[0]:.2f}",
            f"{streaming(alike).gb_per_s:.2f}",
            f"{runs[1]:.2f}",
        )


def drives() -> None:
    """Print what each drive gives: consecutive pages, and random ones with readers that wait."""
    table = Table("drive", "load", "GB/s", "bound", "p50", "p99", "channels busy", "planes busy")
    for name in drive_names():
        flash = load_drive(name).flash
        _drive_row(table, name, "stream", stream(flash, PAGES), streaming(flash).gb_per_s)
        for depth in (1, 16, 64, 256, 1024):
            pages = min(PAGES, 2000 * depth)
            _, high = closed_loop_pages_per_us(flash, depth)
            bound = high * flash.geometry.page_bytes / 1e3
            results = closed_loop(flash, pages, depth)
            _drive_row(table, name, f"{depth} random", results, bound)
        print(f"| {name} | programs | | {program_gb_per_s(flash):.2f} | | | | |")


def _drive_row(table: "Table", name: str, load: str, results: FlashResults, bound: float) -> None:
    busy = sum(results.channel_use) / len(results.channel_use)
    latency = results.latency
    percentiles = (f"{latency.p50_us:.0f} us", f"{latency.p99_us:.0f} us")
    table.row(
        name,
        load,
        f"{results.gb_per_s:.3g}",
        f"{bound:.3g}",
        *(percentiles if load != "stream" else ("", "")),
        f"{busy:.0%}",
        f"{results.plane_use:.0%}",
    )


class Table:
    """Prints a Markdown table row by row."""

    def __init__(self, *columns: str) -> None:
        self.row(*columns)
        self.row(*("---" for _ in columns))

    def row(self, *cells: object) -> None:
        """Print a row."""
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _changed(flash: Flash, **groups: dict[str, Any]) -> Flash:
    """Return the flash with fields of its geometry or timing changed."""
    return flash.model_copy(
        update={
            group: getattr(flash, group).model_copy(update=fields)
            for group, fields in groups.items()
        }
    )


def _cpu_seconds(run: Callable[[int], Any], pages: int, times: Iterable[int] = range(3)) -> float:
    """Return the CPU time of a run, the least of three."""
    seconds = []
    for _ in times:
        begin = time.process_time()
        run(pages)
        seconds.append(time.process_time() - begin)
    return min(seconds)


if __name__ == "__main__":
    main()

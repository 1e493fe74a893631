"""Runs programs on the RTL of cores, with memories behind their ports, and says what came of it."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from golden.core_effects import Effect
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError, ToolError
from golden.spec.isa import PRODUCTS, WORD_BITS, Unit
from hw import cosim
from hw.accelerator import Accelerator, core_prefix
from hw.core import Core
from hw.core_monitor import CoreLog, Writes, read_log, with_monitors
from hw.core_ports import PROGRAM, port_names, prefix
from hw.emit import Design, emit
from hw.memory_model import (
    ChannelCounts,
    MemoryTiming,
    PortRecord,
    read_counts,
    read_record,
    read_written,
    with_memory,
    write_image,
    write_timing,
)

BENCH = "hw.benches.core"

LEAST_CAPACITY = 1 << 16

CAPACITIES = (LEAST_CAPACITY, 1 << 23, 1 << 27, 1 << 30)
"""Bytes that memories may have: few sizes, so that many runs share a simulator."""

MOST_CYCLES = 50_000_000
"""After so many cycles a program is broken off."""


@dataclass(frozen=True)
class ProgramRun:
    """A program and what the host sets before it.

    Attributes:
        words: of the program. bases: base registers that are set, by number.
        length: words that the host says it has; as many as there are by default.
    """

    words: Sequence[int]
    bases: Mapping[int, int] = field(default_factory=dict)
    length: int | None = None


@dataclass(frozen=True)
class CoreResult:
    """What came of some programs.

    Attributes:
        states: of each program: the registers STATUS, ERROR_CODE and ERROR_PC, and the counters.
        log: what the core did.
        memories: what each port's memory holds at the end, uint8 [bytes].
        counts: what each port's memory counted.
        records: what passed each port, where that was recorded.
    """

    states: list[dict[str, int]]
    log: CoreLog
    memories: dict[str, np.ndarray]
    counts: dict[str, ChannelCounts]
    records: dict[str, PortRecord]


def run_programs(
    config: CoreConfig,
    runs: Sequence[ProgramRun],
    images: Mapping[str, np.ndarray],
    *,
    timing: Mapping[str, MemoryTiming] | None = None,
    records: bool = False,
    core: type[Core] = Core,
    most_cycles: int = MOST_CYCLES,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> CoreResult:
    """Run programs one after the other on a core.

    Args:
        images: what the memories "general" and "channel_<k>" hold at first, uint8 [bytes].
        timing: of ports, by name; the default of `MemoryTiming` for others.
        records: what passes between ports and memories is to be recorded.
        core: a broken one, for tests.
        waves: where to write a waveform (FST).

    Raises:
        ToolError: a tool is missing, or the simulation broke off.
    """
    job = _CoreJob("", "units", runs, _contents(config, runs, images), timing or {}, records)
    (result,) = _simulate(core, None, config, [job], most_cycles, waves, progress)
    return result


def run_accelerator(
    config: CoreConfig,
    runs: Sequence[Sequence[ProgramRun]],
    images: Sequence[Mapping[str, np.ndarray]],
    *,
    timing: Sequence[Mapping[str, MemoryTiming]] | None = None,
    records: bool = False,
    accelerator: type[Accelerator] = Accelerator,
    design: Design | None = None,
    most_cycles: int = MOST_CYCLES,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CoreResult]:
    """Run a program on every core of an accelerator, and others when all are over; see above.

    A single core runs without an accelerator around it.

    Args:
        runs: of each core, as many for each.
        images, timing: of each core, as `run_programs` takes them. records: see there.
        accelerator: a broken one, for tests.
        design: what is run instead of what is emitted here: of an accelerator, or of a single core.

    Returns:
        Of each core what came of its programs.

    Raises:
        ToolError: a tool is missing, or the simulation broke off.
    """
    timings = timing or [{} for _ in runs]
    if config.cores == 1:
        contents = _contents(config, runs[0], images[0])
        job = _CoreJob("", "units", runs[0], contents, timings[0], records)
        return _simulate(Core, design, config, [job], most_cycles, waves, progress)
    jobs = [
        _CoreJob(
            core_prefix(number),
            f"core_{number}.units",
            mine,
            _contents(config, mine, image),
            times,
            records,
        )
        for number, (mine, image, times) in enumerate(zip(runs, images, timings, strict=True))
    ]
    return _simulate(accelerator, design, config, jobs, most_cycles, waves, progress)


@lru_cache(maxsize=4)
def _emitted(block: Callable[..., Any], config: CoreConfig) -> Design:
    """Return the design; a model runs on the same one many times, and emitting it takes seconds."""
    return emit(block, config)


@dataclass(frozen=True, eq=False)
class _CoreJob:
    """A core in a simulation.

    Attributes:
        prefix: of its ports. units: its units' place in the design.
        contents: of each port's memory. timing: of ports, the default one for others.
        records: what passes the ports is recorded.
    """

    prefix: str
    units: str
    runs: Sequence[ProgramRun]
    contents: Mapping[str, np.ndarray]
    timing: Mapping[str, MemoryTiming]
    records: bool

    def port(self, name: str) -> str:
        """Return the prefix of a port's signals."""
        return self.prefix + prefix(name)


def _simulate(
    block: Callable[..., Any],
    design: Design | None,
    config: CoreConfig,
    jobs: Sequence[_CoreJob],
    most_cycles: int,
    waves: Path | None,
    progress: cosim.Progress,
) -> list[CoreResult]:
    """Run a core, or several side by side, with memories and monitors; return what came of each."""
    capacities = {
        job.port(name): _capacity(len(job.contents[name]))
        for job in jobs
        for name in port_names(config)
    }
    emitted = design or _emitted(block, config)
    design = with_monitors(with_memory(emitted, capacities), config)
    simulator = cosim.build(design, waves=waves is not None)
    with tempfile.TemporaryDirectory(prefix="nandu-") as name:
        folder = Path(name)
        for job in jobs:
            for port, content in job.contents.items():
                write_image(folder, job.port(port), content)
                speed = job.timing.get(port, MemoryTiming())
                write_timing(folder, job.port(port), speed, records=job.records)
        (folder / "job.json").write_text(json.dumps(_bench_job(config, jobs, most_cycles)))
        if not cosim.run(simulator, BENCH, folder, waves=waves, progress=progress):
            last = (folder / "log").read_text(encoding="utf-8").strip().splitlines()[-3:]
            raise ToolError(f"the simulation of {design.top} broke off: {' / '.join(last)}")
        states = zip(*json.loads((folder / "results.json").read_text()), strict=True)
        return [
            CoreResult(
                list(mine),
                read_log(folder, config, job.units),
                {port: _after(folder, job.port(port), was) for port, was in job.contents.items()},
                {port: read_counts(folder, job.port(port)) for port in job.contents},
                {p: read_record(folder, job.port(p)) for p in job.contents if job.records},
            )
            for job, mine in zip(jobs, states, strict=True)
        ]


def mismatches(log: CoreLog, effects: Sequence[Effect]) -> list[str]:
    """Return where the words that a core wrote on the chip differ from golden's, in words.

    Args:
        effects: of all programs, in their order.
    """
    found = []
    for unit, writes in log.vectors.items():
        mine = [effect for effect in effects if effect.unit is unit and effect.vector]
        found += _compare(unit, writes, mine)
    found += _compare_columns(log.columns, [effect for effect in effects if effect.activation])
    return found


def _compare(unit: Unit, writes: Writes, effects: Sequence[Effect]) -> list[str]:
    """Compare a unit's words of the vector buffer.

    A product's strips may come in any order, but those of one word in the order of its tokens.
    """
    at, found = 0, []
    for effect in effects:
        assert effect.vector is not None
        addresses, values = effect.vector.addresses, effect.vector.values
        mine = slice(at, at + len(addresses))
        at += len(addresses)
        given, words = writes.address[mine], writes.elements[mine]
        if unit in PRODUCTS:
            order, expected = (np.argsort(each, kind="stable") for each in (given, addresses))
            given, words = given[order], words[order]
            addresses, values = addresses[expected], values[expected]
        if not (np.array_equal(given, addresses) and np.array_equal(words, values)):
            found.append(f"{unit.name} at {effect.pc}")
    if len(writes.address) > at:
        found.append(f"{unit.name} gives {len(writes.address) - at} words too many")
    return found


def _compare_columns(writes: Writes, effects: Sequence[Effect]) -> list[str]:
    at, found = 0, []
    for effect in effects:
        assert effect.activation is not None
        activation = effect.activation
        mine = slice(at, at + len(activation.addresses))
        at += len(activation.addresses)
        if not (
            np.array_equal(writes.address[mine], activation.addresses)
            and np.array_equal(writes.elements[mine], activation.values)
            and (writes.lane[mine] == activation.lane).all()
        ):
            found.append(f"MISC at {effect.pc} (bytes)")
    if len(writes.address) > at:
        found.append(f"MISC gives {len(writes.address) - at} words of bytes too many")
    return found


def _contents(
    config: CoreConfig, runs: Sequence[ProgramRun], images: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return what the memories of all ports hold; all programs are in one."""
    parts = []
    for run in runs:
        data = np.array(run.words, "<u4").view(np.uint8)
        parts.append(np.pad(data, (0, -len(data) % config.word_bytes)))
    return {PROGRAM: np.concatenate(parts), **images}


def _bench_job(config: CoreConfig, jobs: Sequence[_CoreJob], most_cycles: int) -> dict[str, object]:
    """Return what the bench is to do, see `hw.benches.core`."""
    cores = [_settings(config, job.runs) for job in jobs]
    return {
        "prefixes": [f"{job.prefix}s_axi" for job in jobs],
        "runs": [
            {"cores": together, "most_cycles": most_cycles} for together in zip(*cores, strict=True)
        ],
    }


def _settings(config: CoreConfig, runs: Sequence[ProgramRun]) -> list[dict[str, object]]:
    """Return what the host sets for each of a core's programs."""
    settings: list[dict[str, object]] = []
    start = 0
    for run in runs:
        words = len(run.words) if run.length is None else run.length
        settings.append({"program": start, "words": words, "bases": dict(run.bases)})
        size = len(run.words) * WORD_BITS // 8
        start += size + -size % config.word_bytes
    return settings


def _capacity(size: int) -> int:
    """Return the size of a memory for `size` bytes: few sizes, so few simulators are built."""
    for capacity in CAPACITIES:
        if size <= capacity:
            return capacity
    raise ConfigError(f"a memory has {size} bytes; {CAPACITIES[-1]} can be simulated")


def _after(folder: Path, prefix: str, content: np.ndarray) -> np.ndarray:
    """Return what the memory behind a port holds at the end."""
    low, written = read_written(folder, prefix)
    after = np.zeros(max(len(content), low + len(written)), np.uint8)
    after[: len(content)] = content
    after[low : low + len(written)] = written
    return after

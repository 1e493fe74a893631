"""Runs programs on the RTL of a core, with memories behind its ports, and says what came of it."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from golden.core_effects import Effect
from golden.spec.core import CoreConfig
from golden.spec.errors import ToolError
from golden.spec.isa import Unit
from hw import cosim
from hw.core import Core
from hw.core_monitor import CoreLog, Writes, read_log, with_monitors
from hw.emit import emit
from hw.memory_model import (
    ChannelCounts,
    MemoryTiming,
    read_counts,
    read_written,
    with_memory,
    write_image,
    write_timing,
)

BENCH = "hw.benches.core"

LEAST_CAPACITY = 1 << 16
"""Bytes of the smallest memory, so that small tests share a simulator."""

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
    """

    states: list[dict[str, int]]
    log: CoreLog
    memories: dict[str, np.ndarray]
    counts: dict[str, ChannelCounts]


def port_names(config: CoreConfig) -> list[str]:
    """Return the names of a core's memory ports, "program" first."""
    return ["program", "general", *(f"channel_{k}" for k in range(config.chains))]


def run_programs(
    config: CoreConfig,
    runs: Sequence[ProgramRun],
    images: Mapping[str, np.ndarray],
    *,
    timing: Mapping[str, MemoryTiming] | None = None,
    core: type[Core] = Core,
    most_cycles: int = MOST_CYCLES,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> CoreResult:
    """Run programs one after the other on a core.

    Args:
        images: what the memories "general" and "channel_<k>" hold at first, uint8 [bytes].
        timing: of ports, by name; the default of `MemoryTiming` for others.
        core: a broken one, for tests.
        waves: where to write a waveform (FST).

    Raises:
        ToolError: a tool is missing, or the simulation broke off.
    """
    programs, starts = _program_image(config, runs)
    contents = {"program": programs, **images}
    capacities = {f"m_axi_{name}": _capacity(len(contents[name])) for name in port_names(config)}
    design = with_monitors(with_memory(emit(core, config), capacities), config)
    simulator = cosim.build(design, waves=waves is not None)
    with tempfile.TemporaryDirectory(prefix="nandu-") as name:
        folder = Path(name)
        for port, content in contents.items():
            write_image(folder, f"m_axi_{port}", content)
            write_timing(folder, f"m_axi_{port}", (timing or {}).get(port, MemoryTiming()))
        job = {"prefixes": ["s_axi"], "runs": _jobs(runs, starts, most_cycles)}
        (folder / "job.json").write_text(json.dumps(job))
        if not cosim.run(simulator, BENCH, folder, waves=waves, progress=progress):
            last = (folder / "log").read_text(encoding="utf-8").strip().splitlines()[-3:]
            raise ToolError(f"the simulation of {design.top} broke off: {' / '.join(last)}")
        states = json.loads((folder / "results.json").read_text())
        return CoreResult(
            [cores[0] for cores in states],
            read_log(folder, config, "units"),
            {port: _after(folder, port, content) for port, content in contents.items()},
            {port: read_counts(folder, f"m_axi_{port}") for port in contents},
        )


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
    """Compare a unit's words of the vector buffer; a product's strips may come in any order."""
    at, found = 0, []
    for effect in effects:
        assert effect.vector is not None
        addresses, values = effect.vector.addresses, effect.vector.values
        mine = slice(at, at + len(addresses))
        at += len(addresses)
        given, words = writes.address[mine], writes.elements[mine]
        if unit is Unit.MV:
            order, expected = _sorted(given, words), _sorted(addresses, values)
            given, words = given[order], words[order]
            addresses, values = addresses[expected], values[expected]
        if not (np.array_equal(given, addresses) and np.array_equal(words, values)):
            found.append(f"{unit.name} at {effect.pc}")
    if len(writes.address) > at:
        found.append(f"{unit.name} gives {len(writes.address) - at} words too many")
    return found


def _sorted(addresses: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.lexsort((*values.T[::-1], addresses))


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


def _program_image(config: CoreConfig, runs: Sequence[ProgramRun]) -> tuple[np.ndarray, list[int]]:
    """Return all programs in one memory, and where each begins."""
    parts, starts, at = [], [], 0
    for run in runs:
        data = np.array(run.words, "<u4").view(np.uint8)
        padded = np.pad(data, (0, -len(data) % config.word_bytes))
        starts.append(at)
        parts.append(padded)
        at += len(padded)
    return np.concatenate(parts), starts


def _jobs(
    runs: Sequence[ProgramRun], starts: Sequence[int], most_cycles: int
) -> list[dict[str, object]]:
    jobs: list[dict[str, object]] = []
    for run, start in zip(runs, starts, strict=True):
        words = len(run.words) if run.length is None else run.length
        settings = {"program": start, "words": words, "bases": dict(run.bases)}
        jobs.append({"cores": [settings], "most_cycles": most_cycles})
    return jobs


def _capacity(size: int) -> int:
    """Return the size of a memory for `size` bytes: few sizes, so few simulators are built."""
    return max(1 << (size - 1).bit_length(), LEAST_CAPACITY)


def _after(folder: Path, port: str, content: np.ndarray) -> np.ndarray:
    """Return what a memory holds at the end."""
    low, written = read_written(folder, f"m_axi_{port}")
    after = np.zeros(max(len(content), low + len(written)), np.uint8)
    after[: len(content)] = content
    after[low : low + len(written)] = written
    return after

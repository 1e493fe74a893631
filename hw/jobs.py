"""Hands the cases of a bench to its simulation, and brings back what it counted."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hw import cosim
from hw.emit import Design


def pauses(count: int) -> list[dict[str, bool]]:
    """Return `count` choices of `idle` and `stall`; any 4 successive ones are all there are."""
    choices = [{"idle": idle, "stall": stall} for idle in (False, True) for stall in (False, True)]
    return [choices[number % len(choices)] for number in range(count)]


def run_job(
    design: Design,
    bench: str,
    cases: Sequence[Mapping[str, Any]],
    arrays: Sequence[Mapping[str, np.ndarray]],
    *,
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> tuple[bool, list[dict[str, Any]]]:
    """Run all cases in one start of the simulator; return the bench's verdict and its counts.

    Args:
        bench: the cocotb module; see `hw.benches.harness`.
        cases: what JSON can hold of each case; arrays: the rest of it, by name.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ToolError: a tool is missing or broke off.
    """
    simulator = cosim.build(design, waves=waves is not None)
    with tempfile.TemporaryDirectory(prefix="nandu-") as name:
        folder = Path(name)
        seeded = [{"seed": seed + 1000 * number, **case} for number, case in enumerate(cases)]
        (folder / "job.json").write_text(json.dumps(seeded), encoding="utf-8")
        named = {f"{i}_{key}": value for i, one in enumerate(arrays) for key, value in one.items()}
        np.savez(folder / "job.npz", **named)  # type: ignore[arg-type]
        passed = cosim.run(simulator, bench, folder, seed=seed, waves=waves, progress=progress)
        counts = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return passed, counts

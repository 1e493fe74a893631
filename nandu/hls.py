"""The HLS C++ of blocks by name: what `generate` and `verify` offer with `--backend hls`."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golden.spec.errors import ConfigError, OutputError
from golden.spec.files import write_text
from hls_gen.hls.blocks import find
from hls_gen.hls.simulation import simulate
from hls_gen.hls.vectors import encode
from nandu.blocks import GENERIC, Generated, with_settings

BACKENDS = ("rtl", "hls")

VECTORS = 20
"""Cases in the file of test vectors that is written beside a kernel."""


def generate(name: str, settings: Sequence[str], target: str, out: Path) -> Generated:
    """Write a block's kernel, test bench, vectors, script and description to the folder `out`.

    Raises:
        ConfigError: unknown block or setting, or a target. OutputError: the folder cannot be
            written.
    """
    _check_target(target)
    block = find(name)
    config = with_settings(block.config, settings)
    start = time.perf_counter()
    kernel = block.kernel(config)
    cases = [block.vectors(case) for case in block.random_cases(config, VECTORS, 0)]
    about = {
        "block": name,
        "top": kernel.top,
        "backend": "hls",
        "config": dataclasses.asdict(config),
        "lanes": kernel.lanes,
        "ports": [{"kind": type(p).__name__} | dataclasses.asdict(p) for p in kernel.ports],
        "c_simulation": f"g++ -std=c++17 -Istand_in {kernel.top}.cpp {kernel.top}_bench.cpp",
        "vectors": [case.name for case in cases],
    }
    files = {**kernel.files, f"{kernel.top}.json": json.dumps(about, indent=2) + "\n"}
    for file, text in files.items():
        write_text(out / file, text)
    _write_vectors(out / "vectors.bin", encode(kernel, cases))
    return Generated(
        kernel.top,
        [str(out / file) for file in (*files, "vectors.bin")],
        1,
        dataclasses.asdict(config),
        kernel.lanes,
        time.perf_counter() - start,
    )


def verify(
    name: str,
    settings: Sequence[str],
    target: str,
    cases: int | None,
    seed: int,
    waves: Path | None = None,
) -> dict[str, Any]:
    """Run random cases of a block in C simulation; return what `nandu verify` says of them.

    There are no cycles in a C simulation, so all that counts them is 0.

    Args:
        cases: how many; None for as many as hit every cross. waves: None; there are none.

    Raises:
        ConfigError: unknown block or setting, a target, a waveform, or no case.
        ToolError: no compiler.
    """
    _check_target(target)
    if waves is not None:
        raise ConfigError("a C simulation has no signals, so leave --waves away")
    block = find(name)
    config = with_settings(block.config, settings)
    crosses = block.crosses(config)
    if cases is None:
        cases = block.cases(config)
    if cases < 1:
        raise ConfigError(f"cases is {cases}; at least 1 is needed")
    chosen = block.random_cases(config, cases, seed)
    results = simulate(block.kernel(config), [block.vectors(case) for case in chosen])
    return {
        "passed": all(result.passed for result in results),
        "cases": len(results),
        "mismatches": sum(result.mismatches for result in results),
        "compared": sum(result.compared for result in results),
        "cycles": 0,
        "stall_cycles": 0,
        "contract_cycles": 0,
        "utilisation": 0.0,
        "coverage": block.coverage(chosen),
        "crosses": crosses,
        "seed": seed,
        "backend": "hls",
        "failed": [result.name for result in results if not result.passed],
    }


def is_hls(backend: str) -> bool:
    """Return whether the back end is hls.

    Raises:
        ConfigError: it is not rtl either.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"there is no back end {backend!r}; known are {', '.join(BACKENDS)}")
    return backend == "hls"


def _write_vectors(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r} ({error.strerror})") from None


def _check_target(target: str) -> None:
    if target != GENERIC:
        raise ConfigError(
            f"target is {target!r}; HLS C++ is the same for all, so leave --target away"
        )

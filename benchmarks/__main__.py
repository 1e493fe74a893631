"""Measures speed, size and use on this machine; prints all and keeps it in benchmarks/results.json.

Run by `make bench`. Machines differ and are noisy: compare ratios within one run.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks import layers
from golden.matrix_engine import Mode
from golden.spec.files import write_text
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from hw import cosim
from hw.emit import emit
from hw.matrix_engine import MatrixEngine
from hw.sparse_chain import SparseChain
from hw.verify_engine import run_cases
from nandu.blocks import synth

RESULTS = Path(__file__).parent / "results.json"
CHAIN = SparseChainConfig()
RESOURCES = (
    ("sparse-chain", "ultrascale+", ()),
    ("sparse-chain", "ultrascale+", ("products_per_dsp=1",)),
    ("sparse-chain", "ecp5", ("products_per_dsp=1",)),
    ("matrix-engine", "ultrascale+", ()),
)
"""Blocks whose resources are counted: name, target, settings."""

Result = TypeVar("Result")


def main() -> None:
    """Measure everything."""
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} x {_processor()}",
        "python": platform.python_version(),
        **measure_emission(),
        **measure_simulation(),
        **measure_demo("--quick", name="demo_quick_s"),
        **measure_demo(name="demo_s"),
    }
    table = Table("measured", "value")
    for name, value in results.items():
        table.add_row(name, f"{value:,.2f}" if isinstance(value, float) else f"{value}")
    Console().print(table)
    resources = [
        {
            "block": block,
            "target": target,
            "set": " ".join(settings),
            **synth(block, settings, target),
        }
        for block, target, settings in RESOURCES
    ]
    layers.show(resources)
    use = [row for which in layers.LAYERS for row in layers.measure(which)]
    layers.show(use)
    results |= {"resources": resources, "layers": use}
    write_text(RESULTS, json.dumps(results, indent=2) + "\n")


def measure_emission() -> dict[str, float]:
    """Time from Python objects to Verilog text, for one chain and for an engine of 64."""
    emit(SparseChain, CHAIN)  # imports are not what is measured
    one, one_s = _timed(lambda: emit(SparseChain, CHAIN))
    many, many_s = _timed(lambda: emit(MatrixEngine, MatrixEngineConfig(chains=64)))
    return {
        "chain_elaboration_s": one_s,
        "chain_verilog_bytes": len(one.verilog),
        "engine_of_64_elaboration_s": many_s,
        "engine_of_64_verilog_bytes": len(many.verilog),
    }


def measure_simulation() -> dict[str, float]:
    """Time builds into an empty cache, and the bench on a layer of a real model's shape at 8:16."""
    usual = os.environ.get("NANDU_CACHE")
    case = layers.random_layer(layers.LAYERS["small"], (576, 1536), 8, Mode.MATRIX_MATRIX)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NANDU_CACHE"] = cache
        _, first_s = _timed(lambda: cosim.build(emit(SparseChain, CHAIN)))
        _, second_s = _timed(lambda: cosim.build(emit(SparseChain, SparseChainConfig(strips=8))))
        run_cases([case])  # builds
        (result,), bench_s = _timed(lambda: run_cases([case]))
        if usual is None:
            del os.environ["NANDU_CACHE"]
        else:
            os.environ["NANDU_CACHE"] = usual
    assert result.passed
    return {
        "first_build_s": first_s,
        "next_build_s": second_s,
        "bench_cycles_per_s": result.cycles / bench_s,
        "bench_products_per_s": result.products / bench_s,
    }


def measure_demo(*words: str, name: str) -> dict[str, float]:
    """Time the demo as a user runs it, with what it has cached before."""
    nandu = Path(sys.executable).with_name("nandu")
    with tempfile.TemporaryDirectory() as out:
        command = [str(nandu), "demo", *words, "--out", out]
        _, seconds = _timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    return {name: seconds}


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _processor() -> str:
    """Return the processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()

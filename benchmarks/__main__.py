"""Measures speed and size on this machine; prints them and keeps them in benchmarks/results.json.

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
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from golden.sparse_matrix import pack
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.files import write_text
from golden.spec.sparse_chain import SparseChainConfig
from hw import cosim
from hw.chain_array import ChainArray
from hw.emit import emit
from hw.sparse_chain import SparseChain
from hw.verify import Case, run_cases

RESULTS = Path(__file__).parent / "results.json"
CONFIG = SparseChainConfig()
ROWS, INPUTS, VECTORS = 576, 1536, 2
"""SmolLM2-135M's down_proj."""

Result = TypeVar("Result")


def main() -> None:
    """Measure everything."""
    results: dict[str, float | str | int] = {
        "machine": f"{os.cpu_count()} x {_processor()}",
        "python": platform.python_version(),
        **measure_emission(),
        **measure_simulation(),
        **measure_demo("--quick", name="demo_quick_s"),
        **measure_demo(name="demo_s"),
    }
    write_text(RESULTS, json.dumps(results, indent=2) + "\n")
    table = Table("measured", "value")
    for name, value in results.items():
        table.add_row(name, f"{value:,.2f}" if isinstance(value, float) else f"{value}")
    Console().print(table)


def measure_emission() -> dict[str, float]:
    """Time from Python objects to Verilog text, for one chain and for 64."""
    emit(SparseChain, CONFIG)  # imports are not what is measured
    one, one_s = _timed(lambda: emit(SparseChain, CONFIG))
    many, many_s = _timed(lambda: emit(ChainArray, CONFIG, 64))
    return {
        "chain_elaboration_s": one_s,
        "chain_verilog_bytes": len(one.verilog),
        "64_chains_elaboration_s": many_s,
        "64_chains_verilog_bytes": len(many.verilog),
        "64_chains_elaboration_over_1_chain": many_s / one_s,
    }


def measure_simulation() -> dict[str, float]:
    """Time builds into an empty cache, and the bench on a layer of a real model's shape at 8:16."""
    design = emit(SparseChain, CONFIG)
    other = emit(SparseChain, SparseChainConfig(accumulator_bits=31))
    usual = os.environ.get("NANDU_CACHE")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NANDU_CACHE"] = cache
        _, first_s = _timed(lambda: cosim.build(design))
        _, second_s = _timed(lambda: cosim.build(other))
        (result,), bench_s = _timed(lambda: run_cases([_layer()], design=design))
        if usual is None:
            del os.environ["NANDU_CACHE"]
        else:
            os.environ["NANDU_CACHE"] = usual
    assert result.passed
    return {
        "first_build_s": first_s,
        "next_build_s": second_s,
        "bench_cycles_per_s": result.cycles / bench_s,
        "bench_vectors_per_s": VECTORS / bench_s,
        "bench_utilisation": result.utilisation,
    }


def measure_demo(*words: str, name: str) -> dict[str, float]:
    """Time the demo as a user runs it, with what it has cached before."""
    nandu = Path(sys.executable).with_name("nandu")
    with tempfile.TemporaryDirectory() as out:
        command = [str(nandu), "demo", *words, "--out", out]
        _, seconds = _timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    return {name: seconds}


def _layer() -> Case:
    random = np.random.default_rng(0)
    weight = torch.from_numpy(random.integers(-128, 128, (ROWS, INPUTS)))
    activations = torch.from_numpy(random.integers(-128, 128, (VECTORS, INPUTS)))
    keep = uniform_keep(ROWS, INPUTS, 8, CONFIG)
    mask = keep_mask(torch.from_numpy(random.random((ROWS, INPUTS))), keep, CONFIG)
    return Case("layer", pack(weight, mask, keep, 64, CONFIG), activations)


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

"""A bench for blocks without a handshake: a word in every cycle, and what stands beside it.

The design has the input `i`, the output `o`, and nothing else but clock and reset. From `job.npz`
the bench reads `words`, uint8 [cycles, bytes of i]; to `results.npz` it writes `seen`, uint8 [runs,
cycles, bytes of o]: `o` before the clock edge that takes each word. Each run begins with a reset,
and `resets`, bool [cycles], asks for more of them with the words. `mutants`, one number for each
run, is what the input `mutant` holds (see `hw.mutation`), where the design has one.
"""

from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from golden.spec.errors import ToolError
from hw import cosim

BENCH = "hw.benches.vectors"


def run_vectors(
    simulator: cosim.Simulator,
    words: np.ndarray,
    folder: Path,
    *,
    resets: np.ndarray | None = None,
    mutants: list[int] | None = None,
) -> np.ndarray:
    """Return what the bench has seen, uint8 [runs, cycles, bytes of o].

    Args:
        words: uint8 [cycles, bytes of i], little-endian.
        resets: bool [cycles], whether a word meets a reset; by default none does.
        mutants: one run for each; by default one run of a design without `mutant`.

    Raises:
        ToolError: the simulation broke off.
    """
    runs = np.array(mutants if mutants is not None else [0])
    resets = np.zeros(len(words), bool) if resets is None else resets
    np.savez(folder / "job.npz", words=words, resets=resets, mutants=runs)
    if not cosim.run(simulator, BENCH, folder):
        log = (folder / "log").read_text(encoding="utf-8").strip().splitlines()
        raise ToolError(f"the simulation of {simulator.top} broke off: {' / '.join(log[-3:])}")
    seen: np.ndarray = np.load(folder / "results.npz")["seen"]
    return seen


@cocotb.test()
async def vectors(dut: Any) -> None:
    """Run all words for every mutant."""
    job = np.load("job.npz")
    words = [int.from_bytes(word.tobytes(), "little") for word in job["words"]]
    clocked = hasattr(dut, "clk")
    if clocked:
        Clock(dut.clk, 4, unit="ns").start()
        await RisingEdge(dut.clk)
    size = (len(dut.o) + 7) // 8
    seen = []
    for mutant in job["mutants"]:
        if hasattr(dut, "mutant"):
            dut.mutant.value = int(mutant)
        for word, reset in zip([0, *words], [True, *job["resets"]], strict=True):
            if hasattr(dut, "rst"):
                dut.rst.value = int(reset)
            dut.i.value = word
            await Timer(3, "ns")
            seen.append(int(dut.o.value).to_bytes(size, "little"))
            if clocked:
                await RisingEdge(dut.clk)
    shape = (len(job["mutants"]), 1 + len(words), size)
    all_seen = np.frombuffer(b"".join(seen), np.uint8).reshape(shape)
    np.savez("results.npz", seen=all_seen[:, 1:])

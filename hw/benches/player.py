"""Starts each case of `hw.player` and waits for its end; everything else happens in Verilog."""

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer

LOOK_CYCLES = 200
"""Between two looks at whether a case is complete."""

LINGER_CYCLES = 64
"""Cycles that a case goes on after its last transfer, so that an output too many shows."""

CLOCK_NS = 2


@cocotb.test()
async def player(dut: Any) -> None:
    """Play every case of the job."""
    job = json.loads(Path("job.json").read_text())
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    tries = []
    for number, case in enumerate(job):
        for name, value in case["signals"].items():
            getattr(dut, name).value = value
        if case["reset_after"]:
            tries.append(0)
            await _start(dut)
            await ClockCycles(dut.clk, case["reset_after"])
        tries.append(1)
        await _start(dut)
        idle = 0
        while idle <= (LINGER_CYCLES if int(dut.complete.value) else case["max_idle_cycles"]):
            # `ClockCycles` would enter Python in each cycle.
            await Timer(LOOK_CYCLES * CLOCK_NS, "ns")
            await RisingEdge(dut.clk)
            idle = int(dut.idle_cycles.value)
        Path("progress").write_text(f"{(number + 1) / len(job):.4f}")
    dut.run.value = 0
    Path("tries.json").write_text(json.dumps(tries))


async def _start(dut: Any) -> None:
    """Reset for one cycle: in a longer one, a register that is not reset is flushed unseen."""
    dut.run.value = 0
    dut.rst.value = 1
    dut.load.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    dut.load.value = 0
    dut.run.value = 1

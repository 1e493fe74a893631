"""The host of one or several cores: starts their programs over AXI4-Lite, and waits for their ends.

Memories are part of the design, so nothing else passes through Python.
"""

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from golden.spec.control import COUNTERS, REGISTERS, Control, Status, start_sequence

CLOCK_NS = 2

LOOK_CYCLES = 500
"""Between two looks at whether the programs have ended."""

STOP_CYCLES = 20_000
"""After a stop; a core that is busy still is left to itself, and runs nothing more."""


@cocotb.test()
async def core(dut: Any) -> None:
    """Run the programs of the job, one after the other.

    The job is a list of runs; a run has a list `cores` with what `start_sequence` takes, for each
    core, and `most_cycles`, after which it is broken off.
    """
    job = json.loads(Path("job.json").read_text())
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    hosts = [Host(dut, prefix) for prefix in job["prefixes"]]
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    results = []
    for number, run in enumerate(job["runs"]):
        results.append(await _run(hosts, run))
        Path("progress").write_text(f"{(number + 1) / len(job['runs']):.4f}")
        if any(state["STATUS"] & Status.BUSY for state in results[-1]):
            results += results[-1:] * (len(job["runs"]) - len(results))
            break
    Path("results.json").write_text(json.dumps(results))


async def _run(hosts: list["Host"], run: dict[str, Any]) -> list[dict[str, int]]:
    """Run a program on each core; return their status, error and counters."""
    for host, settings in zip(hosts, run["cores"], strict=True):
        bases = {int(number): address for number, address in settings["bases"].items()}
        sequence = start_sequence(settings["program"], settings["words"], bases)
        for offset, value in sequence:
            await host.write(offset, value)
    left = run["most_cycles"]
    while (status := await _status(hosts)) & Status.BUSY and left > -STOP_CYCLES:
        # Where one core has failed others may wait for it at a barrier.
        if left <= 0 or status & Status.ERROR:
            for host in hosts:
                await host.write(REGISTERS["CONTROL"].offset, Control.STOP)
        await Timer(LOOK_CYCLES * CLOCK_NS, "ns")
        left -= LOOK_CYCLES
    return [await host.state() for host in hosts]


async def _status(hosts: list["Host"]) -> int:
    """Return all bits of STATUS that some core has."""
    status = 0
    for host in hosts:
        status |= await host.read(REGISTERS["STATUS"].offset)
    return status


class Host:
    """One core's AXI4-Lite port, with one access at a time."""

    def __init__(self, dut: Any, prefix: str) -> None:
        self.dut = dut
        self.prefix = prefix
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awprot", "arprot"):
            self._port(name).value = 0

    def _port(self, name: str) -> Any:
        return getattr(self.dut, f"{self.prefix}_{name}")

    async def write(self, offset: int, value: int) -> int:
        """Write a register; return the response."""
        for name, given in (("awaddr", offset), ("wdata", value), ("wstrb", 15)):
            self._port(name).value = given
        waiting = {"aw", "w"}
        for channel in waiting:
            self._port(f"{channel}valid").value = 1
        self._port("bready").value = 1
        while True:
            await RisingEdge(self.dut.clk)
            for channel in list(waiting):
                if int(self._port(f"{channel}ready").value):
                    self._port(f"{channel}valid").value = 0
                    waiting.remove(channel)
            if int(self._port("bvalid").value):
                self._port("bready").value = 0
                return int(self._port("bresp").value)

    async def read(self, offset: int) -> int:
        """Return a register."""
        self._port("araddr").value = offset
        self._port("arvalid").value = 1
        self._port("rready").value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if int(self._port("arready").value):
                self._port("arvalid").value = 0
            if int(self._port("rvalid").value):
                self._port("rready").value = 0
                return int(self._port("rdata").value)

    async def state(self) -> dict[str, int]:
        """Return status, error and counters."""
        names = ("STATUS", "ERROR_CODE", "ERROR_PC")
        state = {name: await self.read(REGISTERS[name].offset) for name in names}
        for name in COUNTERS:
            low = await self.read(REGISTERS[f"{name}_LOW"].offset)
            state[name] = low | await self.read(REGISTERS[f"{name}_HIGH"].offset) << 32
        return state

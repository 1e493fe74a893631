"""The bench of the control registers: a host at their AXI4-Lite port, a core behind them, a log.

The host is an AxiLiteMaster of cocotbext-axi. The core is random, and keeps to the contract of
`hw.control_registers`. The log holds every port in every cycle.
"""

import json
import logging
import random
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden.spec.isa import PC_BITS, ErrorCode, Unit
from hw.benches.harness import reset
from hw.benches.streams import bursts, never

MAX_CYCLES = 20_000
"""A case ends here at the latest, if it says nothing else."""

REST_CYCLES = 10
"""So many are logged behind the last access."""

HOST = (
    *("s_axi_awaddr", "s_axi_awvalid", "s_axi_wdata", "s_axi_wstrb", "s_axi_wvalid"),
    *("s_axi_bready", "s_axi_araddr", "s_axi_arvalid", "s_axi_rready"),
)
CORE = (
    *("busy", "done", "interrupt_request", "failed", "error", "busy_units", "waiting_units"),
    *("starved", "word_taken", "clear"),
)
OUTPUTS = (
    *("s_axi_awready", "s_axi_wready", "s_axi_bresp", "s_axi_bvalid", "s_axi_arready"),
    *("s_axi_rdata", "s_axi_rresp", "s_axi_rvalid", "start", "stop", "o_program", "bases", "irq"),
)
COLUMNS = (*HOST, *CORE, *OUTPUTS)
"""The ports of the log, in their order."""


@cocotb.test()
async def control(dut: Any) -> None:
    """Run every case of the job, and log it.

    A case has `seed`, `idle` and `stall`: whether the host pauses before what it sends, or takes.
    `writes` are (address, data, strobe), `reads` addresses; both are sent as fast as the registers
    take them, writes and reads side by side. `script` follows, one access after the other:
    ("write", address, bytes in hexadecimal), ("read", address, bytes), or ("until", address, mask):
    read a word until it has one of these bits. `reset_after` some cycles the case is broken off by
    a reset, and begun again; `most_cycles`: when it ends even if the host is not done.

    A result has `rows`, the values of `COLUMNS` in every cycle, and `answers` to the script: the
    response of each access, and what was read in hexadecimal.
    """
    from cocotbext.axi import AxiLiteBus, AxiLiteMaster

    logging.getLogger("cocotb").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", DeprecationWarning)  # cocotbext-axi speaks cocotb 1
    Clock(dut.clk, 2, unit="ns").start()
    dut.rst.value = 0
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    await RisingEdge(dut.clk)  # else the master would see the first reset late
    results = []
    for case in json.loads(Path("job.json").read_text()):
        if "mutant" in case:
            dut.mutant.value = case["mutant"]
        if case.get("reset_after"):
            await _run_case(dut, master, case, case["reset_after"])
        results.append(await _run_case(dut, master, case, case.get("most_cycles", MAX_CYCLES)))
        Path("results.json").write_text(json.dumps(results))


async def _run_case(
    dut: Any, master: Any, case: Mapping[str, Any], most_cycles: int
) -> dict[str, Any]:
    """Reset, and run a case to its end or for so many cycles."""
    channels = {name: getattr(half, f"{name}_channel") for name, half in _halves(master)}
    for number, (name, channel) in enumerate(channels.items()):
        pauses = case["stall"] if name in ("b", "r") else case["idle"]
        mine = bursts(case["seed"] + number, 0.5) if pauses else never()
        channel.set_pause_generator(mine)
    core = _Core(case["seed"])
    core.drive(dut)
    await reset(dut)
    answers: list[tuple[int, str]] = []
    host = cocotb.start_soon(_be_host(master, channels, case, answers))
    rows: list[list[int]] = []
    pins = [getattr(dut, name) for name in COLUMNS]
    edge, rest = RisingEdge(dut.clk), REST_CYCLES
    while rest and len(rows) < most_cycles:
        await edge
        rows.append([int(pin.value) for pin in pins])
        core.step(bool(int(dut.start.value)), bool(int(dut.stop.value)))
        core.drive(dut)
        rest = rest - 1 if host.done() else REST_CYCLES
    host.cancel()
    return {"rows": rows, "answers": answers}


def _halves(master: Any) -> list[tuple[str, Any]]:
    """Return the name of each channel, and the half of the master that has it."""
    write, read = master.write_if, master.read_if
    return [("aw", write), ("w", write), ("b", write), ("ar", read), ("r", read)]


async def _be_host(
    master: Any,
    channels: Mapping[str, Any],
    case: Mapping[str, Any],
    answers: list[tuple[int, str]],
) -> None:
    """Do all accesses of a case."""
    from cocotbext.axi import axil_channels as kinds

    writes, reads = case.get("writes", []), case.get("reads", [])
    sent: dict[str, list[Any]] = {
        "aw": [kinds.AxiLiteAWTransaction(awaddr=address) for address, _, _ in writes],
        "w": [kinds.AxiLiteWTransaction(wdata=data, wstrb=strobe) for _, data, strobe in writes],
        "ar": [kinds.AxiLiteARTransaction(araddr=address) for address in reads],
    }
    tasks = [cocotb.start_soon(_send(channels[name], all_)) for name, all_ in sent.items()]
    tasks += [cocotb.start_soon(_take(channels["b"], len(writes)))]
    tasks += [cocotb.start_soon(_take(channels["r"], len(reads)))]
    try:
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
    for kind, address, what in case.get("script", []):
        answers.append(await _access(master, kind, address, what))


async def _send(channel: Any, transactions: list[Any]) -> None:
    for transaction in transactions:
        await channel.send(transaction)
    await channel.wait()


async def _take(channel: Any, count: int) -> None:
    for _ in range(count):
        await channel.recv()


async def _access(master: Any, kind: str, address: int, what: Any) -> tuple[int, str]:
    """Do one access of a script; return its response, and what was read."""
    if kind == "write":
        written = await master.write(address, bytes.fromhex(what))
        return int(written.resp), ""
    while True:
        found = await master.read(address, what if kind == "read" else 4)
        if kind == "read" or int.from_bytes(found.data, "little") & what:
            return int(found.resp), found.data.hex()


class _Core:
    """A core that runs programs of random lengths, to any end; while it rests its words are noise.

    `values` are the core's side of the ports, by name.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._left = 0  # cycles of the program
        self._fails_at = 0  # when so many are left; 0 for never
        self._ends = False  # with an END
        self.step(False, False)

    def step(self, started: bool, stopped: bool) -> None:
        """Go on to the next cycle."""
        choose = self._random
        self._left = max(self._left - 1, 0)
        if started:
            self._left = choose.randint(1, 60)
            self._ends = choose.random() < 0.7
            self._fails_at = 0 if self._ends else choose.randint(1, self._left)
        if stopped and self._left:
            self._left, self._ends, self._fails_at = choose.randint(0, 4), False, 0
        busy = self._left > 0
        fails = busy and self._left == self._fails_at
        if fails and choose.random() < 0.5:  # and once more
            self._fails_at = choose.randint(0, self._left - 1)
        self.values = {
            "busy": busy,
            "done": self._left == 1 and self._ends,
            "interrupt_request": choose.getrandbits(1),
            "failed": fails,
            "error": choose.randrange(1, len(ErrorCode)) | choose.getrandbits(PC_BITS) << 3,
            "busy_units": choose.getrandbits(len(Unit)),
            "waiting_units": choose.getrandbits(len(Unit)),
            "starved": choose.getrandbits(1),
            "word_taken": choose.getrandbits(1),
            "clear": choose.random() < 0.01,
        }

    def drive(self, dut: Any) -> None:
        """Put the values on the ports."""
        for name, value in self.values.items():
            getattr(dut, name).value = int(value)

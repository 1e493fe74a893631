"""The bench of the AXI4 masters: a memory at their port, streams at their other side, and a log.

The memory is a RAM of cocotbext-axi, or the model that is already part of the design. The log holds
every handshake of every cycle; `hw.benches.axi_models` tells what they must be.
"""

import json
import logging
import warnings
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.benches.harness import integers, reset
from hw.benches.streams import StreamSink, StreamSource, bursts, never

QUIET_CYCLES = 200
"""A case ends when nothing has moved for so long, and the master is not busy."""

MAX_CYCLES = 20_000
"""It ends here at the latest, if the case says nothing else."""

CHANNELS = ("ar", "r", "aw", "w", "b")


@cocotb.test()
async def axi(dut: Any) -> None:
    """Run every case of the job, and log it.

    A case has the rows `i_job` and, for a writer, `i`. It may have: `idle`, `stall`, `slow_memory`:
    who pauses; `memory`: bytes of a RAM, which is then made here, or else it is in the design;
    `bad`: ranges of its addresses, whose accesses fail; `reset_after` some cycles; `stop_after`
    some cycles, then a reset of the design and not of the RAM as soon as nothing is in flight;
    `most_cycles`: when it ends even if the master does not come to rest.
    """
    logging.getLogger("cocotb").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", DeprecationWarning)  # cocotbext-axi speaks cocotb 1
    cases = json.loads(Path("job.json").read_text())
    arrays = np.load("job.npz")
    Clock(dut.clk, 2, unit="ns").start()
    dut.stop.value = 0
    results = []
    for number, case in enumerate(cases):
        prefix = f"{number}_"
        mine = {k.removeprefix(prefix): arrays[k] for k in arrays if k.startswith(prefix)}
        results.append(await _run_case(dut, case, mine))
        Path("results.json").write_text(json.dumps(results))


async def _run_case(
    dut: Any, case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    if "mutant" in case:
        dut.mutant.value = case["mutant"]
    ram = _Ram(dut, case, arrays["memory"]) if "memory" in arrays else None
    await reset(dut)
    wrong = ""
    if case.get("reset_after") or case.get("stop_after"):
        streams = _Streams(dut, case, arrays)
        for _ in range(case.get("reset_after") or case["stop_after"]):
            await RisingEdge(dut.clk)
        if case.get("stop_after"):
            wrong = await _drain(dut)
            if ram:
                ram.keep_through_reset()
        streams.stop()
        await reset(dut)
        dut.stop.value = 0
    streams = _Streams(dut, case, arrays)
    log = await _watch(dut, case.get("most_cycles", MAX_CYCLES))
    streams.stop()
    if ram:
        ram.stop()
    taken = [f"{word:x}" for word in streams.sink.taken] if streams.sink else []
    return {
        "log": log,
        "taken": taken,
        "ram": ram.content() if ram else "",
        "wrong": wrong or (ram.refusal if ram else ""),
    }


class _Streams:
    """The models of all streams that the design has; they run from here on."""

    def __init__(self, dut: Any, case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        seed = case["seed"]
        self._sources, self._tasks = [], []
        for k, name in enumerate(n for n in ("i_job", "i") if n in arrays):
            pauses = bursts(seed + k, 0.4) if case.get("idle") else never()
            source = StreamSource(dut, name, pauses)
            self._sources.append(source)
            self._tasks.append(cocotb.start_soon(source.send(integers(arrays[name]))))
        self.sink = None
        if hasattr(dut, "o__ready"):
            pauses = bursts(seed + 10, 0.5) if case.get("stall") else never()
            self.sink = StreamSink(dut, "o", pauses)
            self._tasks.append(cocotb.start_soon(self.sink.take(1 << 30)))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for source in self._sources:
            source.stop()


class _Ram:
    """A RAM of cocotbext-axi, whose accesses in some ranges of addresses fail."""

    def __init__(self, dut: Any, case: Mapping[str, Any], content: np.ndarray) -> None:
        from cocotbext.axi import AxiRamRead, AxiRamWrite, AxiReadBus, AxiWriteBus

        bad = case.get("bad", [])
        self.refusal = ""  # the rule of AXI4 that the design broke
        self._memory = memory = bytearray(content.tobytes())

        def check(address: int) -> None:
            if any(low <= address < high for low, high in bad):
                raise ValueError(f"there is nothing at {address:#x}")

        async def note_refusal(process: Awaitable[None]) -> None:
            try:
                await process
            except AssertionError as error:
                self.refusal = repr(error)

        class Read(AxiRamRead):
            async def _process_read(self) -> None:
                await note_refusal(super()._process_read())

            async def _read(self, address: int, length: int) -> bytes:
                check(address)
                return bytes(memory[address : address + length])

        class Write(AxiRamWrite):
            async def _process_write(self) -> None:
                await note_refusal(super()._process_write())

            async def _write(self, address: int, data: bytes) -> None:
                check(address)
                memory[address : address + len(data)] = data

        kind, bus = (Read, AxiReadBus) if hasattr(dut, "m_axi_arvalid") else (Write, AxiWriteBus)
        self._model = kind(bus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, mem=memory)
        self._channels = [
            channel
            for name in CHANNELS
            if (channel := getattr(self._model, f"{name}_channel", None)) is not None
        ]
        if case.get("slow_memory"):
            for k, channel in enumerate(self._channels):
                channel.set_pause_generator(bursts(case["seed"] + 20 + k, 0.5))

    def keep_through_reset(self) -> None:
        """Go on through the resets that follow."""
        for part in (self._model, *self._channels):
            part._update_reset = lambda: None

    def content(self) -> str:
        """Return all that the RAM holds, in hexadecimal digits."""
        return self._memory.hex()

    def stop(self) -> None:
        """Leave the port alone, for ever."""
        self.keep_through_reset()
        for channel in self._channels:
            channel.clear_pause_generator()
        for part in (self._model, *self._channels):
            part._handle_reset(True)


async def _drain(dut: Any) -> str:
    """Stop the master, and wait until nothing is in flight; return what it does wrong, or ""."""
    dut.stop.value = 1
    channel = "m_axi_ar" if hasattr(dut, "m_axi_arvalid") else "m_axi_aw"
    valid, ready = (getattr(dut, f"{channel}{pin}") for pin in ("valid", "ready"))
    may_offer = True  # in the first cycle it cannot know yet
    await RisingEdge(dut.clk)
    for _ in range(MAX_CYCLES):
        await RisingEdge(dut.clk)
        if int(valid.value) and not may_offer:
            return "a burst begins after stop"
        if not int(dut.busy.value):
            return ""
        may_offer = bool(int(valid.value)) and not int(ready.value)
    return "it stays busy after stop"


async def _watch(dut: Any, most: int) -> dict[str, str]:
    """Log every cycle until nothing has moved for a while: valid and ready, and other outputs.

    Returns:
        By the stream's name, a digit per cycle: 0 for neither, 1 valid, 2 ready, 3 for both. By
        the names of other outputs and of the responses, their values in every cycle. `bursts`:
        "address:beats" of each; `beats`: whether each word at the port is its burst's last.
    """
    edge = RisingEdge(dut.clk)
    pins = {}
    for name in ("i_job", "i", "o", *(f"m_axi_{channel}" for channel in CHANNELS)):
        joint = "" if name.startswith("m_axi") else "__"
        if hasattr(dut, f"{name}{joint}valid"):
            pins[name] = [getattr(dut, f"{name}{joint}{pin}") for pin in ("valid", "ready")]
    levels = {n: getattr(dut, n) for n in ("busy", "done", "error") if hasattr(dut, n)}
    bad = {n: getattr(dut, f"m_axi_{n}") for n in ("rresp", "bresp") if hasattr(dut, f"m_axi_{n}")}
    log: dict[str, list[str]] = {name: [] for name in (*pins, *levels, *bad, "bursts", "beats")}
    quiet = 0
    while quiet < QUIET_CYCLES and len(log["i_job"]) < most:
        await edge
        quiet += 1
        for name, (valid, ready) in pins.items():
            digit = int(valid.value) + 2 * int(ready.value)
            log[name].append(str(digit))
            if digit == 3:
                quiet = 0
                _log_transfer(dut, name, log)
        quiet = 0 if int(dut.busy.value) else quiet
        for name, pin in {**levels, **bad}.items():
            value = int(pin.value) if pin.value.is_resolvable else 0
            log[name].append(f"{value:x}")
    return {
        name: ("" if name in pins or name == "done" else " ").join(values)
        for name, values in log.items()
    }


def _log_transfer(dut: Any, name: str, log: dict[str, list[str]]) -> None:
    channel = name.removeprefix("m_axi_")
    if channel in ("ar", "aw"):
        address, more = (int(getattr(dut, f"{name}{what}").value) for what in ("addr", "len"))
        log["bursts"].append(f"{address}:{more + 1}")
    elif channel in ("r", "w"):
        log["beats"].append(str(int(getattr(dut, f"{name}last").value)))

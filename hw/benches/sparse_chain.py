"""The bench of the sparse chain: every sum against golden, every cycle against the contract."""

from collections.abc import Mapping
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hw.benches.harness import MAX_IDLE_CYCLES, Report, break_off, compare, drive, reset, run_job
from hw.benches.streams import StreamSink, StreamSource, bursts, never


class Monitor:
    """Counts what crosses the chain's ports; knows neither golden nor the contract."""

    def __init__(self, dut: Any, lanes: int, beats: int, outputs: int, report: Report) -> None:
        self._dut = dut
        self._report = report
        self._lanes = lanes
        self._beats_left = beats
        self._outputs_left = outputs
        self.cycles = 0
        self.stall_cycles = 0
        self.products = 0

    async def watch(self) -> None:
        """Count from the first beat offered to the last sums given, or until nothing moves.

        A cycle is a stall only where a stream gives the chain a reason: an input has nothing to
        offer, or the sums that it gives are not taken. A chain that waits without one takes
        more cycles than contract and stalls explain.
        """
        dut, edge = self._dut, RisingEdge(self._dut.clk)
        weight_valid, weight_ready = dut.i_weight__valid, dut.i_weight__ready
        block_valid, blocked = dut.i_block__valid, dut.blocked
        out_valid, out_ready = dut.o__valid, dut.o__ready
        total = self._beats_left
        idle_cycles = 0
        while self._outputs_left and idle_cycles < MAX_IDLE_CYCLES:
            await edge
            offered = bool(int(weight_valid.value) and int(block_valid.value))
            took = bool(int(weight_valid.value) and int(weight_ready.value))
            gave = bool(int(out_valid.value) and int(out_ready.value))
            waits = bool(int(out_valid.value)) and not gave
            idle_cycles = 0 if took or gave else idle_cycles + 1
            if self._beats_left == total and not offered:
                continue
            self.cycles += 1
            if self._beats_left:
                stalled = not took and (waits or not offered)
            else:
                # All weights are in: only a full output holds the pipeline, or the last sums wait.
                stalled = waits and (bool(int(blocked.value)) or self._outputs_left == 1)
            self.stall_cycles += stalled
            self.products += self._lanes * took
            self._beats_left -= took
            self._outputs_left -= gave
            if self.cycles % 1000 == 0:
                self._report(1 - self._beats_left / total)


@cocotb.test()
async def sparse_chain(dut: Any) -> None:
    """Run every case of the job; fail when one differs from golden or from the contract."""
    await run_job(dut, _run_case)


async def _run_case(
    dut: Any, case: Mapping[str, Any], arrays: Mapping[str, np.ndarray], report: Report
) -> dict[str, Any]:
    expected, seed = arrays["expected"], case["seed"]
    # Every token streams the whole matrix.
    weights = np.tile(arrays["weights"], (case["tokens"], 1))
    weight_pauses = bursts(seed) if case["idle"] else never()
    block_pauses = bursts(seed + 1, 0.1) if case["idle"] else never()
    feeds = [
        (StreamSource(dut, "i_weight", weight_pauses), weights),
        (StreamSource(dut, "i_block", block_pauses), arrays["blocks"]),
    ]
    sink = StreamSink(dut, "o", bursts(seed + 2, 0.6) if case["stall"] else never())
    if case["mutant"]:
        dut.mutant.value = case["mutant"]
    await reset(dut)
    if case["reset_after"]:
        await break_off(dut, feeds, case["reset_after"])
    monitor = Monitor(dut, expected.shape[1], len(weights), len(expected), report)
    extra = await drive(dut, feeds, sink, expected, monitor)
    return {
        "cycles": monitor.cycles,
        "stall_cycles": monitor.stall_cycles,
        "products": monitor.products,
        **compare(sink.taken, expected, case["accumulator_bits"], extra, "row"),
    }

"""The bench of the sparse chain: every sum against golden, every cycle against the contract.

Reads `job.json` and `job.npz` (written by `hw.verify`), runs each case, and writes `results.json`.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.benches.streams import StreamSink, StreamSource, bursts, never

MAX_IDLE_CYCLES = 2_000
"""Cycles without any transfer after which the chain is stuck; pauses are far shorter."""


class Monitor:
    """Counts what crosses the chain's ports; knows neither golden nor the contract."""

    def __init__(
        self, dut: Any, lanes: int, beats: int, outputs: int, report: Callable[[float], None]
    ) -> None:
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
    job = json.loads(Path("job.json").read_text())
    arrays = np.load("job.npz")
    Clock(dut.clk, 2, unit="ns").start()
    results = []
    for number, case in enumerate(job["cases"]):
        results.append(await _run(dut, job, case, arrays, number))
        Path("results.json").write_text(json.dumps(results))
    for case, result in zip(job["cases"], results, strict=True):
        assert result["mismatches"] == 0, f"{case['name']}: {result['first_mismatch']}"
        expected = case["contract_cycles"] + result["stall_cycles"]
        assert result["cycles"] == expected, (
            f"{case['name']}: {result['cycles']} cycles; contract and stalls give {expected}"
        )


async def _run(
    dut: Any, job: dict[str, Any], case: dict[str, Any], arrays: Any, number: int
) -> Any:
    weights = arrays[f"weights_{number}"]
    blocks = arrays[f"blocks_{number}"]
    expected = arrays[f"expected_{number}"]
    tokens, seed = case["tokens"], case["seed"]

    def report(done: float) -> None:
        Path("progress").write_text(f"{(number + done) / len(job['cases']):.4f}")

    monitor = Monitor(dut, job["lanes"], len(weights) * tokens, len(expected), report)
    weight_pauses = bursts(seed) if case["idle"] else never()
    block_pauses = bursts(seed + 1, 0.1) if case["idle"] else never()
    weight_source = StreamSource(dut, "i_weight", weight_pauses)
    block_source = StreamSource(dut, "i_block", block_pauses)
    sink = StreamSink(dut, "o", bursts(seed + 2, 0.6) if case["stall"] else never())
    if case["mutant"]:
        dut.mutant.value = case["mutant"]
    await _reset(dut)
    if case["reset_after"]:
        await _break_off(dut, weight_source, block_source, weights, blocks, case["reset_after"])
    models = [
        cocotb.start_soon(weight_source.send(_integers(weights, tokens))),
        cocotb.start_soon(block_source.send(_integers(blocks, 1))),
        cocotb.start_soon(sink.take(len(expected))),
    ]
    await monitor.watch()
    for _ in range(2):  # the models see the last edge, and sums that nobody asked for would show
        await RisingEdge(dut.clk)
    extra = int(dut.o__valid.value)
    for model in models:
        model.cancel()
    got = _unpack(sink.taken, job["lanes"], job["accumulator_bits"])
    # A sum that never came differs from any.
    wrong = np.argwhere(got != expected[: len(got)])
    missing = expected.size - got.size
    return {
        "cycles": monitor.cycles,
        "stall_cycles": monitor.stall_cycles,
        "products": monitor.products,
        "compared": int(expected.size),
        "mismatches": len(wrong) + missing + extra,
        "first_mismatch": _describe(wrong, got, expected),
    }


async def _reset(dut: Any) -> None:
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def _break_off(
    dut: Any, weight: StreamSource, block: StreamSource, weights: Any, blocks: Any, cycles: int
) -> None:
    """Begin the job, reset in its middle: nothing of it may reach the run that follows."""
    tasks = [
        cocotb.start_soon(weight.send(_integers(weights, 1))),
        cocotb.start_soon(block.send(_integers(blocks, 1))),
    ]
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    for task in tasks:
        task.cancel()
    dut.i_weight__valid.value = 0
    dut.i_block__valid.value = 0
    await _reset(dut)


def _integers(payloads: np.ndarray, times: int) -> Iterator[int]:
    """Yield rows of little-endian bytes as integers, the whole array `times` over."""
    for _ in range(times):
        for payload in payloads:
            yield int.from_bytes(payload.tobytes(), "little")


def _unpack(payloads: list[int], count: int, bits: int) -> np.ndarray:
    """Return signed fields of `bits` bits, int64 [payloads, count]."""
    half, mask = 1 << (bits - 1), (1 << bits) - 1
    fields = [
        [((payload >> (bits * i) & mask) ^ half) - half for i in range(count)]
        for payload in payloads
    ]
    return np.array(fields, dtype=np.int64).reshape(len(payloads), count)


def _describe(wrong: np.ndarray, got: np.ndarray, expected: np.ndarray) -> str:
    if len(wrong) == 0:
        missing = len(expected) - len(got)
        return f"the last {missing} of {len(expected)} outputs did not come" if missing else ""
    beat, row = (int(i) for i in wrong[0])
    return f"output {beat}, row {row}: {got[beat, row]} instead of {expected[beat, row]}"

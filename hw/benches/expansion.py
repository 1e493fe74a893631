"""The bench of the bit-width expansion unit: every weight against golden, every cycle counted.

Reads `job.json` and `job.npz` (written by `hw.verify_expansion`), runs each case, and writes
`results.json`.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.benches.streams import Pauses, StreamSink, StreamSource, bursts, never

MAX_IDLE_CYCLES = 2_000
"""Cycles without any transfer after which the unit is stuck; pauses are far shorter."""


class Monitor:
    """Counts what crosses the unit's ports; knows neither golden nor the contract."""

    def __init__(self, dut: Any, jobs: int, outputs: int, report: Callable[[float], None]) -> None:
        self._dut = dut
        self._report = report
        self._jobs_left = jobs
        self._outputs_left = outputs
        self.cycles = 0
        self.stall_cycles = 0
        self.words = 0

    async def watch(self) -> None:
        """Count from the first job and word offered to the last beat given, or until all rest."""
        dut, edge = self._dut, RisingEdge(self._dut.clk)
        job_valid, job_ready = dut.i_job__valid, dut.i_job__ready
        word_valid, word_ready = dut.i__valid, dut.i__ready
        out_valid, out_ready, starved = dut.o__valid, dut.o__ready, dut.starved
        total = self._outputs_left
        idle_cycles = 0
        while self._outputs_left and idle_cycles < MAX_IDLE_CYCLES:
            await edge
            job, word, offers = (bool(int(s.value)) for s in (job_valid, word_valid, out_valid))
            gave = offers and bool(int(out_ready.value))
            took_word = word and bool(int(word_ready.value))
            idle_cycles = 0 if gave or took_word else idle_cycles + 1
            if not self.cycles and not (job and word):
                continue
            self.cycles += 1
            # Only a source that offers nothing starves the unit, and only while jobs are left.
            starves = self._jobs_left > 0 and bool(int(starved.value)) and not (job and word)
            self.stall_cycles += starves or (offers and not gave)
            self.words += took_word
            self._jobs_left -= job and bool(int(job_ready.value))
            self._outputs_left -= gave
            if self.cycles % 1000 == 0:
                self._report(1 - self._outputs_left / total)


@cocotb.test()
async def expansion(dut: Any) -> None:
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
        assert result["words"] == case["contract_words"], (
            f"{case['name']}: {result['words']} words taken instead of {case['contract_words']}"
        )
        expected = case["contract_cycles"] + result["stall_cycles"]
        assert result["cycles"] == expected, (
            f"{case['name']}: {result['cycles']} cycles; contract and stalls give {expected}"
        )


async def _run(
    dut: Any, job: dict[str, Any], case: dict[str, Any], arrays: Any, number: int
) -> Any:
    jobs, words = (arrays[f"{name}_{number}"] for name in ("jobs", "words"))
    expected = arrays[f"expected_{number}"]

    def report(done: float) -> None:
        Path("progress").write_text(f"{(number + done) / len(job['cases']):.4f}")

    monitor = Monitor(dut, len(jobs), len(expected), report)
    seed = case["seed"]
    job_source = StreamSource(dut, "i_job", bursts(seed + 1, 0.1) if case["idle"] else never())
    word_source = StreamSource(dut, "i", _word_pauses(case))
    sink = StreamSink(dut, "o", bursts(seed + 2, 0.4) if case["stall"] else never())
    await _reset(dut)
    if case["reset_after"]:
        await _break_off(dut, job_source, word_source, jobs, words, case["reset_after"])
    models = [
        cocotb.start_soon(job_source.send(_integers(jobs))),
        cocotb.start_soon(word_source.send(_integers(words))),
        cocotb.start_soon(sink.take(len(expected))),
    ]
    await monitor.watch()
    for _ in range(2):  # the models see the last edge, and a beat that nobody asked for would show
        await RisingEdge(dut.clk)
    extra = int(dut.o__valid.value)
    for model in models:
        model.cancel()
    got = _unpack(sink.taken, expected.shape[1])
    # A beat that never came differs from any.
    wrong = np.argwhere(got != expected[: len(got)])
    return {
        "cycles": monitor.cycles,
        "stall_cycles": monitor.stall_cycles,
        "words": monitor.words,
        "compared": int(expected.size),
        "mismatches": len(wrong) + expected.size - got.size + extra,
        "first_mismatch": _describe(wrong, got, expected),
    }


def _word_pauses(case: dict[str, Any]) -> Pauses:
    """Pause at random, or for the same number of cycles after each word, or never."""
    if case["idle"]:
        return bursts(case["seed"])
    return itertools.cycle([True] * case["word_gap"] + [False])


async def _reset(dut: Any) -> None:
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def _break_off(
    dut: Any, job: StreamSource, word: StreamSource, jobs: Any, words: Any, cycles: int
) -> None:
    """Begin the jobs, reset in their middle: nothing of them may reach the run that follows."""
    dut.o__ready.value = 1
    tasks = [
        cocotb.start_soon(job.send(_integers(jobs))),
        cocotb.start_soon(word.send(_integers(words))),
    ]
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    for task in tasks:
        task.cancel()
    dut.i_job__valid.value = 0
    dut.i__valid.value = 0
    await _reset(dut)


def _integers(payloads: np.ndarray) -> Iterator[int]:
    """Yield rows of little-endian bytes as integers."""
    for payload in payloads:
        yield int.from_bytes(payload.tobytes(), "little")


def _unpack(payloads: list[int], lanes: int) -> np.ndarray:
    """Return the weights, int8 [payloads, lanes]."""
    data = b"".join(payload.to_bytes(lanes, "little") for payload in payloads)
    return np.frombuffer(data, np.int8).reshape(len(payloads), lanes)


def _describe(wrong: np.ndarray, got: np.ndarray, expected: np.ndarray) -> str:
    if len(wrong) == 0:
        missing = len(expected) - len(got)
        return f"the last {missing} of {len(expected)} beats did not come" if missing else ""
    beat, lane = (int(i) for i in wrong[0])
    return f"beat {beat}, lane {lane}: {got[beat, lane]} instead of {expected[beat, lane]}"

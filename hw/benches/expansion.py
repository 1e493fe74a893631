"""The bench of the bit-width expansion unit: every weight against golden, every cycle counted."""

import itertools
from collections.abc import Mapping
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.spec.expansion import EXPANDED_BITS
from hw.benches.harness import MAX_IDLE_CYCLES, Report, break_off, compare, drive, reset, run_job
from hw.benches.streams import Pauses, StreamSink, StreamSource, bursts, never


class Monitor:
    """Counts what crosses the unit's ports; knows neither golden nor the contract."""

    def __init__(self, dut: Any, jobs: int, outputs: int, report: Report) -> None:
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
    await run_job(dut, _run_case)


async def _run_case(
    dut: Any, case: Mapping[str, Any], arrays: Mapping[str, np.ndarray], report: Report
) -> dict[str, Any]:
    jobs, expected, seed = arrays["jobs"], arrays["expected"], case["seed"]
    job_pauses = bursts(seed + 1, 0.1) if case["idle"] else never()
    feeds = [
        (StreamSource(dut, "i_job", job_pauses), jobs),
        (StreamSource(dut, "i", _word_pauses(case)), arrays["words"]),
    ]
    sink = StreamSink(dut, "o", bursts(seed + 2, 0.4) if case["stall"] else never())
    await reset(dut)
    if case["reset_after"]:
        await break_off(dut, feeds, case["reset_after"])
    monitor = Monitor(dut, len(jobs), len(expected), report)
    extra = await drive(dut, feeds, sink, expected, monitor)
    return {
        "cycles": monitor.cycles,
        "stall_cycles": monitor.stall_cycles,
        "words": monitor.words,
        **compare(sink.taken, expected, EXPANDED_BITS, extra, "lane"),
    }


def _word_pauses(case: Mapping[str, Any]) -> Pauses:
    """Pause at random, or for the same number of cycles after each word, or never."""
    if case["idle"]:
        return bursts(case["seed"])
    return itertools.cycle([True] * case["word_gap"] + [False])

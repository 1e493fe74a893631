"""What the benches of all blocks share: cases, resets, streams and the comparison with golden.

A bench reads `job.json` and `job.npz` in its working directory (written by `hw.jobs`), runs each
case, and writes `results.json`. It adds what only it knows: its streams and its monitor.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.benches.streams import StreamSink, StreamSource

MAX_IDLE_CYCLES = 2_000
"""Cycles without any transfer after which a block is stuck; pauses are far shorter."""

Report = Callable[[float], None]
"""Called now and then with the part of a case that is done, 0 to 1."""

Feed = tuple[StreamSource, np.ndarray]
"""A source and all that it offers: rows of little-endian bytes, uint8 [payloads, bytes]."""


class Monitor(Protocol):
    """Counts what crosses a block's ports; knows neither golden nor the contract."""

    cycles: int
    stall_cycles: int

    async def watch(self) -> None:
        """Count until the last output, or until nothing has moved for `MAX_IDLE_CYCLES`."""
        ...


RunCase = Callable[[Any, Mapping[str, Any], Mapping[str, np.ndarray], Report], Awaitable[Any]]
"""Runs one case: takes dut, case, its arrays and a report; returns what the monitor counted."""


async def run_job(dut: Any, run_case: RunCase) -> None:
    """Run every case of the job; fail when one differs from golden or from the contract."""
    cases = json.loads(Path("job.json").read_text())
    arrays = np.load("job.npz")
    Clock(dut.clk, 2, unit="ns").start()
    results = []
    for number, case in enumerate(cases):

        def report(done: float, number: int = number) -> None:
            Path("progress").write_text(f"{(number + done) / len(cases):.4f}")

        prefix = f"{number}_"
        mine = {k.removeprefix(prefix): arrays[k] for k in arrays if k.startswith(prefix)}
        results.append(await run_case(dut, case, mine, report))
        Path("results.json").write_text(json.dumps(results))
    for case, result in zip(cases, results, strict=True):
        assert result["mismatches"] == 0, f"{case['name']}: {result['first_mismatch']}"
        expected = case["contract_cycles"] + result["stall_cycles"]
        assert result["cycles"] == expected, (
            f"{case['name']}: {result['cycles']} cycles; contract and stalls give {expected}"
        )


async def reset(dut: Any) -> None:
    """Reset for one cycle: in a longer one, a register that is not reset is flushed unseen."""
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0


async def break_off(dut: Any, feeds: Sequence[Feed], cycles: int) -> None:
    """Begin a job, reset in its middle: nothing of it may reach the run that follows."""
    dut.o__ready.value = 1
    tasks = [cocotb.start_soon(source.send(integers(payloads))) for source, payloads in feeds]
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    for task in tasks:
        task.cancel()
    for source, _ in feeds:
        source.stop()
    await reset(dut)


async def drive(
    dut: Any, feeds: Iterable[Feed], sink: StreamSink, expected: np.ndarray, monitor: Monitor
) -> bool:
    """Feed the block until the monitor is done; return whether it offers more than expected."""
    models = [cocotb.start_soon(source.send(integers(payloads))) for source, payloads in feeds]
    models.append(cocotb.start_soon(sink.take(len(expected))))
    await monitor.watch()
    for _ in range(2):  # the models see the last edge, and what nobody asked for would show
        await RisingEdge(dut.clk)
    for model in models:
        model.cancel()
    return bool(int(dut.o__valid.value))


def compare(
    taken: Sequence[int], expected: np.ndarray, bits: int, extra: bool, part: str
) -> dict[str, Any]:
    """Return how the outputs differ from golden.

    Args:
        taken: outputs as packed integers; expected: golden's, signed [outputs, parts].
        bits: of each part of an output; part: what a person calls it.
        extra: there is an output too many.
    """
    got = unpack(taken, expected.shape[1], bits)
    wrong = np.argwhere(got != expected[: len(got)])
    missing = len(expected) - len(got)
    first = ""
    if len(wrong):
        at, i = (int(index) for index in wrong[0])
        first = f"output {at}, {part} {i}: {got[at, i]} instead of {expected[at, i]}"
    elif missing:
        first = f"the last {missing} of {len(expected)} outputs did not come"
    elif extra:
        first = f"there is an output after the last of {len(expected)}"
    return {
        "compared": int(expected.size),
        "mismatches": len(wrong) + missing * expected.shape[1] + extra,
        "first_mismatch": first,
    }


def integers(payloads: np.ndarray) -> Iterator[int]:
    """Yield rows of little-endian bytes as integers."""
    for payload in payloads:
        yield int.from_bytes(payload.tobytes(), "little")


def unpack(payloads: Sequence[int], count: int, bits: int) -> np.ndarray:
    """Return the signed fields of packed integers, int64 [payloads, count]."""
    half, mask = 1 << (bits - 1), (1 << bits) - 1
    fields = [
        [((payload >> (bits * i) & mask) ^ half) - half for i in range(count)]
        for payload in payloads
    ]
    return np.array(fields, dtype=np.int64).reshape(len(payloads), count)

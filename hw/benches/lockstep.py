"""Runs a block beside a model of its handshakes, and compares them in every cycle.

A buffer may rightly wait for what its ports do not show in that cycle, so stalls cannot be told by
looking at them. Here a model of counts, without payloads, tells when the block must be ready for
an input and when it must offer an output; and a list tells what. Whatever differs ends the case.
"""

import itertools
from collections.abc import Callable, Coroutine, Mapping, Set
from typing import Any, Protocol

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hw.benches.harness import MAX_IDLE_CYCLES, Report, integers, reset
from hw.benches.streams import StreamSink, StreamSource, bursts, never

IDLE_SHARES = (0.3, 0.5, 0.3, 0.2)
STALL_SHARES = (0.4, 0.6)
"""The parts of the cycles in which the first, second, ... source and sink pause."""


class Model(Protocol):
    """When a block takes and gives; knows no payloads."""

    def step(self, willing: Set[str]) -> Set[str]:
        """Return the streams that the block is willing to move, and go on to the next cycle.

        Args:
            willing: the input streams that are offered and the output streams that are wanted.
        """
        ...


class Ports:
    """All streams of a block: their models, and what each is to carry."""

    def __init__(
        self,
        dut: Any,
        case: Mapping[str, Any],
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        take: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Make a source for each input, and a sink for each output unless `take` drives them all.

        Args:
            inputs, outputs: rows of little-endian bytes by the stream's name.
            take: drives the `ready` of all outputs.
        """
        seed = case["seed"]
        idle = [bursts(seed + k, share) for k, share in enumerate(IDLE_SHARES)]
        stall = [bursts(seed + 10 + k, share) for k, share in enumerate(STALL_SHARES)]
        self._dut = dut
        self._inputs = {
            name: (
                StreamSource(dut, name, idle[k % len(idle)] if case["idle"] else never()),
                payloads,
            )
            for k, (name, payloads) in enumerate(inputs.items())
        }
        self._sinks = {
            name: StreamSink(dut, name, stall[k % len(stall)] if case["stall"] else never())
            for k, name in enumerate(() if take else outputs)
        }
        self._take = take
        self._tasks: list[Any] = []
        self.expected = {name: list(integers(payloads)) for name, payloads in outputs.items()}
        self.given = dict.fromkeys(outputs, 0)

    def slow_down(self, name: str) -> None:
        """Let the source or sink `name` move in one of 20 cycles at most."""
        pauses = itertools.cycle([True] * 19 + [False])
        if name in self._inputs:
            self._inputs[name] = StreamSource(self._dut, name, pauses), self._inputs[name][1]
        else:
            self._sinks[name] = StreamSink(self._dut, name, pauses)

    def start(self) -> None:
        """Let all streams run, from their first payloads on."""
        flows = [source.send(integers(payloads)) for source, payloads in self._inputs.values()]
        flows += [sink.take(1 << 30) for sink in self._sinks.values()]
        flows += [self._take()] if self._take else []
        self._tasks = [cocotb.start_soon(flow) for flow in flows]

    def stop(self) -> None:
        """Offer nothing and take nothing any more."""
        for task in self._tasks:
            task.cancel()
        for source, _ in self._inputs.values():
            source.stop()
        for name in self.expected:
            getattr(self._dut, f"{name}__ready").value = 0

    def check(self, model: Model) -> str:
        """Compare this cycle with the model and the lists; return the first difference, if any."""
        handshakes = {
            name: (self._read(name, "valid"), self._read(name, "ready"))
            for name in (*self._inputs, *self.expected)
        }
        willing = {
            name
            for name, (valid, ready) in handshakes.items()
            if (valid if name in self._inputs else ready)
        }
        driven = {
            name
            for name, (valid, ready) in handshakes.items()
            if (ready if name in self._inputs else valid)
        }
        right = model.step(willing)
        for name in sorted(driven ^ right):
            word = "ready" if name in self._inputs else "valid"
            return f"{name} is {'' if name in driven else 'not '}{word}, against the model"
        for name in driven & self.expected.keys():
            number, payloads = self.given[name], self.expected[name]
            if number == len(payloads):
                return f"{name} has an output after the last of {number}"
            payload = self._read(name, "payload")
            if payload != payloads[number]:
                return f"{name}, output {number}: {payload:#x} instead of {payloads[number]:#x}"
            self.given[name] += name in willing
        return ""

    @property
    def done(self) -> bool:
        """True when all outputs have been given."""
        return all(self.given[name] == len(list_) for name, list_ in self.expected.items())

    def _read(self, name: str, part: str) -> int:
        return int(getattr(self._dut, f"{name}__{part}").value)


async def run_lockstep(
    dut: Any,
    case: Mapping[str, Any],
    ports: Ports,
    model: Callable[[], Model],
    report: Report,
    *,
    start: str,
    end: str,
) -> dict[str, Any]:
    """Run a case to its end or to the first difference; return what `hw.jobs` hands back.

    The stall cycles are those beyond the contract: the model explains each. A case that
    "continues" begins without a reset; one that is to be "reset_after" some cycles is broken off
    and begun anew; and in the run that counts the stream that is "slow" is so.

    Args:
        start, end: cycles count from the first payload offered by the stream `start` to the last
            one given by the stream `end`.
    """
    edge = RisingEdge(dut.clk)
    if "mutant" in case:
        dut.mutant.value = case["mutant"]
    if not case.get("continues"):
        await reset(dut)
    if case["reset_after"]:
        ports.start()
        for _ in range(case["reset_after"]):
            await edge
        ports.stop()
        await reset(dut)
    if case.get("slow"):
        ports.slow_down(case["slow"])
    ports.start()
    right, total = model(), len(ports.expected[end])
    cycle = first = last = idle = after = 0
    wrong = ""
    while not wrong and after < 4:  # what nobody asked for would show behind the last output
        await edge
        cycle += 1
        before = sum(ports.given.values())
        wrong = ports.check(right)
        idle = 0 if sum(ports.given.values()) > before else idle + 1
        first = first or cycle * int(getattr(dut, f"{start}__valid").value)
        last = last or cycle * (ports.given[end] == total)
        after += ports.done
        if idle > MAX_IDLE_CYCLES:
            wrong = "nothing moves"
        if cycle % 1000 == 0:
            report(ports.given[end] / total)
    ports.stop()
    cycles = last - first + 1
    return {
        "cycles": cycles,
        "stall_cycles": cycles - case["contract_cycles"],
        "compared": sum(map(len, ports.expected.values())),
        "mismatches": int(bool(wrong)),
        "first_mismatch": wrong and f"cycle {cycle}: {wrong}",
    }

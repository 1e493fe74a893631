"""Stream models for cocotb benches: a source, a sink, and the pauses that either may make.

`StreamSource(dut, "i_weight")` drives `i_weight__payload`, `__valid` and watches `__ready`; a sink
does the opposite. Every stream of every bench takes a `Pauses`, so each test has the product of
idle sources and stalling sinks for free.
"""

import random
from collections.abc import Iterable, Iterator
from typing import Any

from cocotb.triggers import RisingEdge

Pauses = Iterator[bool]
"""One value per clock cycle: True where the model does nothing."""


def never() -> Pauses:
    """Yield no pause at all."""
    while True:
        yield False


def bursts(seed: int, share: float = 0.3) -> Pauses:
    """Yield pauses and runs of exponential length; about `share` of the cycles are paused."""
    choice = random.Random(seed)
    while True:
        mean = choice.uniform(1, 8)
        for paused, length in ((True, mean * share / (1 - share)), (False, mean)):
            for _ in range(int(choice.expovariate(1 / length) + 0.5)):
                yield paused


class StreamSource:
    """Offers payloads one after the other; keeps each until it is taken."""

    def __init__(self, dut: Any, name: str, pauses: Pauses) -> None:
        self._clock = dut.clk
        self._payload = getattr(dut, f"{name}__payload")
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._pauses = pauses
        self._valid.value = 0

    async def send(self, payloads: Iterable[int]) -> None:
        """Offer all `payloads`, as packed integers, and return when the last has been taken."""
        edge = RisingEdge(self._clock)
        for payload in payloads:
            while next(self._pauses):
                self._valid.value = 0
                await edge
            self._payload.value = payload
            self._valid.value = 1
            await edge
            while not int(self._ready.value):
                await edge
        self._valid.value = 0

    def stop(self) -> None:
        """Offer nothing any more; for a `send` that was cancelled."""
        self._valid.value = 0


class StreamSink:
    """Takes payloads whenever it does not pause."""

    def __init__(self, dut: Any, name: str, pauses: Pauses) -> None:
        self._clock = dut.clk
        self._payload = getattr(dut, f"{name}__payload")
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._pauses = pauses
        self._ready.value = 0
        self.taken: list[int] = []

    async def take(self, count: int) -> None:
        """Add the next `count` payloads to `taken`, as packed integers."""
        edge = RisingEdge(self._clock)
        end = len(self.taken) + count
        while len(self.taken) < end:
            ready = not next(self._pauses)
            self._ready.value = ready
            await edge
            if ready and int(self._valid.value):
                self.taken.append(int(self._payload.value))
        self._ready.value = 0

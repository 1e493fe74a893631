"""The bench of the weight feed: every beat, pass and handshake, in every cycle.

The sink takes a pass with its last beat of weights, as a chain does.
"""

from collections.abc import Coroutine, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from golden.spec.expansion import EXPANDED_BITS
from hw.benches.harness import Report, run_job
from hw.benches.lockstep import Ports, run_lockstep
from hw.benches.streams import Pauses, bursts, never
from hw.expansion import STAGES


@dataclass(frozen=True)
class Beat:
    """One beat for the chain: `whole` takes the expanded beat with it, else a half is left."""

    first: bool
    last: bool
    dense: bool
    whole: bool


@dataclass(frozen=True)
class Expanded:
    """One expanded beat: the word that it needs, or -1, and how many words are done with it."""

    needs: int
    done: int
    last: bool


class FeedModel:
    """When the feed takes words, indices, passes and jobs, and when it gives weights."""

    def __init__(self, case: Mapping[str, Any]) -> None:
        """Begin with an empty feed.

        Args:
            case: `depths` of the queues; `products` per multiplier; `chunks` of a word; `segments`:
                of each the bits of a weight, and (beats, dense, two_rows) of each pass.
        """
        self._depths = dict(zip(("i_word", "i_index", "i_pass"), case["depths"], strict=True))
        self._beats = list(_beats(case["segments"], case["products"]))
        self._expanded = list(_expanded(case["segments"], case["products"], case["chunks"]))
        self._arrived = dict.fromkeys(self._depths, 0)
        self._left = dict.fromkeys(self._depths, 0)
        self._pipeline = [False] * STAGES
        self._weight = self._pass = False  # what is offered
        self._begun = self._loaded = 0

    def step(self, willing: Set[str]) -> Set[str]:
        """See `hw.benches.lockstep.Model`."""
        arrived, left = self._arrived, self._left
        driven = {
            name for name, depth in self._depths.items() if arrived[name] - left[name] < depth
        }
        driven |= {"o_weight"} if self._weight else set()
        driven |= {"o_pass"} if self._pass else set()

        load = self._load(not self._weight or "o_weight" in willing)
        expanded = self._begin(not self._pipeline[-1] or bool(load and load.whole), willing)
        if expanded and expanded.last:
            driven.add("i_job")

        if not self._pipeline[-1] or (load and load.whole):
            self._pipeline = [expanded is not None, *self._pipeline[:-1]]
        if expanded:
            self._begun += 1
            left["i_word"] = expanded.done
        if "o_weight" in willing:
            self._weight = False
        if "o_pass" in willing:
            self._pass = False
        if load:
            self._loaded += 1
            self._weight = True
            self._pass |= load.first
            left["i_index"] += not load.dense
            left["i_pass"] += load.last
        for name in arrived:
            arrived[name] += name in driven & willing
        return driven

    def _load(self, free: bool) -> Beat | None:
        """Return the beat that goes to the output register, if all of it is there."""
        arrived, left = self._arrived, self._left
        if not (free and self._pipeline[-1] and arrived["i_pass"] > left["i_pass"]):
            return None
        beat = self._beats[self._loaded]
        return beat if beat.dense or arrived["i_index"] > left["i_index"] else None

    def _begin(self, free: bool, willing: Set[str]) -> Expanded | None:
        """Return the beat that goes into the expansion, if its job and word are there."""
        if not free or "i_job" not in willing or self._begun == len(self._expanded):
            return None
        beat = self._expanded[self._begun]
        return beat if beat.needs < self._arrived["i_word"] else None


def _beats(segments: Sequence[Any], products: int) -> Iterator[Beat]:
    for _, passes in segments:
        for beats, dense, two_rows in passes:
            for k in range(beats):
                whole = products == 1 or two_rows or k % 2 == 1
                yield Beat(k == 0, k == beats - 1, dense, whole)


def _expanded(segments: Sequence[Any], products: int, chunks: int) -> Iterator[Expanded]:
    words = 0
    for bits, passes in segments:
        count = sum(n if products == 1 or two_rows else n // 2 for n, _, two_rows in passes)
        end = words - (-count * bits // (EXPANDED_BITS * chunks))
        for k in range(count):
            before, after = -(-k * bits // EXPANDED_BITS), -(-(k + 1) * bits // EXPANDED_BITS)
            last = k == count - 1
            needs = words + (after - 1) // chunks if after > before else -1
            yield Expanded(needs, end if last else words + after // chunks, last)
        words = end


async def _take(dut: Any, passes: Sequence[int], pauses: Pauses) -> None:
    """Take weights when it does not pause, and with a pass's last beat the pass."""
    edge = FallingEdge(dut.clk)  # here the block's outputs of this cycle have settled
    for beats in passes:
        left = beats
        while left:
            await edge
            takes = not next(pauses)
            moves = takes and bool(int(dut.o_weight__valid.value))
            dut.o_weight__ready.value = takes
            dut.o_pass__ready.value = moves and left == 1
            left -= moves
    await edge
    dut.o_weight__ready.value = dut.o_pass__ready.value = 0


@cocotb.test()
async def weight_feed(dut: Any) -> None:
    """Run every case of the job; fail when one differs from the model or from the contract."""
    await run_job(dut, _run_case)


async def _run_case(
    dut: Any, case: Mapping[str, Any], arrays: Mapping[str, np.ndarray], report: Report
) -> dict[str, Any]:
    inputs = {name: arrays[name] for name in ("i_job", "i_word", "i_index", "i_pass")}
    outputs = {name: arrays[name] for name in ("o_weight", "o_pass")}
    beats = [beats for _, passes in case["segments"] for beats, _, _ in passes]

    def take() -> Coroutine[Any, Any, None]:
        return _take(dut, beats, bursts(case["seed"] + 10, 0.4) if case["stall"] else never())

    ports = Ports(dut, case, inputs, outputs, take)

    def model() -> FeedModel:
        return FeedModel(case)

    return await run_lockstep(dut, case, ports, model, report, start="i_word", end="o_weight")

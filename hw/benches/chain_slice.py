"""The proof of the chain's slice: all 2**24 factors, checked in hardware.

`ChainSliceProof` counts through every (high, low, shared), and compares both lanes with what
two plain multipliers give. So the simulator runs at its own speed; the bench only starts it, waits
for `done`, and writes `results.json`.
"""

import json
from pathlib import Path
from typing import Any

import cocotb
from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden.spec.dsp48e2 import OPERAND_BITS
from golden.spec.sparse_chain import SparseChainConfig
from hw.chain_slice import ChainSlice, LaneSplitter
from hw.emit import add

INPUT_BITS = 3 * OPERAND_BITS
LANE_CODE_BITS = 4
"""16 slices share the work: each has its own 4 high bits of `high`."""


class ChainSliceProof(wiring.Component):
    """16 slices with two products and their splitters beside plain multipliers.

    Members:
        done: all inputs have been compared, or one has failed.
        compared: how many inputs have been.
        failed: the lanes differ from the products at the input first_high, first_low, first_shared.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "done": Out(1),
                "compared": Out(INPUT_BITS + 1),
                "failed": Out(1),
                "first_high": Out(signed(OPERAND_BITS)),
                "first_low": Out(signed(OPERAND_BITS)),
                "first_shared": Out(signed(OPERAND_BITS)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "chain_slice_proof"

    def elaborate(self, platform: object) -> Module:
        """Count, multiply in two ways, and stop at the first difference."""
        m = Module()
        count = Signal(INPUT_BITS - LANE_CODE_BITS + 1)
        m.d.sync += count.eq(count + 1)
        # The factors whose products stand at the slices' outputs.
        latency = ChainSlice.cycles("high")
        checked: Value = count
        filled = Signal(latency)
        for k in range(latency):
            stage = Signal.like(count, name=f"count_{k}")
            m.d.sync += stage.eq(checked)
            checked = stage
        m.d.sync += filled.eq(Cat(Const(1, 1), filled))

        wrong = Signal(1 << LANE_CODE_BITS)
        for lane in range(1 << LANE_CODE_BITS):
            slot = add(m, platform, f"slice_{lane}", ChainSlice, self.config)
            splitter = add(m, platform, f"splitter_{lane}", LaneSplitter, self.config)
            high, low, shared = _operands(count, lane)
            expected_high, expected_low, expected_shared = _operands(checked, lane)
            m.d.comb += [
                # What comes down the cascade is left out.
                *(slot.restart.eq(1), slot.pcin.eq(~Const(0, len(slot.pcin.as_value())))),
                *(slot.high.eq(high), slot.low.eq(low), slot.shared.eq(shared)),
                splitter.i.eq(slot.o),
                wrong[lane].eq(
                    (splitter.sums[0] != expected_low * expected_shared)
                    | (splitter.sums[1] != expected_high * expected_shared)
                ),
            ]

        compares = Signal()
        m.d.comb += compares.eq(filled[-1] & ~checked[-1] & ~self.done)
        with m.If(compares):
            m.d.sync += self.compared.eq(self.compared + (1 << LANE_CODE_BITS))
            with m.If(wrong.any()):
                m.d.sync += [self.failed.eq(1), self.done.eq(1)]
                for lane in reversed(range(1 << LANE_CODE_BITS)):
                    with m.If(wrong[lane]):
                        high, low, shared = _operands(checked, lane)
                        m.d.sync += [
                            self.first_high.eq(high),
                            self.first_low.eq(low),
                            self.first_shared.eq(shared),
                        ]
        with m.If(filled[-1] & checked[-1]):
            m.d.sync += self.done.eq(1)
        return m


def _operands(count: Value, lane: int) -> tuple[Value, Value, Value]:
    """Return (high, low, shared) of the slice `lane` at `count`."""
    shared, low = count[:OPERAND_BITS], count[OPERAND_BITS : 2 * OPERAND_BITS]
    high = Cat(count[2 * OPERAND_BITS : INPUT_BITS - LANE_CODE_BITS], Const(lane, LANE_CODE_BITS))
    return high.as_signed(), low.as_signed(), shared.as_signed()


@cocotb.test()
async def chain_slice(dut: Any) -> None:
    """Run the proof to its end; fail where an input has failed or was left out."""
    dut.rst.value = 1
    Clock(dut.clk, 2, unit="ns").start()
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.done)
    first = [getattr(dut, f"first_{name}").value.to_signed() for name in ("high", "low", "shared")]
    result = {"compared": int(dut.compared.value), "failed": bool(int(dut.failed.value))}
    Path("results.json").write_text(json.dumps({**result, "first": first}))
    assert not result["failed"], f"wrong at high, low, shared = {first}"
    assert result["compared"] == 1 << INPUT_BITS

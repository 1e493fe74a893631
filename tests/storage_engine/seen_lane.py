"""A lane of the conversion to fixed point as a stream, for a bench."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.emit import add
from storage_engine.engine_layouts import FRACTION_BITS
from storage_engine.half_to_fixed import HalfToFixed

INPUT = data.StructLayout({"half": 16, "fraction": signed(FRACTION_BITS)})


class SeenLane(wiring.Component):
    """`HalfToFixed` with the handshakes that its user adds."""

    module_name = "seen_lane"

    def __init__(self):
        super().__init__({"i": In(stream.Signature(INPUT)), "o": Out(stream.Signature(signed(16)))})

    def elaborate(self, platform):
        m = Module()
        lane = add(m, platform, "lane", HalfToFixed)
        advance = Signal()
        valid = Signal(HalfToFixed.cycles())
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
            lane.advance.eq(advance),
            lane.half.eq(self.i.payload.half),
            lane.fraction.eq(self.i.payload.fraction),
            self.o.valid.eq(valid[-1]),
            self.o.payload.eq(lane.o),
        ]
        with m.If(advance):
            m.d.sync += valid.eq(valid << 1 | self.i.valid)
        return m

"""Gathers the outputs of one chain into words of the vector buffer: a strip of rows each."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.layouts import output_layout
from hw.weight_stream import DESTINATION_BITS, destination_layout


def strip_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """One strip of outputs: its number in the matrix, and its rows.

    `lane`: in a matrix-matrix product, whose token they are of.
    """
    return data.StructLayout(
        {
            "strip": unsigned(DESTINATION_BITS),
            "lane": unsigned(max((config.products_per_dsp - 1).bit_length(), 1)),
            "rows": data.ArrayLayout(signed(config.output_bits), config.chain_length),
        }
    )


class OutputGatherer(wiring.Component):
    """Takes a chain's outputs row by row and gives them strip by strip.

    Throughput: one row of each lane per cycle. Latency: a strip is offered in the cycle after its
    last row, lane 0's first.

    Members:
        paired: a strip's rows come in two lanes at once: the lower half of them in lane 0, the
            upper half in lane 1. Else each lane holds another strip, or the same strip for another
            token. It may change only while nothing is inside.
        i: stream of `output_layout`, a chain's.
        i_destination: stream of `destination_layout`, a beat per strip; taken with its last rows.
        o: stream of `strip_layout`.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "paired": In(1),
                "i": In(stream.Signature(output_layout(config))),
                "i_destination": In(stream.Signature(destination_layout(config))),
                "o": Out(stream.Signature(strip_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"output_gatherer_l{c.chain_length}x{c.products_per_dsp}_{c.output_bits}"

    @staticmethod
    def cycles(beats: int) -> int:
        """Return the cycles from the first of successive rows taken to their last strip offered.

        Exact when no stream waits: `beats` rows, in each lane, of whole strips.
        """
        return beats + 1

    def elaborate(self, platform: object) -> Module:
        """A shift register for each lane, and one more for the words that wait for their turn."""
        m = Module()
        config, length = self.config, self.config.chain_length
        lanes = config.products_per_dsp
        row, last = Signal(range(length)), Signal()
        waits, free, takes = Signal(lanes), Signal(), Signal()
        strips = Signal(destination_layout(config), reset_less=True)
        m.d.comb += [
            last.eq(row == Mux(self.paired, length // 2 - 1, length - 1)),
            free.eq((waits & ~(waits & -waits)) == 0) if lanes > 1 else free.eq(1),
            takes.eq(~last | (self.i_destination.valid & (~waits.any() | (free & self.o.ready)))),
            self.i.ready.eq(takes),
            self.i_destination.ready.eq(takes & last & self.i.valid),
            self.o.valid.eq(waits.any()),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += waits.eq(waits & (waits - 1))
        with m.If(self.i.valid & takes):
            m.d.sync += row.eq(Mux(last, 0, row + 1))
        following = []
        for lane in range(lanes):
            rows = Signal(strip_layout(config)["rows"].shape, name=f"rows_{lane}", reset_less=True)
            shifted = Cat(list(rows)[1:], self.i.payload[lane])
            with m.If(self.i.valid & takes):
                m.d.sync += rows.as_value().eq(shifted)
            following.append(shifted)
        whole = [
            Signal.like(f, name=f"whole_{n}", reset_less=True) for n, f in enumerate(following)
        ]
        half = length // 2 * config.output_bits
        with m.If(self.i.valid & takes & last):
            m.d.sync += [
                strips.eq(self.i_destination.payload),
                waits.eq(Mux(self.paired, 1, 2**lanes - 1)),
                *(kept.eq(f) for kept, f in zip(whole, following, strict=True)),
            ]
            if lanes > 1:
                both = Cat(following[0][half:], following[1][half:])
                m.d.sync += whole[0].eq(Mux(self.paired, both, following[0]))
        second = ~waits[0] if lanes > 1 else Const(0)
        m.d.comb += [
            self.o.payload.lane.eq(second),
            self.o.payload.strip.eq(Mux(second, strips[lanes - 1], strips[0])),
            self.o.payload.rows.as_value().eq(Mux(second, whole[lanes - 1], whole[0])),
        ]
        return m

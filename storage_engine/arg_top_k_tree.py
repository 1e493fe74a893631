"""The best of all lanes: a tree of registers, each of which takes the better one of two."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.arg_top_k import ArgTopKConfig
from hw.emit import add
from storage_engine.arg_top_k_list import best_layout
from storage_engine.arg_top_k_sorter import configuration_name


def source_signature(config: ArgTopKConfig) -> wiring.Signature:
    """A sorted source: its best scores, and whether no more of them will come in this job."""
    return wiring.Signature({"best": Out(stream.Signature(best_layout(config))), "none": Out(1)})


class BestOfTwo(wiring.Component):
    """Gives the better one of two sources' heads: the larger score, or the lower index.

    Throughput: one per cycle. Latency: 1 cycle.

    Members:
        i: two sources of `source_signature`; `none` of one means that the other one is taken.
        done: strobe: what is inside is dropped.
        o: source of the same kind; its stream is broken off by `done`.
    """

    def __init__(self, config: ArgTopKConfig) -> None:
        self.config = config
        source = source_signature(config)
        super().__init__({"i": In(source).array(2), "done": In(1), "o": Out(source)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"best_of_two_{configuration_name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """A comparison and a register."""
        m = Module()
        a, b = (source.best for source in self.i)
        o = self.o.best
        free = ~o.valid | o.ready
        larger = a.payload.score > b.payload.score
        equal = a.payload.score == b.payload.score
        a_first = larger | (equal & (a.payload.index < b.payload.index))
        takes_a, takes_b = Signal(), Signal()
        m.d.comb += [
            takes_a.eq(a.valid & (self.i[1].none | (b.valid & a_first))),
            takes_b.eq(b.valid & (self.i[0].none | (a.valid & ~a_first))),
            a.ready.eq(free & takes_a),
            b.ready.eq(free & takes_b),
            self.o.none.eq(self.i[0].none & self.i[1].none & ~o.valid),
        ]
        with m.If(free):
            m.d.sync += [
                o.valid.eq(takes_a | takes_b),
                o.payload.eq(Mux(takes_a, a.payload, b.payload)),
            ]
        with m.If(self.done):
            m.d.sync += o.valid.eq(0)
        return m


class BestOfLanes(wiring.Component):
    """Gives the best of all lanes, one per cycle; of a single lane, what it gives.

    Members:
        i: sources of `source_signature`, one for each lane.
        done: strobe: what is inside is dropped.
        o: stream of `best_layout`, the best first; it is broken off by `done`.
    """

    def __init__(self, config: ArgTopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(source_signature(config)).array(config.lanes),
                "done": In(1),
                "o": Out(stream.Signature(best_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"best_of_lanes_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: ArgTopKConfig) -> int:
        """Return the cycles from the lanes' best ones offered to the best of all offered."""
        return config.lane_bits

    def elaborate(self, platform: object) -> Module:
        """A tree."""
        m = Module()
        sources = list(self.i)
        for level in range(self.config.lane_bits):
            nodes = []
            for number, pair in enumerate(zip(sources[::2], sources[1::2], strict=True)):
                node = add(m, platform, f"best_{level}_{number}", BestOfTwo, self.config)
                m.d.comb += node.done.eq(self.done)
                for source, sink in zip(pair, node.i, strict=True):
                    m.d.comb += [
                        sink.best.payload.eq(source.best.payload),
                        sink.best.valid.eq(source.best.valid),
                        sink.none.eq(source.none),
                        source.best.ready.eq(sink.best.ready),
                    ]
                nodes.append(node.o)
            sources = nodes
        m.d.comb += [
            self.o.payload.eq(sources[0].best.payload),
            self.o.valid.eq(sources[0].best.valid),
            sources[0].best.ready.eq(self.o.ready),
        ]
        return m

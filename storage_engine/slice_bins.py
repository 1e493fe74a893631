"""The bins of a slice's sums: which are kept, and their masses.

A bin b lies in slot b mod 4. The highest bin that has a token is the top; it and the three below
have their slots. When a token's bin is above the top, the slots of the bins that fall out become
free, and the next token of a slot's new bin starts its sums anew, whatever they were. So nothing
has to be cleared.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.attention_engine_sums import LOWEST_BIN
from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from hw.mux import select
from storage_engine.engine_layouts import TOP_BITS

SLOT_BITS = (BINS - 1).bit_length()


def weight_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What a token's value is multiplied with, and where the products go.

    Fields:
        power: in units of its bin.
        slot: its bin's.
        start: the slot's sums begin with this token.
        kept: low for a token whose bin is dropped.
    """
    return data.StructLayout(
        {
            "power": unsigned(config.attention.power_bits),
            "slot": unsigned(SLOT_BITS),
            "start": unsigned(1),
            "kept": unsigned(1),
        }
    )


class SliceBins(wiring.Component):
    """Tops and masses of all queries. Throughput: one token and query per cycle. Latency: `cycles`.

    Members:
        clear: all bins are empty from the next cycle on.
        valid, query, power, bin: a token's power for a query.
        weight: `weight_layout`, a cycle later.
        asked_query, asked_place: of whose top and bin `top - place` is asked; no token comes
            meanwhile, nor came in the cycle before.
        top, slot, filled, mass: in the same cycle: of that query and bin; the mass is 0 where the
            bin is not `filled`.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        attention = config.attention
        query = range(max(config.queries, 2))
        super().__init__(
            {
                "clear": In(1),
                **{"valid": In(1), "query": In(query)},
                **{"power": In(attention.power_bits), "bin": In(signed(TOP_BITS))},
                "weight": Out(weight_layout(config)),
                **{"asked_query": In(query), "asked_place": In(SLOT_BITS)},
                **{"top": Out(signed(TOP_BITS)), "slot": Out(SLOT_BITS), "filled": Out(1)},
                "mass": Out(attention.mass_bits),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"slice_bins_g{self.config.queries}_{self.config.attention.mass_bits}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a power to its weight."""
        return 1

    def elaborate(self, platform: object) -> Module:
        """Decide on a token; a cycle later, add its power to its bin's mass."""
        m = Module()
        queries = range(self.config.queries)
        tops = {q: Signal(signed(TOP_BITS), name=f"top_{q}", init=LOWEST_BIN) for q in queries}
        filled = {q: Signal(BINS, name=f"filled_{q}") for q in queries}
        before, above = Signal(BINS), Signal(signed(TOP_BITS + 1))
        slot = self.bin[:SLOT_BITS]
        m.d.comb += [
            before.eq(select(self.query, filled)),
            above.eq(self.bin - select(self.query, tops)),
        ]
        kept, rises = above > -BINS, above > 0
        start = rises | ~before.bit_select(slot, 1)
        weight, comes, query = Signal.like(self.weight), Signal(), Signal.like(self.query)
        m.d.sync += [
            *(comes.eq(self.valid & kept), query.eq(self.query)),
            *(weight.power.eq(self.power), weight.slot.eq(slot)),
            *(weight.start.eq(start), weight.kept.eq(kept)),
        ]
        for q in queries:
            with m.If(self.clear):
                m.d.sync += [tops[q].eq(LOWEST_BIN), filled[q].eq(0)]
            with m.Elif(self.valid & kept & (self.query == q)):
                m.d.sync += filled[q].eq(_filled(before, above, slot))
                with m.If(rises):
                    m.d.sync += tops[q].eq(self.bin)
        m.d.comb += self.weight.eq(weight)

        asked = Signal(SLOT_BITS)
        m.d.comb += [
            self.top.eq(select(self.asked_query, tops)),
            asked.eq(self.top - self.asked_place),
            self.slot.eq(asked),
            self.filled.eq(select(self.asked_query, filled).bit_select(asked, 1)),
        ]
        self._add_masses(m, comes, query, weight, asked)
        return m

    def _add_masses(
        self, m: Module, comes: Signal, query: Signal, weight: data.View, asked: Signal
    ) -> None:
        bits = self.config.attention.mass_bits
        m.submodules.masses = masses = memory.Memory(
            shape=unsigned(bits), depth=BINS * len(range(self.config.queries)), init=[]
        )
        read, write = masses.read_port(domain="comb"), masses.write_port()
        place = Cat(weight.slot, query)[: len(write.addr)]
        m.d.comb += [
            read.addr.eq(Mux(comes, place, Cat(asked, self.asked_query)[: len(read.addr)])),
            *(write.en.eq(comes), write.addr.eq(place)),
            write.data.eq(Mux(weight.start, 0, read.data) + weight.power),
            self.mass.eq(Mux(self.filled, read.data, 0)),
        ]


def _filled(before: Value, above: Value, slot: Value) -> Value:
    """Return which slots are filled when a token has come into one of them.

    Args:
        above: by how much its bin is above the top before.
    """
    kept = []
    for each in range(BINS):
        # This slot is that of the bin `down` below the token's; a bin above the old top is new.
        down = (slot - each)[:SLOT_BITS]
        kept.append((before[each] & (above <= down)) | (down == 0))
    return Cat(kept)

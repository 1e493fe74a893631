"""Brings the rows of the accumulator banks into one stream, in the order of a strip's rows."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.layouts import group_sums_layout, row_tag_layout, strip_row_layout
from hw.mux import select


class RowCollector(wiring.Component):
    """Takes `group_length` rows from bank 0, as many from bank 1, and so on, strip by strip.

    Of a `paired` strip it takes two rows at once: row r from a bank of the lower half, for lane 0,
    and row `r + chain_length / 2` from one of the upper half, for lane 1.

    Throughput: one row, or pair of rows, per cycle. Latency: `cycles`. The inputs' `ready` follows
    the output's in the same cycle.

    Members:
        i: a stream of `group_sums_layout` from each bank. Of paired rows both lanes hold the sum.
        i_tag: stream of `row_tag_layout`; one beat per strip, taken with the strip's last row.
        o: stream of `strip_row_layout`, registered.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        bank = stream.Signature(group_sums_layout(config))
        super().__init__(
            {
                "i": In(bank).array(config.chain.groups),
                "i_tag": In(stream.Signature(row_tag_layout(config))),
                "o": Out(stream.Signature(strip_row_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        lanes = f"{c.accumulator_bits}x{c.products_per_dsp}"
        return f"row_collector_l{c.chain_length}_g{c.group_length}_s{c.strips}_{lanes}"

    @staticmethod
    def cycles(rows: int) -> int:
        """Return the cycles from the first row, or pair, offered by the banks to the last given.

        The timing contract: exact when no stream waits, and every cycle in which one does adds one.
        """
        return rows + 1

    def elaborate(self, platform: object) -> Module:
        """A counter over the rows of a strip chooses each lane's bank; a register follows."""
        m = Module()
        tag, o = self.i_tag.payload, self.o.payload
        row = Signal.like(o.row)
        # Of a pair, `row` is in the lower half: it is lane 0's.
        lanes = [row, Cat(row[:-1], row[-1] | tag.paired)][: self.config.products_per_dsp]
        banks = [lane[self.config.group_length.bit_length() - 1 :] for lane in lanes]
        advance, offered, end_strip = Signal(), Signal(), Signal()
        valid = {g: bank.valid for g, bank in enumerate(self.i)}
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            offered.eq(self.i_tag.valid & Cat(select(bank, valid) for bank in banks).all()),
            end_strip.eq(lanes[-1].all()),
            self.i_tag.ready.eq(advance & offered & end_strip),
        ]
        for g, source in enumerate(self.i):
            # Lane 0 also has rows of the upper half, but then lane 1 has the same.
            bank = banks[-1] if 2 * g >= self.config.chain.groups else banks[0]
            m.d.comb += source.ready.eq(advance & offered & (bank == g))
        with m.If(advance):
            m.d.sync += [
                *(self.o.valid.eq(offered), row.eq(row + offered)),
                *(o.row.eq(lanes[-1]), o.strip.eq(tag.strip)),
                o.end_group.eq(end_strip & tag.end_group),
                *(o.sums[lane].eq(self._sum(bank, lane)) for lane, bank in enumerate(banks)),
            ]
            with m.If(offered & end_strip):
                m.d.sync += row.eq(0)
        return m

    def _sum(self, bank: Value, lane: int) -> Value:
        """Return what lies in that lane of the bank of that number."""
        return select(bank, {g: source.payload[lane] for g, source in enumerate(self.i)})

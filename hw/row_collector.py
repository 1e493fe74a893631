"""Brings the rows of the accumulator banks into one stream, in the order of a strip's rows."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.layouts import group_sums_layout
from hw.mux import select


def strip_row_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """One row's group sums, with its number in its strip."""
    return data.StructLayout(
        {"row": unsigned(config.chain_length.bit_length() - 1), "sums": group_sums_layout(config)}
    )


class RowCollector(wiring.Component):
    """Takes `group_length` rows from bank 0, as many from bank 1, and so on, again and again.

    Throughput: one row per cycle. Latency: `cycles`. The inputs' `ready` follows the output's in
    the same cycle.

    Members:
        i: a stream of `group_sums_layout` from each bank.
        o: stream of `strip_row_layout`, registered.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        bank = stream.Signature(group_sums_layout(config))
        super().__init__(
            {
                "i": In(bank).array(config.chain.groups),
                "o": Out(stream.Signature(strip_row_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        lanes = f"{c.accumulator_bits}x{c.products_per_dsp}"
        return f"row_collector_l{c.chain_length}_g{c.group_length}_{lanes}"

    @staticmethod
    def cycles(rows: int) -> int:
        """Return the cycles from the first row offered by a bank to the last one given.

        The timing contract: exact when no stream waits, and every cycle in which one does adds one.
        """
        return rows + 1

    def elaborate(self, platform: object) -> Module:
        """A counter over the rows of a strip chooses the bank; a register follows."""
        m = Module()
        config = self.config
        row = Signal.like(self.o.payload.row)
        bank = row[config.group_length.bit_length() - 1 :]
        groups = config.chain.groups
        advance, offered = Signal(), Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            offered.eq(select(bank, {g: self.i[g].valid for g in range(groups)})),
            *(self.i[g].ready.eq(advance & (bank == g)) for g in range(groups)),
        ]
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(offered),
                self.o.payload.row.eq(row),
                self.o.payload.sums.as_value().eq(
                    select(bank, {g: self.i[g].payload.as_value() for g in range(groups)})
                ),
                row.eq(row + offered),
            ]
        return m

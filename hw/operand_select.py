"""The sparse mux in front of a multiplier: a small memory whose address is the weight's index.

Beside the activations of the column in use it holds those of the next one, so it takes as many LUTs
as 32 x 16 bits of LUT memory, and not those of a 16:1 mux over as many bits.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.sparse_chain import SparseChainConfig
from hw.chain_control import COLUMNS, beat_layout, name, write_layout
from hw.layouts import activation_layout, second_bits

SELECT_CYCLES = 2
"""Cycles from a weight to its factors: the index is registered, then what lies there."""


class OperandSelect(wiring.Component):
    """Stores the activations that pass by, and gives one multiplier its factors.

    Members:
        number: of this multiplier, constant.
        i_write, o_write: the activation to store, and the same for the next multiplier one cycle
            later. It is found by weights that come with it or later.
        beat: of the beat whose weight is at hand.
        value, second: the weight, and its index or the second row's weight.
        low, high, shared: the multiplier's factors, `SELECT_CYCLES` later. `high` is 0 where a
            multiplier makes one product.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "number": In((config.chain_length - 1).bit_length()),
                "i_write": In(write_layout(config)),
                "o_write": Out(write_layout(config)),
                "beat": In(beat_layout(config)),
                "value": In(signed(config.weight_bits)),
                "second": In(unsigned(second_bits(config))),
                "low": Out(signed(8)),
                "high": Out(signed(8)),
                "shared": Out(signed(8)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"operand_select_{name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """Store, look up, and choose which factor is shared."""
        m = Module()
        config, beat = self.config, self.beat
        passed_on = Signal(write_layout(config), reset_less=True)
        m.d.sync += passed_on.eq(self.i_write)
        m.d.comb += self.o_write.eq(passed_on)

        # A dense pass has no indices: its segment says where this multiplier's input is. As a
        # choice between data and constants before a register it costs no LUT.
        index = Signal(config.index_bits, reset_less=True)
        column = Signal(reset_less=True)
        m.d.sync += [index.eq(self.second[: config.index_bits]), column.eq(beat.column)]
        with m.If(beat.dense):
            m.d.sync += index.eq(Cat(self.number, beat.segment)[: config.index_bits])

        shape = activation_layout(config)
        m.submodules.memory = memory = Memory(shape=shape, depth=COLUMNS * config.m, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.i_write.enable),
            write.addr.eq(Cat(self.i_write.input, self.i_write.column)),
            write.data.eq(self.i_write.activation),
            read.addr.eq(Cat(index, column)),
        ]
        found = Signal(shape, reset_less=True)
        m.d.sync += found.eq(read.data)
        value = self._later(m, "value", self.value)
        if config.products_per_dsp == 1:
            m.d.comb += [self.low.eq(found[0]), self.shared.eq(value)]
            return m
        second = self._later(m, "second", self.second[: config.weight_bits].as_signed())
        two_rows = self._later(m, "two_rows", beat.two_rows)
        m.d.comb += [
            self.low.eq(Mux(two_rows, value, found[0])),
            self.high.eq(Mux(two_rows, second, found[1])),
            self.shared.eq(Mux(two_rows, found[0], value)),
        ]
        return m

    def _later(self, m: Module, name: str, value: Value) -> Value:
        """Return `value` two cycles later, when the activation has been found."""
        for k in range(SELECT_CYCLES):
            stage = Signal(value.shape(), name=f"{name}_{k}", reset_less=True)
            m.d.sync += stage.eq(value)
            value = stage
        return value

"""The sparse DSP chain: a cascade of multipliers that does only the products a block keeps.

Weights come in blocks of M output rows x M inputs in which every row keeps N of its M weights; N
may change from block to block. In one cycle the chain takes M kept weights: M/N rows of N terms. A
16:1 mux before each multiplier picks the activation that its weight's index names, the products run
down a cascade, and the cascade is cut every N multipliers, where the sum of one row leaves to its
accumulator. So every multiplier works in every cycle, whatever N is. (After FlightLLM, section 3.2,
where the pieces are called sparse MUX, DSP group, reduction node and Z-MUX.)

In beat j of a block, multiplier i works on row `(i // N) * N + j` and on that row's term `i % N`.
"""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import add


def block_layout(config: SparseChainConfig) -> data.StructLayout:
    """One beat per block: its activations, log2(N) - 1, and whether it ends its group of blocks."""
    return data.StructLayout(
        {
            "activation": data.ArrayLayout(signed(config.activation_bits), config.m),
            "keep_code": unsigned(config.keep_code_bits),
            "last": unsigned(1),
        }
    )


def weight_layout(config: SparseChainConfig) -> data.StructLayout:
    """N beats per block: a kept weight and the index of its input for every multiplier."""
    return data.StructLayout(
        {
            "value": data.ArrayLayout(signed(config.weight_bits), config.m),
            "index": data.ArrayLayout(unsigned(config.index_bits), config.m),
        }
    )


def sums_layout(config: SparseChainConfig) -> data.ArrayLayout:
    """One beat per group of blocks: the sum of each of its M output rows."""
    return data.ArrayLayout(signed(config.accumulator_bits), config.m)


def operand_layout(config: SparseChainConfig) -> data.StructLayout:
    """The two factors of one product."""
    return data.StructLayout(
        {"activation": signed(config.activation_bits), "weight": signed(config.weight_bits)}
    )


def control_layout(config: SparseChainConfig) -> data.StructLayout:
    """What travels down the pipeline beside the operands of one beat.

    `first` marks every beat of the first block of a group, `done` the last beat of its last block.
    """
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "keep_code": unsigned(config.keep_code_bits),
            "beat": unsigned(config.index_bits),
            "first": unsigned(1),
            "done": unsigned(1),
        }
    )


class SparseChain(wiring.Component):
    """One chain of `config.m` multipliers.

    Throughput: one beat of M products per cycle. Latency: M + 5 cycles from the last beat taken to
    the sums given.

    Members:
        i_block: stream of `block_layout`, one beat per block, taken with the block's last weights.
        i_weight: stream of `weight_layout`, N beats per block.
        o: stream of `sums_layout`, one beat for each block whose `last` is set.
        blocked: high while finished sums wait for a full output, and every stage holds its beat.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_block": In(stream.Signature(block_layout(config))),
                "i_weight": In(stream.Signature(weight_layout(config))),
                "o": Out(stream.Signature(sums_layout(config))),
                "blocked": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"sparse_chain_m{c.m}_a{c.activation_bits}w{c.weight_bits}_acc{c.accumulator_bits}"

    @staticmethod
    def cycles(config: SparseChainConfig, keep: ArrayLike) -> int:
        """Return the cycles of a job, from its first beat taken to its last sums given.

        The timing contract: exact when no stream waits, and every cycle in which one does adds one.
        A block takes N cycles. Then the last sums leave after `m` - 1 steps down the cascade and
        one each for select, multiply, add, tap, accumulate and output.

        Args:
            keep: N of every block, in the order they are streamed.
        """
        return int(np.asarray(keep).sum(dtype=np.int64)) + config.m + 5

    def elaborate(self, platform: object) -> Module:
        """Operands are selected, skewed along the cascade, multiplied, added and accumulated."""
        m = Module()
        config = self.config
        advance = Signal()
        sequencer = add(m, platform, "sequencer", Sequencer, config, i_block=self.i_block)
        m.d.comb += [
            sequencer.advance.eq(advance),
            sequencer.weight_valid.eq(self.i_weight.valid),
            self.i_weight.ready.eq(sequencer.weight_ready),
        ]
        # control[k] belongs to the beat that was taken k cycles of `advance` ago.
        control = [sequencer.control]
        for k in range(1, config.m + 5):
            stage = Signal(control_layout(config), name=f"control_{k}")
            with m.If(advance):
                m.d.sync += stage.eq(control[-1])
            control.append(stage)

        def delay(name: str, value: Value, cycles: int) -> Value:
            if cycles == 0:
                return value
            line = add(m, platform, name, Delay, len(value), cycles)
            m.d.comb += [line.advance.eq(advance), line.i.eq(value)]
            return line.o

        taps = []
        cascade: Value = Const(0, signed(config.cascade_bits))
        for i in range(config.m):
            select = add(m, platform, f"select_{i}", OperandSelect, config)
            multiplier = add(m, platform, f"multiplier_{i}", ChainMultiplier, config)
            m.d.comb += [
                select.advance.eq(advance),
                select.activations.eq(self.i_block.payload.activation),
                select.index.eq(self.i_weight.payload.index[i]),
                select.weight.eq(self.i_weight.payload.value[i]),
                multiplier.advance.eq(advance),
                multiplier.operands.eq(delay(f"skew_{i}", select.operands.as_value(), i)),
                multiplier.restart.eq(_starts_row(i, control[i + 2].keep_code)),
                multiplier.i.eq(cascade),
            ]
            cascade = multiplier.o
            if i % 2 == 1:
                taps.append(delay(f"tap_{i // 2}", cascade, config.m - 1 - i))

        sums = Signal(sums_layout(config))
        for g in range(config.groups):
            rows = add(m, platform, f"rows_{g}", RowPair, config)
            m.d.comb += [
                rows.advance.eq(advance),
                rows.group.eq(g),
                rows.control.eq(control[config.m + 2]),
                Cat(sums[2 * g], sums[2 * g + 1]).eq(rows.sums),
            ]
            for code in range(len(config.keeps)):
                # A row that spans 2**code groups leaves the cascade at the last of them.
                m.d.comb += rows.taps[code].eq(taps[g | (2**code - 1)])

        done = control[-1].done
        m.d.comb += [
            self.blocked.eq(done & self.o.valid & ~self.o.ready),
            advance.eq(~self.blocked),
        ]
        with m.If(advance & done):
            m.d.sync += [self.o.payload.eq(sums), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


def _starts_row(multiplier: int, keep_code: Value) -> Value:
    """Tell whether `multiplier` holds a row's first term: its number is a multiple of N."""
    if multiplier % 2 == 1:
        return Const(0)
    if multiplier == 0:
        return Const(1)
    # The largest power of two in the number; code c stands for N = 2 << c.
    largest_code = (multiplier & -multiplier).bit_length() - 2
    return keep_code <= largest_code


class Sequencer(wiring.Component):
    """Joins the two input streams beat by beat and counts the beats of each block.

    Members:
        advance: the pipeline takes a beat in this cycle if there is one.
        i_block: the chain's block stream; ready in the block's last beat.
        weight_valid, weight_ready: the handshake of the weight stream.
        control: the beat that is taken in this cycle; `valid` is low when there is none.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "i_block": In(stream.Signature(block_layout(config))),
                "weight_valid": In(1),
                "weight_ready": Out(1),
                "control": Out(control_layout(config)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"sequencer_m{self.config.m}_a{self.config.activation_bits}"

    def elaborate(self, platform: object) -> Module:
        """Count beats within a block, and remember whether the next block begins a group."""
        m = Module()
        block = self.i_block.payload
        beat = Signal(self.config.index_bits)
        first = Signal(init=1)
        last_beat = Signal()
        take = Signal()
        m.d.comb += [
            # Code c stands for N = 2 << c beats.
            last_beat.eq(beat == ((Const(2) << block.keep_code) - 1)[: self.config.index_bits]),
            take.eq(self.advance & self.i_block.valid & self.weight_valid),
            self.weight_ready.eq(self.advance & self.i_block.valid),
            self.i_block.ready.eq(self.advance & self.weight_valid & last_beat),
            self.control.valid.eq(take),
            self.control.keep_code.eq(block.keep_code),
            self.control.beat.eq(beat),
            self.control.first.eq(first),
            self.control.done.eq(take & last_beat & block.last),
        ]
        with m.If(take):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
            with m.If(last_beat):
                m.d.sync += first.eq(block.last)
        return m


class OperandSelect(wiring.Component):
    """The sparse mux before one multiplier: registers a weight and the activation it belongs to."""

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "activations": In(data.ArrayLayout(signed(config.activation_bits), config.m)),
                "index": In(config.index_bits),
                "weight": In(signed(config.weight_bits)),
                "operands": Out(operand_layout(config)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"operand_select_m{c.m}_a{c.activation_bits}w{c.weight_bits}"

    def elaborate(self, platform: object) -> Module:
        """One mux, one register."""
        m = Module()
        selected = Signal(operand_layout(self.config), reset_less=True)
        with m.If(self.advance):
            m.d.sync += [
                selected.activation.eq(self.activations[self.index]),
                selected.weight.eq(self.weight),
            ]
        m.d.comb += self.operands.eq(selected)
        return m


class ChainMultiplier(wiring.Component):
    """One multiplier and its cascade adder, as a DSP slice has them (M and P registers).

    Members:
        restart: begin a new row: add to zero instead of to the cascade (FlightLLM's Z-MUX).
        i, o: the cascade from the multiplier before and to the one behind.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "operands": In(operand_layout(config)),
                "restart": In(1),
                "i": In(signed(config.cascade_bits)),
                "o": Out(signed(config.cascade_bits)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"chain_multiplier_a{c.activation_bits}w{c.weight_bits}_p{c.cascade_bits}"

    def elaborate(self, platform: object) -> Module:
        """Multiply, then add."""
        m = Module()
        product = Signal(signed(self.config.product_bits), reset_less=True)
        cascade = Signal.like(self.o, reset_less=True)
        with m.If(self.advance):
            m.d.sync += [
                product.eq(self.operands.activation * self.operands.weight),
                cascade.eq(Mux(self.restart, 0, self.i) + product),
            ]
        m.d.comb += self.o.eq(cascade)
        return m


class RowPair(wiring.Component):
    """The accumulators of two neighbouring output rows, those that group `group` holds at N = 2.

    Members:
        group: the number of this DSP group, constant.
        control: of the beat whose row sums stand at the taps.
        taps: for each code of N, the tap at which this group's row leaves the cascade.
        sums: both rows' accumulators, two cycles of `advance` later.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "group": In(config.index_bits - 1),
                "control": In(control_layout(config)),
                "taps": In(data.ArrayLayout(signed(config.cascade_bits), len(config.keeps))),
                "sums": Out(data.ArrayLayout(signed(config.accumulator_bits), 2)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"row_pair_m{c.m}_p{c.cascade_bits}_acc{c.accumulator_bits}"

    def elaborate(self, platform: object) -> Module:
        """Choose the tap, then accumulate in the row that the beat belongs to."""
        m = Module()
        config, control = self.config, self.control
        term = Signal(signed(config.cascade_bits), reset_less=True)
        rows = Signal(self.sums.shape(), reset_less=True)
        update, first = Signal(2), Signal(reset_less=True)
        # Beats 2k and 2k + 1 of a block hold the rows of the k-th group of each span of 2**code
        # groups.
        in_span = Signal(config.index_bits - 1)
        m.d.comb += in_span.eq(self.group & ((Const(1) << control.keep_code) - 1))
        mine = control.valid & (control.beat[1:] == in_span)
        with m.If(self.advance):
            m.d.sync += [
                term.eq(self.taps[control.keep_code]),
                update.eq(Cat(mine & ~control.beat[0], mine & control.beat[0])),
                first.eq(control.first),
            ]
            for row in range(2):
                with m.If(update[row]):
                    m.d.sync += rows[row].eq(Mux(first, 0, rows[row]) + term)
        m.d.comb += self.sums.eq(rows)
        return m


class Delay(wiring.Component):
    """`i` as it was `cycles` cycles of `advance` ago; without reset, so that it fits in SRLs."""

    def __init__(self, width: int, cycles: int) -> None:
        self.cycles = cycles
        super().__init__({"advance": In(1), "i": In(width), "o": Out(width)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"delay_{len(self.i)}x{self.cycles}"

    def elaborate(self, platform: object) -> Module:
        """A row of registers."""
        m = Module()
        value = self.i
        for k in range(self.cycles):
            stage = Signal(len(self.i), name=f"stage_{k}", reset_less=True)
            with m.If(self.advance):
                m.d.sync += stage.eq(value)
            value = stage
        m.d.comb += self.o.eq(value)
        return m

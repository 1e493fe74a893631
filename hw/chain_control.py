"""What a sparse chain does when: its beats, and the columns of activations they work on."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.sparse_chain import SparseChainConfig
from hw.layouts import activation_layout, copy_common, pass_layout

COLUMNS = 2
"""Columns of activations that a chain holds: the one in use, and the next."""


def write_layout(config: SparseChainConfig) -> data.StructLayout:
    """One activation on its way down the chain, to be stored in front of every multiplier."""
    return data.StructLayout(
        {
            "enable": unsigned(1),
            "column": unsigned(1),
            "input": unsigned(config.index_bits),
            "activation": activation_layout(config),
        }
    )


def beat_layout(config: SparseChainConfig) -> data.StructLayout:
    """What travels down the pipeline beside the weights of one beat.

    `beat` counts within the pass, `column` is the one of the two that it works on; the rest is the
    pass's (`hw.layouts.pass_layout`), without what its last beat ends.
    """
    of_pass = pass_layout(config).members
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "beat": unsigned((config.chain_length - 1).bit_length()),
            "column": unsigned(1),
            **{k: shape for k, shape in of_pass.items() if k not in ("end_column", "end_group")},
        }
    )


class ChainSequencer(wiring.Component):
    """Takes activations while there is room for a column, and weights while one is complete.

    Members:
        i_activation: the chain's activations, `m` to a column.
        i_pass: the chain's passes, each taken with its last beat.
        weight_valid, weight_ready: the handshake of the weight stream.
        write: the activation that was taken in the cycle before.
        beat: the beat that is taken in this cycle; `valid` is low when there is none.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_activation": In(stream.Signature(activation_layout(config))),
                "i_pass": In(stream.Signature(pass_layout(config))),
                "weight_valid": In(1),
                "weight_ready": Out(1),
                "write": Out(write_layout(config)),
                "beat": Out(beat_layout(config)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"chain_sequencer_{name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """Fill one column while the other is in use; count beats within a pass."""
        m = Module()
        filled = Signal(COLUMNS)
        release = Signal()
        self._fill(m, filled, release)
        self._issue(m, filled, release)
        return m

    def _fill(self, m: Module, filled: Signal, release: Signal) -> None:
        column, number = Signal(), Signal(self.config.index_bits)
        stored = Signal(write_layout(self.config), reset_less=True)
        enable, take, last = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i_activation.ready.eq(~filled.bit_select(column, 1)),
            take.eq(self.i_activation.valid & self.i_activation.ready),
            last.eq(number == self.config.m - 1),
            self.write.eq(stored),
            self.write.enable.eq(enable),
        ]
        m.d.sync += [
            enable.eq(take),
            stored.column.eq(column),
            stored.input.eq(number),
            stored.activation.eq(self.i_activation.payload),
        ]
        with m.If(take):
            m.d.sync += [number.eq(number + 1), column.eq(column ^ last)]
        # A column is never completed and released in the same cycle: it is one or the other.
        for number_of, full in enumerate(filled):
            with m.If(take & last & (column == number_of)):
                m.d.sync += full.eq(1)
            with m.Elif(release & (self.beat.column == number_of)):
                m.d.sync += full.eq(0)

    def _issue(self, m: Module, filled: Signal, release: Signal) -> None:
        work, beat = self.i_pass.payload, self.beat
        column, number = Signal(), Signal.like(beat.beat)
        usable, take, last = Signal(), Signal(), Signal()
        m.d.comb += [
            usable.eq(self.i_pass.valid & filled.bit_select(column, 1)),
            take.eq(usable & self.weight_valid),
            # A pass of code c has group_length << c beats.
            last.eq(number == ((Const(self.config.group_length) << work.code) - 1)[: len(number)]),
            self.weight_ready.eq(usable),
            self.i_pass.ready.eq(take & last),
            release.eq(take & last & work.end_column),
            beat.valid.eq(take),
            beat.beat.eq(number),
            beat.column.eq(column),
            *copy_common(beat, work),
        ]
        with m.If(take):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        with m.If(release):
            m.d.sync += column.eq(~column)


def name(config: SparseChainConfig) -> str:
    """Return a part of a Verilog identifier that tells this chain from every other."""
    c = config
    shape = f"{c.chain_length}of{c.m}g{c.group_length}x{c.products_per_dsp}"
    return f"{shape}_a{c.activation_bits}w{c.weight_bits}s{c.strips}"


def starts_row(multiplier: int, code: Value, config: SparseChainConfig) -> Value:
    """Tell whether `multiplier` holds a row's first term: its number is a multiple of the beats."""
    if multiplier == 0:
        return Const(1)
    codes = [c for c, beats in enumerate(config.beats_of_pass) if multiplier % beats == 0]
    return code <= codes[-1] if codes else Const(0)

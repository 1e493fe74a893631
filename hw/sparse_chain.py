"""The sparse DSP chain: a cascade of multipliers that does only the products a block keeps.

Weights come in blocks of m output rows x m inputs in which every row keeps N of its m weights; N
may change from block to block. In a beat every multiplier has one kept weight. In front of each
stands a small memory with the m activations of the present column of inputs, and the weight's index
is its address. The products run down a cascade that is cut every N multipliers, where the sum of
one row leaves to its reduction node: M/N rows of N terms in each beat. So every multiplier works in
every cycle, whatever N is. (After FlightLLM, section 3.2, where the pieces are called sparse MUX,
DSP group, reduction node and Z-MUX.)

A strip of rows works on one column in one pass. In beat j of a pass of n beats, multiplier i works
on row `(i // n) * n + j` of the strip and on that row's term `i % n`.
"""

from collections.abc import Sequence
from itertools import repeat

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.sparse_chain import SparseChainConfig
from hw.chain_control import ChainSequencer, beat_layout, name, starts_row
from hw.chain_slice import ChainSlice
from hw.emit import add
from hw.layouts import (
    activation_layout,
    pass_layout,
    row_sum_layout,
    unstoppable,
    weight_layout,
)
from hw.operand_select import SELECT_CYCLES, OperandSelect
from hw.reduction_node import ReductionNode

NODE_CYCLES = 2
"""Cycles from a sum at a DSP group's end to the reduction node's output: tap, split."""


class SparseChain(wiring.Component):
    """One chain of `config.chain_length` multipliers.

    Throughput: one beat of `config.lanes` products per cycle, while the columns' activations come
    in time: one activation per cycle, in the background of the column before. Nothing waits inside.

    Members:
        i_activation: stream of `activation_layout`, `m` beats per column.
        i_pass: stream of `pass_layout`, one beat per pass, taken with its last weights.
        i_weight: stream of `weight_layout`.
        o: for each DSP group, a stream of `row_sum_layout`: `group_length` rows of every pass. It
            does not wait.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        sums = unstoppable(row_sum_layout(config))
        super().__init__(
            {
                "i_activation": In(stream.Signature(activation_layout(config))),
                "i_pass": In(stream.Signature(pass_layout(config))),
                "i_weight": In(stream.Signature(weight_layout(config))),
                "o": Out(sums).array(config.groups),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"sparse_chain_{name(self.config)}"

    @staticmethod
    def latency(config: SparseChainConfig) -> int:
        """Return the cycles from the last beat taken to the last row's sums given."""
        slice_cycles = ChainSlice.cycles("low")
        return SELECT_CYCLES + config.chain_length - 1 + slice_cycles + NODE_CYCLES

    @staticmethod
    def cycles(
        config: SparseChainConfig,
        column_beats: Sequence[int],
        *,
        activation_stalls: Sequence[int] | None = None,
        weight_stalls: Sequence[int] | None = None,
    ) -> int:
        """Return the cycles of a job, from its first activation taken to its last sums given.

        The timing contract: exact. A column's activations take m cycles, as soon as the column two
        before is done; its beats take one cycle each, as soon as they are there.

        Args:
            column_beats: for each column, the beats of all its passes.
            activation_stalls: for each column, the cycles in which the chain would have taken an
                activation but none was offered; weight_stalls: the same of a beat. By default 0.
        """
        stalls = zip(activation_stalls or repeat(0), weight_stalls or repeat(0), strict=False)
        loaded = done = done_before = 0
        for beats, (waited_to_load, waited) in zip(column_beats, stalls, strict=False):
            loaded = max(loaded, done_before) + config.m + waited_to_load
            done_before, done = done, max(done, loaded) + beats + waited
        return done + SparseChain.latency(config)

    def elaborate(self, platform: object) -> Module:
        """Operands are selected, one multiplier after the other, multiplied, added and tapped."""
        m = Module()
        config = self.config
        streams = {"i_activation": self.i_activation, "i_pass": self.i_pass}
        sequencer = add(m, platform, "sequencer", ChainSequencer, config, **streams)
        m.d.comb += [
            sequencer.weight_valid.eq(self.i_weight.valid),
            self.i_weight.ready.eq(sequencer.weight_ready),
        ]
        # beats[k] was taken k cycles ago.
        beats = [sequencer.beat]
        slice_cycles = ChainSlice.cycles("low")
        for k in range(1, SELECT_CYCLES + config.chain_length + slice_cycles - 1):
            stage = Signal(beat_layout(config), name=f"beat_{k}")
            m.d.sync += stage.eq(beats[-1])
            beats.append(stage)
        to_restart = SELECT_CYCLES + slice_cycles - ChainSlice.cycles("restart")

        write, cascade = sequencer.write, None
        ends = []
        for i in range(config.chain_length):
            select = add(m, platform, f"select_{i}", OperandSelect, config)
            multiplier = add(m, platform, f"multiplier_{i}", ChainSlice, config)

            def skew(name: str, value: Value, cycles: int = i) -> Value:
                if cycles == 0:
                    return value
                line = add(m, platform, name, Delay, len(value), cycles)
                m.d.comb += line.i.eq(value)
                return line.o

            m.d.comb += [
                select.number.eq(i),
                select.i_write.eq(write),
                select.beat.eq(beats[i]),
                select.value.eq(skew(f"value_{i}", self.i_weight.payload.value[i])),
                select.second.eq(skew(f"second_{i}", self.i_weight.payload.second[i])),
                multiplier.low.eq(select.low),
                multiplier.shared.eq(select.shared),
                multiplier.restart.eq(starts_row(i, beats[to_restart + i].code, config)),
            ]
            if config.products_per_dsp == 2:
                m.d.comb += multiplier.high.eq(select.high)
            if cascade is not None:
                m.d.comb += multiplier.pcin.eq(cascade)
            write, cascade = select.o_write, multiplier.pcout
            if i % config.group_length == config.group_length - 1:
                ends.append((multiplier.o, beats[SELECT_CYCLES + i + slice_cycles - 1]))

        for group in range(config.groups):
            node = add(m, platform, f"node_{group}", ReductionNode, config, o=self.o[group])
            m.d.comb += node.group.eq(group)
            for code in range(len(config.beats_of_pass)):
                # A row that spans 2**code groups ends at the last of them.
                end, beat = ends[group | (2**code - 1)]
                m.d.comb += [node.taps[code].eq(end), node.beats[code].eq(beat)]
        return m


class Delay(wiring.Component):
    """`i` as it was `cycles` cycles ago; without reset, so that it fits in shift-register LUTs."""

    def __init__(self, width: int, cycles: int) -> None:
        self.cycles = cycles
        super().__init__({"i": In(width), "o": Out(width)})

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
            m.d.sync += stage.eq(value)
            value = stage
        m.d.comb += self.o.eq(value)
        return m

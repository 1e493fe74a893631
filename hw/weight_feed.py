"""What feeds a chain: packed weights, indices and passes in, a beat of weights per cycle out."""

from collections.abc import Iterable

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.emit import add
from hw.expansion import STAGES, BitWidthExpansion, job_layout, weights_layout, word_layout
from hw.fifo import Fifo
from hw.layouts import pass_layout, weight_layout

LATENCY = Fifo.cycles() + STAGES + 1
"""Cycles from a word taken to its first weights offered: queue, expansion, output register."""


def index_layout(config: MatrixEngineConfig) -> data.ArrayLayout:
    """One beat of indices: for every multiplier the input that its weight belongs to."""
    return data.ArrayLayout(unsigned(config.chain.index_bits), config.chain_length)


class WeightFeed(wiring.Component):
    """Queues of words, indices and passes, an expansion unit, and the gear behind it.

    Throughput: one beat of weights per cycle, from pass to pass and from job to job. Latency: 5
    cycles from a word taken to its first weights offered, 2 from an index or a pass taken.

    The expansion unit gives as many weights in a beat as the chain has lanes. With two products per
    multiplier these are one beat of a `two_rows` pass, each multiplier's weight of the first row
    before all those of the second; in any other pass they are two successive beats.

    Members:
        i_job: stream of `hw.expansion.job_layout`, one beat per segment of weights; taken with the
            segment's last beat. A segment ends with a pass.
        i_word: stream of words of packed weights.
        i_index: stream of `index_layout`, one beat for each beat of passes that are not `dense`.
        i_pass: stream of passes; a `two_rows` pass is `dense`.
        o_weight: stream of weights; `second` is 0 in dense passes of one row.
        o_pass: stream of their passes, offered from a pass's first beat on; it must be taken with
            the last one, neither earlier nor later.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(job_layout(config.expansion))),
                "i_word": In(stream.Signature(word_layout(config.expansion))),
                "i_index": In(stream.Signature(index_layout(config))),
                "i_pass": In(stream.Signature(pass_layout(config.chain))),
                "o_pass": Out(stream.Signature(pass_layout(config.chain))),
                "o_weight": Out(stream.Signature(weight_layout(config.chain))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        depths = f"d{c.weight_depth}_{c.index_depth}_{c.pass_depth}"
        return f"weight_feed_{_shape(c)}_w{c.word_bits}_{depths}"

    @staticmethod
    def cycles(beats: Iterable[int]) -> int:
        """Return the cycles of successive passes, from the first word offered to the last weights.

        The timing contract: exact when no stream waits.

        Args:
            beats: of each pass.
        """
        return sum(beats) + LATENCY

    def elaborate(self, platform: object) -> Module:
        """Three queues; the words' one leads to the gear through the expansion unit."""
        m = Module()
        c = self.config
        expansion = add(m, platform, "expansion", BitWidthExpansion, c.expansion, i_job=self.i_job)
        outputs = {"o_pass": self.o_pass, "o_weight": self.o_weight}
        gear = add(m, platform, "gear", WeightGear, c, **outputs)
        queues = (
            ("words", c.weight_depth, self.i_word, expansion.i),
            ("indices", c.index_depth, self.i_index, gear.i_index),
            ("passes", c.pass_depth, self.i_pass, gear.i_pass),
        )
        for name, depth, source, sink in queues:
            width = len(source.payload.as_value())
            queue = add(m, platform, name, Fifo, width, depth)
            m.d.comb += [
                queue.i.payload.eq(source.payload.as_value()),
                queue.i.valid.eq(source.valid),
                source.ready.eq(queue.i.ready),
                sink.payload.as_value().eq(queue.o.payload),
                sink.valid.eq(queue.o.valid),
                queue.o.ready.eq(sink.ready),
            ]
        m.d.comb += [
            gear.i_weight.payload.eq(expansion.o.payload),
            gear.i_weight.valid.eq(expansion.o.valid),
            expansion.o.ready.eq(gear.i_weight.ready),
        ]
        return m


class WeightGear(wiring.Component):
    """Cuts expanded weights into a chain's beats, and puts the indices and the pass beside them.

    Throughput: one beat per cycle. Latency: one cycle.

    Members:
        i_weight: expanded weights, as many as the chain has lanes.
        i_index, i_pass, o_weight, o_pass: see `WeightFeed`.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_weight": In(stream.Signature(weights_layout(config.expansion))),
                "i_index": In(stream.Signature(index_layout(config))),
                "i_pass": In(stream.Signature(pass_layout(config.chain))),
                "o_pass": Out(stream.Signature(pass_layout(config.chain))),
                "o_weight": Out(stream.Signature(weight_layout(config.chain))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"weight_gear_{_shape(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """Count the beats of a pass; register each, and with the first one the pass."""
        m = Module()
        chain = self.config.chain
        work = self.i_pass.payload
        beat = Signal(range(chain.chain_length))
        advance, loads, last, whole = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            advance.eq(~self.o_weight.valid | self.o_weight.ready),
            loads.eq(
                advance
                & self.i_weight.valid
                & self.i_pass.valid
                & (self.i_index.valid | work.dense)
            ),
            # A pass of code c has group_length << c beats.
            last.eq(beat == ((Const(chain.group_length) << work.code) - 1)[: len(beat)]),
            # A pass has an even number of beats.
            whole.eq(work.two_rows | beat[0] if chain.products_per_dsp == 2 else 1),
            self.i_weight.ready.eq(loads & whole),
            self.i_index.ready.eq(loads & ~work.dense),
            self.i_pass.ready.eq(loads & last),
        ]
        weights = Signal(self.o_weight.payload.shape(), reset_less=True)
        header = Signal(self.o_pass.payload.shape(), reset_less=True)
        m.d.comb += [self.o_weight.payload.eq(weights), self.o_pass.payload.eq(header)]
        with m.If(self.o_pass.ready):
            m.d.sync += self.o_pass.valid.eq(0)
        with m.If(advance):
            m.d.sync += self.o_weight.valid.eq(loads)
        with m.If(loads):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
            self._fill(m, weights, beat[0])
            with m.If(beat == 0):
                m.d.sync += [header.eq(work), self.o_pass.valid.eq(1)]
        return m

    def _fill(self, m: Module, weights: data.View, half: Value) -> None:
        """Register a beat's weights; `half` is 1 in the second half of an expanded beat."""
        length, work = self.config.chain_length, self.i_pass.payload
        below, above = self.i_weight.payload[:length], self.i_weight.payload[length:]
        for i, index in enumerate(self.i_index.payload):
            second: Value = Mux(work.dense, 0, index)
            value = below[i]
            if len(above):
                second = Mux(work.two_rows, above[i].as_unsigned(), second)
                value = Mux(half & ~work.two_rows, above[i], value)
            m.d.sync += [weights.value[i].eq(value), weights.second[i].eq(second)]


def _shape(config: MatrixEngineConfig) -> str:
    """Return a part of a Verilog identifier that tells the chain's shape."""
    c = config
    return f"{c.chain_length}of{c.m}g{c.group_length}x{c.products_per_dsp}_s{c.strips}"

"""One chain with all that it works with: buffers before it, accumulators and scales behind it."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.accumulator_bank import AccumulatorBank
from hw.activation_buffer import ActivationBuffer
from hw.emit import add
from hw.expansion import job_layout, word_layout
from hw.fifo import Fifo
from hw.group_scale import GroupScale
from hw.layouts import (
    activation_layout,
    copy_common,
    output_layout,
    pass_layout,
    row_tag_layout,
    scale_layout,
    sweep_layout,
)
from hw.row_collector import RowCollector
from hw.sparse_chain import SparseChain
from hw.weight_feed import WeightFeed, index_layout


def unit_streams(config: MatrixEngineConfig) -> dict[str, stream.Signature]:
    """Return the streams into a unit, by name.

    i_sweep: jobs of the activation buffer (`sweep_layout`). i_activation: their inputs.
    i_segment: jobs of the expansion unit (`hw.expansion.job_layout`). i_word: their words.
    i_index: indices of the passes that have any. i_pass: the passes. i_scale: a row's scales.
    """
    return {
        "i_sweep": stream.Signature(sweep_layout(config)),
        "i_activation": stream.Signature(activation_layout(config.chain)),
        "i_segment": stream.Signature(job_layout(config.expansion)),
        "i_word": stream.Signature(word_layout(config.expansion)),
        "i_index": stream.Signature(index_layout(config)),
        "i_pass": stream.Signature(pass_layout(config.chain)),
        "i_scale": stream.Signature(scale_layout(config)),
    }


class ChainUnit(wiring.Component):
    """Activation buffer and weight feed, the chain, its accumulators, and the group scale.

    Nothing waits between the chain and the queues behind its accumulators. So a pass that finishes
    a strip's group begins only while these have room for one more strip.

    Members:
        matrix_vector: all lanes have the same token; may change only while nothing is in the unit.
        i_sweep ... i_scale: see `unit_streams`.
        o: stream of `output_layout`: the outputs of each strip, row by row (or pair by pair), when
            its last group is finished.
    """

    simulated_apart = True
    """An engine of 32 units flat is 50 MB of C++."""

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        inputs = {name: In(signature) for name, signature in unit_streams(config).items()}
        output = Out(stream.Signature(output_layout(config)))
        super().__init__({"matrix_vector": In(1), **inputs, "o": output})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"chain_unit_{name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """Wire the blocks one behind the other."""
        m = Module()
        config = self.config
        given = {"i_job": self.i_sweep, "i": self.i_activation}
        activations = add(m, platform, "activations", ActivationBuffer, config, **given)
        given = {"i_job": self.i_segment, "i_word": self.i_word, "i_index": self.i_index}
        weights = add(m, platform, "weights", WeightFeed, config, i_pass=self.i_pass, **given)
        chain = add(m, platform, "chain", SparseChain, config.chain)
        collector = add(m, platform, "collector", RowCollector, config)
        scale = add(m, platform, "group_scale", GroupScale, config, i_scale=self.i_scale, o=self.o)
        connect(m, activations.o, chain.i_activation)
        connect(m, weights.o_weight, chain.i_weight)
        connect(m, activations.o_offset, scale.i_offset)
        connect(m, collector.o, scale.i_row)
        self._issue(m, platform, weights.o_pass, chain.i_pass, collector.i_tag)
        for group in range(config.chain.groups):
            bank = add(m, platform, f"bank_{group}", AccumulatorBank, config)
            m.d.comb += [
                bank.i.valid.eq(chain.o[group].valid),
                bank.i.payload.eq(chain.o[group].payload),
            ]
            connect(m, bank.o, collector.i[group])
        return m

    def _issue(self, m: Module, platform: object, source: Any, sink: Any, tag: Any) -> None:
        """Let passes through while there is room for their rows, and queue their strips' tags."""
        strips = self.config.strips
        room = Signal(range(strips + 1), init=strips)
        layout = row_tag_layout(self.config)
        tags = add(m, platform, "tags", Fifo, layout.size, strips)
        work = source.payload
        allowed, finishes = Signal(), Signal()
        m.d.comb += [
            allowed.eq(~work.last | (room != 0)),
            sink.payload.eq(work),
            sink.valid.eq(source.valid & allowed),
            source.ready.eq(sink.ready & allowed),
            finishes.eq(sink.valid & sink.ready & work.last),
            tags.i.valid.eq(finishes),
            tag.valid.eq(tags.o.valid),
            tag.payload.as_value().eq(tags.o.payload),
            tags.o.ready.eq(tag.ready),
        ]
        queued = layout(tags.i.payload)
        m.d.comb += copy_common(queued, work)
        if self.config.pairs_rows:
            m.d.comb += queued.paired.eq(self.matrix_vector & ~work.two_rows)
        m.d.sync += room.eq(room - finishes + (tag.valid & tag.ready))


def connect(m: Module, source: Any, sink: Any) -> None:
    """Lead one stream into another."""
    m.d.comb += [
        sink.payload.eq(source.payload),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


def name(config: MatrixEngineConfig) -> str:
    """Return a part of a Verilog identifier that tells this engine's units from every other."""
    c = config
    shape = f"{c.chain_length}of{c.m}g{c.group_length}x{c.products_per_dsp}s{c.strips}"
    buffers = f"b{c.activation_depth}_{c.word_bits}x{c.weight_depth}_{c.index_depth}_{c.pass_depth}"
    sums = f"{c.accumulator_bits}x{c.scale_bits}r{c.scale_shift}to{c.output_bits}"
    fraction = f"z{c.zero_fraction_bits}" if c.zero_fraction_bits else ""
    return f"{shape}_{buffers}_{sums}{fraction}"

"""Between a chain's memory words and its unit: the way of a weight stream, or of plain words."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import FORMATS, Unit
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.chain_loader import ChainLoader
from hw.dense_job import DenseJob, dense_job_layout
from hw.emit import add
from hw.expansion import job_layout, word_layout
from hw.fifo import Fifo
from hw.layouts import pass_layout, scale_layout
from hw.weight_feed import index_layout
from hw.weight_stream import Kind, destination_layout

WORDS_BITS = FORMATS[Unit.MV].field("words").bits
"""Bits of a job's number of words."""

SCALE_DEPTH = 32
"""Scales that wait for their rows while the words behind them go on."""


def feed_job_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """One beat per job.

    Fields:
        words: of the job. dense: they are plain INT8 weights, and `plan` tells the rest; else they
            are a weight stream. active: the words come from memory; else they are zeros, which a
            dense job of fewer strips than chains needs.
    """
    return data.StructLayout(
        {
            "words": unsigned(WORDS_BITS),
            "dense": unsigned(1),
            "active": unsigned(1),
            "plan": dense_job_layout(config),
        }
    )


class ChainFeed(wiring.Component):
    """Gives a chain's unit all that it takes but the activations.

    Words that follow the job's last one wait for the next job. Throughput: one word per cycle.

    Members:
        i_job: stream of `feed_job_layout`. A job may be offered only when the unit has given all
            outputs of the job before.
        i: stream of memory words.
        o_segment, o_word, o_index, o_pass, o_scale: what `hw.chain_unit.unit_streams` names.
        o_destination: stream of `hw.weight_stream.destination_layout`.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(feed_job_layout(config))),
                "i": In(stream.Signature(unsigned(config.word_bits))),
                "o_segment": Out(stream.Signature(job_layout(config.expansion))),
                "o_word": Out(stream.Signature(word_layout(config.expansion))),
                "o_index": Out(stream.Signature(index_layout(config))),
                "o_pass": Out(stream.Signature(pass_layout(config.chain))),
                "o_scale": Out(stream.Signature(scale_layout(config))),
                "o_destination": Out(stream.Signature(destination_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        shape = f"{c.chain_length}of{c.m}g{c.group_length}x{c.products_per_dsp}s{c.strips}"
        return f"chain_feed_{shape}_w{c.word_bits}_{feed_job_layout(c).size}_{c.scale_bits}"

    @staticmethod
    def cycles(config: MatrixEngineConfig, words: Iterable[tuple[Kind, int]]) -> int:
        """Return the cycles from a job taken to its last word taken, both counted.

        The timing contract: exact where the source always has a word and no sink waits.

        Args:
            words: kind and number of payloads of each word; plain ones are words of weights.
        """
        return 1 + ChainLoader.cycles(config, words)

    def elaborate(self, platform: object) -> Module:
        """Loader and dense job side by side; the job in work says whose payloads count."""
        m = Module()
        config = self.config
        loader = add(m, platform, "loader", ChainLoader, config, o_index=self.o_index)
        plain = add(m, platform, "dense", DenseJob, config)
        scales = add(m, platform, "scales", Fifo, scale_layout(config).size, SCALE_DEPTH)
        strips = add(
            m, platform, "strips", Fifo, destination_layout(config).size, max(config.strips, 2)
        )
        dense, word = self._words(m, loader, plain)
        for source, other, sink in (
            (loader.o_word, word, self.o_word),
            (loader.o_segment, plain.o_segment, self.o_segment),
            (loader.o_pass, plain.o_pass, self.o_pass),
            (loader.o_scale, plain.o_scale, scales.i),
            (loader.o_destination, plain.o_destination, strips.i),
        ):
            _choose(m, dense, source, other, sink)
        for queue, sink in ((scales, self.o_scale), (strips, self.o_destination)):
            m.d.comb += [
                _bits(sink.payload).eq(queue.o.payload),
                sink.valid.eq(queue.o.valid),
                queue.o.ready.eq(sink.ready),
            ]
        return m

    def _words(self, m: Module, loader: Any, plain: Any) -> tuple[Signal, stream.Interface]:
        """Count a job's words and lead them to the loader or past it; return the latter way."""
        job = self.i_job.payload
        left, dense, active = Signal(WORDS_BITS), Signal(), Signal()
        past = stream.Signature(unsigned(self.config.word_bits)).create(path=("past",))
        runs, taken, begins = Signal(), Signal(), Signal()
        m.d.comb += [
            begins.eq(self.i_job.valid & self.i_job.ready),
            self.i_job.ready.eq(~runs & (plain.i.ready | ~job.dense)),
            plain.i.payload.eq(job.plan),
            plain.i.valid.eq(begins & job.dense),
            runs.eq(left != 0),
            loader.i.payload.eq(self.i.payload),
            loader.i.valid.eq(runs & ~dense & self.i.valid),
            past.payload.eq(Mux(active, self.i.payload, 0)),
            past.valid.eq(runs & dense & (self.i.valid | ~active)),
            self.i.ready.eq(runs & Mux(dense, active & past.ready, loader.i.ready)),
            taken.eq(Mux(dense, past.valid & past.ready, loader.i.valid & loader.i.ready)),
        ]
        m.d.sync += left.eq(Mux(begins, job.words, left - taken))
        with m.If(begins):
            m.d.sync += [dense.eq(job.dense), active.eq(job.active)]
        return dense, past


def _choose(m: Module, dense: Signal, source: Any, other: Any, sink: Any) -> None:
    """Lead one of two streams to the sink, `other` where `dense`."""
    m.d.comb += [
        _bits(sink.payload).eq(Mux(dense, _bits(other.payload), _bits(source.payload))),
        sink.valid.eq(Mux(dense, other.valid, source.valid)),
        source.ready.eq(~dense & sink.ready),
        other.ready.eq(dense & sink.ready),
    ]


def _bits(payload: Any) -> Value:
    return Value.cast(payload)

"""Passes, scales and destinations of a matrix of plain INT8 weights, such as keys and values.

What a compiler lays beside the weights of a model nobody lays beside the KV cache: a chain makes it
itself from a few numbers. The matrix is dense, and has one scale for all. It has scale groups only
because none may have more than the engine's `max_group_inputs`.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.expansion import EXPANDED_BITS
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.expansion import job_layout
from hw.layouts import pass_layout, scale_layout, sweep_layout
from hw.weight_stream import DESTINATION_BITS, destination_layout


def dense_job_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """One beat per matrix, all of one tile.

    Fields:
        more_columns: columns - 1. more_in_group: columns of a scale group - 1, the last one of
            which may have fewer.
        more_strips: addresses of strips - 1; with two products per multiplier each has two strips.
        more_beats: beats of the expansion unit - 1; there are columns x addresses x m.
        scale: of all rows.
        destination: number of the first strip. step: from an address to the next one.
    """
    sweep = sweep_layout(config)
    return data.StructLayout(
        {
            "more_columns": sweep["more_columns"].shape,
            "more_in_group": sweep["more_in_group"].shape,
            "more_strips": unsigned((config.strips - 1).bit_length()),
            "more_beats": job_layout(config.expansion)["more_beats"].shape,
            "scale": unsigned(config.scale_bits),
            "destination": unsigned(DESTINATION_BITS),
            "step": unsigned(DESTINATION_BITS),
        }
    )


class DenseJob(wiring.Component):
    """What a chain takes beside the words of a dense matrix.

    Throughput: one payload per cycle on each stream. Latency: each stream offers its first payload
    in the cycle after the job was taken.

    Members:
        i: stream of `dense_job_layout`, taken when all streams have given the job before.
        o_segment, o_pass, o_scale, o_destination: as `hw.chain_loader.ChainLoader` gives them.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(dense_job_layout(config))),
                "o_segment": Out(stream.Signature(job_layout(config.expansion))),
                "o_pass": Out(stream.Signature(pass_layout(config.chain))),
                "o_scale": Out(stream.Signature(scale_layout(config))),
                "o_destination": Out(stream.Signature(destination_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        chain = f"l{c.chain_length}of{c.m}g{c.group_length}x{c.products_per_dsp}s{c.strips}"
        return f"dense_job_{chain}_{c.scale_bits}_{dense_job_layout(c).size}"

    @staticmethod
    def cycles(config: MatrixEngineConfig, columns: int, strips: int) -> int:
        """Return the cycles from a job taken to its last pass given, exact when no stream waits.

        Args:
            strips: addresses of strips.
        """
        return 1 + columns * strips * config.chain.segments

    def elaborate(self, platform: object) -> Module:
        """A counter for each stream."""
        m = Module()
        job = Signal(dense_job_layout(self.config), reset_less=True)
        begin = Signal()
        with m.If(begin):
            m.d.sync += job.eq(self.i.payload)
        busy = [
            self._segment(m, begin, job),
            self._passes(m, begin, job),
            self._scales(m, begin, job),
            self._destinations(m, begin, job),
        ]
        idle = Signal()
        m.d.comb += [
            idle.eq(~(busy[0] | busy[1] | busy[2] | busy[3])),
            self.i.ready.eq(idle),
            begin.eq(self.i.valid & idle),
        ]
        return m

    def _segment(self, m: Module, begin: Signal, job: data.View) -> Signal:
        m.d.comb += [
            self.o_segment.payload.width_code.eq(EXPANDED_BITS - 1),
            self.o_segment.payload.more_beats.eq(job.more_beats),
        ]
        return _run(m, begin, self.o_segment, "segment", last=1)

    def _passes(self, m: Module, begin: Signal, job: data.View) -> Signal:
        config = self.config
        header = self.o_pass.payload
        column, strip = Signal.like(job.more_columns), Signal.like(job.more_strips)
        in_group, segment = Signal.like(job.more_in_group), Signal.like(header.segment)
        last_segment, last_strip = Signal(), Signal()
        last_column, last_in_group = Signal(), Signal()
        m.d.comb += [
            last_segment.eq(segment == config.chain.segments - 1),
            last_strip.eq(strip == job.more_strips),
            last_column.eq(column == job.more_columns),
            last_in_group.eq(last_column | (in_group == job.more_in_group)),
            header.code.eq((config.chain_length // config.group_length).bit_length() - 1),
            *(header.dense.eq(1), header.two_rows.eq(config.products_per_dsp == 2)),
            *(header.segment.eq(segment), header.strip.eq(strip)),
            header.first.eq((in_group == 0) & (segment == 0)),
            header.last.eq(last_in_group & last_segment),
            header.end_column.eq(last_strip & last_segment),
            header.end_group.eq(header.last & last_strip),
        ]
        busy = _run(m, begin, self.o_pass, "pass", last=header.end_group & last_column)
        with m.If(begin):
            m.d.sync += [column.eq(0), in_group.eq(0), strip.eq(0), segment.eq(0)]
        with m.Elif(self.o_pass.valid & self.o_pass.ready):
            m.d.sync += segment.eq(Mux(last_segment, 0, segment + 1))
            with m.If(last_segment):
                m.d.sync += strip.eq(Mux(last_strip, 0, strip + 1))
            with m.If(last_segment & last_strip):
                m.d.sync += column.eq(column + 1)
                m.d.sync += in_group.eq(Mux(last_in_group, 0, in_group + 1))
        return busy

    def _scales(self, m: Module, begin: Signal, job: data.View) -> Signal:
        row, strip = Signal(range(self.config.chain_length)), Signal.like(job.more_strips)
        first, left = Signal(), Signal.like(job.more_columns)  # columns from this group on - 1
        last_row, last_of_group = Signal(), Signal()
        scale = self.o_scale.payload
        m.d.comb += [
            last_row.eq(row == self.config.chain_length - 1),
            last_of_group.eq(last_row & (strip == job.more_strips)),
            *(each.eq(job.scale) for each in scale.scale),
            *(scale.first.eq(first), scale.last.eq(left <= job.more_in_group)),
        ]
        busy = _run(m, begin, self.o_scale, "scale", last=last_of_group & scale.last)
        with m.If(begin):
            m.d.sync += [row.eq(0), strip.eq(0), first.eq(1)]
            m.d.sync += left.eq(self.i.payload.more_columns)
        with m.Elif(self.o_scale.valid & self.o_scale.ready):
            m.d.sync += [row.eq(row + 1), strip.eq(Mux(last_of_group, 0, strip + last_row))]
            with m.If(last_of_group):
                m.d.sync += [first.eq(0), left.eq(left - job.more_in_group - 1)]
        return busy

    def _destinations(self, m: Module, begin: Signal, job: data.View) -> Signal:
        strip = Signal.like(job.more_strips)
        number = Signal(DESTINATION_BITS, reset_less=True)
        m.d.comb += [each.eq(number + lane) for lane, each in enumerate(self.o_destination.payload)]
        busy = _run(m, begin, self.o_destination, "destination", last=strip == job.more_strips)
        with m.If(begin):
            m.d.sync += [strip.eq(0), number.eq(self.i.payload.destination)]
        with m.Elif(self.o_destination.valid & self.o_destination.ready):
            m.d.sync += [strip.eq(strip + 1), number.eq(number + job.step)]
        return busy


def _run(m: Module, begin: Signal, output: Any, name: str, *, last: Any) -> Signal:
    """Offer payloads from `begin` on until `last` is taken; return whether there are any left."""
    busy = Signal(name=f"{name}_busy")
    m.d.comb += output.valid.eq(busy)
    m.d.sync += busy.eq(begin | (busy & ~(output.ready & last)))
    return busy

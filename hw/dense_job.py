"""Passes, scales and destinations of a matrix of plain INT8 weights, such as keys and values.

What a compiler lays beside the weights of a model nobody lays beside the KV cache: a chain makes it
itself from a few numbers. The matrix is dense, has one scale for all, and one scale group.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.expansion import EXPANDED_BITS
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.expansion import job_layout
from hw.layouts import pass_layout, scale_layout
from hw.weight_stream import DESTINATION_BITS, destination_layout


def dense_job_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """One beat per matrix, all of one tile.

    Fields:
        more_columns: columns - 1.
        more_strips: addresses of strips - 1; with two products per multiplier each has two strips.
        more_beats: beats of the expansion unit - 1; there are columns x addresses x m.
        scale: of all rows.
        destination: number of the first strip. step: from an address to the next one.
    """
    columns = (config.max_group_inputs // config.m).bit_length()
    return data.StructLayout(
        {
            "more_columns": unsigned(columns),
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
        segment = Signal.like(header.segment)
        last_segment, last_strip = Signal(), Signal()
        last_column = Signal()
        m.d.comb += [
            last_segment.eq(segment == config.chain.segments - 1),
            last_strip.eq(strip == job.more_strips),
            last_column.eq(column == job.more_columns),
            header.code.eq((config.chain_length // config.group_length).bit_length() - 1),
            *(header.dense.eq(1), header.two_rows.eq(config.products_per_dsp == 2)),
            *(header.segment.eq(segment), header.strip.eq(strip)),
            header.first.eq((column == 0) & (segment == 0)),
            header.last.eq(last_column & last_segment),
            header.end_column.eq(last_strip & last_segment),
            header.end_group.eq(header.last & last_strip),
        ]
        busy = _run(m, begin, self.o_pass, "pass", last=header.end_group)
        with m.If(begin):
            m.d.sync += [column.eq(0), strip.eq(0), segment.eq(0)]
        with m.Elif(self.o_pass.valid & self.o_pass.ready):
            m.d.sync += segment.eq(Mux(last_segment, 0, segment + 1))
            with m.If(last_segment):
                m.d.sync += strip.eq(Mux(last_strip, 0, strip + 1))
            with m.If(last_segment & last_strip):
                m.d.sync += column.eq(column + 1)
        return busy

    def _scales(self, m: Module, begin: Signal, job: data.View) -> Signal:
        row, strip = Signal(range(self.config.chain_length)), Signal.like(job.more_strips)
        last_row = Signal()
        scale = self.o_scale.payload
        m.d.comb += [
            last_row.eq(row == self.config.chain_length - 1),
            *(each.eq(job.scale) for each in scale.scale),
            *(scale.first.eq(1), scale.last.eq(1)),
        ]
        busy = _run(m, begin, self.o_scale, "scale", last=last_row & (strip == job.more_strips))
        with m.If(begin):
            m.d.sync += [row.eq(0), strip.eq(0)]
        with m.Elif(self.o_scale.valid & self.o_scale.ready):
            m.d.sync += [row.eq(row + 1), strip.eq(strip + last_row)]
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

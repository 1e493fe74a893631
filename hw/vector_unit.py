"""The vector unit of a core: the special function unit with its ways to the memories on the chip.

It executes the core's MISC instructions, one after the other.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.special_function_unit import (
    WIDE_BITS,
    Byte,
    Operation,
    Second,
    SpecialFunctionUnitConfig,
)
from hw.emit import add
from hw.sfu_layouts import byte_layout, job_layout
from hw.special_function_unit import SpecialFunctionUnit
from hw.vector_timing import vector_cycles
from hw.word_mover import WordReader, WordWriter, address_bits, write_layout


def vector_word_layout(config: SpecialFunctionUnitConfig) -> data.ArrayLayout:
    """One word of the vector buffer."""
    return data.ArrayLayout(signed(WIDE_BITS), config.lanes)


def vector_job_layout(vector_depth: int, activation_depth: int) -> data.StructLayout:
    """One beat per MISC instruction.

    Fields:
        job: of the special function unit.
        a, b, out: first words of its vectors in the vector buffer.
        out_byte: first word in the activation memory.
    """
    word = unsigned(address_bits(vector_depth))
    return data.StructLayout(
        {
            "job": job_layout(),
            **dict.fromkeys(("a", "b", "out"), word),
            "out_byte": unsigned(address_bits(activation_depth)),
        }
    )


class VectorUnit(wiring.Component):
    """The special function unit between the vector buffer and the activation memory.

    Throughput: `config.lanes` elements per cycle within an instruction.

    Args:
        vector_depth, activation_depth: words of the two memories, 16 to 65536.

    Members:
        i: stream of `vector_job_layout`, taken when the one before is complete.
        a, b: read ports of the vector buffer: enable and address; the word comes a cycle later.
        o: stream of words for the vector buffer, `hw.word_mover.write_layout`.
        o_byte: stream of words of INT8 for the activation memory, `hw.word_mover.write_layout`.
        complete: high for a cycle when all words of an instruction are written.
    """

    def __init__(
        self, config: SpecialFunctionUnitConfig, vector_depth: int, activation_depth: int
    ) -> None:
        self.config = config
        self.vector_depth = vector_depth
        self.activation_depth = activation_depth
        width = vector_word_layout(config).size
        read = wiring.Signature(
            {"enable": Out(1), "address": Out(address_bits(vector_depth)), "word": In(width)}
        )
        bytes_written = write_layout(byte_layout(config).size, activation_depth)
        super().__init__(
            {
                "i": In(stream.Signature(vector_job_layout(vector_depth, activation_depth))),
                **{"a": Out(read), "b": Out(read)},
                "o": Out(stream.Signature(write_layout(width, vector_depth))),
                "o_byte": Out(stream.Signature(bytes_written)),
                "complete": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"vector_unit_x{c.lanes}_t{c.table_bits}_{self.vector_depth}_{self.activation_depth}"

    cycles = staticmethod(vector_cycles)
    """The timing contract; see `hw.vector_timing`."""

    def elaborate(self, platform: object) -> Module:
        """Start the unit and all movers at once; the instruction ends when the last one rests."""
        m = Module()
        config, work = self.config, self.i.payload
        depth, width = self.vector_depth, vector_word_layout(config).size
        unit = add(m, platform, "functions", SpecialFunctionUnit, config)
        a, b = (add(m, platform, f"read_{name}", WordReader, width, depth) for name in "ab")
        wide = add(m, platform, "write", WordWriter, width, depth, o=self.o)
        byte_width = byte_layout(config).size
        narrow = add(
            m,
            platform,
            "write_bytes",
            WordWriter,
            byte_width,
            self.activation_depth,
            o=self.o_byte,
        )
        busy, begins = Signal(), Signal()
        is_pass = work.job.operation < Operation.LOAD
        by_operation = (work.job.operation == Operation.PRODUCT) | (
            work.job.operation == Operation.ROTATE
        )
        movers = (
            (a, work.a, is_pass),
            (b, work.b, is_pass & (by_operation | (work.job.source == Second.VECTOR))),
            (wide, work.out, is_pass & work.job.wide),
            (narrow, work.out_byte, is_pass & (work.job.byte != Byte.NONE)),
        )
        for mover, address, wanted in movers:
            m.d.comb += [
                mover.i.payload.address.eq(address),
                mover.i.payload.more_words.eq(
                    work.job.more_elements[(config.lanes - 1).bit_length() :]
                ),
                mover.i.valid.eq(begins & wanted),
            ]
        for reader, port, sink in ((a, self.a, unit.i_a), (b, self.b, unit.i_b)):
            self._read(m, reader, port, sink)
        for source, mover, bits in ((unit.o, wide, WIDE_BITS), (unit.o_byte, narrow, None)):
            m.d.comb += [
                mover.i_word.payload.eq(Cat(element[:bits] for element in source.payload)),
                mover.i_word.valid.eq(source.valid),
                source.ready.eq(mover.i_word.ready),
            ]
        rests = Cat(a.i.ready, ~a.o.valid, b.i.ready, ~b.o.valid, wide.i.ready, narrow.i.ready)
        m.d.comb += [
            unit.i_job.payload.eq(work.job),
            unit.i_job.valid.eq(self.i.valid & ~busy),
            begins.eq(unit.i_job.valid & unit.i_job.ready),
            self.i.ready.eq(~busy & unit.i_job.ready),
            self.complete.eq(busy & rests.all()),
        ]
        m.d.sync += busy.eq(begins | (busy & ~self.complete))
        return m

    def _read(self, m: Module, reader: Any, port: Any, sink: Any) -> None:
        """Lead a run of words from the memory to a stream of the unit, sign-extended."""
        word: Value = data.View(vector_word_layout(self.config), reader.o.payload)
        m.d.comb += [
            *(port.enable.eq(reader.enable), port.address.eq(reader.address)),
            reader.word.eq(port.word),
            *(element.eq(word[k]) for k, element in enumerate(sink.payload)),
            sink.valid.eq(reader.o.valid),
            reader.o.ready.eq(sink.ready),
        ]

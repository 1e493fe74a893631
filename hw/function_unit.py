"""Executes a core's MISC instructions: passes and steps of the special function unit."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.core import CoreConfig
from golden.spec.instruction import JOB_FIELDS
from golden.spec.isa import ErrorCode, Unit
from golden.spec.special_function_unit import LENGTH_BITS, Byte, Operation
from hw.emit import add
from hw.isa import error_layout, instruction_layout
from hw.load_unit import vector_write_layout
from hw.sfu_layouts import byte_layout
from hw.vector_unit import VectorUnit, vector_word_layout
from hw.word_memory import read_signature
from hw.word_mover import write_layout


class FunctionUnit(wiring.Component):
    """The vector unit with what turns instructions into its jobs.

    Members:
        i: stream of `hw.isa.instruction_layout` of MISC, taken when the one before is complete.
        a, b: read ports of the vector buffer, see `hw.word_memory`.
        o: stream of `hw.load_unit.vector_write_layout`.
        o_byte: stream of `hw.word_mover.write_layout` of the activation memory's lanes.
        lane: beside it, the lane.
        more: elements that an extended pass has beyond its length; they hold still.
        complete: high for a cycle when all words of an instruction are written.
        error: `hw.isa.error_layout`: ILLEGAL_FIELD where `CoreConfig.check_pass` refuses an
            instruction. It stays until a reset, and nothing is taken.
    """

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        word = vector_word_layout(config.functions).size
        read = read_signature(word, config.vector_depth)
        column = byte_layout(config.functions).size
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Unit.MISC))),
                **{"a": Out(read), "b": Out(read)},
                "o": Out(stream.Signature(vector_write_layout(config))),
                "o_byte": Out(stream.Signature(write_layout(column, config.activation_depth))),
                "lane": Out(1),
                "more": In(LENGTH_BITS),
                "complete": Out(1),
                "error": Out(error_layout()),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"function_unit_m{c.m}_t{c.table_bits}_v{c.vector_depth}_a{c.activation_depth}"

    cycles = staticmethod(VectorUnit.cycles)
    """The timing contract: that of the vector unit."""

    def elaborate(self, platform: object) -> Module:
        """Names of fields are the same, but for the operation and the length."""
        m = Module()
        config, misc = self.config, self.i.payload
        ports: dict[str, Any] = {name: getattr(self, name) for name in ("a", "b", "o", "o_byte")}
        unit = add(
            m,
            platform,
            "vectors",
            VectorUnit,
            config.functions,
            config.vector_depth,
            config.activation_depth,
            **ports,
        )
        work = unit.i.payload
        same = [name for name in JOB_FIELDS if name not in ("operation", "length")]
        lane, illegal, more_elements = Signal(), Signal(), Signal(LENGTH_BITS)
        m.d.comb += [
            more_elements.eq(misc.length - 1 + Mux(misc.extended, self.more, 0)),
            illegal.eq(self._is_illegal(more_elements)),
            work.job.operation.eq(misc.op),
            work.job.more_elements.eq(more_elements),
            *(work.job[name].eq(misc[name]) for name in same),
            *(work[name].eq(misc[name]) for name in ("a", "b", "out", "out_byte")),
            unit.i.valid.eq(self.i.valid & ~illegal),
            self.i.ready.eq(unit.i.ready & ~illegal),
            self.lane.eq(lane),
            self.complete.eq(unit.complete),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += lane.eq(misc.token)
        with m.If(self.i.valid & illegal):
            m.d.sync += [self.error.code.eq(ErrorCode.ILLEGAL_FIELD), self.error.pc.eq(misc.pc)]
        return m

    def _is_illegal(self, more_elements: Signal) -> Value:
        """Return whether `CoreConfig.check_pass` refuses the instruction."""
        config, misc = self.config, self.i.payload
        last_word = more_elements[(config.m - 1).bit_length() :]
        gives_bytes = (misc.op < Operation.LOAD) & (misc.byte != Byte.NONE)
        return (last_word >= config.vector_depth) | (
            gives_bytes & (last_word >= config.activation_depth)
        )

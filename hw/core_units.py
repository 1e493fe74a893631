"""The units of a core: what executes a program, from its first word to its END or its first error.

    program -> fetch -> decoder -> scoreboard -> LD   ST   MM, MV   MISC   SYS
                                                 |    |      |       |
                                       memory <--+----+      |       |
                                                 |    |      |       |
                                                 v    |      v       v
                                                 vector buffer, activation memory

`hw.core` stands around it: it starts a program, and brings all of this back to its first state when
the program is over.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.core_memories import GENERAL, channel
from golden.spec.core import CoreConfig
from golden.spec.isa import ADDRESS_BITS, BASES, LENGTH_BASE, WORD_BITS, ErrorCode, Unit
from hw.axi import AxiError, connect_ports, read_ports, write_ports
from hw.axi_reader import AxiReader
from hw.core_ports import PROGRAM, memory_ports, prefix
from hw.emit import add
from hw.function_unit import FunctionUnit
from hw.instruction_decoder import InstructionDecoder
from hw.instruction_fetch import InstructionFetch, program_layout
from hw.isa import error_layout, port_name
from hw.load_unit import LoadUnit, vector_write_layout
from hw.product_unit import ProductUnit
from hw.scoreboard import Scoreboard
from hw.sfu_layouts import byte_layout
from hw.store_unit import StoreUnit
from hw.stream_fork import StreamFork
from hw.stream_merge import StreamMerge
from hw.system_unit import SystemUnit
from hw.vector_unit import vector_word_layout
from hw.word_memory import WordMemory


def core_name(config: CoreConfig) -> str:
    """Return a part of a Verilog identifier that tells the configuration."""
    c = config
    return (
        f"c{c.chains}_m{c.m}_s{c.strips}_v{c.vector_depth}_a{c.activation_depth}_i{c.input_depth}"
        f"_d{c.buffer_words}_r{c.replay_words}_b{c.burst_beats}_o{c.outstanding}_t{c.table_bits}"
        f"_z{c.zero_fraction_bits}"
    )


class CoreUnits(wiring.Component):
    """Fetch, decoder, scoreboard, the units, and the memories on the chip.

    Members:
        i_program: stream of `hw.instruction_fetch.program_layout`; one program, then a reset.
        bases: the base registers.
        ended: the program has come to its END, and nothing is in work any more. interrupt: its END
            asks for the interrupt.
        error: `hw.isa.error_layout`; of several in one cycle the first of program, decoder,
            scoreboard, and the units. Nothing starts any more.
        stop: no port begins a further burst. busy: a burst is in flight.
        running, waiting: a bit for each unit, see `hw.scoreboard`.
        starved: a product is in work and no chain takes a word. fed: a chain takes one, from
            memory or again.
        clear: high for a cycle: a SYS CLEAR.
        arrived: the program is at a barrier. released: it may go on.
        i_strips: streams of `hw.load_unit.vector_write_layout`: strips of the other cores.
        o_strips: the same, of this core, for each of the others.
        m_axi_*: see `hw.core_ports`.
    """

    def __init__(self, config: CoreConfig, others: int = 0) -> None:
        self.config = config
        self.others = others
        units, strips = len(Unit), stream.Signature(vector_write_layout(config))
        super().__init__(
            {
                "i_program": In(stream.Signature(program_layout(config.general_axi))),
                "bases": In(data.ArrayLayout(unsigned(ADDRESS_BITS), BASES)),
                **{"ended": Out(1), "interrupt": Out(1)},
                "error": Out(error_layout()),
                **{"stop": In(1), "busy": Out(1)},
                **{"running": Out(units), "waiting": Out(units)},
                **{"starved": Out(1), "fed": Out(1), "clear": Out(1)},
                **{"arrived": Out(1), "released": In(1)},
                "i_strips": In(strips).array(others),
                "o_strips": Out(strips).array(others),
                **memory_ports(config),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"core_units_{core_name(self.config)}_of{self.others + 1}"

    def elaborate(self, platform: object) -> Module:
        """Front end, units, memories on the chip; then what they say of themselves."""
        m = Module()
        c = self.config
        reader = add(m, platform, "program", AxiReader, c.general_axi)
        connect_ports(m, c.general_axi, read_ports, self, prefix(PROGRAM), reader)
        decoder, scoreboard, program_error = self._front(m, platform, reader)
        load = add(m, platform, "load", LoadUnit, c)
        store = add(m, platform, "store", StoreUnit, c)
        product = add(m, platform, "product", ProductUnit, c)
        functions = add(m, platform, "functions", FunctionUnit, c)
        m.d.comb += functions.more.eq(self.bases[LENGTH_BASE])
        system = add(m, platform, "system", SystemUnit)
        units = {
            Unit.LD: (load.i, load.complete),
            Unit.ST: (store.i, store.complete),
            Unit.MM: (product.i_mm, product.complete_mm),
            Unit.MV: (product.i, product.complete),
            Unit.MISC: (functions.i, functions.complete),
            Unit.SYS: (system.i, system.complete),
        }
        for unit, (taken, complete) in units.items():
            issued = getattr(scoreboard, port_name("o", unit))
            m.d.comb += [
                taken.payload.eq(issued.payload),
                taken.valid.eq(issued.valid),
                issued.ready.eq(taken.ready),
                scoreboard.end[unit].eq(complete),
            ]
        self._ports(m, load, store)
        self._memories(m, platform, load, store, product, functions)
        for words, chain in zip(load.o, product.i_words, strict=True):
            connect(m, words, chain)
        multiplies = scoreboard.running[Unit.MM] | scoreboard.running[Unit.MV]
        m.d.comb += [
            *(system.released.eq(self.released), self.arrived.eq(system.arrived)),
            self.clear.eq(system.clear),
            self.ended.eq(system.ended & scoreboard.idle),
            self.interrupt.eq(system.interrupt),
            *(self.running.eq(scoreboard.running), self.waiting.eq(scoreboard.waiting)),
            *(self.fed.eq(product.fed), self.starved.eq(multiplies & ~product.fed)),
            *(block.stop.eq(self.stop) for block in (reader, load, store)),
            self.busy.eq(reader.busy | load.busy | store.busy),
        ]
        blocks = (decoder, scoreboard, load, store, product, functions)
        self._error(m, [program_error, *(block.error for block in blocks)])
        m.d.comb += scoreboard.stop.eq(self.stop | (self.error.code != ErrorCode.NONE))
        return m

    def _front(self, m: Module, platform: object, reader: Any) -> tuple[Any, Any, data.View]:
        """Add fetch, decoder and scoreboard; return the latter two, and the reader's error."""
        config = self.config
        fetch = add(m, platform, "fetch", InstructionFetch, config.general_axi)
        decoder = add(m, platform, "decoder", InstructionDecoder, config.chains)
        scoreboard = add(m, platform, "scoreboard", Scoreboard)
        for source, sink in (
            (self.i_program, fetch.i_program),
            (fetch.o_job, reader.i_job),
            (reader.o, fetch.i),
            (fetch.o, decoder.i),
            *(
                (getattr(decoder, port_name("o", u)), getattr(scoreboard, port_name("i", u)))
                for u in Unit
            ),
        ):
            connect(m, source, sink)
        begin = Signal.like(self.i_program.payload.address)
        with m.If(self.i_program.valid & self.i_program.ready):
            m.d.sync += begin.eq(self.i_program.payload.address)
        error = Signal(error_layout())
        code = reader.error.code
        aligned = Mux(code == AxiError.UNALIGNED, ErrorCode.UNALIGNED_ADDRESS, ErrorCode.READ_ERROR)
        m.d.comb += [
            error.code.eq(Mux(code == AxiError.NONE, ErrorCode.NONE, aligned)),
            error.pc.eq((reader.error.address - begin) // (WORD_BITS // 8)),
        ]
        return decoder, scoreboard, error

    def _ports(self, m: Module, load: Any, store: Any) -> None:
        """Both halves of the general port and of each channel, and the base registers."""
        config = self.config
        m.d.comb += [load.bases.eq(self.bases), store.bases.eq(self.bases)]
        ports = [(GENERAL, config.general_axi)]
        ports += [(channel(k), config.axi) for k in range(config.chains)]
        for name, axi in ports:
            lead_ports(m, read_ports(axi, prefix(name)), self, load)
            lead_ports(m, write_ports(config.write_axi, prefix(name)), self, store)

    def _memories(
        self, m: Module, platform: object, load: Any, store: Any, product: Any, functions: Any
    ) -> None:
        """The vector buffer with all who write and read it, and the activation memory."""
        config = self.config
        word = vector_word_layout(config.functions).size
        vectors = add(m, platform, "vector_buffer", WordMemory, word, config.vector_depth, 3)
        size = vector_write_layout(config).size
        strips = self._share(m, platform, product.o)
        writers = [functions.o, strips, load.o_vector, *self.i_strips]
        merge = add(m, platform, "vector_writes", StreamMerge, len(writers), size)
        for source, sink in zip(writers, merge.i, strict=True):
            connect(m, source, sink)
        connect(m, merge.o, vectors.i)
        for reader, port in zip(
            (functions.a, functions.b, store.vector), vectors.read, strict=True
        ):
            read(m, reader, port)
        column = byte_layout(config.functions).size
        depth = config.activation_depth
        columns = add(m, platform, "activations", WordMemory, column, depth, 2, 2)
        connect(m, functions.o_byte, columns.i)
        m.d.comb += columns.lane.eq(functions.lane)
        for reader, port in zip((product.activation, store.activation), columns.read, strict=True):
            read(m, reader, port)

    def _share(self, m: Module, platform: object, strips: Any) -> Any:
        """Give each strip to every other core too; return the stream for the own vector buffer."""
        if not self.others:
            return strips
        width = vector_write_layout(self.config).size
        fork = add(m, platform, "share", StreamFork, 1 + self.others, width)
        m.d.comb += fork.broadcast.eq(1)
        connect(m, strips, fork.i[0])
        for source, sink in zip(fork.o[1:], self.o_strips, strict=True):
            connect(m, source, sink)
        return fork.o[0]

    def _error(self, m: Module, errors: Sequence[data.View]) -> None:
        """Show the first error."""
        for error in reversed(errors):
            with m.If(error.code != ErrorCode.NONE):
                m.d.comb += self.error.eq(error)


def lead_ports(m: Module, ports: Mapping[str, wiring.Member], own: object, child: object) -> None:
    """Make ports of a child the parent's own ones of the same names."""
    for name, member in ports.items():
        ours, theirs = getattr(own, name), getattr(child, name)
        m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)


def connect(m: Module, source: Any, sink: Any) -> None:
    """Lead one stream to another whose payload has the same bits."""
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


def read(m: Module, reader: Any, port: Any) -> None:
    """Give who reads a memory one of its ports."""
    m.d.comb += [
        *(port.enable.eq(reader.enable), port.address.eq(reader.address)),
        Value.cast(reader.word).eq(port.word),
    ]

"""Executes a core's LD instructions: memory to the vector buffer, or to the chains' streams."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.core_memories import GENERAL, channel
from golden.spec.core import CoreConfig
from golden.spec.isa import ADDRESS_BITS, BASES, ErrorCode, Unit
from golden.spec.special_function_unit import SLOT_BITS, WIDE_BITS
from hw.axi import AxiError, connect_ports, read_ports
from hw.axi_reader import AxiReader
from hw.core_ports import prefix
from hw.emit import add
from hw.fifo import Fifo
from hw.isa import error_layout, instruction_layout
from hw.load_expander import LoadExpander
from hw.load_timing import load_cycles
from hw.vector_unit import vector_word_layout
from hw.word_mover import address_bits, write_layout

IN_FLIGHT = 4
"""Instructions that have begun and not ended."""

RUNS = 16
"""Runs of the general port that are asked for and have not come."""


def vector_write_layout(config: CoreConfig) -> data.StructLayout:
    """A word on its way to the vector buffer."""
    return write_layout(vector_word_layout(config.functions).size, config.vector_depth)


class LoadUnit(wiring.Component):
    """The expander of loads with a reader for each port.

    An instruction for channels ends when its last run is given to their readers: what comes waits
    in the streams. One for the vector buffer ends when its last word is written.

    Throughput: one word of memory per cycle of each port.

    Members:
        i: stream of `hw.isa.instruction_layout` of LD.
        bases: the base registers.
        o: a stream of words of memory for each channel.
        o_vector: stream of `vector_write_layout`.
        complete: high for a cycle when the oldest instruction has ended.
        stop, busy: see `hw.axi_reader.AxiReader`; of all ports.
        error: `hw.isa.error_layout`: UNALIGNED_ADDRESS or READ_ERROR, and the instruction that
            asked for the word. It stays until a reset.
        m_axi_general_*, m_axi_channel_<k>_*: see `hw.axi.read_ports`.
    """

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        ports: dict[str, wiring.Member] = read_ports(config.general_axi, prefix(GENERAL))
        for number in range(config.chains):
            ports |= read_ports(config.axi, prefix(channel(number)))
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Unit.LD))),
                "bases": In(data.ArrayLayout(unsigned(ADDRESS_BITS), BASES)),
                "o": Out(stream.Signature(unsigned(config.word_bits))).array(config.chains),
                "o_vector": Out(stream.Signature(vector_write_layout(config))),
                "complete": Out(1),
                "stop": In(1),
                "busy": Out(1),
                "error": Out(error_layout()),
                **ports,
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        axi = f"b{c.burst_beats}_o{c.outstanding}_d{c.buffer_words}"
        return f"load_unit_c{c.chains}_m{c.m}_{axi}_v{c.vector_depth}"

    cycles = staticmethod(load_cycles)
    """The timing contract; see `hw.load_timing`."""

    def elaborate(self, platform: object) -> Module:
        """The expander, the readers, the packer of wide words, and the order of ends."""
        m = Module()
        config = self.config
        expander = add(m, platform, "expander", LoadExpander, config.axi, config.chains)
        pc, out = Signal.like(self.i.payload.pc), Signal.like(self.i.payload.out)
        begins, is_general = Signal(), Signal()
        m.d.comb += [
            expander.i.payload.eq(self.i.payload),
            expander.bases.eq(self.bases),
            begins.eq(self.i.valid & self.i.ready),
            is_general.eq(~self.i.payload.channels.any()),
        ]
        with m.If(begins):
            m.d.sync += [pc.eq(self.i.payload.pc), out.eq(self.i.payload.out)]
        readers = [
            add(m, platform, "general", AxiReader, config.general_axi),
            *(
                add(m, platform, f"channel_{k}", AxiReader, config.axi)
                for k in range(config.chains)
            ),
        ]
        connect_ports(m, config.general_axi, read_ports, self, prefix(GENERAL), readers[0])
        for k, reader in enumerate(readers[1:]):
            connect_ports(m, config.axi, read_ports, self, prefix(channel(k)), reader)
            self._lead(m, expander.o[k], reader, pc)
            m.d.comb += [
                self.o[k].payload.eq(reader.o.payload.data),
                self.o[k].valid.eq(reader.o.valid),
                reader.o.ready.eq(self.o[k].ready),
            ]
        written = self._general(m, platform, expander.o_general, readers[0], pc, out)
        ready = self._ends(m, platform, begins, is_general, expander.given, written)
        m.d.comb += [
            expander.i.valid.eq(self.i.valid & ready),
            self.i.ready.eq(expander.i.ready & ready),
            *(reader.stop.eq(self.stop) for reader in readers),
            self.busy.eq(Cat(reader.busy for reader in readers).any()),
        ]
        self._errors(m, readers)
        return m

    @staticmethod
    def _lead(m: Module, run: Any, reader: Any, pc: Value, ready: Value | int = 1) -> None:
        """Give a reader the runs of its port, while there is room for them."""
        m.d.comb += [
            reader.i_job.payload.address.eq(run.payload.address),
            reader.i_job.payload.more_words.eq(run.payload.more_words),
            reader.i_job.payload.tag.eq(pc),
            reader.i_job.valid.eq(run.valid & ready),
            run.ready.eq(reader.i_job.ready & ready),
        ]

    def _general(
        self, m: Module, platform: object, run: Any, reader: Any, pc: Value, out: Value
    ) -> Value:
        """Pack what the general port reads; return whether an instruction's last word is written.

        A word of memory has the slots of half a word of the vector buffer. Behind each run that is
        asked for there is an entry in a queue: where its instruction writes, and whether it is the
        last one of it.
        """
        config = self.config
        entry = data.StructLayout({"out": address_bits(config.vector_depth), "last": 1})
        runs = add(m, platform, "runs", Fifo, entry.size, RUNS)
        self._lead(m, run, reader, pc, runs.i.ready)
        now = data.View(entry, runs.o.payload)
        word = reader.o.payload
        slots = config.word_bits // SLOT_BITS
        elements = Cat(word.data.word_select(k, SLOT_BITS)[:WIDE_BITS] for k in range(slots))
        lower = Signal(len(elements), reset_less=True)
        is_upper, continues = Signal(), Signal()
        address = Signal.like(now.out)
        comes, last, gives, takes = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            runs.i.valid.eq(run.valid & reader.i_job.ready),
            runs.i.payload.eq(Cat(out[: len(now.out)], run.payload.last)),
            comes.eq(reader.o.valid & runs.o.valid),
            last.eq(word.last & now.last),
            gives.eq(is_upper | last),
            self.o_vector.valid.eq(comes & gives),
            self.o_vector.payload.address.eq(Mux(continues, address, now.out)),
            self.o_vector.payload.word.eq(Mux(is_upper, Cat(lower, elements), elements)),
            takes.eq(comes & (self.o_vector.ready | ~gives)),
            reader.o.ready.eq(takes),
            runs.o.ready.eq(takes & word.last),
        ]
        with m.If(takes):
            m.d.sync += [lower.eq(elements), is_upper.eq(~gives)]
            with m.If(gives):
                m.d.sync += [
                    address.eq(self.o_vector.payload.address + 1),
                    continues.eq(~last),
                ]
        return takes & last

    def _ends(
        self,
        m: Module,
        platform: object,
        begins: Value,
        is_general: Value,
        given: Value,
        written: Value,
    ) -> Value:
        """End the instructions in their order; return whether another one may begin.

        Args:
            given: all runs of an instruction have been given to their readers.
            written: all words of one for the vector buffer are written.
        """
        kinds = add(m, platform, "kinds", Fifo, 1, IN_FLIGHT)
        issued, arrived = Signal(range(IN_FLIGHT + 1)), Signal(range(IN_FLIGHT + 1))
        general = kinds.o.payload
        m.d.comb += [
            kinds.i.payload.eq(is_general),
            kinds.i.valid.eq(begins),
            self.complete.eq(kinds.o.valid & (issued != 0) & ((arrived != 0) | ~general)),
            kinds.o.ready.eq(self.complete),
        ]
        m.d.sync += [
            issued.eq(issued + given - self.complete),
            arrived.eq(arrived + written - (self.complete & general)),
        ]
        return kinds.i.ready

    def _errors(self, m: Module, readers: list[Any]) -> None:
        """Keep the first error of any port."""
        failed = self.error.code != ErrorCode.NONE
        for reader in reversed(readers):
            code = reader.error.code
            with m.If((code != AxiError.NONE) & ~failed):
                m.d.sync += [
                    self.error.code.eq(
                        Mux(
                            code == AxiError.UNALIGNED,
                            ErrorCode.UNALIGNED_ADDRESS,
                            ErrorCode.READ_ERROR,
                        )
                    ),
                    self.error.pc.eq(reader.error.tag),
                ]

"""The store unit of a core: executes ST, which writes bytes from the chip to the memories."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.core_memories import GENERAL, channel
from golden.spec.core import CoreConfig
from golden.spec.isa import ADDRESS_BITS, BASES, ErrorCode, Memory, Unit
from golden.spec.special_function_unit import SLOT_BITS
from hw.activation_reader import column_layout
from hw.axi import AxiError, name_part, write_ports
from hw.axi_writer import AxiWriter
from hw.byte_cutter import LENGTH_BITS, ByteCutter
from hw.core_ports import prefix
from hw.emit import add
from hw.fifo import Fifo
from hw.isa import error_layout, instruction_layout
from hw.load_expander import StridedRuns, strided_run_layout, strides_layout
from hw.store_timing import store_cycles
from hw.vector_unit import vector_word_layout
from hw.word_memory import read_signature
from hw.word_mover import WordReader

JOBS = 2
"""Jobs in the queue between runs and writer: as many runs as the cutter has at work."""


def port_prefixes(config: CoreConfig) -> list[str]:
    """Return the prefixes of the ports' signals: those of all channels, and the general port's."""
    return [prefix(name) for name in (*map(channel, range(config.chains)), GENERAL)]


class StoreUnit(wiring.Component):
    """Reads words on the chip, and writes their bytes to runs in the memories, port after port.

    Throughput: a word of memory per cycle from the vector buffer, one every other cycle from the
    activation memory, and a run per cycle where runs are no longer than that. So it is from run to
    run; for the next port it waits until the one before has answered for all. Latency: `cycles`.

    There is one writer, which is led to one port at a time. The chip's memory is read ahead, up to
    two words behind the last one that is needed.

    Members:
        i: stream of `hw.isa.instruction_layout` of ST, taken when the one before is complete.
        bases: the base registers; they may change only while no instruction is offered or at work.
        vector, activation: read ports of the vector buffer (`hw.vector_unit.vector_word_layout`)
            and of the activation memory (`hw.activation_reader.column_layout`): enable and
            address; the word comes a cycle later, and stays until the next read.
        complete: high for a cycle when the memory has answered for all bytes of an instruction.
        stop: while it is high no further burst is begun.
        busy: a burst is in flight; while `stop` is high this only falls.
        error: `hw.isa.error_layout`: WRITE_ERROR with the instruction's `pc` when a memory has
            refused a burst. It stays until a reset, and no further burst is begun.
        m_axi_general_*, m_axi_channel_0_*, ...: see `hw.axi.write_ports`.
    """

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        self.prefixes = port_prefixes(config)
        ports: dict[str, wiring.Member] = {}
        for begin in self.prefixes:
            ports |= write_ports(config.write_axi, begin)
        vector_bits = vector_word_layout(config.functions).size
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Unit.ST))),
                "bases": In(data.ArrayLayout(unsigned(ADDRESS_BITS), BASES)),
                "vector": Out(read_signature(vector_bits, config.vector_depth)),
                "activation": Out(
                    read_signature(column_layout(config.engine).size, config.activation_depth)
                ),
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
        memories = f"{c.vector_depth}_{c.activation_depth}"
        return f"store_unit_c{c.chains}_m{c.m}_{memories}_{name_part(c.write_axi)}"

    cycles = staticmethod(store_cycles)
    """The timing contract; see `hw.store_timing`."""

    def elaborate(self, platform: object) -> Module:
        """An instruction's register; its runs go to the cutter and, through a queue, to the writer.

        `targets` are the ports that are not done, the lowest one is at work; `unexpanded` are those
        whose runs have not begun.
        """
        m = Module()
        c = self.config
        job = Signal(instruction_layout(Unit.ST), reset_less=True)
        targets, unexpanded = Signal(c.chains + 1), Signal(c.chains + 1)
        runs = add(m, platform, "runs", StridedRuns)
        cutter = add(m, platform, "cutter", ByteCutter, c.word_bytes)
        jobs = add(m, platform, "jobs", Fifo, strided_run_layout().size, JOBS)
        writer = add(m, platform, "writer", AxiWriter, c.write_axi)
        m.d.comb += [
            self.i.ready.eq(targets == 0),
            runs.i.valid.eq(unexpanded != 0),
            runs.i.payload.address.eq(self.bases[job.base] + job.offset),
            *(
                runs.i.payload[name].eq(job[name])
                for name in strides_layout().members
                if name != "address"
            ),
            # Both take a run at once.
            runs.o.ready.eq(cutter.i_run.ready & jobs.i.ready),
            cutter.i_run.valid.eq(runs.o.valid & jobs.i.ready),
            cutter.i_run.payload.length.eq(runs.o.payload.length),
            cutter.i_run.payload.last.eq(runs.o.payload.last & (unexpanded == 0)),
            jobs.i.valid.eq(runs.o.valid & cutter.i_run.ready),
            jobs.i.payload.eq(runs.o.payload.as_value()),
            writer.i.payload.eq(cutter.o.payload),
            writer.i.valid.eq(cutter.o.valid),
            cutter.o.ready.eq(writer.i.ready),
            *(writer.stop.eq(self.stop), self.busy.eq(writer.busy)),
            self.error.code.eq(
                Mux(writer.error.code == AxiError.NONE, ErrorCode.NONE, ErrorCode.WRITE_ERROR)
            ),
            self.error.pc.eq(job.pc),
        ]
        others, here = Signal.like(targets), Signal.like(targets)
        m.d.comb += [others.eq(targets & (targets - 1)), here.eq(targets & ~others)]
        ends = self._give_jobs(m, jobs.o, writer)
        self._read(m, platform, job, targets != 0, cutter.i)
        self._lead(m, writer, here)
        m.d.comb += self.complete.eq(ends & (others == 0))
        with m.If(ends):
            m.d.sync += targets.eq(others)
        with m.If(runs.i.valid & runs.i.ready):
            m.d.sync += unexpanded.eq(unexpanded & (unexpanded - 1))
        with m.If(self.i.valid & self.i.ready):
            named = self.i.payload.channels[: c.chains]
            wanted = Cat(named, ~named.any())
            m.d.sync += [job.eq(self.i.payload), targets.eq(wanted), unexpanded.eq(wanted)]
        return m

    def _give_jobs(self, m: Module, runs: stream.Interface, writer: wiring.PureInterface) -> Value:
        """Give the writer its jobs, up to the last one of a port; return whether all are done.

        That is high for one cycle, and the next port's jobs follow.
        """
        config = self.config.write_axi
        run = data.View(strided_run_layout(), runs.payload)
        # In the writer are bursts that are queued and in flight, and jobs in its packer.
        undone = Signal(range(2 * config.outstanding + 4))
        waits, ends = Signal(), Signal()
        gives = writer.i_job.valid & writer.i_job.ready
        m.d.comb += [
            writer.i_job.payload.address.eq(run.address),
            writer.i_job.payload.more_bytes.eq((run.length - 1)[:LENGTH_BITS]),
            writer.i_job.valid.eq(runs.valid & ~waits),
            runs.ready.eq(gives),
            ends.eq(waits & (undone == 0)),
        ]
        m.d.sync += [
            undone.eq(undone + gives - writer.done),
            waits.eq(Mux(waits, ~ends, gives & run.last)),
        ]
        return ends

    def _read(
        self, m: Module, platform: object, job: data.View, active: Value, words: stream.Interface
    ) -> None:
        """Give words of memory until the instruction is complete.

        A word of the vector buffer, in slots, is two of them; of a lane's, two are one.
        """
        c = self.config
        is_vector = job.memory == Memory.VECTOR
        vector = self._reader(m, platform, "vector", job, active & is_vector)
        narrow = self._reader(m, platform, "activation", job, active & ~is_vector)
        slots = Signal(data.ArrayLayout(signed(SLOT_BITS), c.m))
        elements = data.View(vector_word_layout(c.functions), vector.payload)
        lane = data.View(column_layout(c.engine), narrow.payload)[job.token[0]].as_value()
        first = Signal.like(lane, reset_less=True)
        half, moves = Signal(), Signal()  # half of a word is given, or kept
        m.d.comb += [slots[k].eq(element) for k, element in enumerate(elements)]
        m.d.sync += half.eq((half ^ moves) & ~self.complete)
        with m.If(is_vector):
            m.d.comb += [
                words.payload.eq(slots.as_value().word_select(half, c.word_bits)),
                words.valid.eq(vector.valid),
                moves.eq(words.valid & words.ready),
                vector.ready.eq(moves & half),
            ]
        with m.Else():
            m.d.comb += [
                words.payload.eq(Cat(first, lane)),
                words.valid.eq(narrow.valid & half),
                narrow.ready.eq(~half | words.ready),
                moves.eq(narrow.valid & narrow.ready),
            ]
            with m.If(~half):
                m.d.sync += first.eq(lane)

    def _reader(
        self, m: Module, platform: object, name: str, job: data.View, active: Value
    ) -> stream.Interface:
        """Return the words of a memory from `job.start` on, while `active`.

        Runs of as many words as it has follow one another, until a reset breaks them off.
        """
        port = getattr(self, name)
        depth = 1 << len(port.address)
        width = len(port.word)
        reader = add(m, platform, f"read_{name}", WordReader, width, depth, reset=self.complete)
        m.d.comb += [
            reader.i.valid.eq(active),
            reader.i.payload.address.eq(job.start),
            reader.i.payload.more_words.eq(depth - 1),
            *(port.enable.eq(reader.enable), port.address.eq(reader.address)),
            reader.word.eq(port.word),
        ]
        return reader.o

    def _lead(self, m: Module, writer: wiring.PureInterface, here: Value) -> None:
        """Make the writer's port that of the target; the others are at rest.

        Args:
            here: a bit for each port; only the target's is set.
        """
        for name, member in write_ports(self.config.write_axi, "").items():
            theirs = getattr(writer, f"m_axi{name}")
            for at, begin in zip(here, self.prefixes, strict=True):
                ours = getattr(self, f"{begin}{name}")
                if member.flow is Out:
                    is_valid = name.endswith("valid")
                    m.d.comb += ours.eq(theirs & at if is_valid else theirs)
                else:
                    with m.If(at):
                        m.d.comb += theirs.eq(ours)

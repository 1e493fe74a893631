"""Direct memory access of an attention engine: jobs out of the drive's memory, answers into it.

Firmware writes a descriptor for each job, and gives its address. What belongs to the job lies
wherever the descriptor says, and so will its outputs and its completion.
"""

from enum import Enum

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.axi import AxiConfig
from golden.spec.drive_engine import DriveEngineConfig
from hw.axi import connect_ports, error_layout, read_ports, write_ports
from hw.axi_reader import AxiReader
from hw.axi_writer import AxiWriter
from hw.emit import add
from hw.fifo import Fifo
from storage_engine.attention_engine import AttentionEngine
from storage_engine.engine_job_layouts import (
    JOB_ID_BITS,
    completion_layout,
    engine_job_layout,
    is_refused,
)
from storage_engine.word_gatherer import WordCutter, WordGatherer, word_count

ADDRESS_BITS = 40
"""Bits of a byte address in the drive's memory."""

POINTERS = ("queries", "entries", "value_sum", "outputs", "completion")
"""The addresses in a descriptor, 8 bytes each."""

JOBS = 4
"""Jobs whose answers are awaited; more are not begun."""

LINKS = {
    "o_job": "i_job",
    "o_query": "i_query",
    "o_entry": "i_entry",
    "o_value_sum": "i_value_sum",
    "i_output": "o",
    "i_completion": "o_completion",
}
"""Streams of the DMA, and those of the engine that they meet."""


class Fetch(Enum):
    """What is read next of a job, or that it is given to the engine."""

    DESCRIPTOR = 0
    JOB = 1
    QUERIES = 2
    ENTRIES = 3
    VALUE_SUM = 4


class Write(Enum):
    """What is being written."""

    NOTHING = 0
    OUTPUTS = 1
    COMPLETION = 2


def memory_config(config: DriveEngineConfig) -> AxiConfig:
    """Return the port to memory: a word has the `lanes` FP16 numbers of a beat."""
    return AxiConfig(
        data_bits=16 * config.lanes, address_bits=ADDRESS_BITS, buffer_words=64, length_bits=20
    )


def descriptor_layout(config: DriveEngineConfig) -> data.FlexibleLayout:
    """A job in memory, in whole words; bytes that no field has are not looked at.

    Fields:
        queries, entries, value_sum: addresses of what the engine's streams of these names take,
            each beat in whole words; value_sum of a SparF job only.
        outputs: where the outputs go, float16 [queries, head_size], if the job has any.
        completion: where the completion goes, in whole words.
        entry_count: entries of the job's part of the table, at least one.
        job: `engine_job_layout`.

    All addresses are multiples of a word.
    """
    job = engine_job_layout(config)
    fields = {name: data.Field(ADDRESS_BITS, 64 * k) for k, name in enumerate(POINTERS)}
    fields["entry_count"] = data.Field(16, 64 * len(POINTERS))
    first = 64 * (len(POINTERS) + 1)
    fields["job"] = data.Field(job, first)
    word_bits = memory_config(config).data_bits
    return data.FlexibleLayout(word_count(first + job.size, word_bits) * word_bits, fields)


def dma_members(config: DriveEngineConfig) -> dict[str, wiring.Member]:
    """Return the members of `EngineDma` by their names."""
    memory = memory_config(config)
    engine = AttentionEngine.members(config)
    done = wiring.Signature({"payload": Out(JOB_ID_BITS), "valid": Out(1)})
    return {
        **{name: engine[its].flip() for name, its in LINKS.items()},
        "i_descriptor": In(stream.Signature(unsigned(ADDRESS_BITS))),
        "o_completed": Out(done),
        "read_error": Out(error_layout(memory)),
        "write_error": Out(error_layout(memory)),
        **read_ports(memory),
        **write_ports(memory),
    }


class EngineDma(wiring.Component):
    """Reads what the jobs need, in their order, and writes what comes of them.

    Throughput: a word per cycle. It reads ahead of the engine by what the engine's streams take. A
    job that the engine refuses has nothing read but its descriptor, and nothing written but its
    completion.

    Members:
        i_descriptor: stream of addresses of descriptors.
        o_job, o_query, o_entry, o_value_sum: streams to the engine, as it has them.
        i_output, i_completion: streams from there.
        o_completed: stream without ready: the number of a job whose completion and outputs have
            reached the memory.
        read_error, write_error: `hw.axi.error_layout`; the first one stays until a reset, and no
            job goes on.
        m_axi_*: `hw.axi.read_ports` and `write_ports` of `memory_config`.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(dma_members(config))

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"engine_dma_l{c.lanes}_g{c.queries}_d{c.head_size}_{c.kv_bits}_c{c.context_bits}"

    def elaborate(self, platform: object) -> Module:
        """A part that reads, a part that writes, and between them where answers go."""
        m = Module()
        where = data.StructLayout(
            {"outputs": ADDRESS_BITS, "completion": ADDRESS_BITS, "id": JOB_ID_BITS}
        )
        places = add(m, platform, "places", Fifo, where.size, JOBS)
        self._read(m, platform, places.i, where)
        self._write(m, platform, places.o, where)
        return m

    def _read(
        self, m: Module, platform: object, places: stream.Interface, where: data.Layout
    ) -> None:
        """Descriptor, queries, entries, sum of values: each is asked for when the last has gone."""
        config, memory = self.config, memory_config(self.config)
        reader = add(m, platform, "reader", AxiReader, memory)
        connect_ports(m, memory, read_ports, self, "m_axi", reader)
        m.d.comb += self.read_error.eq(reader.error)
        layout = descriptor_layout(config)
        sinks = {
            Fetch.DESCRIPTOR: None,
            Fetch.QUERIES: self.o_query,
            Fetch.ENTRIES: self.o_entry,
            Fetch.VALUE_SUM: self.o_value_sum,
        }
        sizes = {
            state: layout.size if sink is None else len(Value.cast(sink.payload))
            for state, sink in sinks.items()
        }
        words = {state: word_count(size, memory.data_bits) for state, size in sizes.items()}
        gatherers = {
            state: add(m, platform, state.name.lower(), WordGatherer, size, memory.data_bits)
            for state, size in sizes.items()
        }
        held = gatherers[Fetch.DESCRIPTOR].o
        descriptor = data.View(layout, held.payload)
        job = descriptor.job
        beats = config.queries * config.rows
        runs = {
            Fetch.DESCRIPTOR: (self.i_descriptor.payload, words[Fetch.DESCRIPTOR]),
            Fetch.QUERIES: (descriptor.queries, beats * words[Fetch.QUERIES]),
            Fetch.ENTRIES: (descriptor.entries, descriptor.entry_count * words[Fetch.ENTRIES]),
            Fetch.VALUE_SUM: (descriptor.value_sum, config.rows * words[Fetch.VALUE_SUM]),
        }

        state, asked = Signal(Fetch), Signal()
        ends, following, refused = Signal(), Signal(Fetch), Signal()
        m.d.comb += [
            ends.eq(reader.o.valid & reader.o.ready & reader.o.payload.last),
            refused.eq(is_refused(config, job)),
        ]
        with m.If(reader.i_job.valid & reader.i_job.ready):
            m.d.sync += asked.eq(1)
        with m.If(ends):
            m.d.sync += [asked.eq(0), state.eq(following)]
        for each, (address, count) in runs.items():
            gatherer = gatherers[each]
            m.d.comb += [
                gatherer.i.payload.eq(reader.o.payload.data),
                gatherer.i.valid.eq(reader.o.valid & (state == each)),
            ]
            with m.If(state == each):
                m.d.comb += [
                    reader.o.ready.eq(gatherer.i.ready),
                    reader.i_job.payload.address.eq(address),
                    reader.i_job.payload.more_words.eq(count - 1),
                ]
            sink = sinks[each]
            if sink is not None:
                m.d.comb += [
                    Value.cast(sink.payload).eq(gatherer.o.payload),
                    sink.valid.eq(gatherer.o.valid),
                    gatherer.o.ready.eq(sink.ready),
                ]

        m.d.comb += [
            *(self.o_job.payload.eq(job), self.o_job.valid.eq(0)),
            reader.i_job.valid.eq(~asked & (state != Fetch.JOB)),
            self.i_descriptor.ready.eq((state == Fetch.DESCRIPTOR) & ~asked & reader.i_job.ready),
        ]
        place = data.View(where, places.payload)
        m.d.comb += [
            *(place[name].eq(descriptor[name]) for name in ("outputs", "completion")),
            place.id.eq(job.id),
        ]
        with m.Switch(state):
            with m.Case(Fetch.DESCRIPTOR):
                m.d.comb += [
                    reader.i_job.valid.eq(~asked & self.i_descriptor.valid),
                    following.eq(Fetch.JOB),
                ]
            with m.Case(Fetch.JOB):
                goes = held.valid & places.ready
                m.d.comb += [
                    self.o_job.valid.eq(goes),
                    places.valid.eq(goes & self.o_job.ready),
                    held.ready.eq(goes & self.o_job.ready & refused),
                ]
                with m.If(goes & self.o_job.ready):
                    m.d.sync += state.eq(Mux(refused, Fetch.DESCRIPTOR, Fetch.QUERIES))
            with m.Case(Fetch.QUERIES):
                m.d.comb += following.eq(Fetch.ENTRIES)
            with m.Case(Fetch.ENTRIES):
                m.d.comb += [
                    following.eq(Mux(job.sparf, Fetch.VALUE_SUM, Fetch.DESCRIPTOR)),
                    held.ready.eq(ends & ~job.sparf),
                ]
            with m.Case(Fetch.VALUE_SUM):
                m.d.comb += [following.eq(Fetch.DESCRIPTOR), held.ready.eq(ends)]

    def _write(
        self, m: Module, platform: object, places: stream.Interface, where: data.Layout
    ) -> None:
        """A job's outputs, if it has some, then its completion."""
        config, memory = self.config, memory_config(self.config)
        writer = add(m, platform, "writer", AxiWriter, memory)
        connect_ports(m, memory, write_ports, self, "m_axi", writer)
        m.d.comb += self.write_error.eq(writer.error)
        size = completion_layout(config).size
        cutter = add(m, platform, "completion_words", WordCutter, size, memory.data_bits)
        note = data.StructLayout({"completes": 1, "id": JOB_ID_BITS})
        notes = add(m, platform, "notes", Fifo, note.size, 2 * JOBS)
        place, written = data.View(where, places.payload), data.View(note, notes.o.payload)
        outputs = config.queries * config.rows
        ends = word_count(size, memory.data_bits)

        state, left = Signal(Write), Signal(range(max(outputs, ends)))
        has_outputs, begins, moves = self.i_output.valid, Signal(), Signal()
        some = places.valid & (has_outputs | self.i_completion.valid) & (state == Write.NOTHING)
        m.d.comb += [
            writer.i_job.payload.address.eq(Mux(has_outputs, place.outputs, place.completion)),
            writer.i_job.payload.more_bytes.eq(
                Mux(has_outputs, outputs * memory.word_bytes - 1, ends * memory.word_bytes - 1)
            ),
            writer.i_job.valid.eq(some & notes.i.ready),
            begins.eq(writer.i_job.valid & writer.i_job.ready),
            notes.i.valid.eq(begins),
            data.View(note, notes.i.payload).completes.eq(~has_outputs),
            data.View(note, notes.i.payload).id.eq(place.id),
            cutter.i.payload.eq(self.i_completion.payload),
            cutter.i.valid.eq(self.i_completion.valid & (state == Write.COMPLETION)),
            self.i_completion.ready.eq(cutter.i.ready & (state == Write.COMPLETION)),
            places.ready.eq(self.i_completion.valid & self.i_completion.ready),
            moves.eq(writer.i.valid & writer.i.ready),
        ]
        with m.If(begins):
            m.d.sync += [
                state.eq(Mux(has_outputs, Write.OUTPUTS, Write.COMPLETION)),
                left.eq(Mux(has_outputs, outputs, ends) - 1),
            ]
        with m.If(moves):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.d.sync += state.eq(Write.NOTHING)
        with m.Switch(state):
            with m.Case(Write.OUTPUTS):
                m.d.comb += [
                    writer.i.payload.eq(Value.cast(self.i_output.payload)),
                    writer.i.valid.eq(self.i_output.valid),
                    self.i_output.ready.eq(writer.i.ready),
                ]
            with m.Case(Write.COMPLETION):
                m.d.comb += [
                    writer.i.payload.eq(cutter.o.payload),
                    writer.i.valid.eq(cutter.o.valid),
                    cutter.o.ready.eq(writer.i.ready),
                ]
        m.d.comb += [
            notes.o.ready.eq(writer.done),
            self.o_completed.valid.eq(writer.done & written.completes),
            self.o_completed.payload.eq(written.id),
        ]

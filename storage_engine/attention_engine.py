r"""A drive's attention engine: jobs and flash words in, FP16 outputs and completions out.

    i_job --+-> query unit ---- rows, scales ------> slices
            +-> scheduler <- channels, kept tokens      |  ^
    i_entry ------^  \-> channel readers -> o_read      |  |
                            |      ^                    |  |
    i_flash -> front ends <-+      +- verdicts          |  |
                  \-------------- elements -------------|--+
            +-> likelihood unit <- approximate scores --+
            +-> finisher <---------------------- sums --+--> outcome -> o, o_completion

There is a front end, a reader and a slice for each flash channel. Two jobs are under way at a time:
pages of the next one are asked for while the last ones of a job come in. `golden.dense` and
`golden.sparf` are the twins. docs/attention-engine.md has a page about each part.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import add
from hw.fifo import Fifo
from storage_engine.attention_slice import AttentionSlice, check_slice, weight_cycles
from storage_engine.bch_decoder import ChunkTiming
from storage_engine.channel_reader import ChannelReader
from storage_engine.engine_job_layouts import (
    completion_layout,
    engine_job_layout,
    flash_read_layout,
    is_refused,
    page_entry_layout,
    sequence_layout,
)
from storage_engine.engine_layouts import (
    finisher_job_layout,
    half_layout,
    likelihood_job_layout,
    query_job_layout,
    value_sum_layout,
)
from storage_engine.finisher import Finisher
from storage_engine.job_outcome import JobOutcome, outcome_job_layout
from storage_engine.kept_groups import KeptGroups, check_groups
from storage_engine.likelihood_unit import LikelihoodUnit
from storage_engine.page_buffer import check_room
from storage_engine.page_front_end import PageFrontEnd, PageTiming
from storage_engine.page_scheduler import PageScheduler, scheduled_layout
from storage_engine.query_unit import QueryUnit
from storage_engine.slice_sequencer import SliceSequencer

AROUND_CYCLES = 4
"""From a job to its first read, from the last element to its sum, and from the output on."""

JOBS = 2
"""Jobs that are under way at a time."""


def check_parts(config: DriveEngineConfig) -> None:
    """Raise ConfigError unless there are all parts of an engine for a configuration."""
    check_room(config)
    check_slice(config)
    check_groups(config)


class AttentionEngine(wiring.Component):
    """The engine.

    Throughput: as much as the flash channels give, see docs/attention-engine.md. `cycles` is the
    contract of dense jobs.

    A job that goes wrong takes its time as any other, and leaves no outputs but a status. What
    belongs to a job comes in the order of jobs on each stream; a job whose status is BAD_JOB takes
    nothing from them.

    Members:
        i_job: stream of `engine_job_layout`.
        i_query: stream of `half_layout`: `rows` beats of each of a job's queries.
        i_entry: stream of `page_entry_layout`: a job's part of the drive's table, in the order of
            `PageScheduler`.
        i_value_sum: stream of `value_sum_layout`: `rows` beats with the sum of all values of a
            SparF job's tokens, in fixed point.
        o_read_0, i_flash_0, ...: of each flash channel, a stream of `flash_read_layout`, and one of
            the stored words of those pages, in the order in which they were asked for.
        o: stream of `half_layout`: the outputs, query by query.
        o_completion: stream of `completion_layout`, one for each job, behind its outputs.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(self.members(config))

    @staticmethod
    def members(config: DriveEngineConfig) -> dict[str, wiring.Member]:
        """Return the engine's members by their names."""
        half = stream.Signature(half_layout(config))
        read = stream.Signature(flash_read_layout(config))
        words = stream.Signature(unsigned(config.word_bits))
        channels = range(config.flash_channels)
        return {
            "i_job": In(stream.Signature(engine_job_layout(config))),
            "i_query": In(half),
            "i_entry": In(stream.Signature(page_entry_layout(config))),
            "i_value_sum": In(stream.Signature(value_sum_layout(config))),
            **{f"o_read_{c}": Out(read) for c in channels},
            **{f"i_flash_{c}": In(words) for c in channels},
            "o": Out(half),
            "o_completion": Out(stream.Signature(completion_layout(config))),
        }

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        kv = f"l{c.lanes}_g{c.queries}_d{c.head_size}_{c.kv_bits}"
        return f"attention_engine_{c.flash_channels}x{kv}_p{c.page_bytes}_c{c.context_bits}"

    @staticmethod
    def cycles(
        config: DriveEngineConfig, context: int, channels: Sequence[int], latency: int
    ) -> int:
        """Return the cycles of a dense job, from it taken to its completion taken: the contract.

        Exact for an idle engine where no stream waits, no chunk has errors, flash gives a word per
        cycle, and the queries have become fixed point when the first page is there.

        Args:
            channels: the flash channel of each group's page, in their order.
            latency: cycles from a read to its first word.
        """
        size, last = config.layout.group_tokens, 0
        clean = (ChunkTiming(dirty=False, searched=False),) * config.code.chunks
        for channel in set(channels):
            groups = [group for group, its in enumerate(channels) if its == channel]
            tokens = [min(size, context - group * size) for group in groups]
            pages = [
                PageTiming(clean, good=True, steps=(True,) * (2 * config.rows * each))
                for each in tokens
            ]
            waits = AttentionSlice.page_cycles(config, tokens[-1]) - 2 * config.rows * tokens[-1]
            last = max(last, groups[0] + PageFrontEnd.cycles(config, pages) + waits)
        finish = Finisher.cycles(config, compensates=False)
        return AROUND_CYCLES + latency + last + weight_cycles(config) + finish

    def elaborate(self, platform: object) -> Module:
        """The parts; each job is told to all that have to do with it."""
        m = Module()
        p = _Parts(m, platform, self.config)
        self._accept(m, platform, p)
        self._read(m, p)
        self._compute(m, p)
        sequencer, outcome, scheduler = p.sequencer, p.outcome, p.scheduler
        m.d.comb += [
            *(sequencer.ends.eq(scheduler.ends), scheduler.known.eq(sequencer.known)),
            *(outcome.missing.eq(scheduler.missing), outcome.missing_odd.eq(scheduler.odd)),
            outcome.not_finite.eq(sequencer.began & p.query.o_scales.not_finite),
            outcome.not_finite_odd.eq(sequencer.odd),
        ]
        for source, sink in (
            (self.i_query, p.query.i),
            (self.i_entry, scheduler.i_entry),
            (self.i_value_sum, p.finisher.i_value_sum),
            (p.query.o_channels, scheduler.i_channels),
            (p.likelihood.o_kept, p.kept.i),
            (p.kept.o, scheduler.i_group),
            (p.likelihood.o_mass, p.finisher.i_mass),
            (p.finisher.o, outcome.i),
            (outcome.o, self.o),
            (outcome.o_completion, self.o_completion),
        ):
            _join(m, source, sink)
        return m

    def _accept(self, m: Module, platform: object, p: "_Parts") -> None:
        """Take a job when there is room; tell each part what it must know."""
        config, job = self.config, self.i_job.payload
        refused, odd = Signal(), Signal()
        m.d.comb += refused.eq(is_refused(config, job))
        sequences = Signal(data.ArrayLayout(sequence_layout(), 2))
        m.d.comb += [reader.sequences.eq(sequences) for reader in p.readers]
        told = [
            (p.query.i_job, query_job_layout(config), {}, ~refused),
            (p.scheduler.i_job, scheduled_layout(config), {}, ~refused),
            (p.sequencer.i_job, scheduled_layout(config), {}, ~refused),
            (p.likelihood.i_job, likelihood_job_layout(config), {"ends": 1}, job.sparf & ~refused),
            (
                p.finisher.i_job,
                finisher_job_layout(config),
                {"compensates": job.sparf, "tokens": job.context},
                ~refused,
            ),
            (p.outcome.i_job, outcome_job_layout(), {"refused": refused}, Const(1)),
        ]
        accepted, queues = Signal(), []
        for number, (sink, layout, fields, wanted) in enumerate(told):
            queue = add(m, platform, f"jobs_{number}", Fifo, layout.size, JOBS)
            view = Signal(layout, name=f"told_{number}")
            m.d.comb += [
                *(
                    view[name].eq(fields[name] if name in fields else job[name])
                    for name, _ in layout
                ),
                queue.i.payload.eq(view),
                queue.i.valid.eq(accepted & wanted),
                *(sink.payload.as_value().eq(queue.o.payload), sink.valid.eq(queue.o.valid)),
                queue.o.ready.eq(sink.ready),
            ]
            queues.append(queue)
        room = Cat(queue.i.ready for queue in queues).all()
        m.d.comb += [accepted.eq(self.i_job.valid & room), self.i_job.ready.eq(room)]
        with m.If(accepted & ~refused):
            m.d.sync += odd.eq(~odd)
            with m.Switch(odd):
                for number in range(2):
                    with m.Case(number):
                        m.d.sync += [
                            sequences[number][name].eq(job[name]) for name, _ in sequence_layout()
                        ]

    def _read(self, m: Module, p: "_Parts") -> None:
        """Pages to the channels that have them; words to front ends, verdicts back."""
        read, chosen = p.scheduler.o, p.scheduler.o_channel
        ready = Cat(reader.i.ready for reader in p.readers)
        m.d.comb += read.ready.eq(ready.bit_select(chosen, 1))
        for number, (reader, front) in enumerate(zip(p.readers, p.fronts, strict=True)):
            m.d.comb += [
                *(reader.i.payload.eq(read.payload), reader.clear.eq(p.sequencer.clear)),
                reader.i.valid.eq(read.valid & (chosen == number)),
                p.sequencer.counts[number].eq(reader.counts),
            ]
            _join(m, reader.o_read, getattr(self, f"o_read_{number}"))
            _join(m, getattr(self, f"i_flash_{number}"), front.i_flash)
            _join(m, reader.o_request, front.i_request)
            _join(m, front.o_verdict, reader.i_verdict)
            _join(m, reader.o_event, getattr(p.outcome, f"i_event_{number}"))

    def _compute(self, m: Module, p: "_Parts") -> None:
        """Elements and queries to the slices; scores and sums on."""
        rows = p.query.o_query
        _fork(m, rows, [each.i_query for each in p.slices])
        scales = p.query.o_scales
        m.d.comb += p.likelihood.scale.eq(scales.approximate_scale)
        for number, (front, slice_) in enumerate(zip(p.fronts, p.slices, strict=True)):
            m.d.comb += slice_.scale.eq(scales.scale)
            _join(m, front.o, slice_.i)
            _join(m, getattr(p.sequencer, f"o_{number}"), slice_.i_command)
            _join(m, slice_.o_approximate, getattr(p.likelihood, f"i_{number}"))
            _join(m, slice_.o_partial, getattr(p.finisher, f"i_partial_{number}"))


class _Parts:
    """All parts of an engine."""

    def __init__(self, m: Module, platform: object, config: DriveEngineConfig) -> None:
        channels = range(config.flash_channels)
        self.query = add(m, platform, "query_unit", QueryUnit, config)
        self.scheduler = add(m, platform, "scheduler", PageScheduler, config)
        self.sequencer = add(m, platform, "sequencer", SliceSequencer, config)
        self.likelihood = add(m, platform, "likelihood", LikelihoodUnit, config)
        self.kept = add(m, platform, "kept", KeptGroups, config)
        self.finisher = add(m, platform, "finisher", Finisher, config)
        self.outcome = add(m, platform, "outcome", JobOutcome, config)
        self.readers = [add(m, platform, f"reader_{c}", ChannelReader, config) for c in channels]
        self.fronts = [add(m, platform, f"front_end_{c}", PageFrontEnd, config) for c in channels]
        self.slices = [add(m, platform, f"slice_{c}", AttentionSlice, config) for c in channels]


def _join(m: Module, source: wiring.PureInterface, sink: wiring.PureInterface) -> None:
    """Connect two streams; their payloads may have layouts of their own with the same bits."""
    to, of = sink.payload, source.payload
    m.d.comb += [
        to.as_value().eq(of) if hasattr(to, "as_value") else to.eq(of),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


def _fork(m: Module, source: wiring.PureInterface, sinks: Sequence[wiring.PureInterface]) -> None:
    """Give all sinks the same beats, each in the cycle in which all take it."""
    m.d.comb += source.ready.eq(Cat(sink.ready for sink in sinks).all())
    for sink in sinks:
        m.d.comb += [
            sink.payload.eq(source.payload),
            sink.valid.eq(source.valid & source.ready),
        ]

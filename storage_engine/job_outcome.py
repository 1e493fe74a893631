"""What a job ends with: its outputs, if all went well, and a completion."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.engine_job_layouts import (
    JOB_ID_BITS,
    Status,
    completion_layout,
    page_event_layout,
)
from storage_engine.engine_layouts import half_layout


def outcome_job_layout() -> data.StructLayout:
    """A job's number; one that is `refused` has no outputs and no pages, and is not counted."""
    return data.StructLayout({"id": JOB_ID_BITS, "refused": 1})


class JobOutcome(wiring.Component):
    """Lets the outputs of jobs through of which all pages were good, and drops the others'.

    All events of a job come before its first output: an output needs the elements of all pages, and
    those come behind their pages' events. So what is known at the first output is the whole truth.

    Throughput: a beat per cycle; a job takes one more for its completion.

    Members:
        i_job: stream of `outcome_job_layout`.
        i_event_0, i_event_1, ...: a stream of `page_event_layout` from each channel.
        missing: a page is not there, of an odd job: `missing_odd`.
        not_finite: a job's queries are not, of an odd job: `not_finite_odd`.
        i, o: streams of `half_layout`: `rows` beats for each query.
        o_completion: stream of `completion_layout`, behind the outputs.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        event = stream.Signature(page_event_layout(config))
        beats = stream.Signature(half_layout(config))
        super().__init__(
            {
                "i_job": In(stream.Signature(outcome_job_layout())),
                **{f"i_event_{c}": In(event) for c in range(config.flash_channels)},
                **{"missing": In(1), "missing_odd": In(1)},
                **{"not_finite": In(1), "not_finite_odd": In(1)},
                "i": In(beats),
                "o": Out(beats),
                "o_completion": Out(stream.Signature(completion_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        shape = f"{c.flash_channels}x{c.lanes}of{c.head_size}g{c.queries}"
        return f"job_outcome_{shape}_p{c.page_bytes}_t{c.t}"

    def elaborate(self, platform: object) -> Module:
        """Note what happens to the two jobs under way; at the older one's end say it."""
        m = Module()
        layout = completion_layout(self.config)
        notes = [Signal(layout, name=f"note_{odd}") for odd in range(2)]
        self._note(m, notes)
        odd, refused, given = Signal(), self.i_job.payload.refused, Signal()
        beat = Signal(range(self.config.queries * self.config.rows))
        note = Signal(layout)
        m.d.comb += note.as_value().eq(Mux(odd, notes[1].as_value(), notes[0].as_value()))
        all_well = Signal()
        m.d.comb += all_well.eq(note.status == Status.OK)
        passes, last, ends = Signal(), Signal(), Signal()
        open_ = self.i_job.valid & ~refused & ~given
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(open_ & all_well & self.i.valid),
            self.i.ready.eq(open_ & (self.o.ready | ~all_well)),
            passes.eq(self.i.valid & self.i.ready),
            last.eq(beat == self.config.queries * self.config.rows - 1),
        ]
        with m.If(passes):
            m.d.sync += [beat.eq(Mux(last, 0, beat + 1)), given.eq(last)]
        completion = self.o_completion
        m.d.comb += [
            completion.valid.eq(self.i_job.valid & (refused | given)),
            completion.payload.eq(Mux(refused, 0, note.as_value())),
            completion.payload.id.eq(self.i_job.payload.id),
            ends.eq(completion.valid & completion.ready),
            self.i_job.ready.eq(ends),
        ]
        with m.If(refused):
            m.d.comb += completion.payload.status.eq(Status.BAD_JOB)
        with m.If(ends & ~refused):
            m.d.sync += [given.eq(0), odd.eq(~odd)]
            for number, each in enumerate(notes):
                with m.If(odd == number):
                    m.d.sync += each.eq(Const(0, layout.size))
        return m

    def _note(self, m: Module, notes: list[Signal]) -> None:
        """Take one channel's event per cycle, the lowest first, and what else there is."""
        events = [getattr(self, f"i_event_{c}") for c in range(self.config.flash_channels)]
        taken = Signal(page_event_layout(self.config))
        valid, channel = Signal(), Signal(range(max(len(events), 2)))
        for number, event in reversed(list(enumerate(events))):
            with m.If(event.valid):
                m.d.comb += [taken.eq(event.payload), valid.eq(1), channel.eq(number)]
        before = Const(0)
        for event in events:
            m.d.comb += event.ready.eq(~before)
            before = before | event.valid
        for odd, note in enumerate(notes):
            with m.If(valid & (taken.job == odd)):
                m.d.sync += [
                    note.reads.eq(note.reads + 1),
                    note.retries.eq(note.retries + taken.again),
                    note.corrected.eq(note.corrected + taken.corrected),
                ]
            page = valid & (taken.job == odd) & (taken.lost | taken.not_finite)
            with m.If(note.status == Status.OK):
                with m.If(page):
                    m.d.sync += [
                        note.status.eq(Mux(taken.lost, Status.LOST, Status.NOT_FINITE)),
                        *(note.page.eq(taken.page), note.flash_channel.eq(channel)),
                    ]
                with m.Elif(self.missing & (self.missing_odd == odd)):
                    m.d.sync += note.status.eq(Status.MISSING)
                with m.Elif(self.not_finite & (self.not_finite_odd == odd)):
                    m.d.sync += note.status.eq(Status.NOT_FINITE)

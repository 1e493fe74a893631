"""Leads all slices through a job: queries in, approximate scores span by span, sums out."""

from enum import Enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.engine_job_layouts import SLOTS
from storage_engine.engine_layouts import PAGE_COUNT_BITS, SliceCommand, slice_command_layout
from storage_engine.page_scheduler import scheduled_layout

NOT_YET = (1 << PAGE_COUNT_BITS) - 1
"""More pages than ever come: a command waits until the scheduler knows how many they are."""


class State(Enum):
    """What the slices are at."""

    JOB = 0
    BEGIN = 1
    SPAN = 2
    PARTIAL = 3


class SliceSequencer(wiring.Component):
    """Gives all slices the same commands; the next one when each of them has done the last.

    A command says how many pages it waits for. That number may change while the command is offered,
    for pages are counted as they are asked for, and those that are lost do not count.

    Members:
        i_job: stream of `scheduled_layout`.
        ends: all pages of a slot have been asked for. known: that was so, and not all of them have
            been computed with. clear: now they have.
        counts: each channel's pages of each slot; `ChannelReader`.
        o_0, o_1, ...: a stream of `slice_command_layout` to each slice.
        began: all slices have a job's queries; of an odd job: `odd`.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        command = stream.Signature(slice_command_layout(config))
        counts = data.ArrayLayout(PAGE_COUNT_BITS, SLOTS)
        super().__init__(
            {
                "i_job": In(stream.Signature(scheduled_layout(config))),
                **{"ends": In(SLOTS), "known": Out(SLOTS), "clear": Out(SLOTS)},
                "counts": In(data.ArrayLayout(counts, config.flash_channels)),
                **{f"o_{c}": Out(command) for c in range(config.flash_channels)},
                **{"began": Out(1), "odd": Out(1)},
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        span = f"{c.page_bytes}x{c.channels_per_page}_{c.kv_bits}"
        return f"slice_sequencer_{c.flash_channels}_p{span}_c{c.context_bits}"

    def elaborate(self, platform: object) -> Module:
        """Offer a command until the last slice has done it."""
        m = Module()
        size = self.config.layout.span_tokens
        job = self.i_job.payload
        state, span = Signal(State), Signal.like(self.o_0.payload.span)
        left = Signal.like(job.context)  # tokens of this span and behind it
        begins, spans, partial = (state == each for each in list(State)[1:])
        slot = Signal(range(SLOTS))
        m.d.comb += [
            slot.eq(Mux(partial, 2 + self.odd, span[0])),
            self.i_job.ready.eq(state == State.JOB),
        ]
        done = self._offer(m, state, slot, span, Mux(left < size, left, size))

        counted = Mux(done & (spans | partial), Const(1, SLOTS) << slot, 0)
        m.d.comb += [self.clear.eq(counted), self.began.eq(done & begins)]
        m.d.sync += self.known.eq((self.known | self.ends) & ~self.clear)
        sparf = Signal()
        with m.Switch(state):
            with m.Case(State.JOB):
                m.d.sync += [sparf.eq(job.sparf), left.eq(job.context), span.eq(0)]
                with m.If(self.i_job.valid):
                    m.d.sync += state.eq(State.BEGIN)
            with m.Case(State.BEGIN), m.If(done):
                m.d.sync += state.eq(Mux(sparf, State.SPAN, State.PARTIAL))
            with m.Case(State.SPAN), m.If(done):
                m.d.sync += [span.eq(span + 1), left.eq(left - size)]
                with m.If(left <= size):
                    m.d.sync += state.eq(State.PARTIAL)
            with m.Case(State.PARTIAL), m.If(done):
                m.d.sync += [state.eq(State.JOB), self.odd.eq(~self.odd)]
        return m

    def _offer(self, m: Module, state: Value, slot: Value, span: Value, tokens: Value) -> Value:
        """Offer the state's command to each slice once; return whether the last one has done it."""
        commands = [getattr(self, f"o_{c}") for c in range(self.config.flash_channels)]
        served = Signal(len(commands))
        now = Cat(command.valid & command.ready for command in commands)
        kinds = {
            State.BEGIN: SliceCommand.BEGIN,
            State.SPAN: SliceCommand.SPAN,
            State.PARTIAL: SliceCommand.PARTIAL,
        }
        kind = Signal(2)
        with m.Switch(state):
            for each, its in kinds.items():
                with m.Case(each):
                    m.d.comb += kind.eq(its)
        known = self.known.bit_select(slot, 1)
        for number, command in enumerate(commands):
            m.d.comb += [
                command.valid.eq((state != State.JOB) & ~served[number]),
                command.payload.kind.eq(kind),
                command.payload.pages.eq(Mux(known, self.counts[number][slot], NOT_YET)),
                *(command.payload.span.eq(span), command.payload.tokens.eq(tokens)),
            ]
        done = Signal()
        m.d.comb += done.eq((served | now).all())
        m.d.sync += served.eq(Mux(done, 0, served | now))
        return done

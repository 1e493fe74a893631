"""Which pages a job needs: the entries of its table pass by, and the wanted ones go to channels."""

from enum import Enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import INDEX_FIELDS
from storage_engine.engine_job_layouts import (
    SLOTS,
    kept_group_layout,
    page_entry_layout,
    page_read_layout,
)
from storage_engine.engine_layouts import RequestKind


def scheduled_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What the scheduler must know of a job; `engine_job_layout`."""
    return data.StructLayout({"sparf": 1, "context": range(config.attention.max_context + 1)})


class State(Enum):
    """What the unit is at.

    CHANNELS: it waits for the chosen channels. SPANS: pages of channels pass by, TAIL: those of
    tokens behind the last whole span, PAIRS: those of all tokens.
    """

    JOB = 0
    CHANNELS = 1
    SPANS = 2
    TAIL = 3
    PAIRS = 4


class PageScheduler(wiring.Component):
    """Goes through the tables of jobs. Throughput: an entry per cycle.

    A dense job's table has the pages of all its groups, in their order. That of a SparF job has
    first all pages of its whole spans, span by span; then those of the groups behind the last whole
    span; then those of all groups. Entries that are not wanted are passed over.

    Pages are counted in slots. A slot's pages are only asked for while it is not `known`, which the
    sequencer withdraws when all of them have been computed with.

    Members:
        i_job: stream of `scheduled_layout`.
        i_channels: stream of bitmaps of the channels that a SparF job chose.
        i_entry: stream of `page_entry_layout`.
        i_group: stream of `kept_group_layout`: the groups of which a SparF job keeps tokens.
        o: stream of `page_read_layout`, and `o_channel`, the flash channel that has it.
        ends: all pages of a slot have been asked for. known: that was so, and still is.
        missing: a page is wanted that is not there; of an odd job: `odd`.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        entry = page_entry_layout(config)
        super().__init__(
            {
                "i_job": In(stream.Signature(scheduled_layout(config))),
                "i_channels": In(stream.Signature(unsigned(config.head_size))),
                "i_entry": In(stream.Signature(entry)),
                "i_group": In(stream.Signature(kept_group_layout(config))),
                "o": Out(stream.Signature(page_read_layout(config))),
                "o_channel": Out(entry["flash_channel"].shape),
                **{"ends": Out(SLOTS), "known": In(SLOTS), "missing": Out(1), "odd": Out(1)},
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        page = f"p{c.page_bytes}_d{c.head_size}_{c.kv_bits}x{c.channels_per_page}"
        return f"page_scheduler_{page}_c{c.context_bits}_f{c.flash_channels}"

    def elaborate(self, platform: object) -> Module:
        """Count pages and tokens of the state; take an entry, ask for its page, or pass over it."""
        m = Module()
        r = _Registers(self.config)
        layout, entry, read = self.config.layout, self.i_entry, self.o.payload
        spans, tail, pairs = (r.state == each for each in (State.SPANS, State.TAIL, State.PAIRS))
        size = Mux(spans, layout.span_tokens, layout.group_tokens)
        slot, is_open, wanted, decided = Signal(range(SLOTS)), Signal(), Signal(), Signal()
        kept = r.sparf & pairs
        mine = self.i_group.valid & (self.i_group.payload.group == r.number)
        channels = r.channels[: layout.channels_per_page]
        m.d.comb += [
            slot.eq(Mux(pairs, 2 + self.odd, r.span[0])),
            is_open.eq((spans | tail | pairs) & ~self.known.bit_select(slot, 1)),
            wanted.eq(Mux(spans, channels.any(), ~kept | (mine & ~r.passed))),
            decided.eq(is_open & (~kept | self.i_group.valid | r.passed)),
        ]
        present, passes = entry.payload.present, Signal()
        span = INDEX_FIELDS["span"].low
        m.d.comb += [
            self.o.valid.eq(entry.valid & decided & wanted & present),
            passes.eq(entry.valid & decided & (self.o.ready | ~(wanted & present))),
            entry.ready.eq(decided & (self.o.ready | ~(wanted & present))),
            self.missing.eq(passes & wanted & ~present),
            self.i_group.ready.eq(passes & kept & mine & ~r.passed),
            self.o_channel.eq(entry.payload.flash_channel),
            *(read.page.eq(entry.payload.page), read.slot.eq(slot), read.job.eq(self.odd)),
            read.kind.eq(Mux(spans, RequestKind.KEY_CHANNELS, RequestKind.PAIRS)),
            *(read.keys_only.eq(tail), read.first.eq(r.first)),
            read.tokens.eq(Mux(r.left < size, r.left, size)),
            read.keep.eq(Mux(spans, channels, Mux(kept, self.i_group.payload.keep, Const(-1, 64)))),
            read.index.eq(Mux(spans, (r.span << span) | r.number, r.number)),
        ]
        with m.If(self.i_group.ready & self.i_group.payload.last):
            m.d.sync += r.passed.eq(1)
        self._lead(m, r, slot, passes, size)
        return m

    def _lead(self, m: Module, r: "_Registers", slot: Value, passes: Value, size: Value) -> None:
        """Go from state to state, from span to span."""
        layout = self.config.layout
        job = self.i_job
        bits, each = layout.span_tokens.bit_length() - 1, layout.channels_per_page
        m.d.comb += [
            job.ready.eq(r.state == State.JOB),
            self.i_channels.ready.eq(r.state == State.CHANNELS),
            self.odd.eq(r.odd),
        ]
        begins = [r.number.eq(0), r.first.eq(0), r.left.eq(r.context), r.state.eq(State.PAIRS)]
        behind = r.left <= size  # no more tokens
        with m.Switch(r.state):
            with m.Case(State.JOB):
                m.d.sync += [
                    *(r.sparf.eq(job.payload.sparf), r.context.eq(job.payload.context)),
                    *(r.left.eq(job.payload.context), r.passed.eq(0)),
                    *(r.number.eq(0), r.span.eq(0), r.first.eq(0)),
                ]
                with m.If(job.valid):
                    m.d.sync += r.state.eq(Mux(job.payload.sparf, State.CHANNELS, State.PAIRS))
            with m.Case(State.CHANNELS):
                m.d.sync += r.channels.eq(self.i_channels.payload)
                with m.If(self.i_channels.valid):
                    m.d.sync += r.state.eq(Mux(r.context >> bits == 0, State.TAIL, State.SPANS))
            with m.Case(State.SPANS), m.If(passes):
                m.d.sync += r.channels.eq(Cat(r.channels[each:], r.channels[:each]))
                m.d.sync += r.number.eq(r.number + 1)
                with m.If(r.number == layout.channel_groups - 1):
                    m.d.comb += self.ends.eq(1 << slot)
                    m.d.sync += [
                        *(r.number.eq(0), r.span.eq(r.span + 1)),
                        *(r.first.eq(r.first + size), r.left.eq(r.left - size)),
                    ]
                    with m.If(r.left == size):
                        m.d.sync += begins
                    with m.Elif(r.left >> bits == 1):
                        ratio = layout.span_tokens // layout.group_tokens
                        m.d.sync += [
                            r.state.eq(State.TAIL),
                            r.number.eq((r.span + 1) * ratio),
                        ]
            with m.Case(State.TAIL, State.PAIRS), m.If(passes):
                m.d.sync += [
                    r.number.eq(r.number + 1),
                    *(r.first.eq(r.first + size), r.left.eq(r.left - size)),
                ]
                with m.If(behind):
                    m.d.comb += self.ends.eq(1 << slot)
                    with m.If(r.state == State.TAIL):
                        m.d.sync += begins
                    with m.Else():
                        m.d.sync += [r.state.eq(State.JOB), r.odd.eq(~r.odd)]


class _Registers:
    """The unit's registers.

    `number` counts a span's pages, or is a group's number; `first` and `left` are the tokens before
    and from this page's on. `channels` has the current page's lowest. `passed`: no kept tokens are
    left.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        tokens = range(config.attention.max_context + 1)
        groups = -(-config.attention.max_context // config.layout.group_tokens)
        self.state = Signal(State, name="state")
        self.sparf, self.odd, self.passed = (
            Signal(name=name) for name in ("sparf", "odd_job", "passed")
        )
        self.context, self.left = Signal(tokens, name="context"), Signal(tokens, name="left")
        self.first = Signal(tokens, name="first")
        self.number = Signal(range(max(groups, config.layout.channel_groups)), name="number")
        spans = config.attention.max_context // config.layout.span_tokens
        self.span = Signal(range(spans + 1), name="span")
        self.channels = Signal(config.head_size, name="channels")

"""What a flash channel is asked for: reads go out, verdicts come back, bad pages are read again."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import ADDRESS_FIELDS, KvKind
from hw.emit import add
from hw.fifo import Fifo
from storage_engine.engine_job_layouts import (
    SEQUENCE_LOW,
    SLOTS,
    flash_read_layout,
    page_event_layout,
    page_read_layout,
    sequence_layout,
)
from storage_engine.engine_layouts import (
    PAGE_COUNT_BITS,
    RequestKind,
    page_request_layout,
    page_verdict_layout,
)


class ChannelReader(wiring.Component):
    """Asks a flash channel for pages, and its front end for what is wanted of them.

    Up to `reads` pages are on their way. The channel gives them in the order in which they were
    asked for. A page that is not good is asked for again at the end of the others, `attempts` times
    in all. A page that is lost then counts as if it had never been wanted, so that no job waits for
    it; the event says so.

    A slice counts a job's pages and cannot tell them from the next job's. So while a page is being
    read again, nothing is wanted of the next job's pages that were asked for before it: they are
    asked for again too, behind it.

    Throughput: a page per cycle.

    Members:
        i: stream of `page_read_layout`.
        sequences: of even and odd jobs; held while pages of theirs are on their way.
        o_read: stream of `flash_read_layout`, to the flash.
        o_request: stream of `page_request_layout`, to the front end, which takes the next one as
            it gives a verdict. What it keeps may change in that cycle.
        i_verdict: stream of `page_verdict_layout`, from there.
        o_event: stream of `page_event_layout`, one for each read.
        counts: pages of each slot that were taken, without those that are lost.
        clear: a slot's count becomes 0; there are no pages of it on their way.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(page_read_layout(config))),
                "sequences": In(data.ArrayLayout(sequence_layout(), 2)),
                "o_read": Out(stream.Signature(flash_read_layout(config))),
                "o_request": Out(stream.Signature(page_request_layout(config))),
                "i_verdict": In(stream.Signature(page_verdict_layout(config))),
                "o_event": Out(stream.Signature(page_event_layout(config))),
                "counts": Out(data.ArrayLayout(PAGE_COUNT_BITS, SLOTS)),
                "clear": In(SLOTS),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        page = f"p{c.page_bytes}_d{c.head_size}_{c.kv_bits}x{c.channels_per_page}"
        return f"channel_reader_{page}_c{c.context_bits}_t{c.t}_r{c.reads}x{c.attempts}"

    def elaborate(self, platform: object) -> Module:
        """Two queues with the same pages: one for the front end, one for the verdicts."""
        m = Module()
        config = self.config
        layout = page_read_layout(config)
        tried = data.StructLayout({"read": layout, "attempt": range(max(config.attempts, 2))})
        requests = add(m, platform, "requests", Fifo, layout.size, config.reads)
        judged = add(m, platform, "judged", Fifo, tried.size, config.reads)
        reads = add(m, platform, "reads", Fifo, self.o_read.payload.shape().size, 2)

        again, again_valid = Signal(tried), Signal()
        source, goes, taken = Signal(tried), Signal(), Signal()
        m.d.comb += [
            source.read.eq(Mux(again_valid, again.read.as_value(), self.i.payload.as_value())),
            source.attempt.eq(Mux(again_valid, again.attempt, 0)),
            goes.eq(
                (again_valid | self.i.valid) & requests.i.ready & judged.i.ready & reads.i.ready
            ),
            taken.eq(goes & ~again_valid),
            self.i.ready.eq(~again_valid & requests.i.ready & judged.i.ready & reads.i.ready),
        ]
        asked = Signal(flash_read_layout(config))
        m.d.comb += [
            *(asked.page.eq(source.read.page), asked.attempt.eq(source.attempt)),
            *(requests.i.payload.eq(source.read), judged.i.payload.eq(source)),
            reads.i.payload.eq(asked),
            *(queue.i.valid.eq(goes) for queue in (requests, judged, reads)),
            *(self.o_read.valid.eq(reads.o.valid), reads.o.ready.eq(self.o_read.ready)),
            self.o_read.payload.as_value().eq(reads.o.payload),
        ]
        self._request(m, requests)

        head, discarded, bad = Signal(tried), Signal(), Signal()
        verdict, event = self.i_verdict, self.o_event
        done = Signal()
        m.d.comb += [
            head.as_value().eq(judged.o.payload),
            bad.eq(
                verdict.payload.uncorrectable
                | verdict.payload.crc_wrong
                | verdict.payload.misplaced
            ),
            event.payload.lost.eq(bad & ~discarded & (head.attempt == config.attempts - 1)),
            event.payload.again.eq(discarded | (bad & ~event.payload.lost)),
            event.valid.eq(verdict.valid & judged.o.valid & ~again_valid),
            done.eq(event.valid & event.ready),
            *(verdict.ready.eq(done), judged.o.ready.eq(done)),
            *(event.payload.job.eq(head.read.job), event.payload.page.eq(head.read.page)),
            event.payload.not_finite.eq(verdict.payload.not_finite),
            event.payload.corrected.eq(verdict.payload.corrected),
        ]
        with m.If(goes):
            m.d.sync += again_valid.eq(0)
        with m.If(done & event.payload.again):
            m.d.sync += [
                again_valid.eq(1),
                *(again.read.eq(head.read), again.attempt.eq(head.attempt + ~discarded)),
            ]
        read = self._request(m, requests)
        # Whether pages are being read again, of which job, once this verdict counts.
        repeats, repeated = Signal(range(config.reads + 1)), Signal()
        more_repeats, job = Signal.like(repeats), Signal()
        own = done & ~discarded
        m.d.comb += [
            more_repeats.eq(
                repeats
                + (own & event.payload.again & (head.attempt == 0))
                - (own & ~event.payload.again & (head.attempt != 0))
            ),
            job.eq(Mux(repeats == 0, head.read.job, repeated)),
        ]
        m.d.sync += [repeats.eq(more_repeats), repeated.eq(job)]
        discards = Signal()
        m.d.comb += discards.eq((more_repeats != 0) & (read.job != job))
        m.d.comb += self.o_request.payload.keep.eq(Mux(discards, 0, read.keep))
        with m.If(self.o_request.valid & self.o_request.ready):
            m.d.sync += discarded.eq(discards)
        counts = [Signal(PAGE_COUNT_BITS, name=f"pages_{slot}") for slot in range(SLOTS)]
        for slot, count in enumerate(counts):
            more = taken & (self.i.payload.slot == slot)
            less = done & event.payload.lost & (head.read.slot == slot)
            m.d.sync += count.eq(Mux(self.clear[slot], 0, count + more - less))
        m.d.comb += self.counts.eq(Cat(counts))
        return m

    def _request(self, m: Module, requests: wiring.PureInterface) -> data.View:
        """Tell the front end which page comes, and its address; return the page."""
        read = Signal(page_read_layout(self.config))
        wanted = self.o_request.payload
        sequence = self.sequences[read.job]
        channels = read.kind == RequestKind.KEY_CHANNELS
        kind = Mux(channels, Const(KvKind.KEY_CHANNELS), Const(KvKind.PAIRS))
        index, place = ADDRESS_FIELDS["index"], ADDRESS_FIELDS["kind"]
        m.d.comb += [
            read.as_value().eq(requests.o.payload),
            *(self.o_request.valid.eq(requests.o.valid), requests.o.ready.eq(self.o_request.ready)),
            *(wanted[name].eq(read[name]) for name in ("kind", "first", "tokens")),
            wanted.keys_only.eq(read.keys_only),
            wanted.address[: index.bits].eq(read.index),
            wanted.address[place.low : place.low + place.bits].eq(kind),
            wanted.address[SEQUENCE_LOW:].eq(sequence.sequence),
            wanted.key_fraction.eq(sequence.key_fraction),
            wanted.value_fraction.eq(sequence.value_fraction),
        ]
        return read

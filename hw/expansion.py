"""The bit-width expansion unit: words of packed 2- to 8-bit weights in, 8-bit weights out.

Weights lie in memory as `golden/bit_packing.py` says, without gaps. A beat of `lanes` weights of b
bits is b slots of `lanes` bits, so whatever the width, beats begin at whole slots, and there is no
shifter over single bits. A word goes through in chunks of eight slots, the most that a beat needs;
so a beat needs a new chunk or none, and the rest of the unit is the same for every word width.

    word -> chunk -> aligner: a beat's slots -> its weights, sign-extended

In the aligner a beat ends in the newest chunk and begins there or in the one before. In the 16
slots of both it begins at slot 4 to 14, by its width and by what was read before.
"""

from collections.abc import Iterable, Iterator

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.expansion import EXPANDED_BITS, WEIGHT_WIDTHS, ExpansionConfig
from hw.emit import add
from hw.mux import select

CHUNK_SLOTS = EXPANDED_BITS
"""Slots of a chunk: a beat of the widest weights."""

STAGES = 3
"""Registers that a beat passes: chunk, aligned slots, output."""

WIDTH_CODE_BITS = (EXPANDED_BITS - 1).bit_length()


def job_layout(config: ExpansionConfig) -> data.StructLayout:
    """One beat per segment: the width of its weights - 1, and its number of beats - 1.

    The width is trusted: what the unit gives for codes 0 and 6, which stand for none, is undefined.
    """
    return data.StructLayout(
        {"width_code": unsigned(WIDTH_CODE_BITS), "more_beats": unsigned(config.beat_bits)}
    )


def word_layout(config: ExpansionConfig) -> data.ArrayLayout:
    """One memory word: its chunks, the lowest bits first."""
    return data.ArrayLayout(unsigned(config.chunk_bits), config.chunks)


def weights_layout(config: ExpansionConfig) -> data.ArrayLayout:
    """One beat of expanded weights."""
    return data.ArrayLayout(signed(EXPANDED_BITS), config.lanes)


def control_layout() -> data.StructLayout:
    """What travels down the pipeline beside one beat.

    `take` marks a beat that comes with a new chunk, `start` is the slot at which it begins in the
    two newest chunks.
    """
    return data.StructLayout({"valid": 1, "take": 1, "start": 4, "width_code": WIDTH_CODE_BITS})


def start_slots(bits: int) -> Iterator[int]:
    """Yield the slots at which beats of `bits`-bit weights begin in the two newest chunks."""
    read = 0  # slots of the newest chunk
    for _ in range(CHUNK_SLOTS):
        takes = read == 0 or read + bits > CHUNK_SLOTS
        yield read if takes and read else CHUNK_SLOTS + read
        read = (read + bits) % CHUNK_SLOTS


class BitWidthExpansion(wiring.Component):
    """One expansion unit.

    Throughput: one beat per cycle, for every width, across words and from one segment to the next.
    Latency: 3 cycles. A segment begins at a word; what is left of its last word is dropped.

    Members:
        i_job: stream of `job_layout`, one beat per segment, taken with the segment's last beat.
        i: stream of words, each taken with its last chunk or with the segment's last beat.
        o: stream of `weights_layout`.
        starved: high when a beat could pass but its job or its word is not offered.
    """

    def __init__(self, config: ExpansionConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(job_layout(config))),
                "i": In(stream.Signature(word_layout(config))),
                "o": Out(stream.Signature(weights_layout(config))),
                "starved": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"bit_width_expansion_w{c.word_bits}x{c.lanes}_n{c.beat_bits}"

    @staticmethod
    def cycles(config: ExpansionConfig, jobs: Iterable[tuple[int, int]]) -> int:
        """Return the cycles of successive jobs, from the first beat begun to the last one given.

        The timing contract: exact when no stream waits, and every cycle in which one does adds one.
        A beat takes one cycle, and the last one leaves three cycles after it was begun. A job takes
        `config.words`.

        Args:
            jobs: width of the weights and number of beats of each.
        """
        return sum(beats for _, beats in jobs) + STAGES

    def elaborate(self, platform: object) -> Module:
        """A word's chunk is chosen, aligned, cut into weights and registered."""
        m = Module()
        config = self.config
        advance = Signal()
        sequencer = add(m, platform, "sequencer", ExpansionSequencer, config, i_job=self.i_job)
        aligner = add(m, platform, "aligner", Aligner, config.lanes)
        fields = add(m, platform, "fields", FieldExpansion, config.lanes)

        control = [sequencer.control]
        for k in range(1, STAGES):
            stage = Signal(control_layout(), name=f"control_{k}")
            with m.If(advance):
                m.d.sync += stage.eq(control[-1])
            control.append(stage)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            sequencer.advance.eq(advance),
            sequencer.word_valid.eq(self.i.valid),
            self.i.ready.eq(sequencer.word_ready),
            self.starved.eq(sequencer.starved),
            aligner.advance.eq(advance),
            aligner.control.eq(sequencer.control),
            aligner.chunk.eq(select(sequencer.chunk, dict(enumerate(self.i.payload)))),
            fields.width_code.eq(control[-1].width_code),
            fields.slots.eq(aligner.slots),
        ]
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(control[-1].valid), self.o.payload.eq(fields.weights)]
        return m


class ExpansionSequencer(wiring.Component):
    """Begins a beat per cycle, tells where it lies, and takes the words and jobs that are done.

    Members:
        advance: the pipeline takes a beat in this cycle if there is one.
        i_job: the unit's job stream; ready in the job's last beat.
        word_valid, word_ready: the handshake of the word stream.
        chunk: the chunk of the word that a beat with `take` comes with.
        control: the beat that is begun in this cycle; `valid` is low when there is none.
        starved: there is none although the pipeline would take it.
    """

    def __init__(self, config: ExpansionConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "i_job": In(stream.Signature(job_layout(config))),
                "word_valid": In(1),
                "word_ready": Out(1),
                "chunk": Out(range(max(config.chunks, 2))),
                "control": Out(control_layout()),
                "starved": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"expansion_sequencer_c{self.config.chunks}_n{self.config.beat_bits}"

    def elaborate(self, platform: object) -> Module:
        """Count beats within a job, chunks within a word and slots within a chunk."""
        m = Module()
        job = self.i_job.payload
        beat = Signal(self.config.beat_bits)
        read = Signal(range(CHUNK_SLOTS))  # slots of the newest chunk; 0 also for all of them
        end = Signal(range(2 * CHUNK_SLOTS))
        needs_chunk = Signal()
        begin = Signal()
        last_beat = Signal()
        last_chunk = Signal()
        m.d.comb += [
            end.eq(read + job.width_code + 1),
            needs_chunk.eq((read == 0) | (end > CHUNK_SLOTS)),
            begin.eq(self.advance & self.i_job.valid & (self.word_valid | ~needs_chunk)),
            last_beat.eq(beat == job.more_beats),
            last_chunk.eq(self.chunk == self.config.chunks - 1),
            # With a segment's last beat the rest of its last word goes, if it is still there.
            self.word_ready.eq(
                begin & Mux(needs_chunk, last_chunk | last_beat, last_beat & (self.chunk != 0))
            ),
            self.i_job.ready.eq(begin & last_beat),
            self.control.valid.eq(begin),
            self.control.take.eq(begin & needs_chunk),
            self.control.start.eq(Cat(read, (read == 0) | ~needs_chunk)),
            self.control.width_code.eq(job.width_code),
            self.starved.eq(self.advance & ~begin),
        ]
        with m.If(begin):
            m.d.sync += [
                beat.eq(Mux(last_beat, 0, beat + 1)),
                read.eq(Mux(last_beat, 0, end)),
                self.chunk.eq(Mux(self.word_ready, 0, self.chunk + needs_chunk)),
            ]
        return m


class Aligner(wiring.Component):
    """Keeps the two newest chunks and registers a beat's slots, from slot 0 on.

    Members:
        control: of the beat that is begun in this cycle.
        chunk: the one that the beat comes with, if it takes any.
        slots: those of the beat, two cycles of `advance` later; above its width, any.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        slots = data.ArrayLayout(unsigned(lanes), CHUNK_SLOTS)
        control = In(control_layout())
        super().__init__(
            {"advance": In(1), "control": control, "chunk": In(slots), "slots": Out(slots)}
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"expansion_aligner_x{self.lanes}"

    def elaborate(self, platform: object) -> Module:
        """A mux per slot, over the places from which some width may fetch it."""
        m = Module()
        # Of the chunk before the newest, only the slots from `first` on are ever read.
        first = min(start for bits in WEIGHT_WIDTHS for start in start_slots(bits))
        newest = Signal(CHUNK_SLOTS * self.lanes, reset_less=True)
        before = Signal((CHUNK_SLOTS - first) * self.lanes, reset_less=True)
        start = Signal.like(self.control.start)
        with m.If(self.advance):
            m.d.sync += start.eq(self.control.start)
            with m.If(self.control.take):
                m.d.sync += [newest.eq(self.chunk), before.eq(newest[first * self.lanes :])]

        both = Cat(before, newest)
        for slot in range(CHUNK_SLOTS):
            fetched = Signal(self.lanes, name=f"fetched_{slot}")
            places = {s for bits in WEIGHT_WIDTHS if bits > slot for s in start_slots(bits)}
            m.d.comb += fetched.eq(
                select(start, {s: both.word_select(s - first + slot, self.lanes) for s in places})
            )
            with m.If(self.advance):
                m.d.sync += self.slots[slot].eq(fetched)
        return m


class FieldExpansion(wiring.Component):
    """Cuts a beat's slots into weights of its width and extends their signs; no register."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "width_code": In(WIDTH_CODE_BITS),
                "slots": In(EXPANDED_BITS * lanes),
                "weights": Out(data.ArrayLayout(signed(EXPANDED_BITS), lanes)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"field_expansion_x{self.lanes}"

    def elaborate(self, platform: object) -> Module:
        """A mux over the widths for every lane."""
        m = Module()
        for lane, weight in enumerate(self.weights):
            ends = {bits: (lane * bits, (lane + 1) * bits) for bits in WEIGHT_WIDTHS}
            fields = {b - 1: self.slots[low:high].as_signed() for b, (low, high) in ends.items()}
            m.d.comb += weight.eq(select(self.width_code, fields))
        return m

"""What is proven of the blocks, as components for `hw.formal.prove`; and broken copies."""

import inspect
import sys

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from golden.spec.dsp48e2 import LANE_BITS
from golden.spec.expansion import WEIGHT_WIDTHS
from hw.chain_control import ChainSequencer, write_layout
from hw.chain_slice import LaneSplitter
from hw.expansion import (
    STAGES,
    BitWidthExpansion,
    job_layout,
    word_layout,
)
from hw.formal import assert_in_order, assert_stream, assume_stream
from hw.layouts import activation_layout, pass_layout


def broken(block, right, wrong, part=None):
    """Return a copy of a component's class in which `right` is replaced by `wrong`.

    It is replaced in the class `part` of the same module, if that is given.
    """
    names = dict(vars(sys.modules[block.__module__]))
    source = inspect.getsource(part or block)
    assert source.count(right) == 1
    exec(source.replace(right, wrong), names)
    if part:
        exec(inspect.getsource(block), names)
    return names[block.__name__]


class QueueProof(wiring.Component):
    """A queue behind free streams gives what it took, in order, by the rules of streams."""

    def __init__(self, queue, capacity, width=2, idle=1):
        self.queue, self.capacity, self.idle = queue, capacity, idle
        payload = stream.Signature(unsigned(width))
        super().__init__({"i": In(payload), "o_ready": In(1), "mark": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        m.d.comb += queue.o.ready.eq(self.o_ready)
        assume_stream(m, queue.i)
        assert_stream(m, queue.o)
        assert_in_order(m, queue.i, queue.o, self.mark, capacity=self.capacity, cycles=self.idle)
        return m


class SplitProof(wiring.Component):
    """A packed sum of any two sums that a row can have gives both again."""

    def __init__(self, config, splitter=LaneSplitter):
        self.config, self.splitter = config, splitter(config)
        sums = dict.fromkeys(("low", "high"), In(signed(config.sum_bits)))
        super().__init__({**sums})

    def elaborate(self, platform):
        m = Module()
        m.submodules.splitter = splitter = self.splitter
        config = self.config
        a, w = 1 << (config.activation_bits - 1), 1 << (config.weight_bits - 1)
        lowest = -config.chain_length * max(a * (w - 1), (a - 1) * w)
        for total in (self.low, self.high):
            m.d.comb += Assume((total >= lowest) & (total <= config.chain_length * a * w))
        m.d.comb += [
            splitter.i.p.eq((self.high << LANE_BITS) + self.low),
            Assert(splitter.sums[0] == self.low, "low lane"),
            Assert(splitter.sums[1] == self.high, "high lane"),
        ]
        if config.residue_bits:
            m.d.comb += splitter.i.residue.eq(self.high)
        return m


class ExpansionProof(wiring.Component):
    """Every beat of a segment comes once, and each bit of its words stands where it belongs.

    One segment is followed, the first one or any later one, and in it the bit `place`.
    """

    def __init__(self, config, unit=BitWidthExpansion, *, first):
        self.config, self.unit, self.first = config, unit(config), first
        self.segment_bits = config.words(8, config.max_beats) * config.word_bits
        super().__init__(
            {
                "i_job": In(stream.Signature(job_layout(config))),
                "i": In(stream.Signature(word_layout(config))),
                "o_ready": In(1),
                "mark": In(1),
                "place": In(range(self.segment_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        wiring.connect(m, wiring.flipped(self.i_job), unit.i_job)
        wiring.connect(m, wiring.flipped(self.i), unit.i)
        job = unit.i_job.payload
        widths = Cat(job.width_code == bits - 1 for bits in WEIGHT_WIDTHS)
        m.d.comb += [unit.o.ready.eq(self.o_ready), Assume(~unit.i_job.valid | widths.any())]
        assume_stream(m, unit.i_job, "i_job")
        assume_stream(m, unit.i)
        assert_stream(m, unit.o)
        job_taken = unit.i_job.valid & unit.i_job.ready
        leaves = unit.o.valid & unit.o.ready

        # Beats of the jobs that are taken, less those that have left: negative within a job.
        owed = Signal(signed(self.config.beat_bits + 3))
        owed_next = Signal.like(owed)
        idle = Signal(3)
        m.d.comb += owed_next.eq(owed + Mux(job_taken, job.more_beats + 1, 0) - leaves)
        m.d.sync += owed.eq(owed_next)
        m.d.sync += idle.eq(Mux((owed > 0) & ~unit.o.valid, idle + 1, 0))
        begun = unit.i_job.valid & (owed + job.more_beats + 1 > 0)
        m.d.comb += [
            Assert(~unit.o.valid | (owed > 0) | begun, "no beat is made"),
            Assert(idle < STAGES, "no beat is kept back"),
        ]
        self._follow(m, job_taken, leaves, owed_next)
        return m

    def _follow(self, m, job_taken, leaves, owed_next):
        config, unit, job = self.config, self.unit, self.unit.i_job.payload
        following, is_open = Signal(init=self.first), Signal(init=self.first)
        before = Signal(3)
        words, slots = Signal(range(self.segment_bits)), Signal(range(2 * self.segment_bits))
        number, kept = Signal(config.beat_bits), Signal(job_layout(config))
        code = Mux(is_open, job.width_code, kept.width_code)
        its_turn = following & (before == 0)
        word_taken = is_open & unit.i.valid & unit.i.ready

        # The place stays; the bit there is seen while its word is offered.
        started, last_place = Signal(), Signal.like(self.place)
        m.d.sync += [started.eq(1), last_place.eq(self.place)]
        m.d.comb += Assume(~started | (self.place == last_place))
        bit = Signal()
        for k, offered in enumerate(Value.cast(unit.i.payload)):
            with m.If(is_open & unit.i.valid & (self.place == words * config.word_bits + k)):
                m.d.sync += bit.eq(offered)

        m.d.sync += words.eq(words + word_taken)
        with m.If(is_open & job_taken):
            m.d.sync += [is_open.eq(0), kept.eq(job)]
        with m.If(following & leaves):
            with m.If(before != 0):
                m.d.sync += before.eq(before - 1)
            with m.Else():
                # `slots` counts the segment's bits that have left.
                m.d.sync += [number.eq(number + 1), slots.eq(slots + (code + 1) * config.lanes)]
                with m.If(~is_open & (number == kept.more_beats)):
                    m.d.sync += following.eq(0)
        with m.If(job_taken & ~following & self.mark):
            m.d.sync += [following.eq(1), is_open.eq(1), before.eq(owed_next)]
            m.d.sync += [words.eq(0), slots.eq(0), number.eq(0)]

        beats = job.more_beats + 1
        needed = (beats * (code + 1) * config.lanes + config.word_bits - 1) // config.word_bits
        taken = is_open & job_taken
        m.d.comb += Assert(~taken | (words + word_taken == needed), "a segment takes its words")
        turn = its_turn & unit.o.valid
        for lane, weight in enumerate(unit.o.payload):
            for width in WEIGHT_WIDTHS:
                now = turn & (code == width - 1)
                signs = weight[width - 1 :]
                m.d.comb += Assert(~now | signs.all() | ~signs.any(), "a weight keeps its sign")
                for k in range(width):
                    here = now & (self.place == slots + lane * width + k)
                    right = weight[k] == bit
                    m.d.comb += Assert(~here | right, "every bit stands in its place")


class ForkProof(wiring.Component):
    """Every output of a fork gets every beat once, and the input's leaves with the last one's."""

    def __init__(self, fork):
        self.fork = fork
        payload = stream.Signature(unsigned(fork.width))
        ready = In(fork.count)
        super().__init__({"broadcast": In(1), "i": In(payload).array(fork.count), "o_ready": ready})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fork = fork = self.fork
        m.d.comb += [fork.broadcast.eq(self.broadcast)]
        offered = Cat(source.valid for source in self.i)
        before = Signal()
        m.d.sync += before.eq(self.broadcast)
        m.d.comb += Assume((self.broadcast == before) | ~offered.any())
        first = fork.i[0]
        enters = first.valid & first.ready
        m.d.comb += Assert(
            ~(self.broadcast & first.valid & self.o_ready.all()) | first.ready,
            "a beat that all take is taken",
        )
        for k in range(fork.count):
            source, output = fork.i[k], fork.o[k]
            wiring.connect(m, wiring.flipped(self.i[k]), source)
            m.d.comb += output.ready.eq(self.o_ready[k])
            assume_stream(m, source, f"i_{k}")
            assert_stream(m, output, f"o_{k}")
            leaves = output.valid & output.ready
            has = Signal(name=f"has_{k}")
            with m.If(self.broadcast):
                m.d.sync += has.eq((has | leaves) & ~enters)
            if k:
                m.d.comb += Assert(~self.broadcast | ~source.ready, "no other beat is taken")
            own = leaves == (source.valid & source.ready)
            origin = Mux(self.broadcast, first.payload, source.payload)
            m.d.comb += [
                Assert(~self.broadcast | ~(has & output.valid), "no output sees a beat twice"),
                Assert(~(self.broadcast & enters) | has | leaves, "no output misses a beat"),
                Assert(self.broadcast | own, "a beat leaves as it enters"),
                Assert(~output.valid | (output.payload == origin), "a payload stays"),
                Assert(~output.valid | self.broadcast | source.valid, "no beat is made"),
                Assert(~output.valid | ~self.broadcast | first.valid, "no broadcast beat is made"),
            ]
        return m


class SequencerProof(wiring.Component):
    """A sequencer's beats are those of the passes, each over a column that is complete."""

    def __init__(self, config, sequencer=ChainSequencer):
        self.config, self.sequencer = config, sequencer(config)
        super().__init__(
            {
                "i_activation": In(stream.Signature(activation_layout(config))),
                "i_pass": In(stream.Signature(pass_layout(config))),
                "weight_valid": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = dut = self.sequencer
        wiring.connect(m, wiring.flipped(self.i_activation), dut.i_activation)
        wiring.connect(m, wiring.flipped(self.i_pass), dut.i_pass)
        m.d.comb += dut.weight_valid.eq(self.weight_valid)
        assume_stream(m, dut.i_activation, "i_activation")
        assume_stream(m, dut.i_pass, "i_pass")
        work, beat = dut.i_pass.payload, dut.beat
        m.d.comb += Assume(~dut.i_pass.valid | (work.code < len(self.config.beats_of_pass)))
        enters = dut.i_activation.valid & dut.i_activation.ready
        pass_taken = dut.i_pass.valid & dut.i_pass.ready

        # Columns that are complete and not yet forgotten.
        inside, number = Signal(2), Signal(range(self.config.m))
        newest, oldest, beats = Signal(), Signal(), Signal(6)
        completes = enters & (number == self.config.m - 1)
        forgets = pass_taken & work.end_column
        m.d.sync += [
            inside.eq(inside + completes - forgets),
            number.eq(number + enters),
            newest.eq(newest ^ completes),
            oldest.eq(oldest ^ forgets),
            beats.eq(Mux(pass_taken, 0, beats + beat.valid)),
        ]
        last = beats + 1 == self.config.group_length << work.code
        usable = dut.i_pass.valid & (inside != 0)
        m.d.comb += [
            Assert(dut.i_activation.ready == (inside < 2), "activations enter while there is room"),
            Assert(dut.weight_ready == usable, "weights are taken for a pass with its column"),
            Assert(beat.valid == (dut.weight_ready & dut.weight_valid), "a beat per weights taken"),
            Assert(pass_taken == (beat.valid & last), "a pass leaves with its last beat"),
            Assert(~beat.valid | (beat.beat == beats), "beats are counted"),
            Assert(~beat.valid | (beat.column == oldest), "the oldest column is in use"),
            *(
                Assert(~beat.valid | (beat[name] == work[name]), f"a beat has its {name}")
                for name in ("code", "dense", "two_rows", "segment", "strip", "first", "last")
            ),
        ]
        stored, was = Signal(), Signal.like(Value.cast(dut.write), name="was")
        written = data.View(write_layout(self.config), was)
        m.d.sync += stored.eq(enters)
        m.d.sync += [written.column.eq(newest), written.input.eq(number)]
        m.d.sync += written.activation.eq(dut.i_activation.payload)
        right = Value.cast(dut.write)[1:] == was[1:]
        m.d.comb += [
            Assert(dut.write.enable == stored, "what enters is stored"),
            Assert(~stored | right, "what enters is stored in its place"),
        ]
        return m

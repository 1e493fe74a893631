"""The replay buffer: proven for every order of jobs, words and pauses."""

import re

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from proofs import broken

from golden.spec.errors import ConfigError
from hw import cosim
from hw.emit import emit
from hw.formal import assume_stream, prove
from hw.replay_buffer import ReplayBuffer

DEPTH, MOST = 4, 6


class ReplayProof(wiring.Component):
    """Jobs of any words one after the other; each is passed, kept or one of those kept again.

    Of the words of a kept job the one at `place` is followed, whatever that is.
    """

    def __init__(self, buffer=ReplayBuffer):
        self.buffer = buffer(1, DEPTH)
        free = dict.fromkeys(("begins", "keeps", "repeats", "ready"), In(1))
        numbers = {"place": In(range(DEPTH)), "words": In(range(MOST + 1))}
        super().__init__({**free, **numbers, "i": In(stream.Signature(unsigned(1)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = dut = self.buffer
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        assume_stream(m, dut.i)
        left, at, kept = (Signal(range(MOST + 1), name=n) for n in ("left", "at", "kept"))
        repeats, keeps, there, followed = Signal(), Signal(), Signal(), Signal()
        started, place = Signal(), Signal.like(self.place)
        m.d.sync += [started.eq(1), place.eq(self.place)]
        takes = dut.o.valid & dut.o.ready
        m.d.comb += [
            dut.begins.eq(self.begins & (left == 0)),
            *(dut.keeps.eq(self.keeps), dut.repeats.eq(self.repeats)),
            dut.o.ready.eq(self.ready & (left != 0)),
            Assume(~started | (self.place == place)),
            Assume(self.words <= MOST),
            Assume(~(self.keeps & self.repeats)),
            Assume(~self.keeps | (self.words <= DEPTH)),
            Assume(~self.repeats | ((self.words == kept) & there)),
        ]
        m.d.sync += left.eq(Mux(dut.begins, self.words, left - takes))
        with m.If(dut.begins):
            m.d.sync += [at.eq(0), repeats.eq(self.repeats), keeps.eq(self.keeps)]
            with m.If(self.keeps):
                m.d.sync += [kept.eq(self.words), there.eq(1)]
        with m.Elif(takes):
            m.d.sync += at.eq(at + 1)
        is_it = (left != 0) & (at == self.place)
        with m.If(keeps & takes & is_it):
            m.d.sync += followed.eq(dut.i.payload)
        passes = (left != 0) & ~repeats
        m.d.comb += [
            Assert(~passes | (dut.o.valid == dut.i.valid), "a word passes at once"),
            Assert(~(passes & takes) | (dut.o.payload == dut.i.payload), "a word passes unchanged"),
            Assert((dut.i.valid & dut.i.ready) == (takes & ~repeats), "no word is lost"),
            Assert(~repeats | (left == 0) | dut.o.valid, "a word is there in every cycle"),
            Assert(~(repeats & takes & is_it) | (dut.o.payload == followed), "a word comes again"),
        ]
        return m


def test_words_come_again_in_their_order_for_ever():
    found = prove(ReplayProof())
    assert found.holds, f"{found.failed}\n{found.trace}"


BREAKS = [
    ("Mux(self.begins, 0, place)", "place", "a word comes again"),
    ("place.eq(self.repeats)", "place.eq(0)", "a word comes again"),
    ("keeps.eq(self.keeps)", "keeps.eq(self.keeps | self.repeats)", "a word comes again"),
    ("write.en.eq(keeps & taken)", "write.en.eq(keeps)", "a word comes again"),
    ("self.o.ready & ~repeats", "self.o.ready", "no word is lost"),
    ("repeats | self.i.valid", "self.i.valid", "a word is there in every cycle"),
    ("repeats.eq(self.repeats)", "repeats.eq(repeats | self.repeats)", "a word passes at once"),
]


@pytest.mark.parametrize(("right", "wrong", "failed"), BREAKS)
def test_a_broken_buffer_is_seen(right, wrong, failed):
    found = prove(ReplayProof(broken(ReplayBuffer, right, wrong)), cycles=14)
    assert (found.holds, found.failed) == (False, failed)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 4), "width is 0; a word has 1 bit or more"),
        ((8, 1), "depth is 1; a power of two from 2 to 65536 is needed"),
        ((8, 12), "depth is 12; a power of two from 2 to 65536 is needed"),
    ],
)
def test_other_shapes_are_refused(shape, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        ReplayBuffer(*shape)


def test_the_verilog_is_clean():
    assert cosim.lint(emit(ReplayBuffer, 16, 16)) == []

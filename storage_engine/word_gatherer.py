"""Payloads out of words of a memory, and into such words: the lowest bits come first."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


def word_count(width: int, word_bits: int) -> int:
    """Return the words of a payload of `width` bits."""
    return -(-width // word_bits)


class WordGatherer(wiring.Component):
    """Makes payloads of words.

    Throughput: a word per cycle; a payload of more than one takes a cycle more. Latency: none for
    payloads of one word, else 1 cycle.

    Members:
        i: stream of words.
        o: stream of payloads.
    """

    def __init__(self, width: int, word_bits: int) -> None:
        self.width, self.word_bits = width, word_bits
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(word_bits))),
                "o": Out(stream.Signature(unsigned(width))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"word_gatherer_{self.width}of{self.word_bits}"

    def elaborate(self, platform: object) -> Module:
        """A shift register, or wires."""
        m = Module()
        words = word_count(self.width, self.word_bits)
        if words == 1:
            m.d.comb += [
                self.o.payload.eq(self.i.payload),
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
            ]
            return m
        held, number = Signal(words * self.word_bits), Signal(range(words))
        last = number == words - 1
        m.d.comb += [
            self.o.payload.eq(held),
            self.i.ready.eq(~self.o.valid),  # else who takes payloads would decide on words
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                held.eq(Cat(held[self.word_bits :], self.i.payload)),
                number.eq(Mux(last, 0, number + 1)),
                self.o.valid.eq(last),
            ]
        return m


class WordCutter(wiring.Component):
    """Makes words of payloads; the last one's upper bits are 0.

    Throughput: a word per cycle. Latency: none.

    Members:
        i: stream of payloads.
        o: stream of words.
    """

    def __init__(self, width: int, word_bits: int) -> None:
        self.width, self.word_bits = width, word_bits
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(width))),
                "o": Out(stream.Signature(unsigned(word_bits))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"word_cutter_{self.width}to{self.word_bits}"

    def elaborate(self, platform: object) -> Module:
        """A counter chooses the word."""
        m = Module()
        words = word_count(self.width, self.word_bits)
        number = Signal(range(max(words, 2)))
        last = number == words - 1
        m.d.comb += [
            self.o.payload.eq(self.i.payload.word_select(number, self.word_bits)),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready & last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        return m

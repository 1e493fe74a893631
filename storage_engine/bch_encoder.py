"""The BCH encoder: the words of a chunk pass through, and its parity follows them."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.bch import generator_polynomial
from golden.spec.bch import BchConfig
from storage_engine.bch_field import linear


class BchEncoder(wiring.Component):
    """Makes chunks of messages, one behind the other. The format is in `golden/spec/bch.py`.

    Throughput: one word out per cycle; while the parity leaves, no word is taken. Latency: 1 cycle.

    Members:
        i: stream of the words of data and tag, `message_words` a chunk.
        o: stream of the chunk's words, `chunk_words`.
    """

    def __init__(self, config: BchConfig) -> None:
        self.config = config
        word = stream.Signature(unsigned(config.word_bits))
        super().__init__({"i": In(word), "o": Out(word)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_encoder_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: BchConfig, chunks: int) -> int:
        """Return the cycles from the first word taken to the last one given: the contract.

        Exact when no stream waits; each cycle in which one does adds one.
        """
        return chunks * config.chunk_words + 1

    def elaborate(self, platform: object) -> Module:
        """A shift register with feedback, a word at a time.

        Bit u of the remainder is the coefficient of x^(parity_bits - 1 - u): so the bits that leave
        first stand lowest, as in the chunk. When all parity has left, it is 0 for the next chunk.
        """
        m = Module()
        config = self.config
        remainder = Signal(config.parity_bits)
        word = Signal(range(config.chunk_words))
        is_parity = Signal()
        advance = Signal()
        given = Signal(config.word_bits)
        m.d.comb += [
            is_parity.eq(word >= config.message_words),
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance & ~is_parity),
            given.eq(Mux(is_parity, remainder, self.i.payload)),
        ]
        feedback = Signal(config.word_bits)
        m.d.comb += feedback.eq(Mux(is_parity, 0, self.i.payload ^ remainder))
        added = linear(m, feedback, _columns(config), config.parity_bits, "added")
        with m.If(advance):
            m.d.sync += self.o.valid.eq(is_parity | self.i.valid)
            with m.If(is_parity | self.i.valid):
                m.d.sync += [
                    self.o.payload.eq(given),
                    remainder.eq((remainder >> config.word_bits) ^ added),
                    word.eq(Mux(word == config.chunk_words - 1, 0, word + 1)),
                ]
        return m


def configuration_name(config: BchConfig) -> str:
    """Return what tells a configuration in a module's name."""
    c = config
    return f"{c.data_bytes}p{c.tag_bytes}_m{c.m}t{c.t}_w{c.word_bits}s{c.searched_bits}"


def _columns(config: BchConfig) -> list[int]:
    """Return the remainder that each bit of a word leaves, in the remainder's order of bits."""
    generator, bits = generator_polynomial(config), config.parity_bits
    columns = []
    remainder = generator ^ 1 << bits  # of x^bits: the last bit of the word
    for _ in range(config.word_bits):
        columns.append(int(f"{remainder:0{bits}b}"[::-1], 2))
        remainder <<= 1
        if remainder >> bits:
            remainder ^= generator
    return columns[::-1]

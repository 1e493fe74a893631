"""The syndromes of a chunk: all 0 where no bit is wrong."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.galois_field import galois_field
from golden.spec.bch import BchConfig
from storage_engine.bch_encoder import configuration_name
from storage_engine.bch_field import linear, multiplied_by_power


def syndromes_layout(config: BchConfig) -> data.ArrayLayout:
    """S_1, S_3 ... S_(2t-1): the even ones are squares of others."""
    return data.ArrayLayout(unsigned(config.m), config.t)


class BchSyndromes(wiring.Component):
    """Takes the words of chunks and gives each chunk's odd syndromes.

    S_j is the sum of a^(j e) over the bits that are 1, with e = 0 for the last bit of the last
    word, which may be padding; padding itself counts as 0. So bits have their places in words.

    Throughput: one word per cycle, as long as a chunk's syndromes are taken before the next one
    ends. Latency: 1 cycle from the last word.

    Members:
        i: stream of words, `chunk_words` a chunk.
        o: stream of `syndromes_layout`, one beat a chunk.
        is_parity: the word that is taken next is parity.
    """

    def __init__(self, config: BchConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(config.word_bits))),
                "o": Out(stream.Signature(syndromes_layout(config))),
                "is_parity": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_syndromes_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: BchConfig, chunks: int) -> int:
        """Return the cycles from the first word taken to the last syndromes given: the contract.

        Exact when no stream waits.
        """
        return chunks * config.chunk_words + 1

    def elaborate(self, platform: object) -> Module:
        """Horner's rule, a word at a time, for each syndrome."""
        m = Module()
        config = self.config
        field = galois_field(config.m)
        bits = config.word_bits
        number = Signal(range(config.chunk_words))
        last = Signal()
        taken = Signal()
        word = Signal(bits)
        kept = bits - config.padding_bits
        m.d.comb += [
            self.is_parity.eq(number >= config.message_words),
            last.eq(number == config.chunk_words - 1),
            self.i.ready.eq(~last | ~self.o.valid | self.o.ready),
            taken.eq(self.i.valid & self.i.ready),
            word.eq(Cat(self.i.payload[:kept], Mux(last, 0, self.i.payload[kept:]))),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(taken):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
            with m.If(last):
                m.d.sync += self.o.valid.eq(1)
        odd = range(1, 2 * config.t, 2)
        columns = [
            sum(field.power(j * (bits - 1 - b)) << k * config.m for k, j in enumerate(odd))
            for b in range(bits)
        ]
        added = linear(m, word, columns, config.t * config.m, "added")
        for k, j in enumerate(odd):
            sum_ = Signal(config.m, name=f"sum_{j}")
            moved = linear(m, sum_, multiplied_by_power(field, j * bits), config.m, f"moved_{j}")
            following = Signal(config.m, name=f"following_{j}")
            m.d.comb += following.eq(moved ^ added.word_select(k, config.m))
            with m.If(taken):
                m.d.sync += sum_.eq(Mux(last, 0, following))
                with m.If(last):
                    m.d.sync += self.o.payload[k].eq(following)
        return m

"""Fetches a program: asks a reader for its words of memory, and gives them word by word."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.axi import AxiConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import PC_BITS, WORD_BITS
from hw.axi_reader import read_job_layout, read_word_layout
from hw.isa import word_layout


def program_layout(config: AxiConfig) -> data.StructLayout:
    """A program: the byte address of its first word, a whole word of memory, and its words - 1."""
    return data.StructLayout({"address": config.address_bits, "more_words": unsigned(PC_BITS)})


class InstructionFetch(wiring.Component):
    """Turns programs into jobs of a reader (`hw.axi_reader`), and what it reads into words.

    Throughput: one word per cycle, from program to program. Latency: none, for a word is a mux's
    choice of the word of memory that is offered.

    Members:
        i_program: stream of `program_layout`, taken with the reader's job.
        o_job: stream of `hw.axi_reader.read_job_layout`.
        i: stream of `hw.axi_reader.read_word_layout`; a word is taken with the last word of the
            program in it.
        o: stream of `hw.isa.word_layout`.

    Raises:
        ConfigError: a word of memory is narrower than a program's, or a reader's job shorter than
            the longest program.
    """

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        self.words = config.data_bits // WORD_BITS
        if not self.words:
            raise ConfigError(
                f"data_bits is {config.data_bits!r}; a program needs words of {WORD_BITS} or more"
            )
        if config.length_bits + self._index_bits < PC_BITS:
            raise ConfigError(
                f"length_bits is {config.length_bits!r}; a program of 2**{PC_BITS} words needs "
                f"{PC_BITS - self._index_bits} or more"
            )
        super().__init__(
            {
                "i_program": In(stream.Signature(program_layout(config))),
                "o_job": Out(stream.Signature(read_job_layout(config))),
                "i": In(stream.Signature(read_word_layout(config))),
                "o": Out(stream.Signature(word_layout())),
            }
        )

    @property
    def _index_bits(self) -> int:
        return self.words.bit_length() - 1

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"instruction_fetch_w{c.data_bits}_a{c.address_bits}_l{c.length_bits}"

    @staticmethod
    def cycles(words: int) -> int:
        """Return the cycles of a program, from its first word of memory offered to its last word.

        The timing contract: exact when no stream waits.
        """
        return words

    def elaborate(self, platform: object) -> Module:
        """How many words of the program are left, and the next one's place in a word of memory."""
        m = Module()
        left = Signal(PC_BITS + 1)
        index = Signal(self._index_bits)
        is_last = left == 1
        gives = self.o.valid & self.o.ready
        free = (left == 0) | (is_last & gives)
        begins = self.i_program.valid & self.i_program.ready
        program = self.i_program.payload
        own_words = data.ArrayLayout(unsigned(WORD_BITS), self.words)
        m.d.comb += [
            self.o_job.valid.eq(self.i_program.valid & free),
            self.o_job.payload.address.eq(program.address),
            self.o_job.payload.more_words.eq(program.more_words >> self._index_bits),
            self.i_program.ready.eq(self.o_job.ready & free),
            self.o.valid.eq(self.i.valid & (left != 0)),
            self.o.payload.word.eq(data.View(own_words, self.i.payload.data)[index]),
            self.o.payload.last.eq(is_last),
            self.i.ready.eq(gives & (is_last | (index == self.words - 1))),
        ]
        with m.If(gives):
            m.d.sync += [left.eq(left - 1), index.eq(Mux(is_last, 0, index + 1))]
        with m.If(begins):
            m.d.sync += left.eq(program.more_words + 1)
        return m

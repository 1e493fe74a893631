"""Words between memories on the chip and streams."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError

MIN_DEPTH, MAX_DEPTH = 16, 65536


def move_layout(depth: int) -> data.StructLayout:
    """One beat per run of words: the first one's address, and the words less 1."""
    bits = address_bits(depth)
    return data.StructLayout({"address": unsigned(bits), "more_words": unsigned(bits)})


def write_layout(width: int, depth: int) -> data.StructLayout:
    """One beat per word: where it goes."""
    return data.StructLayout({"address": unsigned(address_bits(depth)), "word": unsigned(width)})


def address_bits(depth: int) -> int:
    """Return the bits of an address in a memory of so many words.

    Raises:
        ConfigError: such a memory there is not.
    """
    if not MIN_DEPTH <= depth <= MAX_DEPTH:
        raise ConfigError(f"depth is {depth!r}; allowed are {MIN_DEPTH} to {MAX_DEPTH} words")
    return (depth - 1).bit_length()


class WordReader(wiring.Component):
    """Reads runs of words from a memory.

    Throughput: one word per cycle, within a run. Latency: `cycles`.

    Args:
        width: bits of a word. depth: words of the memory, 16 to 65536.

    Members:
        i: stream of `move_layout`, taken as soon as the last word of the run before is read.
        enable, address: a read of the memory; `word` is what it gives, from the next cycle until
            the next read.
        o: stream of words.

    Raises:
        ConfigError: `depth` is outside its range.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(move_layout(depth))),
                "enable": Out(1),
                "address": Out(address_bits(depth)),
                "word": In(width),
                "o": Out(stream.Signature(unsigned(width))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"word_reader_{self.width}x{self.depth}"

    @staticmethod
    def cycles(words: int) -> int:
        """Return the cycles from a run taken to its last word given, both counted.

        The timing contract: exact when no stream waits.
        """
        return words + 2

    def elaborate(self, platform: object) -> Module:
        """A counter; the memory's own output register holds the word until it is taken."""
        m = Module()
        left = Signal(len(self.address) + 1)
        m.d.comb += [
            self.i.ready.eq(left == 0),
            self.enable.eq((left != 0) & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(self.word),
        ]
        m.d.sync += self.o.valid.eq(self.enable | (self.o.valid & ~self.o.ready))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                self.address.eq(self.i.payload.address),
                left.eq(self.i.payload.more_words + 1),
            ]
        with m.Elif(self.enable):
            m.d.sync += [self.address.eq(self.address + 1), left.eq(left - 1)]
        return m


class WordWriter(wiring.Component):
    """Gives the words of a stream addresses, run by run.

    Throughput: one word per cycle. Latency: none, for words and handshakes are wires and gates.

    Members:
        i: stream of `move_layout`, taken when all words of the run before are.
        i_word: stream of words; none is taken without a run.
        o: stream of `write_layout`.

    Raises:
        ConfigError: `depth` is outside its range.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(move_layout(depth))),
                "i_word": In(stream.Signature(unsigned(width))),
                "o": Out(stream.Signature(write_layout(width, depth))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"word_writer_{self.width}x{self.depth}"

    @staticmethod
    def cycles(words: int) -> int:
        """Return the cycles from a run taken to its last word given, both counted.

        The timing contract: exact when no stream waits.
        """
        return words + 1

    def elaborate(self, platform: object) -> Module:
        """A counter beside the words."""
        m = Module()
        address, left = Signal(address_bits(self.depth)), Signal(address_bits(self.depth) + 1)
        m.d.comb += [
            self.i.ready.eq(left == 0),
            self.o.payload.address.eq(address),
            self.o.payload.word.eq(self.i_word.payload),
            self.o.valid.eq(self.i_word.valid & (left != 0)),
            self.i_word.ready.eq(self.o.ready & (left != 0)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                address.eq(self.i.payload.address),
                left.eq(self.i.payload.more_words + 1),
            ]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
        return m

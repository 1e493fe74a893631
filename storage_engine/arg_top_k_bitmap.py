"""A job's kept indices: marked in any order, given in ascending order."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.arg_top_k import ArgTopKConfig
from storage_engine.arg_top_k_sorter import configuration_name

WORD_BITS = 32


def kept_layout(config: ArgTopKConfig) -> data.StructLayout:
    """An index; `last` stands with a job's last one."""
    return data.StructLayout({"index": unsigned(config.index_bits), "last": 1})


class KeptBitmap(wiring.Component):
    """A bit for each index: all of a job are set, then they are given and cleared.

    Throughput: one index per cycle is marked. Then a word of 32 bits without a mark takes a cycle,
    and any other one a cycle per mark; words behind the last mark take none.

    Members:
        i: stream of `kept_layout`, each index once; `last` stands with the last one.
        o: stream of `kept_layout`, the same in ascending order.
    """

    def __init__(self, config: ArgTopKConfig) -> None:
        self.config = config
        kept = stream.Signature(kept_layout(config))
        super().__init__({"i": In(kept), "o": Out(kept)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"kept_bitmap_{configuration_name(self.config)}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from the last index taken to the first one offered, in word 0."""
        return 4

    def elaborate(self, platform: object) -> Module:
        """One memory: words are read, changed and written, or read and cleared."""
        m = Module()
        bits = WORD_BITS.bit_length() - 1
        words = self.config.max_scores // WORD_BITS
        m.submodules.memory = rows = memory.Memory(shape=WORD_BITS, depth=words, init=[])
        write, read = rows.write_port(), rows.read_port()
        closed, drains = Signal(), Signal()  # no more is marked; the marks are given
        number = Signal(range(self.config.max_k + 1))  # of marks

        # A mark: its word is read, and a cycle later written.
        i = self.i.payload
        takes, marks, at = Signal(), Signal(), Signal(range(words))
        mark, marked, before = Signal(WORD_BITS), Signal(WORD_BITS), Signal(WORD_BITS)
        again = Signal()  # the word that is read was being written
        m.d.comb += [
            self.i.ready.eq(~closed),
            takes.eq(self.i.valid & ~closed),
            marked.eq(Mux(again, before, read.data) | mark),
        ]
        m.d.sync += [
            marks.eq(takes),
            at.eq(i.index[bits:]),
            mark.eq(1 << i.index[:bits]),
            again.eq(marks & (at == i.index[bits:])),
            before.eq(marked),
            drains.eq(closed),
        ]

        # A word that is given: the lowest mark leaves first.
        word, place = Signal(WORD_BITS), Signal(range(words))
        fetch, fetched, moves = Signal(range(words)), Signal(), Signal()
        lowest, rest = Signal(WORD_BITS), Signal(WORD_BITS)
        leaves, ends, reads = Signal(), Signal(), Signal()
        m.d.comb += [
            lowest.eq(word & (~word + 1)),
            rest.eq(word & ~lowest),
            self.o.valid.eq(word.any()),
            self.o.payload.index.eq(Cat(_number(lowest), place)),
            self.o.payload.last.eq(number == 1),
            leaves.eq(self.o.valid & self.o.ready),
            ends.eq(leaves & (number == 1)),
            moves.eq(~rest.any() & (leaves | ~self.o.valid)),
            reads.eq(drains & (~fetched | moves)),
        ]
        m.d.sync += number.eq(number + takes - leaves)
        with m.If(reads):
            m.d.sync += [fetch.eq(fetch + 1), fetched.eq(1)]
        with m.If(moves):
            m.d.sync += [word.eq(Mux(fetched, read.data, 0)), place.eq(fetch - 1)]
        with m.Elif(leaves):
            m.d.sync += word.eq(rest)
        with m.If(takes & i.last):
            m.d.sync += closed.eq(1)
        with m.If(ends):
            m.d.sync += [closed.eq(0), drains.eq(0), fetched.eq(0), fetch.eq(0), word.eq(0)]

        m.d.comb += [
            read.en.eq(takes | reads),
            read.addr.eq(Mux(closed, fetch, i.index[bits:])),
            write.en.eq(marks | reads),
            write.addr.eq(Mux(marks, at, fetch)),
            write.data.eq(Mux(marks, marked, 0)),
        ]
        return m


def _number(one_hot: Value) -> Value:
    """Return the number of the only bit that is set."""
    places = range(len(one_hot))
    bits = (len(one_hot) - 1).bit_length()
    return Cat(Cat(one_hot[n] for n in places if n >> bit & 1).any() for bit in range(bits))

"""Keeps the words that a chain takes for a job, and gives them again for further ones.

So the weights of a product of several tokens are loaded once.
"""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError

MAX_DEPTH = 65536


class ReplayBuffer(wiring.Component):
    """Stands between a stream of words and who takes them, job by job.

    Words pass in the cycle in which they come. Throughput: one per cycle, passed or given again;
    the first one that is given again is offered in the cycle after its job begins.

    What is offered may change when a job begins. The buffer does not count a job's words: who takes
    them takes no more than `depth` of a job that is kept, and as many for each repetition.

    Args:
        width: bits of a word. depth: words of the longest job that is kept, a power of two from 2
            to 65536.

    Members:
        begins: a job begins: what is taken from the next cycle on is of it. Nothing is taken in
            this cycle.
        keeps: beside it: the job's words are kept, in the place of those of any job before.
        repeats: beside it: its words are those that are kept; else they come from `i`. Not both.
        i: stream of words. o: stream of words.

    Raises:
        ConfigError: `width` or `depth` is outside its range.
    """

    def __init__(self, width: int, depth: int) -> None:
        if width < 1:
            raise ConfigError(f"width is {width!r}; a word has 1 bit or more")
        if not 2 <= depth <= MAX_DEPTH or depth & (depth - 1):
            raise ConfigError(f"depth is {depth!r}; a power of two from 2 to {MAX_DEPTH} is needed")
        self.width = width
        self.depth = depth
        words = stream.Signature(unsigned(width))
        super().__init__(
            {
                **{"begins": In(1), "keeps": In(1), "repeats": In(1)},
                **{"i": In(words), "o": Out(words)},
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"replay_buffer_{self.width}x{self.depth}"

    @staticmethod
    def cycles(words: int) -> int:
        """Return the cycles from the begin of a job whose words are given again to its last word.

        The timing contract, both counted: exact when no word waits to be taken.
        """
        return 1 + words

    def elaborate(self, platform: object) -> Module:
        """A memory that is written or read by one counter; its output register is what is offered.

        It is never read in the cycle in which the same word is written.
        """
        m = Module()
        m.submodules.memory = rows = memory.Memory(
            shape=unsigned(self.width), depth=self.depth, init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        keeps, repeats = Signal(), Signal()
        place = Signal(range(self.depth))  # where the next word is written, or read ahead
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.payload.eq(Mux(repeats, read.data, self.i.payload)),
            self.o.valid.eq(repeats | self.i.valid),
            self.i.ready.eq(self.o.ready & ~repeats),
            write.en.eq(keeps & taken),
            write.addr.eq(place),
            write.data.eq(self.i.payload),
            read.en.eq(Mux(self.begins, self.repeats, repeats & taken)),
            read.addr.eq(Mux(self.begins, 0, place)),
        ]
        with m.If(self.begins):
            m.d.sync += [
                keeps.eq(self.keeps),
                repeats.eq(self.repeats),
                place.eq(self.repeats),
            ]
        with m.Elif(taken):
            m.d.sync += place.eq(place + 1)
        return m

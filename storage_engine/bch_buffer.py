"""The words of chunks that wait for their correction: a queue in block RAM."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError


class BchBuffer(wiring.Component):
    """A queue of `depth` words of `width` bits, a power of two, and one more at its output.

    Throughput: one word per cycle. Latency: 2 cycles, through an empty queue. `hw.fifo.Fifo` has a
    latency of 1, but its memory is in look-up tables.

    Members:
        i, o: streams of words.

    Raises:
        ConfigError: `depth` is no power of two.
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth < 2 or depth & depth - 1:
            raise ConfigError(f"depth is {depth!r}; a power of two is needed, 2 or more")
        self.width = width
        self.depth = depth
        word = stream.Signature(unsigned(width))
        super().__init__({"i": In(word), "o": Out(word)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_buffer_{self.width}x{self.depth}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a word taken by the empty queue to the same one offered."""
        return 2

    def elaborate(self, platform: object) -> Module:
        """A memory between two counters; what is read stands still until the next is read."""
        m = Module()
        m.submodules.memory = rows = memory.Memory(
            shape=unsigned(self.width), depth=self.depth, init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        level = Signal(range(self.depth + 1))
        m.d.comb += [
            self.i.ready.eq(level != self.depth),
            write.en.eq(self.i.valid & self.i.ready),
            write.data.eq(self.i.payload),
            read.en.eq((level != 0) & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += level.eq(level + write.en - read.en)
        with m.If(read.en | self.o.ready):
            m.d.sync += self.o.valid.eq(read.en)
        for port in (write, read):
            with m.If(port.en):
                m.d.sync += port.addr.eq(port.addr + 1)  # wraps around by itself
        return m

"""A first-in, first-out queue in LUT memory."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError

MAX_DEPTH = 1024


class Fifo(wiring.Component):
    """A queue of `depth` payloads of `width` bits; a layout's bits go in and out by `as_value()`.

    Throughput: one payload per cycle. Latency: `cycles`. Neither handshake depends on the other
    side's in the same cycle, so a full queue takes nothing even while its head leaves.

    Members:
        i: stream of payloads.
        o: stream of the same payloads; what is offered is read from the memory in that cycle.

    Raises:
        ConfigError: `width` is not positive, or `depth` is outside 2 to 1024.
    """

    def __init__(self, width: int, depth: int) -> None:
        if width < 1:
            raise ConfigError(f"width is {width!r}; a payload has 1 bit or more")
        if not 2 <= depth <= MAX_DEPTH:
            raise ConfigError(f"depth is {depth!r}; allowed are 2 to {MAX_DEPTH} payloads")
        self.width = width
        self.depth = depth
        payload = stream.Signature(unsigned(width))
        super().__init__({"i": In(payload), "o": Out(payload)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"fifo_{self.width}x{self.depth}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a payload taken by the empty queue to the same one offered."""
        return 1

    def elaborate(self, platform: object) -> Module:
        """A memory between two counters, and how many payloads lie in it."""
        m = Module()
        m.submodules.memory = rows = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        level = Signal(range(self.depth + 1))
        enters = self.i.valid & self.i.ready
        leaves = self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(level != self.depth),
            self.o.valid.eq(level != 0),
            write.en.eq(enters),
            write.data.eq(self.i.payload),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += level.eq(level + enters - leaves)
        for address, moves in ((write.addr, enters), (read.addr, leaves)):
            following = address + 1
            if self.depth != 1 << len(address):  # else it wraps around by itself
                following = Mux(address == self.depth - 1, 0, following)
            with m.If(moves):
                m.d.sync += address.eq(following)
        return m

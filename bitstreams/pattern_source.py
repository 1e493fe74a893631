"""A stream whose payloads lie in a memory: what a self-test gives to the block under test."""

import hashlib

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out


class PatternSource(wiring.Component):
    """Offers `payloads` in their order, once for each `start`.

    Throughput: one payload per cycle. Latency: `cycles` from `start` to the first one. They come
    from block RAM through a register, since block RAM is late in its cycle.

    Members:
        start: begin with the first payload; only while none is left.
        o: the stream.
    """

    def __init__(self, width: int, payloads: tuple[int, ...]) -> None:
        self.width = width
        self.payloads = payloads
        super().__init__({"start": In(1), "o": Out(stream.Signature(unsigned(width)))})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        digest = hashlib.sha256(repr(self.payloads).encode()).hexdigest()[:12]
        return f"pattern_source_{self.width}_{digest}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from `start` to the first payload offered."""
        return 3

    def elaborate(self, platform: object) -> Module:
        """A counter, a memory, and a register behind it; all stand still while the sink waits."""
        m = Module()
        count = len(self.payloads)
        m.submodules.memory = rows = memory.Memory(
            shape=self.width, depth=count, init=self.payloads, attrs={"ram_style": "block"}
        )
        port = rows.read_port()
        address = Signal(range(count))
        running = Signal()
        read = Signal()
        moves = Signal()
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready),
            port.addr.eq(address),
            port.en.eq(moves),
        ]
        with m.If(moves):
            m.d.sync += [
                self.o.payload.eq(port.data),
                self.o.valid.eq(read),
                read.eq(running),
            ]
            with m.If(running):
                m.d.sync += address.eq(address + 1)
                with m.If(address == count - 1):
                    m.d.sync += [running.eq(0), address.eq(0)]
        with m.If(self.start):
            m.d.sync += running.eq(1)
        return m

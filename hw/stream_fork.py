"""One stream for several consumers, or for each its own: how data reach chains side by side."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError


class StreamFork(wiring.Component):
    """Gives every beat of its first input to all outputs, or each input to its own output.

    Throughput: one beat per cycle. Latency: none, for payloads and handshakes are wires and gates.

    An output that is ready takes a broadcast beat at once and does not see it again; the beat is
    taken from the input with the last output that takes it. So no output's `valid` depends on a
    `ready`, and an output may lag behind the others by a beat, not more.

    Members:
        broadcast: all outputs get the beats of `i[0]`, and no other input is ready. It may change
            only while no input offers a beat.
        i, o: streams of payloads of `width` bits, `count` of each.

    Raises:
        ConfigError: `count` or `width` is not positive.
    """

    def __init__(self, count: int, width: int) -> None:
        if count < 1:
            raise ConfigError(f"count is {count!r}; a fork has 1 output or more")
        if width < 1:
            raise ConfigError(f"width is {width!r}; a payload has 1 bit or more")
        self.count = count
        self.width = width
        payload = stream.Signature(unsigned(width))
        super().__init__(
            {"broadcast": In(1), "i": In(payload).array(count), "o": Out(payload).array(count)}
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"stream_fork_{self.count}x{self.width}"

    @staticmethod
    def cycles(beats: int) -> int:
        """Return the cycles in which `beats` beats pass when no stream waits: the contract."""
        return beats

    def elaborate(self, platform: object) -> Module:
        """A flag per output: it has taken the beat that is offered, and others have not."""
        m = Module()
        first = self.i[0]
        taken = Signal(self.count)
        done = taken | Cat(output.ready for output in self.o)
        complete = Signal()
        m.d.comb += complete.eq(done.all())
        with m.If(self.broadcast & first.valid):
            m.d.sync += taken.eq(Mux(complete, 0, done))
        for k, (source, output) in enumerate(zip(self.i, self.o, strict=True)):
            m.d.comb += [
                output.payload.eq(Mux(self.broadcast, first.payload, source.payload)),
                output.valid.eq(Mux(self.broadcast, first.valid & ~taken[k], source.valid)),
                source.ready.eq(Mux(self.broadcast, complete if k == 0 else 0, output.ready)),
            ]
        return m

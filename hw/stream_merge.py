"""Several streams into one, each in its turn."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError
from hw.mux import select


class StreamMerge(wiring.Component):
    """Gives the payloads of `count` streams, the order of each kept.

    Throughput: one payload per cycle. Latency: one cycle. Whoever has waited is served before
    another one is served twice.

    Members:
        i: streams of payloads of `width` bits.
        o: stream of the same payloads. number: from which stream the offered one is.

    Raises:
        ConfigError: `count` or `width` is not positive.
    """

    def __init__(self, count: int, width: int) -> None:
        if count < 1:
            raise ConfigError(f"count is {count!r}; a merge has 1 input or more")
        if width < 1:
            raise ConfigError(f"width is {width!r}; a payload has 1 bit or more")
        self.count = count
        self.width = width
        payload = stream.Signature(unsigned(width))
        number = unsigned(max((count - 1).bit_length(), 1))
        super().__init__({"i": In(payload).array(count), "o": Out(payload), "number": Out(number)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"stream_merge_{self.count}x{self.width}"

    @staticmethod
    def cycles(payloads: int) -> int:
        """Return the cycles from the first payload taken to the last one given: the contract."""
        return payloads + 1

    def elaborate(self, platform: object) -> Module:
        """The lowest that offers among those not served in this round, else the lowest of all."""
        m = Module()
        offers = Signal(self.count)
        waiting = Signal(self.count)  # not served in this round
        chosen = Signal(self.count)
        advance = Signal()
        due = offers & waiting
        among = Mux(due.any(), due, offers)
        number = Signal.like(self.number)
        m.d.comb += [
            offers.eq(Cat(source.valid for source in self.i)),
            advance.eq(~self.o.valid | self.o.ready),
            chosen.eq(among & -among),
            number.eq(_encoded(chosen)),
            *(source.ready.eq(advance & chosen[k]) for k, source in enumerate(self.i)),
        ]
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(offers.any()),
                self.o.payload.eq(select(number, {k: s.payload for k, s in enumerate(self.i)})),
                self.number.eq(number),
            ]
            with m.If(offers.any()):
                m.d.sync += waiting.eq(Mux(due.any(), waiting, ~0) & ~chosen)
        return m


def _encoded(one_hot: Signal) -> Cat:
    """Return the number of the bit that is set."""
    bits = max((len(one_hot) - 1).bit_length(), 1)
    return Cat(
        Cat(one_hot[k] for k in range(len(one_hot)) if k >> bit & 1).any() for bit in range(bits)
    )

"""Cuts a stream of bytes into runs that each begin with the lowest byte of a word."""

from collections.abc import Iterable

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError
from golden.spec.isa import FORMATS, Unit

LENGTH_BITS = FORMATS[Unit.ST].field("length").bits

WORD_BYTES = tuple(2 << k for k in range(7))


def cut_layout() -> data.StructLayout:
    """A run: its bytes, 1 or more.

    With the `last` one, what is left over of the bytes taken is dropped.
    """
    return data.StructLayout({"length": LENGTH_BITS, "last": 1})


class ByteCutter(wiring.Component):
    """Gives each run the next bytes of a stream, in words of its own.

    Throughput: one word per cycle, from run to run. Latency: one cycle from a word taken to the
    first word with its bytes. `i.ready` depends on `i.valid` and `o.ready`.

    Args:
        word_bytes: 2, 4, ... 128.

    Members:
        i: stream of words, without gaps; none is taken without a run that needs it.
        i_run: stream of `cut_layout`, taken with the last word of the run in front of it at the
            earliest.
        o: stream of words; a run's last one has any bytes behind the run's.

    Raises:
        ConfigError: `word_bytes` is not allowed.
    """

    def __init__(self, word_bytes: int) -> None:
        if word_bytes not in WORD_BYTES:
            raise ConfigError(
                f"word_bytes is {word_bytes!r}; a power of two from {WORD_BYTES[0]} to "
                f"{WORD_BYTES[-1]} is needed"
            )
        self.word_bytes = word_bytes
        word = stream.Signature(8 * word_bytes)
        super().__init__(
            {"i": In(word), "i_run": In(stream.Signature(cut_layout())), "o": Out(word)}
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"byte_cutter_{self.word_bytes}"

    @staticmethod
    def cycles(word_bytes: int, lengths: Iterable[int]) -> int:
        """Return the cycles of successive runs, from the first one offered to the last word given.

        The timing contract: exact when no stream waits.

        Args:
            lengths: bytes of each run.
        """
        return sum(-(-length // word_bytes) for length in lengths) + 2

    def elaborate(self, platform: object) -> Module:
        """A run's register, a word of which a part is left, and an output register.

        What is left of that word are its bytes from `used` on; none if that is 0. A word is taken
        when this does not suffice.
        """
        m = Module()
        size, run = self.word_bytes, self.i_run.payload
        active, last = Signal(), Signal(reset_less=True)
        left = Signal(LENGTH_BITS, reset_less=True)  # bytes of the run
        used = Signal((size - 1).bit_length())
        steps, ends, needs_input = Signal(), Signal(), Signal()
        taken = Signal(range(2 * size))  # bytes of both words, from the lowest one left on
        m.d.comb += [
            ends.eq(left <= size),
            taken.eq(used + Mux(ends, left[: len(used) + 1], size)),
            needs_input.eq((used == 0) | (taken > size)),
            steps.eq(active & (~self.o.valid | self.o.ready) & (self.i.valid | ~needs_input)),
            self.i.ready.eq(steps & needs_input),
            self.i_run.ready.eq(~active | (steps & ends)),
        ]
        kept = Signal(8 * size, reset_less=True)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += kept.eq(self.i.payload)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        joined = self._join(m, kept, used)
        made = Signal(8 * size, reset_less=True)
        m.d.comb += self.o.payload.eq(made)
        with m.If(steps):
            m.d.sync += [
                self.o.valid.eq(1),
                made.eq(joined),
                active.eq(~ends),
                left.eq(left - size),
                used.eq(Mux(ends & last, 0, taken)),
            ]
        with m.If(self.i_run.valid & self.i_run.ready):
            m.d.sync += [active.eq(1), left.eq(run.length), last.eq(run.last)]
        return m

    def _join(self, m: Module, kept: Value, used: Value) -> Value:
        """Return a word of the bytes left and those that come in, the lowest one left first."""
        both = Signal(8 * self.word_bytes)
        any_left = used != 0
        is_left = [any_left & (used <= lane) for lane in range(self.word_bytes - 1)] + [any_left]
        for lane, old in enumerate(is_left):
            mine, coming = (word.word_select(lane, 8) for word in (kept, self.i.payload))
            m.d.comb += both.word_select(lane, 8).eq(Mux(old, mine, coming))
        turned = both
        for bit in range(len(used)):
            stage = Signal.like(both, name=f"turned_{bit}")  # a signal, else it is written thrice
            m.d.comb += stage.eq(Mux(used[bit], turned.rotate_right(8 << bit), turned))
            turned = stage
        return turned

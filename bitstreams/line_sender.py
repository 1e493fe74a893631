"""Sends a line of text over a serial port: 8 bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

FRAME_BITS = 10
"""Of a character: a start bit, 8 bits, a stop bit."""


class LineSender(wiring.Component):
    """Sends `characters` characters on each `start`, the first one first.

    Throughput: one bit per `bit_cycles` cycles.

    Members:
        start: send `line`; taken while not `busy`.
        line: 8 bits for each character.
        busy: a line is being sent. tx: the serial line, 1 at rest.
    """

    def __init__(self, characters: int, bit_cycles: int) -> None:
        self.characters = characters
        self.bit_cycles = bit_cycles
        super().__init__(
            {"start": In(1), "line": In(8 * characters), "busy": Out(1), "tx": Out(1, init=1)}
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"line_sender_{self.characters}x{self.bit_cycles}"

    def elaborate(self, platform: object) -> Module:
        """The whole line with its start and stop bits is one shift register."""
        m = Module()
        frames = [
            Cat(Const(0, 1), self.line.word_select(k, 8), Const(1, 1))
            for k in range(self.characters)
        ]
        bits = FRAME_BITS * self.characters
        rest = Signal(bits)
        left = Signal(range(bits + 1))
        wait = Signal(range(self.bit_cycles))
        m.d.comb += self.busy.eq(left != 0)
        with m.If(~self.busy):
            m.d.sync += self.tx.eq(1)
            with m.If(self.start):
                m.d.sync += [rest.eq(Cat(*frames)), left.eq(bits), wait.eq(0)]
        with m.Elif(wait == 0):
            m.d.sync += [self.tx.eq(rest[0]), rest.eq(rest >> 1), wait.eq(self.bit_cycles - 1)]
        with m.Else():
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 1):
                m.d.sync += left.eq(left - 1)
        return m


def hexadecimal(value: Value, digits: int) -> Value:
    """Return `value` as text of so many hexadecimal digits, the most significant one first."""
    nibbles = [value[4 * k : 4 * k + 4] for k in reversed(range(digits))]
    zero, letter = Const(ord("0"), 8), Const(ord("A") - 10, 8)
    return Cat(*((n + Mux(n < 10, zero, letter))[:8] for n in nibbles))


def text(characters: str) -> Value:
    """Return ASCII text as bits, the first character lowest."""
    return Const(int.from_bytes(characters.encode("ascii"), "little"), 8 * len(characters))

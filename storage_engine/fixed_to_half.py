"""Fixed point becomes FP16, rounded once, half to even: `attention_engine_formats.to_half`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.attention_engine_formats import HALF_EXPONENT_BIAS
from golden.spec.special_function_unit import WIDE_BITS
from hw.group_scale import delay
from hw.mux import select

FRACTION_BITS = 8

SIGNIFICAND_BITS, HALF_BITS = 11, 16

FRACTION_OF_LEAST = HALF_EXPONENT_BIAS - 1 + WIDE_BITS - SIGNIFICAND_BITS
"""With this fraction, a number whose leading one is the highest bit is the least normal one."""

MOST_DOWN = SIGNIFICAND_BITS
"""Shifted down by more, all numbers are 0."""

LARGEST = 0x7BFF
"""65504."""


class FixedToHalf(wiring.Component):
    """The converter. Throughput: one number per cycle.

    Members:
        advance: all registers hold while it is low.
        i: of 27 signed bits, worth i * 2**-fraction.
        fraction: it stays while a number is in here.
        o: the FP16 number's bits; beyond the range its largest number. 0 has no sign.
    """

    module_name = "fixed_to_half"

    def __init__(self) -> None:
        super().__init__(
            {
                "advance": In(1),
                "i": In(signed(WIDE_BITS)),
                "fraction": In(signed(FRACTION_BITS)),
                "o": Out(unsigned(HALF_BITS)),
            }
        )

    @staticmethod
    def cycles() -> int:
        """Return the cycles of `advance` from a number to its bits."""
        return 5

    def elaborate(self, platform: object) -> Module:
        """Down where it is subnormal anyway; then up until there is no leading zero, or no room."""
        m = Module()
        negative = delay(m, self.advance, "negative", self.i[-1], 4)[-1]
        room, down = Signal(signed(FRACTION_BITS + 1)), Signal(range(MOST_DOWN + 1))
        m.d.sync += [  # they stay, as the fraction does
            room.eq(FRACTION_OF_LEAST - self.fraction),
            down.eq(Mux(room >= 0, 0, Mux(room < -MOST_DOWN, MOST_DOWN, -room))),
        ]
        magnitude = Signal(WIDE_BITS, reset_less=True)
        steps = range(MOST_DOWN + 1)
        fallen = select(down, {k: magnitude[:k].any() for k in steps})
        lowered = Signal(WIDE_BITS + 1, reset_less=True)  # what fell out is the lowest bit
        most = Mux(room < 0, 0, room)[:FRACTION_BITS]
        coarse, coarse_room = self._raise(m, "coarse", lowered, most, (16, 8, 4))
        fine, exponent = self._raise(m, "fine", coarse, coarse_room, (2, 1))
        with m.If(self.advance):
            m.d.sync += [
                magnitude.eq(Mux(self.i[-1], -self.i, self.i)[:WIDE_BITS]),
                lowered.eq(Cat(fallen, select(down, {k: magnitude >> k for k in steps}))),
                self.o.eq(Cat(_half(fine, exponent)[: HALF_BITS - 1], negative)),
            ]
        return m

    def _raise(
        self, m: Module, name: str, value: Value, room: Value, steps: tuple[int, ...]
    ) -> tuple[Value, Value]:
        """Return the value without leading zeros, as far as there is room, and what is left."""
        for by in steps:
            goes = ~value[-by:].any() & (room >= by)
            value = Mux(goes, value << by, value)[: WIDE_BITS + 1]
            room = Mux(goes, room - by, room)[:FRACTION_BITS]
        raised = Signal(WIDE_BITS + 1, name=f"{name}_value", reset_less=True)
        left = Signal(FRACTION_BITS, name=f"{name}_room", reset_less=True)
        with m.If(self.advance):
            m.d.sync += [raised.eq(value), left.eq(room)]
        return raised, left


def _half(value: Value, exponent: Value) -> Value:
    """Return exponent and mantissa, rounded. A carry goes on into the exponent, as it should."""
    significand, rest = value[-SIGNIFICAND_BITS:], value[:-SIGNIFICAND_BITS]
    rises = rest[-1] & (rest[:-1].any() | significand[0])
    # Without a leading one it is a subnormal number, or 0, which has room left.
    base = Mux(significand[-1], exponent, 0)
    sum_ = Cat(Const(0, SIGNIFICAND_BITS - 1), base) + significand + rises
    beyond = sum_[HALF_BITS - 1 :].any() | sum_[SIGNIFICAND_BITS - 1 : HALF_BITS - 1].all()
    return Mux(beyond, LARGEST, sum_)

"""A shift to the right by 0 to 47 bits, rounded half to even and saturated, in three cycles.

Half a unit of the result has already been added to what comes in. So its floor is right but for
ties, of which the odd ones are one too high: a tie is what leaves only zeros behind.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.numbers import signed_range
from golden.spec.dsp48e2 import P_BITS
from golden.spec.special_function_unit import WIDE_BITS
from hw.mux import select

COARSE = 8
"""The first stage shifts by multiples of this, the second by less."""

AMOUNT_BITS = 6


class RoundingShift(wiring.Component):
    """The shifter. Throughput: one value per cycle. Latency: `cycles`.

    Members:
        advance: all registers hold while it is low.
        raised: the value, with 2**(amount - 1) added where the amount is not 0.
        amount: 0 to 47.
        o: the result, three cycles later.
    """

    module_name = "rounding_shift"

    def __init__(self) -> None:
        super().__init__(
            {
                "advance": In(1),
                "raised": In(signed(P_BITS)),
                "amount": In(unsigned(AMOUNT_BITS)),
                "o": Out(signed(WIDE_BITS)),
            }
        )

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a value to its result."""
        return 3

    def elaborate(self, platform: object) -> Module:
        """Shift by bytes, shift by bits, saturate; and see which bits fall out."""
        m = Module()
        coarse, fine = self.amount[3:], Signal(3, reset_less=True)
        value = Signal(signed(P_BITS), reset_less=True)
        shifted = Signal(signed(P_BITS), reset_less=True)
        even, tie = Signal(reset_less=True), Signal(reset_less=True)

        steps = range(P_BITS // COARSE)
        chosen = select(coarse, {k: self.raised >> (COARSE * k) for k in steps})
        empty = select(coarse, {k: ~self.raised[: COARSE * k].any() for k in steps})
        rest = Cat(value[k] & (fine > k) for k in range(COARSE - 1)).any()
        with m.If(self.advance):
            m.d.sync += [
                *(value.eq(chosen), fine.eq(self.amount[:3])),
                even.eq(empty & self.amount.any()),  # without a shift nothing is rounded
                *(shifted.eq(value >> fine), tie.eq(even & ~rest)),
                self.o.eq(round_and_saturate(shifted, tie, WIDE_BITS)),
            ]
        return m


def round_and_saturate(floor: Value, tie: Value, bits: int) -> Value:
    """Return a floor that was raised before by a half, a tie made even, as `bits` signed bits."""
    low, high = signed_range(bits)
    sign = floor[bits - 1 :]
    even = Cat(floor[0] & ~tie, floor[1:bits]).as_signed()
    return Mux(sign.all() | ~sign.any(), even, Mux(floor[-1], low, high))

"""FP16 to fixed point of 16 bits: `golden.attention_engine_formats.to_fixed` in three cycles.

A number is significand * 2**(exponent - 25) with 11 bits of significand. Times 2**fraction it is
the significand shifted by exponent + fraction - 25, to the left or to the right. Shifted by 12 to
the right or more it is 0; by 15 to the left or more it saturates, unless it is 0. What lies between
is one shift to the left, by 0 to 27, of which the lowest 12 bits are the rounding's.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.attention_engine_formats import HALF_EXPONENT_BIAS
from golden.numbers import signed_range
from golden.spec.attention_engine import KvFormat
from storage_engine.engine_layouts import FRACTION_BITS

BITS = KvFormat.FP16.bits
MANTISSA_BITS, EXPONENT_BITS = 10, 5

BELOW = MANTISSA_BITS + 2
"""Bits below the point: a significand that far down is less than a half."""

MOST_UP = BITS - 1
"""Any significand but 0 saturates where it is shifted up by so many bits."""


class HalfToFixed(wiring.Component):
    """One lane. Throughput: one number per cycle. Latency: `cycles`.

    Members:
        advance: all registers hold while it is low.
        half: the FP16's bits; infinities and NaNs count as if 31 were an exponent as any other.
        fraction: it is multiplied with 2**fraction.
        o: rounded half to even and saturated, three cycles later.
    """

    module_name = "half_to_fixed"

    def __init__(self) -> None:
        super().__init__(
            {
                "advance": In(1),
                "half": In(unsigned(BITS)),
                "fraction": In(signed(FRACTION_BITS)),
                "o": Out(signed(BITS)),
            }
        )

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a number to its result."""
        return 3

    def elaborate(self, platform: object) -> Module:
        """Where the significand goes; the shift; rounding, saturation and sign."""
        m = Module()
        mantissa = self.half[:MANTISSA_BITS]
        exponent = self.half[MANTISSA_BITS : MANTISSA_BITS + EXPONENT_BITS]
        normal = exponent.any()

        significand = Signal(MANTISSA_BITS + 1, reset_less=True)
        place = Signal(signed(FRACTION_BITS + 1), reset_less=True)
        amount = Signal(range(BELOW + MOST_UP + 1))
        shifted = Signal(MANTISSA_BITS + 1 + BELOW + MOST_UP, reset_less=True)
        negative = Signal(2, reset_less=True)
        first = HALF_EXPONENT_BIAS - BELOW  # the place of amount 0
        with m.If(place < first):
            m.d.comb += amount.eq(0)
        with m.Elif(place > first + BELOW + MOST_UP):
            m.d.comb += amount.eq(BELOW + MOST_UP)
        with m.Else():
            m.d.comb += amount.eq(place - first)

        rest, whole = shifted[:BELOW], shifted[BELOW:]
        up = rest[-1] & (rest[:-1].any() | whole[0])
        rounded = Signal(signed(BITS))
        low, high = signed_range(BITS)
        sign = negative[1]
        # -(n + 1) is ~n: a negative number is inverted, and gets 1 where it is not rounded up.
        inverted = Cat(whole[: BITS - 1] ^ sign.replicate(BITS - 1), sign).as_signed()
        m.d.comb += rounded.eq(inverted + (up ^ sign))
        with m.If(self.advance):
            m.d.sync += [
                significand.eq(Cat(mantissa, normal)),
                # Subnormal numbers have the exponent of the smallest normal ones.
                place.eq(Cat(exponent[0] | ~normal, exponent[1:]) + self.fraction),
                negative.eq(Cat(self.half[-1], negative[0])),
                shifted.eq(significand << amount),
                self.o.eq(Mux(whole[BITS - 1 :].any(), Mux(sign, low, high), rounded)),
            ]
        return m

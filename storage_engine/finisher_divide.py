"""What becomes of each element: divided by its mass, and weighed against the mean of all values."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.attention_engine_sums import DIVIDE_SHIFT
from golden.numbers import signed_range
from golden.spec.attention_engine import WEIGHT_FRACTION_BITS
from golden.spec.dsp48e2 import Dsp48e2Config, ZSource
from golden.spec.special_function_unit import MANTISSA_BITS, WIDE_BITS
from hw.dsp48e2 import Dsp48e2
from hw.emit import add
from hw.group_scale import delay
from hw.mux import select
from hw.rounding_shift import round_and_saturate
from storage_engine.finisher_reciprocal import SHARE_BITS

FIRST_SLICE = Dsp48e2Config(areg=1, breg=1, creg=1, z=(ZSource.C,))
SECOND_SLICE = Dsp48e2Config(areg=2, breg=2, z=(ZSource.PCIN,))

AMOUNT_BITS = 5
WEIGHT_BITS = WEIGHT_FRACTION_BITS + 1
"""A weight is at most 2**16."""

KEPT_SHIFT = DIVIDE_SHIFT - (MANTISSA_BITS - 1)
"""A kept mass goes up by this, since its product goes down by more than it should."""


class FinisherDivide(wiring.Component):
    """Shifts an element down, and multiplies it with a share. Throughput: one per cycle.

    Members:
        advance: all registers hold while it is low.
        i: the element, of `width` signed bits. amount: by which it goes down, 0 to 31.
        is_kept: it is a kept mass.
        share: of the mass; it stays while an element is in here.
        o: round(sat27(round(i / 2**amount)) * share / 2**18), saturated to 27 bits; for a kept mass
            of less than 2**23, the same over 2**15.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(
            {
                "advance": In(1),
                "i": In(signed(width)),
                "amount": In(unsigned(AMOUNT_BITS)),
                "is_kept": In(1),
                "share": In(unsigned(SHARE_BITS)),
                "o": Out(signed(WIDE_BITS)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"finisher_divide_{self.width}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles of `advance` from an element to its result."""
        return 5 + Dsp48e2.cycles(FIRST_SLICE, "a") + 1

    def elaborate(self, platform: object) -> Module:
        """Shift by eights, by less, saturate, round; multiply, round."""
        m = Module()
        first = Cat(Const(0, 1), self.i).as_signed()  # below the point is the guard bit
        amount = delay(m, self.advance, "amount", self.amount, 2)
        given = delay(m, self.advance, "given", first, 1)[-1]
        coarse, fine = amount[1][3:], amount[2][:3]
        shifted, below = _shift(given, coarse, 8)
        middle, sticky = Signal(given.shape(), reset_less=True), Signal(reset_less=True)
        shifted_fine, below_fine = _shift(middle, fine, 1)
        low = Signal(given.shape(), reset_less=True)
        low_sticky = Signal(reset_less=True)
        bounded, rises = Signal(signed(WIDE_BITS), reset_less=True), Signal(reset_less=True)
        floor = low[1:].as_signed()
        sign = floor[WIDE_BITS - 1 :]
        inside = sign.all() | ~sign.any()
        least, most = signed_range(WIDE_BITS)
        wide = Signal(signed(WIDE_BITS), reset_less=True)
        is_kept = delay(m, self.advance, "is_kept", self.is_kept, 4)[-1]
        with m.If(self.advance):
            m.d.sync += [
                *(middle.eq(shifted), sticky.eq(below)),
                *(low.eq(shifted_fine), low_sticky.eq(sticky | below_fine)),
                bounded.eq(Mux(inside, floor, Mux(floor[-1], least, most))),
                rises.eq(inside & (floor[:WIDE_BITS] != most) & low[0] & (low_sticky | low[1])),
                wide.eq(Mux(is_kept, (bounded + rises) << KEPT_SHIFT, bounded + rises)),
            ]
        slice_ = add(m, platform, "slice", Dsp48e2, FIRST_SLICE)
        m.d.comb += [
            *(slice_.ce.eq(self.advance), slice_.a.eq(wide), slice_.b.eq(self.share)),
            *(slice_.c.eq(1 << (DIVIDE_SHIFT - 1)), slice_.z.eq(ZSource.C)),
        ]
        with m.If(self.advance):
            m.d.sync += self.o.eq(rounded(slice_.p, DIVIDE_SHIFT))
        return m


class FinisherWeigh(wiring.Component):
    """Weighs an output against the mean of all values. Throughput: one per cycle.

    Members:
        advance: all registers hold while it is low.
        i, mean: both of 27 bits. weight: of `i`, 0 to 2**16; what it lacks is the mean's.
        o: round((i * weight + mean * (2**16 - weight)) / 2**16), saturated to 27 bits.
    """

    module_name = "finisher_weigh"

    def __init__(self) -> None:
        wide = signed(WIDE_BITS)
        super().__init__(
            {
                "advance": In(1),
                **{"i": In(wide), "mean": In(wide), "weight": In(unsigned(WEIGHT_BITS))},
                "o": Out(wide),
            }
        )

    @staticmethod
    def cycles() -> int:
        """Return the cycles of `advance` from an element to its result."""
        return Dsp48e2.cycles(SECOND_SLICE, "a") + 1

    def elaborate(self, platform: object) -> Module:
        """Two products in a cascade, rounded."""
        m = Module()
        first = add(m, platform, "first_slice", Dsp48e2, FIRST_SLICE)
        second = add(m, platform, "second_slice", Dsp48e2, SECOND_SLICE)
        m.d.comb += [
            *(part.ce.eq(self.advance) for part in (first, second)),
            *(first.a.eq(self.mean), first.b.eq((1 << WEIGHT_FRACTION_BITS) - self.weight)),
            *(first.c.eq(1 << (WEIGHT_FRACTION_BITS - 1)), first.z.eq(ZSource.C)),
            *(second.a.eq(self.i), second.b.eq(self.weight)),
            *(second.pcin.eq(first.pcout), second.z.eq(ZSource.PCIN)),
        ]
        with m.If(self.advance):
            m.d.sync += self.o.eq(rounded(second.p, WEIGHT_FRACTION_BITS))
        return m


def rounded(raised: Value, shift: int) -> Value:
    """Return what had half a unit added, over 2**shift, rounded half to even, of 27 bits."""
    return round_and_saturate(raised >> shift, ~raised[:shift].any(), WIDE_BITS)


def _shift(value: Value, amount: Value, unit: int) -> tuple[Value, Value]:
    """Return the value over 2**(amount * unit), floored, and whether what fell out was not 0."""
    steps = range(1 << len(amount))
    moved = select(amount, {k: value >> (unit * k) for k in steps})
    return moved, select(amount, {k: value[: unit * k].any() for k in steps})

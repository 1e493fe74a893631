"""One lane of the special function unit; `golden/special_functions/lane.py` is its twin.

u   = saturate27(round((a * first + other * second) / 2**shift))
out = saturate27(round(u * factor / 2**16))

cycle 0   the word is taken
      1   a, b and factor(b) are registered; what is multiplied is chosen
      5   both products and half a unit leave the first two slices
      8   u leaves the shifter
      9   its magnitude, or its part of an octave, chooses a segment of the table
     13   the value between the segment's ends leaves the third slice
     14   u and its factor enter the fourth slice
     18   the output is given
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.dsp48e2 import P_BITS, Dsp48e2Config, ZSource
from golden.spec.special_function_unit import (
    FACTOR_BITS,
    FACTOR_FRACTION_BITS,
    FRACTION_FIELD_BITS,
    WIDE_BITS,
    Operation,
    SpecialFunctionUnitConfig,
)
from golden.special_functions.tables import FUNCTION_FRACTION_BITS, FUNCTIONS
from hw.dsp48e2 import Dsp48e2
from hw.emit import add
from hw.function_table import FUNCTION_BITS, START_BITS, segment_layout
from hw.group_scale import delay
from hw.mux import select
from hw.rounding_shift import AMOUNT_BITS, RoundingShift, round_and_saturate

FIRST_SLICE = Dsp48e2Config(areg=1, breg=1, creg=1, z=(ZSource.C,))
"""P = C + A * B."""

SECOND_SLICE = Dsp48e2Config(areg=2, breg=2, z=(ZSource.PCIN,))
"""P = PCIN + A * B, with its factors a cycle behind those of the slice before."""

AT_FACTORS = 1
AT_HALF = AT_FACTORS + Dsp48e2.cycles(FIRST_SLICE, "a") - Dsp48e2.cycles(FIRST_SLICE, "c")
AT_SUM = AT_FACTORS + Dsp48e2.cycles(SECOND_SLICE, "a")
AT_U = AT_SUM + RoundingShift.cycles()
AT_ADDRESS = AT_U + 1
AT_SEGMENT = AT_ADDRESS + 1
AT_VALUE = AT_SEGMENT + Dsp48e2.cycles(FIRST_SLICE, "a")
AT_SCALE = AT_VALUE + 1
AT_PRODUCT = AT_SCALE + Dsp48e2.cycles(FIRST_SLICE, "a")
AT_UNROUNDED = AT_PRODUCT - Dsp48e2.cycles(FIRST_SLICE, "c")
AT_OUT = AT_PRODUCT + 1
"""Cycles from a word taken to each step of its lanes."""

SQUARE_BITS = 2 * FACTOR_BITS - 1
"""Bits of the square of a factor, as a signed number."""

REST_BITS = max(f.argument_bits for f in FUNCTIONS)
"""Bits of the longest argument; the others are moved up to its top."""

_SYMMETRIC = {Operation.SILU: 0, Operation.GELU: 1}
_EXP2 = 2
_ONE = 1 << FACTOR_FRACTION_BITS


def factors_layout() -> data.StructLayout:
    """What all lanes multiply with, a cycle behind the word.

    `first` and `second` are the factors, `scalar` the element that is none of a vector; `vector`
    takes that of b, and `rotate` the neighbour and its factors instead.
    """
    return data.StructLayout(
        {
            "first": signed(FACTOR_BITS),
            "second": signed(FACTOR_BITS),
            "scalar": signed(WIDE_BITS),
            "vector": unsigned(1),
            "rotate": unsigned(1),
        }
    )


def steps_layout() -> data.StructLayout:
    """What all lanes do at later steps, each in its cycle.

    Fields:
        half: at AT_HALF, half a unit. amount: at AT_SUM, the shift.
        operation_*: the operation at AT_U, AT_ADDRESS, AT_SCALE.
        fraction_bits: at AT_ADDRESS.
        squares_*: whether the operation is SQUARES at AT_UNROUNDED and AT_PRODUCT.
    """
    operation = unsigned(3)
    return data.StructLayout(
        {
            "half": unsigned(P_BITS),
            "amount": unsigned(AMOUNT_BITS),
            **{"operation_u": operation, "operation_address": operation},
            "operation_scale": operation,
            "fraction_bits": unsigned(FRACTION_FIELD_BITS),
            **{"squares_unrounded": unsigned(1), "squares_product": unsigned(1)},
        }
    )


class SfuLane(wiring.Component):
    """One lane. Throughput: one element per cycle. Latency: `AT_OUT` cycles of `advance`.

    Members:
        advance: all registers hold while it is low.
        a, b: elements of the word that is taken in this cycle.
        factors, steps: what the operation asks for.
        address: of the table; segment: what it gives a cycle later.
        neighbour_a, neighbour_factor: those of the other lane of the pair, a cycle behind its word.
        own_a, own_factor: what this lane is to the other one.
        used: at AT_PRODUCT, low in a lane behind the vector's end, which gives 0.
        o: the output. square: the product before it was rounded, for SQUARES.
    """

    def __init__(self, config: SpecialFunctionUnitConfig, odd: bool) -> None:
        self.config = config
        self.odd = odd
        wide, factor = signed(WIDE_BITS), signed(FACTOR_BITS)
        super().__init__(
            {
                "advance": In(1),
                **{"a": In(wide), "b": In(wide)},
                "factors": In(factors_layout()),
                "steps": In(steps_layout()),
                "address": Out(unsigned(config.table_bits + FUNCTION_BITS)),
                "segment": In(segment_layout(config)),
                **{"neighbour_a": In(wide), "neighbour_factor": In(factor)},
                **{"own_a": Out(wide), "own_factor": Out(factor)},
                "used": In(1),
                **{"o": Out(wide), "square": Out(unsigned(SQUARE_BITS))},
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"sfu_lane_{'odd' if self.odd else 'even'}_{self.config.table_bits}"

    def elaborate(self, platform: object) -> Module:
        """Two products, the shifter, the table, the last product, rounding."""
        m = Module()
        u = self._sum(m, platform)
        value, power = self._function(m, platform, u)
        product = self._scale(m, platform, u, value, power)
        squares = self.steps.squares_product
        rounded = round_and_saturate(
            product >> FACTOR_FRACTION_BITS, ~squares & _tie(product), WIDE_BITS
        )
        with m.If(self.advance):
            m.d.sync += [
                self.o.eq(Mux(self.used, rounded, 0)),
                self.square.eq(Mux(self.used, product[:SQUARE_BITS], 0)),
            ]
        return m

    def _sum(self, m: Module, platform: object) -> Value:
        """Return u at AT_U."""
        factors = self.factors
        b = Signal(signed(WIDE_BITS), reset_less=True)
        with m.If(self.advance):
            m.d.sync += [self.own_a.eq(self.a), b.eq(self.b), self.own_factor.eq(to_factor(self.b))]
        cos, sin = self.own_factor, -self.neighbour_factor
        if self.odd:
            cos, sin = self.neighbour_factor, self.own_factor
        first = add(m, platform, "first_slice", Dsp48e2, FIRST_SLICE)
        second = add(m, platform, "second_slice", Dsp48e2, SECOND_SLICE)
        shift = add(m, platform, "shift", RoundingShift)
        m.d.comb += [
            *(part.ce.eq(self.advance) for part in (first, second)),
            *(first.a.eq(self.own_a), first.b.eq(Mux(factors.rotate, cos, factors.first))),
            *(first.c.eq(self.steps.half), first.z.eq(ZSource.C)),
            second.a.eq(
                Mux(factors.rotate, self.neighbour_a, Mux(factors.vector, b, factors.scalar))
            ),
            second.b.eq(Mux(factors.rotate, sin, factors.second)),
            *(second.pcin.eq(first.pcout), second.z.eq(ZSource.PCIN)),
            *(shift.advance.eq(self.advance), shift.raised.eq(second.p)),
            shift.amount.eq(self.steps.amount),
        ]
        return shift.o

    def _function(self, m: Module, platform: object, u: Value) -> tuple[Value, Value]:
        """Return at AT_SCALE the table's function of u, and the power of 2 that goes with EXP."""
        is_exp = self.steps.operation_u == Operation.EXP
        argument = Signal(unsigned(WIDE_BITS), reset_less=True)
        negative = Signal(reset_less=True)
        inside = Mux(u > 0, 0, u)[:WIDE_BITS]
        with m.If(self.advance):
            m.d.sync += [
                argument.eq(Mux(is_exp, inside, Mux(u < 0, -u, u)[:WIDE_BITS])),
                negative.eq(u < 0),
            ]
        segment_at, rest_at, beyond = self._place(m, argument)
        m.d.comb += self.address.eq(segment_at)

        rest_bits = REST_BITS - self.config.table_bits
        rest = delay(m, self.advance, "rest", rest_at, AT_SEGMENT - AT_ADDRESS)[-1]
        start = delay(m, self.advance, "start", self.segment.start, 1)[-1]
        line = add(m, platform, "line_slice", Dsp48e2, FIRST_SLICE)
        m.d.comb += [
            *(line.ce.eq(self.advance), line.a.eq(rest), line.b.eq(self.segment.rise)),
            line.c.eq(Cat(Const(1 << (rest_bits - 1), rest_bits), start)),
            line.z.eq(ZSource.C),
        ]
        tie = ~line.p[:rest_bits].any()
        raised = line.p[rest_bits : rest_bits + START_BITS]
        value = Signal(unsigned(START_BITS), reset_less=True)
        with m.If(self.advance):
            m.d.sync += value.eq(Cat(raised[0] & ~tie, raised[1:]))

        later = AT_SCALE - AT_ADDRESS
        negative = delay(m, self.advance, "negative", negative, later)[-1]
        beyond = delay(m, self.advance, "beyond", beyond, later)[-1]
        symmetric = Mux(beyond, _ONE, value)
        function = Signal(unsigned(START_BITS))
        m.d.comb += function.eq(Mux(negative, _ONE - symmetric, symmetric))
        return Mux(self.steps.operation_scale == Operation.EXP, value, function), self._power(
            m, argument
        )

    def _place(self, m: Module, argument: Value) -> tuple[Value, Value, Value]:
        """Return the address of an argument's segment, where it lies in it, and if it is beyond."""
        table_bits = self.config.table_bits
        operation = self.steps.operation_address
        function, whole, beyond = Signal(FUNCTION_BITS), Signal(REST_BITS), Signal()
        m.d.comb += [
            function.eq(_EXP2),
            whole.eq(argument[:FUNCTION_FRACTION_BITS] << REST_BITS - FUNCTION_FRACTION_BITS),
        ]
        for chosen, number in _SYMMETRIC.items():
            bits = FUNCTIONS[number].argument_bits
            with m.If(operation == chosen):
                m.d.comb += [
                    function.eq(number),
                    whole.eq(argument[:bits] << (REST_BITS - bits)),
                    beyond.eq(argument[bits:].any()),
                ]
        rest_bits = REST_BITS - table_bits
        return Cat(whole[rest_bits:], function), whole[:rest_bits], beyond

    def _power(self, m: Module, argument: Value) -> Value:
        """Return at AT_SCALE 2**(fraction_bits + 1 - octaves), 0 where that is no integer."""
        octaves = argument[FUNCTION_FRACTION_BITS:].as_signed()  # 0 or less
        exponent = self.steps.fraction_bits + 1 + octaves
        registered = Signal(5, reset_less=True)
        some = Signal(reset_less=True)
        with m.If(self.advance):
            m.d.sync += [registered.eq(exponent[:5]), some.eq(exponent >= 0)]
        waits = AT_VALUE - AT_SEGMENT
        both = delay(m, self.advance, "exponent", Cat(registered, some), waits)[-1]
        power = Signal(FACTOR_FRACTION_BITS + 1, reset_less=True)
        with m.If(self.advance):
            m.d.sync += power.eq(Mux(both[5], 1 << both[:5], 0))
        return power

    def _scale(self, m: Module, platform: object, u: Value, function: Value, power: Value) -> Value:
        """Return u, or what stands for it, times its factor at AT_PRODUCT, with half a unit."""
        earlier = delay(m, self.advance, "u", u, AT_VALUE - AT_U)[-1]
        before, square = (
            Signal.like(u, reset_less=True),
            Signal(signed(FACTOR_BITS), reset_less=True),
        )
        with m.If(self.advance):
            m.d.sync += [before.eq(earlier), square.eq(to_factor(earlier))]
        other = delay(m, self.advance, "b", self.own_factor, AT_SCALE - AT_FACTORS)[-1]
        operation = self.steps.operation_scale
        left: dict[int, Value] = {op: before for op in Operation if op.is_pass}
        left |= {Operation.EXP: function, Operation.SQUARES: square}
        right: dict[int, Value] = {op: Const(_ONE, signed(FACTOR_BITS)) for op in left}
        right |= {Operation.PRODUCT: other, Operation.SQUARES: square, Operation.EXP: power}
        right |= dict.fromkeys(_SYMMETRIC, function)
        slice_ = add(m, platform, "scale_slice", Dsp48e2, FIRST_SLICE)
        m.d.comb += [
            *(slice_.ce.eq(self.advance), slice_.a.eq(select(operation, left))),
            slice_.b.eq(select(operation, right)),
            slice_.c.eq(Mux(self.steps.squares_unrounded, 0, _ONE >> 1)),
            slice_.z.eq(ZSource.C),
        ]
        return slice_.p


def to_factor(wide: Value) -> Value:
    """Return a wide element saturated to 18 bits without the least."""
    most = (1 << (FACTOR_BITS - 1)) - 1
    beyond = wide[FACTOR_BITS - 1 :]
    least = beyond.all() & ~wide[: FACTOR_BITS - 1].any()
    fits = (beyond.all() | ~beyond.any()) & ~least
    return Mux(fits, wide[:FACTOR_BITS].as_signed(), Mux(wide[-1], -most, most))


def _tie(product: Value) -> Value:
    return ~product[:FACTOR_FRACTION_BITS].any()

"""The scalar unit: what is made of sums and maxima between passes, one bit per cycle.

`golden/special_functions/scalars.py` is its twin. A step goes through some of these states, each of
which takes the cycles named in `CYCLES`:

    BEGIN         the operands are sorted; what is negative becomes 0
    SHIFT_RIGHT   the value goes down by up to 63 bits, in six steps of 32 to 1
    ADD           INVERSE_ROOT's epsilon meets the sum
    SHIFT_LEFT    leading zeros go, or LOAD's shift is done, in six steps
    ROUND         the upper 16 of 52 bits, rounded; or what was shifted down
    ROOT, ROOT_ROUND          a digit of the root per cycle
    DIVIDE, DIVIDE_ROUND      a digit of the quotient per cycle
    WRITE         the result is there
"""

from collections.abc import Callable
from enum import Enum
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.special_function_unit import (
    EXPONENT_BITS,
    FACTOR_BITS,
    MANTISSA_BITS,
    MAX_SHIFT,
    SHIFT_BITS,
    SUM_BITS,
    Operation,
)
from golden.special_functions.scalars import QUANTISER_BITS, RECIPROCAL_BITS
from hw.mux import select
from hw.sfu_layouts import OPERATION_BITS, REGISTER_BITS, scalar_layout, write_layout

STEPS = 6
"""Steps of a shift: by 32, 16, 8, 4, 2 and 1."""

QUOTIENT_BITS = MANTISSA_BITS + 1
"""A quotient is at most 2**16."""


class State(Enum):
    """What the unit is at."""

    IDLE = 0
    BEGIN = 1
    SHIFT_RIGHT = 2
    ADD = 3
    SHIFT_LEFT = 4
    ROUND = 5
    ROOT = 6
    ROOT_ROUND = 7
    DIVIDE = 8
    DIVIDE_ROUND = 9
    WRITE = 10


CYCLES = dict.fromkeys(State, 1) | {
    State.SHIFT_RIGHT: STEPS,
    State.SHIFT_LEFT: STEPS,
    State.ROOT: MANTISSA_BITS,
    State.DIVIDE: QUOTIENT_BITS,
}

_DIVISION = (State.DIVIDE, State.DIVIDE_ROUND)

ROUTES: dict[Operation, tuple[State, ...]] = {
    Operation.LOAD: (State.SHIFT_LEFT,),
    Operation.SHIFT: (State.SHIFT_RIGHT, State.ROUND),
    Operation.NORMALISE: (State.SHIFT_LEFT, State.ROUND),
    Operation.RECIPROCAL: (State.SHIFT_LEFT, State.ROUND, *_DIVISION),
    Operation.QUANTISER: (State.SHIFT_LEFT, State.ROUND, *_DIVISION),
    Operation.INVERSE_ROOT: (
        *(State.SHIFT_RIGHT, State.ADD, State.SHIFT_LEFT),
        *(State.ROOT, State.ROOT_ROUND, *_DIVISION),
    ),
}
"""The states that a step goes through, between BEGIN and WRITE."""


class ScalarUnit(wiring.Component):
    """The unit. One step at a time; its cycles are `cycles`.

    Members:
        idle: a step may be started.
        start: the step below is started; only while idle.
        operation, first, shift, target: of its job. x, epsilon: registers `scale` and `other`.
        write: the result is there; it is written in this cycle.
        written: the result.
    """

    module_name = "scalar_unit"

    def __init__(self) -> None:
        super().__init__(
            {
                "idle": Out(1),
                "start": In(1),
                "operation": In(unsigned(OPERATION_BITS)),
                "first": In(signed(FACTOR_BITS)),
                "shift": In(signed(SHIFT_BITS)),
                "target": In(unsigned(REGISTER_BITS)),
                "x": In(scalar_layout()),
                "epsilon": In(signed(SUM_BITS)),
                "write": Out(1),
                "written": Out(write_layout()),
            }
        )

    @staticmethod
    def cycles(operation: Operation) -> int:
        """Return the cycles from a step's start to the one in which its result can be read.

        The timing contract: always exact. From then on the unit is idle, too.
        """
        states = (State.IDLE, State.BEGIN, *ROUTES[operation], State.WRITE)
        return sum(CYCLES[state] for state in states)

    def elaborate(self, platform: object) -> Module:
        """The order of the states; what each of them does is in the functions below."""
        m = Module()
        r = _Registers()
        m.d.comb += [self.idle.eq(r.state == State.IDLE), self.write.eq(r.state == State.WRITE)]
        for now, work in _WORK.items():
            with m.If(r.state == now):
                work(m, r)
        with m.If(self.start):
            m.d.sync += [
                *(r.operation.eq(self.operation), r.target.eq(self.target)),
                *(r.first.eq(self.first), r.shift.eq(self.shift)),
                *(r.value.eq(self.x.value), r.exponent.eq(self.x.exponent)),
                r.addend.eq(self.epsilon),
            ]
        following, steps = _following(r.state, Mux(self.idle, self.operation, r.operation))
        with m.If(self.start | (r.last & ~self.idle)):
            m.d.sync += [r.state.eq(following), r.step.eq(steps), r.last.eq(steps == 0)]
        with m.Elif(~self.idle):
            m.d.sync += [r.step.eq(r.step - 1), r.last.eq(r.step == 1)]
        self._give(m, r)
        return m

    def _give(self, m: Module, r: "_Registers") -> None:
        """What the operation's result is; behind a division by 0 it is 0."""
        scalar, some = self.written.scalar, r.mantissa.any()
        shifts = (r.operation == Operation.LOAD) | (r.operation == Operation.SHIFT)
        divided = Mux(r.operation == Operation.NORMALISE, r.mantissa, r.digits)
        m.d.comb += [
            self.written.target.eq(r.target),
            scalar.value.eq(Mux(shifts, r.value.as_signed(), Mux(some, divided, 0))),
            scalar.exponent.eq(Mux(shifts | some, r.exponent, 0)),
        ]


def clamp(amount: Value, most: int) -> Value:
    """Return a signed amount, clamped to 0 to `most`."""
    return Mux(amount < 0, 0, Mux(amount > most, most, amount))


class _Registers:
    """The unit's registers.

    `step` counts a state's cycles down to `last`.
    `mantissa` is the divisor, `digits` the root or the quotient, `rest` what is left of it.
    `guard` and `sticky` are the last bit that was shifted out, and whether one before it was 1.
    """

    def __init__(self) -> None:
        def register(name: str, shape: object) -> Signal:
            return Signal(shape, name=name, reset_less=True)

        self.state = Signal(State)
        self.step, self.last = register("step", range(max(CYCLES.values()))), register("last", 1)
        self.operation = register("operation", OPERATION_BITS)
        self.target = register("target", REGISTER_BITS)
        self.value, self.addend = (register(name, SUM_BITS) for name in ("value", "addend"))
        self.exponent = register("exponent", signed(EXPONENT_BITS))
        self.amount, self.zeros = (register(name, STEPS) for name in ("amount", "zeros"))
        self.guard, self.sticky = (register(name, 1) for name in ("guard", "sticky"))
        self.first, self.shift = (
            register("first", signed(FACTOR_BITS)),
            register("shift", signed(SHIFT_BITS)),
        )
        self.mantissa, self.digits = (
            register(name, QUOTIENT_BITS) for name in ("mantissa", "digits")
        )
        self.rest = register("rest", QUOTIENT_BITS + 1)


def _following(state: Value, operation: Value) -> tuple[Value, Value]:
    """Return the state after this one on the operation's route, and its cycles less 1."""
    states, cycles = {}, {}
    for op, route in ROUTES.items():
        for now, then in pairwise((State.IDLE, State.BEGIN, *route, State.WRITE, State.IDLE)):
            states[now.value | op << 4] = Const(then.value, 4)
            cycles[now.value | op << 4] = Const(CYCLES[then] - 1, 5)
    place = Cat(state, operation)
    return select(place, states), select(place, cycles)


def _begin(m: Module, r: _Registers) -> None:
    """Sort the operands; what is negative is 0 where only a magnitude makes sense."""
    loads, shifts, roots = (
        r.operation == op for op in (Operation.LOAD, Operation.SHIFT, Operation.INVERSE_ROOT)
    )
    m.d.sync += [
        *(r.zeros.eq(0), r.guard.eq(0), r.sticky.eq(0), r.rest.eq(0), r.digits.eq(0)),
        r.addend.eq(Mux(r.value[-1], 0, r.value)),
    ]
    with m.If(loads):
        m.d.sync += [r.value.eq(r.first), r.amount.eq(r.shift), r.exponent.eq(0)]
    with m.Elif(roots):
        m.d.sync += r.value.eq(Mux(r.addend[-1], 0, r.addend))
        m.d.sync += r.amount.eq(clamp(r.exponent, (1 << STEPS) - 1))
    with m.Elif(shifts):
        m.d.sync += r.amount.eq(clamp(r.shift, MAX_SHIFT))
    with m.Elif(r.value[-1]):
        m.d.sync += r.value.eq(0)


def _shift_right(m: Module, r: _Registers) -> None:
    steps = [1 << k for k in range(STEPS)]
    value = select(r.step[:3], {k: r.value.as_signed() >> by for k, by in enumerate(steps)})
    guard = select(r.step[:3], {k: r.value[by - 1] for k, by in enumerate(steps)})
    below = select(r.step[:3], {k: r.value[: by - 1].any() for k, by in enumerate(steps)})
    with m.If(r.amount.bit_select(r.step[:3], 1)):
        m.d.sync += [
            *(r.value.eq(value), r.guard.eq(guard)),
            r.sticky.eq(r.sticky | r.guard | below),
        ]


def _add(m: Module, r: _Registers) -> None:
    m.d.sync += r.value.eq(r.value + r.addend)


def _shift_left(m: Module, r: _Registers) -> None:
    """Leading zeros of 0 do not matter: what becomes of it is 0."""
    loads, roots = (r.operation == op for op in (Operation.LOAD, Operation.INVERSE_ROOT))
    steps = [1 << k for k in range(STEPS)]
    value = select(r.step[:3], {k: r.value << by for k, by in enumerate(steps)})
    empty = select(r.step[:3], {k: ~r.value[-by:].any() for k, by in enumerate(steps)})
    # A root needs an even shift.
    empty = empty & ~(roots & (r.step == 0))
    with m.If(Mux(loads, r.amount.bit_select(r.step[:3], 1), empty)):
        m.d.sync += [r.value.eq(value), r.zeros.bit_select(r.step[:3], 1).eq(1)]


def _round(m: Module, r: _Registers) -> None:
    kept, dropped = r.value[-MANTISSA_BITS:], r.value[:-MANTISSA_BITS]
    with m.If(r.operation == Operation.SHIFT):
        m.d.sync += r.value.eq(r.value + (r.guard & (r.sticky | r.value[0])))
    with m.Else():
        m.d.sync += [
            r.mantissa.eq(kept + (dropped[-1] & (dropped[:-1].any() | kept[0]))),
            r.exponent.eq(r.exponent + len(dropped) - r.zeros),
        ]
        _begin_division(m, r)


def _root(m: Module, r: _Registers) -> None:
    rest, trial = Cat(r.value[-2:], r.rest), Cat(Const(1, 2), r.digits)
    fits = rest >= trial
    m.d.sync += [
        r.value.eq(r.value << 2),
        r.rest.eq(Mux(fits, rest - trial, rest)),
        r.digits.eq(Cat(fits, r.digits)),
    ]


def _round_root(m: Module, r: _Registers) -> None:
    half = (SUM_BITS - 2 * MANTISSA_BITS) // 2
    m.d.sync += [
        r.mantissa.eq(r.digits + (r.rest > r.digits)),
        r.exponent.eq((r.exponent >> 1) + half - (r.zeros >> 1)),
    ]
    _begin_division(m, r)


def _begin_division(m: Module, r: _Registers) -> None:
    """The dividend's lower bits are 0; its upper ones are less than any divisor."""
    dividend, quantiser = 1 << RECIPROCAL_BITS, 127 << QUANTISER_BITS
    rest = Mux(
        r.operation == Operation.QUANTISER, quantiser >> QUOTIENT_BITS, dividend >> QUOTIENT_BITS
    )
    m.d.sync += [r.rest.eq(rest), r.digits.eq(0)]


def _divide(m: Module, r: _Registers) -> None:
    rest = Cat(Const(0, 1), r.rest)
    fits = rest >= r.mantissa
    m.d.sync += [
        r.rest.eq(Mux(fits, rest - r.mantissa, rest)),
        r.digits.eq(Cat(fits, r.digits)),
    ]


def _round_quotient(m: Module, r: _Registers) -> None:
    twice = Cat(Const(0, 1), r.rest)
    rises = (twice > r.mantissa) | ((twice == r.mantissa) & r.digits[0])
    bits = Mux(r.operation == Operation.QUANTISER, QUANTISER_BITS, RECIPROCAL_BITS)
    m.d.sync += [r.digits.eq(r.digits + rises), r.exponent.eq(-r.exponent - bits)]


# What comes last is the least deep: a leading zero is found late.
_WORK: dict[State, Callable[[Module, _Registers], None]] = {
    State.BEGIN: _begin,
    State.ADD: _add,
    State.ROUND: _round,
    State.ROOT: _root,
    State.ROOT_ROUND: _round_root,
    State.DIVIDE: _divide,
    State.DIVIDE_ROUND: _round_quotient,
    State.SHIFT_RIGHT: _shift_right,
    State.SHIFT_LEFT: _shift_left,
}

"""The reciprocal of a mass, one digit per cycle: `golden.special_functions.scalars.reciprocal`."""

from enum import Enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.special_function_unit import MANTISSA_BITS
from golden.special_functions.scalars import RECIPROCAL_BITS

COARSE = 8
"""Leading zeros go by eights first, then one by one."""

SHARE_BITS = MANTISSA_BITS + 1
"""A share is at most 2**16."""


class State(Enum):
    """What the unit is at."""

    IDLE = 0
    COARSE = 1
    FINE = 2
    ROUND = 3
    DIVIDE = 4
    GIVE = 5


class FinisherReciprocal(wiring.Component):
    """The reciprocal of one mass after the other. Latency: `cycles`.

    Members:
        advance: all registers hold while it is low.
        start: a mass is given; only while the unit is idle.
        mass: m = m' * 2**down, m' of 16 bits.
        done: in the cycle behind this one the results are there. They stay until the next ones.
        share: 2**31 / m', rounded half to even; 0 for 0.
        down: of the mass; 0 where it is below.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(
            {
                "advance": In(1),
                "start": In(1),
                "mass": In(unsigned(width)),
                "done": Out(1),
                "share": Out(unsigned(SHARE_BITS)),
                "down": Out(range(width - MANTISSA_BITS + 1)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"finisher_reciprocal_{self.width}"

    @staticmethod
    def cycles(width: int) -> int:
        """Return the cycles from `start` to `done`, both included: the contract, always exact."""
        return 1 + (width - 1) // COARSE + (COARSE - 1) + 1 + SHARE_BITS + 1

    def elaborate(self, platform: object) -> Module:
        """Shift until there are no leading zeros, round to 16 bits, divide."""
        m = Module()
        rounds = {
            State.COARSE: (self.width - 1) // COARSE,
            State.FINE: COARSE - 1,
            State.DIVIDE: SHARE_BITS,
        }
        state, step = Signal(State), Signal(range(max(rounds.values())))
        value = Signal(self.width, reset_less=True)
        down = Signal(signed(8), reset_less=True)
        divisor, digits = (
            Signal(SHARE_BITS, name=n, reset_less=True) for n in ("divisor", "digits")
        )
        rest = Signal(SHARE_BITS + 1, reset_less=True)
        m.d.comb += self.done.eq(state == State.GIVE)

        kept, dropped = value[-MANTISSA_BITS:], value[:-MANTISSA_BITS]
        twice = Cat(Const(0, 1), rest)
        fits = twice >= divisor
        rises = fits & ((twice > divisor) | digits[0])
        with m.If(self.advance):
            m.d.sync += step.eq(step - 1)
            with m.Switch(state):
                with m.Case(State.IDLE), m.If(self.start):
                    m.d.sync += [value.eq(self.mass), down.eq(self.width - MANTISSA_BITS)]
                    m.d.sync += [state.eq(State.COARSE), step.eq(rounds[State.COARSE] - 1)]
                with m.Case(State.COARSE, State.FINE):
                    for now, by in ((State.COARSE, COARSE), (State.FINE, 1)):
                        with m.If((state == now) & ~value[-by:].any()):
                            m.d.sync += [value.eq(value << by), down.eq(down - by)]
                    with m.If(step == 0):
                        m.d.sync += step.eq(rounds[State.FINE] - 1)
                        m.d.sync += state.eq(Mux(state == State.FINE, State.ROUND, State.FINE))
                with m.Case(State.ROUND):
                    # The dividend's lower bits are 0; its upper ones are less than any divisor.
                    m.d.sync += [
                        divisor.eq(kept + (dropped[-1] & (dropped[:-1].any() | kept[0]))),
                        rest.eq(1 << (RECIPROCAL_BITS - SHARE_BITS)),
                        *(state.eq(State.DIVIDE), step.eq(rounds[State.DIVIDE] - 1)),
                    ]
                with m.Case(State.DIVIDE):
                    m.d.sync += [
                        rest.eq(Mux(fits, twice - divisor, twice)),
                        digits.eq(Cat(fits, digits)),
                    ]
                    with m.If(step == 0):
                        m.d.sync += state.eq(State.GIVE)
                with m.Case(State.GIVE):
                    m.d.sync += [
                        self.share.eq(Mux(divisor.any(), digits + rises, 0)),
                        self.down.eq(Mux(down[-1] | ~divisor.any(), 0, down)),
                        state.eq(State.IDLE),
                    ]
        return m

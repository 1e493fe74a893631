"""What makes logits of a query's approximate scores: the temperature times log2(e) / sqrt(d)."""

import math
from enum import Enum

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.attention_engine import LOGIT_FRACTION_BITS
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.special_function_unit import MANTISSA_BITS, SUM_BITS, Operation
from hw.emit import add
from hw.scalar_unit import ScalarUnit
from storage_engine.engine_layouts import SCALE_BITS, SCALE_EXPONENT_BITS, scale_layout

STEPS = (Operation.INVERSE_ROOT, Operation.NORMALISE, Operation.NORMALISE)
"""What becomes of the products a * b, a / sqrt(a * b), and that times log2(e) / sqrt(d).

a and b are the sums of |q| over all channels and over the chosen ones.
"""


class State(Enum):
    """What the unit is at."""

    IDLE = 0
    MULTIPLY = 1
    START = 2
    WAIT = 3


def total_bits(config: DriveEngineConfig) -> int:
    """Return the bits of the sum of a query's |q|."""
    return config.attention.query_bits - 1 + (config.head_size - 1).bit_length()


def logit_scale(config: DriveEngineConfig) -> tuple[int, int]:
    """Return log2(e) / sqrt(d) in units of logits: a value of 16 bits, and an exponent."""
    mantissa, place = math.frexp(math.log2(math.e) / math.sqrt(config.head_size))
    return round(mantissa * 2**MANTISSA_BITS), place - MANTISSA_BITS + LOGIT_FRACTION_BITS


class QueryScale(wiring.Component):
    """One query's scale after the other, a bit per cycle. Latency: `cycles`.

    Members:
        start: the operands below are given; only while the unit is idle.
        total, chosen: the sums of |q| over all channels, and over the chosen ones.
        exponent: of the whole scores' scale.
        done: `scale` is there, in this cycle.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        bits = unsigned(total_bits(config))
        super().__init__(
            {
                **{"start": In(1), "total": In(bits), "chosen": In(bits)},
                "exponent": In(signed(SCALE_EXPONENT_BITS)),
                **{"done": Out(1), "scale": Out(scale_layout())},
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"query_scale_{self.config.head_size}"

    @staticmethod
    def cycles(config: DriveEngineConfig) -> int:
        """Return the cycles from `start` to `done`, both included: the contract, always exact."""
        each = [total_bits(config) + ScalarUnit.cycles(operation) for operation in STEPS]
        return 1 + sum(each)

    def elaborate(self, platform: object) -> Module:
        """Multiply by adding, have the scalar unit do a step, and again."""
        m = Module()
        bits = total_bits(self.config)
        unit = add(m, platform, "unit", ScalarUnit)
        state, step = Signal(State), Signal(range(len(STEPS)))
        count = Signal(range(bits))
        product, x = (Signal(SUM_BITS, name=name, reset_less=True) for name in ("product", "x"))
        y, first = (Signal(bits, name=name, reset_less=True) for name in ("y", "first"))
        exponent = Signal.like(unit.x.exponent, reset_less=True)
        value, _ = logit_scale(self.config)

        written = unit.written.scalar
        last = step == len(STEPS) - 1
        m.d.comb += [
            unit.operation.eq(Mux(step == 0, STEPS[0], STEPS[1])),
            *(unit.x.value.eq(product), unit.x.exponent.eq(exponent)),
            unit.start.eq(state == State.START),
            self.done.eq((state == State.WAIT) & unit.write & last),
            self.scale.value.eq(written.value[:SCALE_BITS]),
            self.scale.exponent.eq(written.exponent + self.exponent),
        ]
        with m.Switch(state):
            with m.Case(State.IDLE), m.If(self.start):
                m.d.sync += [
                    *(x.eq(self.total), y.eq(self.chosen), first.eq(self.total)),
                    product.eq(0),
                    *(exponent.eq(0), step.eq(0), count.eq(0), state.eq(State.MULTIPLY)),
                ]
            with m.Case(State.MULTIPLY):
                m.d.sync += [
                    product.eq(product + Mux(y[0], x, 0)),
                    *(x.eq(x << 1), y.eq(y >> 1), count.eq(count + 1)),
                ]
                with m.If(count == bits - 1):
                    m.d.sync += [state.eq(State.START), count.eq(0)]
            with m.Case(State.START):
                m.d.sync += state.eq(State.WAIT)
            with m.Case(State.WAIT), m.If(unit.write):
                m.d.sync += [
                    *(x.eq(written.value), product.eq(0), exponent.eq(written.exponent)),
                    y.eq(Mux(step == 0, first, Const(value, MANTISSA_BITS + 1))),
                    *(step.eq(step + 1), state.eq(Mux(last, State.IDLE, State.MULTIPLY))),
                ]
        return m

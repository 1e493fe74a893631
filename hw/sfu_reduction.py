"""Sums and maxima over the words of a pass: a tree over the lanes, and an accumulator behind it."""

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.numbers import signed_range
from golden.spec.special_function_unit import (
    MAX_SHIFT,
    SUM_BITS,
    WIDE_BITS,
    Reduction,
    SpecialFunctionUnitConfig,
)
from hw.group_scale import delay
from hw.sfu_lane import SQUARE_BITS
from hw.sfu_layouts import REGISTER_BITS, scalar_layout, write_layout

KEY_BITS = WIDE_BITS + 1
"""Bits of a magnitude: that of the least wide element is 2**26."""


def reduction_layout() -> data.StructLayout:
    """What goes beside a word: `golden.spec.special_function_unit.Job`'s fields.

    Fields:
        first, last: the job's first and last word.
        squares: what is summed up is squares, and was shifted by `amount`.
    """
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "first": unsigned(1),
            "last": unsigned(1),
            "kind": unsigned(2),
            "carry": unsigned(1),
            "target": unsigned(REGISTER_BITS),
            "squares": unsigned(1),
            "amount": unsigned(MAX_SHIFT.bit_length()),
        }
    )


class SfuReduction(wiring.Component):
    """The tree and the accumulator. Throughput: one word per cycle. Latency: `cycles`.

    Members:
        advance: all registers hold while it is low.
        outputs, squares, used: of each lane; only lanes that are `used` count.
        word: what goes with them.
        target, before: a register and what it holds now; nobody else writes it meanwhile.
        write, written: the job's scalar, in the one cycle of `advance` in which it is there.
    """

    def __init__(self, config: SpecialFunctionUnitConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "advance": In(1),
                "outputs": In(data.ArrayLayout(signed(WIDE_BITS), lanes)),
                "squares": In(data.ArrayLayout(unsigned(SQUARE_BITS), lanes)),
                "used": In(unsigned(lanes)),
                "word": In(reduction_layout()),
                "target": Out(unsigned(REGISTER_BITS)),
                "before": In(scalar_layout()),
                "write": Out(1),
                "written": Out(write_layout()),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"sfu_reduction_x{self.config.lanes}"

    @staticmethod
    def cycles(config: SpecialFunctionUnitConfig) -> int:
        """Return the cycles from a job's last outputs to the cycle in which its scalar is there."""
        return 2 + config.lanes.bit_length() - 1

    def elaborate(self, platform: object) -> Module:
        """Keys and summands, level by level of the tree, and the accumulator."""
        m = Module()
        levels = self.config.lanes.bit_length() - 1
        valid = delay(m, self.advance, "valid", self.word.valid, levels + 1, reset=True)
        words = delay(m, self.advance, "word", self.word, levels + 2)
        keys, summands = self._inputs(m)
        for level in range(levels):
            keys = self._level(m, f"key_{level}", keys, _larger)
            summands = self._level(m, f"sum_{level}", summands, _sum)

        # The register is read two cycles before it is needed.
        least, _ = signed_range(KEY_BITS)
        before = Signal(signed(SUM_BITS), reset_less=True)
        start, start_maximum = (
            Signal(signed(bits), name=name, reset_less=True)
            for name, bits in (("start", SUM_BITS), ("start_maximum", KEY_BITS))
        )
        carry = words[levels].carry
        with m.If(self.advance):
            m.d.sync += [
                before.eq(self.before.value),
                start.eq(Mux(carry, before, 0)),
                start_maximum.eq(Mux(carry, _saturated(before, KEY_BITS), least)),
            ]
        m.d.comb += self.target.eq(words[levels - 1].target)
        total = Signal(signed(SUM_BITS), reset_less=True)
        maximum = Signal(signed(KEY_BITS), reset_less=True)
        word = words[levels + 1]
        done = Signal()
        with m.If(self.advance):
            m.d.sync += done.eq(valid[-1] & word.last & (word.kind != Reduction.NONE))
            with m.If(valid[-1]):
                m.d.sync += [
                    total.eq(Mux(word.first, start, total) + summands[0]),
                    maximum.eq(_larger(Mux(word.first, start_maximum, maximum), keys[0])),
                ]
        ended = words[-1]
        scalar = self.written.scalar
        m.d.comb += [
            *(self.write.eq(done & self.advance), self.written.target.eq(ended.target)),
            scalar.value.eq(Mux(ended.kind == Reduction.SUM, total, maximum)),
            scalar.exponent.eq(Mux(ended.squares, ended.amount << 1, 0)),
        ]
        return m

    def _inputs(self, m: Module) -> tuple[list[Value], list[Value]]:
        least, _ = signed_range(KEY_BITS)
        keys: list[Value] = []
        summands: list[Value] = []
        for lane in range(self.config.lanes):
            out, square = self.outputs[lane], self.squares[lane]
            key = Signal(signed(KEY_BITS), name=f"key_{lane}", reset_less=True)
            summand = Signal(signed(SQUARE_BITS + 1), name=f"summand_{lane}", reset_less=True)
            negate = (self.word.kind == Reduction.MAGNITUDE) & (out < 0)
            with m.If(self.advance):
                m.d.sync += [
                    key.eq(Mux(self.used[lane], Mux(negate, -out, out), least)),
                    summand.eq(Mux(self.word.squares, square, out)),
                ]
            keys.append(key)
            summands.append(summand)
        return keys, summands

    def _level(self, m: Module, name: str, values: list[Value], join: object) -> list[Value]:
        """Return each two neighbours joined, a cycle later."""
        joined: list[Value] = []
        for k in range(0, len(values), 2):
            value = join(values[k], values[k + 1])  # type: ignore[operator]
            register = Signal(value.shape(), name=f"{name}_{k}", reset_less=True)
            with m.If(self.advance):
                m.d.sync += register.eq(value)
            joined.append(register)
        return joined


def _larger(a: Value, b: Value) -> Value:
    return Mux(a > b, a, b)


def _sum(a: Value, b: Value) -> Value:
    return a + b


def _saturated(value: Value, bits: int) -> Value:
    low, high = signed_range(bits)
    sign = value[bits - 1 :]
    return Mux(sign.all() | ~sign.any(), value[:bits].as_signed(), Mux(value[-1], low, high))

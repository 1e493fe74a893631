"""A score times its scale, rounded once and saturated.

`logits` of `golden/attention_engine_sums.py` is the twin.

    cycle 0   score, scale and shift are taken
          3   the score's low part times the scale
          4   the whole product
          6   it is shifted, in two steps; what fell out is one half and one bit that says if more
          8   the logit
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.numbers import signed_range
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.dsp48e2 import MULTIPLIER_A_BITS, Dsp48e2Config, ZSource
from golden.spec.special_function_unit import WIDE_BITS
from hw.dsp48e2 import Dsp48e2
from hw.emit import add
from hw.group_scale import delay
from hw.mux import select
from storage_engine.engine_layouts import SCALE_BITS, scale_layout

LOW_SLICE = Dsp48e2Config(z=(ZSource.ZERO,))
"""P = A * B."""

HIGH_SLICE = Dsp48e2Config(areg=2, breg=2, z=(ZSource.C,))
"""P = C + A * B, a cycle behind the slice before."""

LOW_BITS = MULTIPLIER_A_BITS - 1
"""Bits of a score's low part, which has no sign."""

SHIFT_BITS = 6
"""A shift by 57 or more gives 0; the largest with so many bits stands for all that are larger."""

COARSE = 8
"""The first step shifts by multiples of this, the second by less."""

AT_LOW = Dsp48e2.cycles(LOW_SLICE, "a")
AT_PRODUCT = Dsp48e2.cycles(HIGH_SLICE, "a")
AT_SHIFTED = AT_PRODUCT + 2
AT_LOGIT = AT_SHIFTED + 2
"""Cycles from a score to each step."""

assert AT_LOW + Dsp48e2.cycles(HIGH_SLICE, "c") == AT_PRODUCT

_ADVANCE = Const(1)


class SliceLogit(wiring.Component):
    """Scores to logits. Throughput: one per cycle; nothing waits. Latency: `cycles`.

    Members:
        score: an exact sum of products. scale: `scale_layout`, an exponent above 0 counts as 0.
        logit: `cycles` later, in units of 2**-16 octaves.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "score": In(signed(config.attention.score_bits)),
                "scale": In(scale_layout()),
                "logit": Out(signed(WIDE_BITS)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"slice_logit_{self.config.attention.score_bits}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a score to its logit."""
        return AT_LOGIT

    def elaborate(self, platform: object) -> Module:
        """Multiply in two parts, shift in two steps, round."""
        m = Module()
        shift = delay(m, _ADVANCE, "shift", shift_of(self.scale.exponent), AT_PRODUCT + 1)
        product = self._product(m, platform)

        # Below the product comes a 0: then the result's lowest bit is the half that falls out.
        doubled = Cat(Const(0, 1), product).as_signed()
        coarse = shift[AT_PRODUCT][3:]
        value, more = Signal(doubled.shape(), reset_less=True), Signal(reset_less=True)
        shifted, rest = Signal(doubled.shape(), reset_less=True), Signal(reset_less=True)
        steps, fine = range(1 << (SHIFT_BITS - 3)), shift[AT_PRODUCT + 1][:3]
        m.d.sync += [
            value.eq(select(coarse, {k: doubled >> (COARSE * k) for k in steps})),
            more.eq(select(coarse, {k: doubled[: COARSE * k].any() for k in steps})),
            shifted.eq(value >> fine),
            rest.eq(more | Cat(value[k] & (fine > k) for k in range(COARSE - 1)).any()),
        ]
        self._round(m, shifted[1:].as_signed(), shifted[0], rest)
        return m

    def _product(self, m: Module, platform: object) -> Value:
        """Return score * scale at AT_PRODUCT."""
        low = add(m, platform, "low_slice", Dsp48e2, LOW_SLICE)
        high = add(m, platform, "high_slice", Dsp48e2, HIGH_SLICE)
        m.d.comb += [
            *(low.ce.eq(1), low.a.eq(self.score[:LOW_BITS]), low.b.eq(self.scale.value)),
            *(high.ce.eq(1), high.a.eq(self.score[LOW_BITS:].as_signed())),
            *(high.b.eq(self.scale.value), high.z.eq(ZSource.C)),
            high.c.eq(low.p >> LOW_BITS),
        ]
        lowest = delay(m, _ADVANCE, "lowest", low.p[:LOW_BITS], AT_PRODUCT - AT_LOW)[-1]
        high_bits = len(self.score) - LOW_BITS + SCALE_BITS + 1
        return Cat(lowest, high.p[:high_bits])

    def _round(self, m: Module, floor: Value, half: Value, rest: Value) -> None:
        """Saturate and decide whether to round up; then add."""
        low, high = signed_range(WIDE_BITS)
        kept, beyond = floor[:WIDE_BITS].as_signed(), floor[WIDE_BITS - 1 :]
        fits = beyond.all() | ~beyond.any()
        saturated, rises = Signal(signed(WIDE_BITS), reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            saturated.eq(Mux(fits, kept, Mux(floor[-1], low, high))),
            rises.eq(fits & (kept != high) & half & (rest | kept[0])),
            self.logit.eq(saturated + rises),
        ]


def shift_of(exponent: Value) -> Value:
    """Return the shift to the right that stands for 2**exponent, at most 63."""
    most = (1 << SHIFT_BITS) - 1
    down = -exponent
    shift = Mux(down < 0, 0, Mux(down > most, most, down))
    return shift[:SHIFT_BITS]

"""2 to the power of a logit, within a bin: `powers` of `golden/attention_engine_sums.py`.

cycle 0   the logit is taken; its fraction's high bits choose a segment of the table
      1   the segment's start and rise, and where the logit lies in it, enter the slice
      4   2**fraction leaves it
      5   rounded, and shifted to the octave's place in its bin
"""

from amaranth.hdl import Cat, Const, Module, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.attention_engine import BIN_OCTAVES, LOGIT_FRACTION_BITS
from golden.spec.dsp48e2 import Dsp48e2Config, ZSource
from golden.spec.special_function_unit import WIDE_BITS
from golden.special_functions.tables import DEFAULT_TABLES, EXP2_FRACTION_BITS
from hw.dsp48e2 import Dsp48e2
from hw.emit import add
from hw.group_scale import delay
from storage_engine.engine_layouts import TOP_BITS

LINE_SLICE = Dsp48e2Config(areg=1, breg=1, creg=1, z=(ZSource.C,))
"""P = C + A * B."""

VALUE_BITS = EXP2_FRACTION_BITS + 1
"""2**fraction lies in [2**15, 2**16)."""

PLACE_BITS = (BIN_OCTAVES - 1).bit_length()
POWER_BITS = VALUE_BITS + BIN_OCTAVES - 1

AT_SEGMENT = 1
AT_LINE = AT_SEGMENT + Dsp48e2.cycles(LINE_SLICE, "a")
AT_START = AT_LINE - Dsp48e2.cycles(LINE_SLICE, "c")
AT_POWER = AT_LINE + 1
"""Cycles from a logit to each step."""

_ADVANCE = Const(1)


class SlicePower(wiring.Component):
    """Logits to powers. Throughput: one per cycle; nothing waits. Latency: `cycles`.

    Members:
        logit: in units of 2**-16 octaves.
        power, bin: `cycles` later: 2**logit is power * 2**(8 * bin - 15).
    """

    module_name = "slice_power"

    def __init__(self) -> None:
        super().__init__(
            {
                "logit": In(signed(WIDE_BITS)),
                "power": Out(unsigned(POWER_BITS)),
                "bin": Out(signed(TOP_BITS)),
            }
        )

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a logit to its power."""
        return AT_POWER

    def elaborate(self, platform: object) -> Module:
        """Look up the segment, draw its line, round, shift."""
        m = Module()
        table_bits = DEFAULT_TABLES.table_bits
        rest_bits = LOGIT_FRACTION_BITS - table_bits
        points = DEFAULT_TABLES.points["exp2"]
        starts, rises = points[:-1].tolist(), points.diff().tolist()
        layout = data.StructLayout(
            {"start": unsigned(VALUE_BITS), "rise": unsigned(max(rises).bit_length())}
        )
        rows = [{"start": a, "rise": b} for a, b in zip(starts, rises, strict=True)]
        m.submodules.rom = rom = memory.Memory(shape=layout, depth=len(rows), init=rows)
        segment = rom.read_port()
        m.d.comb += segment.addr.eq(self.logit[rest_bits:LOGIT_FRACTION_BITS])

        rest = delay(m, _ADVANCE, "rest", self.logit[:rest_bits], AT_SEGMENT)[-1]
        start = delay(m, _ADVANCE, "start", segment.data.start, AT_START - AT_SEGMENT)[-1]
        line = add(m, platform, "line_slice", Dsp48e2, LINE_SLICE)
        m.d.comb += [
            *(line.ce.eq(1), line.a.eq(rest), line.b.eq(segment.data.rise)),
            line.c.eq(Cat(Const(1 << (rest_bits - 1), rest_bits), start)),
            line.z.eq(ZSource.C),
        ]
        # Half a unit has been added: a tie is what leaves only zeros behind.
        tie = ~line.p[:rest_bits].any()
        raised = line.p[rest_bits : rest_bits + VALUE_BITS]
        value = Cat(raised[0] & ~tie, raised[1:])
        octave = self.logit[LOGIT_FRACTION_BITS:]
        place = delay(m, _ADVANCE, "place", octave[:PLACE_BITS], AT_LINE)[-1]
        bins = delay(m, _ADVANCE, "bin", octave[PLACE_BITS:].as_signed(), AT_POWER - 1)[-1]
        m.d.sync += [self.power.eq(value << place), self.bin.eq(bins)]
        return m

"""The group scale: group sums in, requantised outputs out. `golden/group_scale.py` is its twin.

A row's sum over a scale group lacks the group's zero point and scale:

    total = before + scale * (sum - zero * offset)

`offset` is the sum of the group's activations, `before` the total of the row's groups so far. Where
zero points have fraction bits, the sum gets as many zeros. Two DSP48E2 slices per lane compute
this. The total goes to the global buffer; with the row's last group it is rounded and saturated to
an output instead.

    cycle 0    a row is taken; its offset and zero point enter the offset slice
          2    its sum enters that slice
          4    sum - zero * offset enters the scale slice; the row is read from the buffer
          5    what was read enters the scale slice, which has had the scale since cycle 3
          7    the new total leaves it, and is written to the buffer or rounded
          9    the output is offered
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.numbers import signed_range
from golden.spec.dsp48e2 import P_BITS, Dsp48e2Config, ZSource
from golden.spec.matrix_engine import ZERO_BITS, MatrixEngineConfig
from hw.dsp48e2 import Dsp48e2
from hw.emit import add
from hw.layouts import offset_layout, output_layout, scale_layout, strip_row_layout

OFFSET_SLICE = Dsp48e2Config(areg=1, adreg=1, breg=2, creg=1, pre_adder="subtract", z=(ZSource.C,))
"""P = C + (0 - A) * B: a sum less its zero point's part."""

SCALE_SLICE = Dsp48e2Config(areg=1, breg=2, creg=1, opmodereg=1, z=(ZSource.ZERO, ZSource.C))
"""P = A * B, with C added except in a row's first group."""

AT_VALUE = Dsp48e2.cycles(OFFSET_SLICE, "a")
AT_TOTAL = AT_VALUE + Dsp48e2.cycles(SCALE_SLICE, "a")
AT_BEFORE = AT_TOTAL - Dsp48e2.cycles(SCALE_SLICE, "c")
"""Cycles from a row taken to its value between the slices, to its total, and to `before`."""

ROUNDING_CYCLES = 2
STAGES = AT_TOTAL + ROUNDING_CYCLES
"""Cycles from a row taken to its output offered."""

MIN_DISTANCE = AT_TOTAL - AT_BEFORE + 2
"""A row may come again so many rows later: its total, written at the end of its cycle, is then in
the buffer when it is read, a cycle before it is needed."""


class GroupScale(wiring.Component):
    """One chain's scales, zero points, global buffer and requantisation.

    Throughput: one row, or pair of rows, per cycle. Latency: `cycles`. A row is taken when its
    scale and its group's offset are offered too. It may come again `MIN_DISTANCE` rows later.

    Members:
        i_row: stream of `strip_row_layout`.
        i_offset: stream of `offset_layout`; one beat per scale group, taken with the group's last
            row.
        i_scale: stream of `scale_layout`, one beat per row.
        o: stream of `output_layout`, one beat per row whose scale has `last`.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_row": In(stream.Signature(strip_row_layout(config))),
                "i_offset": In(stream.Signature(offset_layout(config))),
                "i_scale": In(stream.Signature(scale_layout(config))),
                "o": Out(stream.Signature(output_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        rows = f"l{c.chain_length}_s{c.strips}x{c.products_per_dsp}"
        return f"group_scale_{rows}_{_widths(c)}r{c.scale_shift}to{c.output_bits}"

    @staticmethod
    def cycles(rows: int) -> int:
        """Return the cycles of `rows` rows, from the first one taken to the last one's output.

        The timing contract: exact when no stream waits, and every cycle in which one does adds one.
        """
        return rows + STAGES

    def elaborate(self, platform: object) -> Module:
        """Handshakes, the control beside a row, the global buffer, and the lanes."""
        m = Module()
        config = self.config
        row, scale = self.i_row.payload, self.i_scale.payload
        advance, begin = Signal(), Signal()
        sources = (self.i_row, self.i_offset, self.i_scale)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            begin.eq(advance & Cat(source.valid for source in sources).all()),
            *(self.i_row.ready.eq(begin), self.i_scale.ready.eq(begin)),
            self.i_offset.ready.eq(begin & row.end_group),
        ]
        writes = delay(m, advance, "writes", begin & ~scale.last, AT_TOTAL, reset=True)
        gives = delay(m, advance, "gives", begin & scale.last, STAGES, reset=True)
        first = delay(m, advance, "first", scale.first, AT_BEFORE)
        address = delay(m, advance, "address", Cat(row.row, row.strip), AT_TOTAL)

        m.submodules.buffer = buffer = memory.Memory(
            shape=data.ArrayLayout(signed(P_BITS), config.products_per_dsp),
            depth=config.tile_rows,
            init=[],
        )
        read, write = buffer.read_port(), buffer.write_port()
        m.d.comb += [
            *(read.en.eq(advance), read.addr.eq(address[AT_BEFORE - 1])),
            *(write.en.eq(advance & writes[-1]), write.addr.eq(address[-1])),
            self.o.valid.eq(gives[-1]),
        ]
        for lane in range(config.products_per_dsp):
            total = add(m, platform, f"lane_{lane}", ScaleLane, config)
            rounding = add(m, platform, f"rounding_{lane}", Requantise, config)
            m.d.comb += [
                *(total.advance.eq(advance), rounding.advance.eq(advance)),
                total.offset.eq(self.i_offset.payload[lane]),
                *(total.zero.eq(scale.zero[lane]), total.sum.eq(row.sums[lane])),
                *(total.scale.eq(scale.scale[lane]), total.first.eq(first[-1])),
                *(total.before.eq(read.data[lane]), write.data[lane].eq(total.total)),
                *(rounding.total.eq(total.total), self.o.payload[lane].eq(rounding.output)),
            ]
        return m


class ScaleLane(wiring.Component):
    """`before + scale * (2**zero_fraction_bits * sum - zero * offset)` in two slices.

    Members:
        advance: all registers hold while it is low.
        sum, zero, offset, scale: one row's, all in one cycle.
        first, before: `AT_BEFORE` cycles later; where `first` is high, `before` counts as 0.
        total: `AT_TOTAL` cycles later.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "sum": In(signed(config.accumulator_bits)),
                "zero": In(signed(ZERO_BITS)),
                "offset": In(signed(config.offset_bits)),
                "scale": In(unsigned(config.scale_bits)),
                "first": In(1),
                "before": In(signed(P_BITS)),
                "total": Out(signed(P_BITS)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"scale_lane_{_widths(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """Each input goes to its slice in the cycle in which the slice needs it."""
        m = Module()
        offset = add(m, platform, "offset_slice", Dsp48e2, OFFSET_SLICE)
        scale = add(m, platform, "scale_slice", Dsp48e2, SCALE_SLICE)
        sum_at = AT_VALUE - Dsp48e2.cycles(OFFSET_SLICE, "c")
        scale_at = AT_TOTAL - Dsp48e2.cycles(SCALE_SLICE, "b")
        late_sum = delay(m, self.advance, "sum", self.sum, sum_at)[-1]
        m.d.comb += [
            *(offset.ce.eq(self.advance), scale.ce.eq(self.advance)),
            *(offset.a.eq(self.offset), offset.b.eq(self.zero)),
            offset.c.eq(late_sum.shift_left(self.config.zero_fraction_bits)),
            offset.z.eq(ZSource.C),
            scale.a.eq(offset.p),
            scale.b.eq(delay(m, self.advance, "scale", self.scale, scale_at)[-1]),
            scale.c.eq(self.before),
            scale.z.eq(Mux(self.first, Const(ZSource.ZERO, 3), Const(ZSource.C, 3))),
            self.total.eq(scale.p),
        ]
        return m


class Requantise(wiring.Component):
    """A total divided by 2**scale_shift, rounded half to even, and saturated.

    Members:
        advance: both registers hold while it is low.
        total: a row's total.
        output: `ROUNDING_CYCLES` later.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "total": In(signed(P_BITS)),
                "output": Out(signed(config.output_bits)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"requantise_{self.config.scale_shift}to{self.config.output_bits}"

    def elaborate(self, platform: object) -> Module:
        """Saturate what lies below and decide whether to round up; then add."""
        m = Module()
        shift, bits = self.config.scale_shift, self.config.output_bits
        low, high = signed_range(bits)
        floor = Signal(signed(max(P_BITS - shift, bits)))
        kept, beyond = floor[:bits].as_signed(), floor[bits - 1 :]
        fits, rises, saturated = Signal(), Signal(), Signal(signed(bits), reset_less=True)
        m.d.comb += [
            floor.eq(self.total >> shift),
            fits.eq(beyond.all() | ~beyond.any()),  # all of them are the sign
        ]
        half, rest = self.total[shift - 1], self.total[: shift - 1].any()
        with m.If(self.advance):
            m.d.sync += [
                saturated.eq(Mux(fits, kept, Mux(self.total < 0, low, high))),
                rises.eq(fits & (kept != high) & half & (rest | floor[0])),
                self.output.eq(saturated + rises),
            ]
        return m


def delay(
    m: Module, advance: Value, name: str, value: Value, cycles: int, *, reset: bool = False
) -> list[Value]:
    """Return `value` as it is, 1, 2, ... and `cycles` cycles of `advance` later.

    Args:
        reset: a reset clears it; data beside a bit that says whether they count need none.
    """
    stages = [value]
    for k in range(1, cycles + 1):
        stage = Signal(value.shape(), name=f"{name}_{k}_later", reset_less=not reset)
        with m.If(advance):
            m.d.sync += stage.eq(stages[-1])
        stages.append(stage)
    return stages


def _widths(config: MatrixEngineConfig) -> str:
    fraction = f"z{f}" if (f := config.zero_fraction_bits) else ""
    return f"{config.accumulator_bits}x{config.scale_bits}{fraction}"

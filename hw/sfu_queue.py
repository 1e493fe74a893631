"""Jobs of the special function unit on their way: registers, steps on scalars, and prepared passes.

A job is taken in order, when the registers that it reads or writes are not waiting for a job before
it. A step goes to the scalar unit, a pass through two stages: first its scalars are read, then what
all lanes need is made of them. Meanwhile the pass before it runs.
"""

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.numbers import signed_range
from golden.spec.special_function_unit import (
    FACTOR_BITS,
    FRACTION_FIELD_BITS,
    LENGTH_BITS,
    MAX_SHIFT,
    REGISTERS,
    WIDE_BITS,
    Operation,
    Reduction,
    Second,
)
from hw.emit import add
from hw.rounding_shift import AMOUNT_BITS
from hw.scalar_unit import ScalarUnit, clamp
from hw.sfu_lane import factors_layout
from hw.sfu_layouts import REGISTER_BITS, job_layout, scalar_layout, write_layout
from hw.sfu_registers import SfuRegisters

PREPARE = 2
"""Stages between a pass taken and a pass that can begin."""


def pass_layout() -> data.StructLayout:
    """A prepared pass: what is known of it before its first word."""
    return data.StructLayout(
        {
            "operation": unsigned(3),
            "more_elements": unsigned(LENGTH_BITS),
            "takes_b": unsigned(1),
            "factors": factors_layout(),
            "amount": unsigned(AMOUNT_BITS),
            "fraction_bits": unsigned(FRACTION_FIELD_BITS),
            "wide": unsigned(1),
            "byte": unsigned(2),
            "reduction": unsigned(2),
            "carry": unsigned(1),
            "target": unsigned(REGISTER_BITS),
        }
    )


class SfuQueue(wiring.Component):
    """The unit's control in front of the lanes.

    Members:
        i_job: stream of `job_layout`.
        o: stream of `pass_layout`: a pass, offered until its last word is begun.
        target, before: a register and what it holds.
        write, written: the scalar that a pass leaves; it is always written at once.
    """

    module_name = "sfu_queue"

    def __init__(self) -> None:
        super().__init__(
            {
                "i_job": In(stream.Signature(job_layout())),
                "o": Out(stream.Signature(pass_layout())),
                "target": In(unsigned(REGISTER_BITS)),
                "before": Out(scalar_layout()),
                "write": In(1),
                "written": In(write_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Hazards, the registers, the scalar unit, and the two stages of a pass."""
        m = Module()
        job = self.i_job.payload
        steps = add(m, platform, "scalar_unit", ScalarUnit)
        registers = add(m, platform, "registers", SfuRegisters)
        is_step, free, taken = job.operation[3], Signal(), Signal()
        m.d.comb += [
            *(registers.scale.eq(job.scale), registers.other.eq(job.other)),
            *(registers.target.eq(self.target), self.before.eq(registers.target_value)),
            *(registers.write_pass.eq(self.write), registers.written_pass.eq(self.written)),
            *(registers.write_step.eq(steps.write), registers.written_step.eq(steps.written)),
            taken.eq(
                self.i_job.valid
                & ~self._waits(m, job, taken, steps)
                & Mux(is_step, steps.idle, free)
            ),
            self.i_job.ready.eq(taken),
            steps.start.eq(taken & is_step),
            *(getattr(steps, f).eq(job[f]) for f in ("operation", "first", "shift", "target")),
            *(steps.x.eq(registers.scale_value), steps.epsilon.eq(registers.other_value.value)),
        ]
        self._prepare(m, taken & ~is_step, free, registers.scale_value, registers.other_value)
        return m

    def _waits(self, m: Module, job: Value, taken: Value, steps: ScalarUnit) -> Value:
        """Return whether a register of the job still waits for its value."""
        waiting = Signal(REGISTERS)
        is_step = job.operation[3]
        reads_scale = Mux(is_step, job.operation != Operation.LOAD, job.scaled)
        reads_other = Mux(
            is_step, job.operation == Operation.INVERSE_ROOT, job.source == Second.SCALAR
        )
        uses_target = is_step | (job.reduction != Reduction.NONE)
        # A register's value can be read in the cycle after it was written.
        for writes, written in ((self.write, self.written), (steps.write, steps.written)):
            with m.If(writes):
                m.d.sync += waiting.bit_select(written.target, 1).eq(0)
        with m.If(taken & uses_target):
            m.d.sync += waiting.bit_select(job.target, 1).eq(1)
        return (
            (reads_scale & waiting.bit_select(job.scale, 1))
            | (reads_other & waiting.bit_select(job.other, 1))
            | (uses_target & waiting.bit_select(job.target, 1))
        )

    def _prepare(self, m: Module, enters: Value, free: Signal, scale: Value, other: Value) -> None:
        """The two stages, and the pass that is offered."""
        job = Signal(job_layout(), reset_less=True)
        read, added = (
            Signal(scalar_layout(), reset_less=True),
            Signal.like(other.value, name="added", reset_less=True),
        )
        ready = Signal(pass_layout(), reset_less=True)
        has_job, is_ready = Signal(), Signal()
        moves_on, offers = Signal(), Signal()
        m.d.comb += [
            offers.eq(~self.o.valid | self.o.ready),
            moves_on.eq(~is_ready | offers),
            free.eq(~has_job | moves_on),
        ]
        with m.If(free):
            m.d.sync += [has_job.eq(enters), job.eq(self.i_job.payload), read.eq(scale)]
            m.d.sync += added.eq(other.value)
        with m.If(moves_on):
            m.d.sync += [is_ready.eq(has_job), ready.eq(_prepared(m, job, read, added))]
        with m.If(offers):
            m.d.sync += [self.o.valid.eq(is_ready), self.o.payload.eq(ready)]


def _prepared(m: Module, job: Value, scale: Value, other: Value) -> Value:
    """Return the pass of a job, its scalars being what they are."""
    o = Signal(pass_layout())
    exponent = Mux(job.scaled, scale.exponent, 0)
    squares = job.operation == Operation.SQUARES
    shift = job.shift + Mux(squares, Mux(exponent < 0, 0, exponent), -exponent)
    first = Signal(signed(FACTOR_BITS))
    m.d.comb += first.eq(Mux(job.scaled & ~squares, scale.value[: FACTOR_BITS - 1], job.first))
    low, high = signed_range(WIDE_BITS)
    scalar = Mux(other > high, high, Mux(other < low, low, other))
    vector, rotate = job.source == Second.VECTOR, job.operation == Operation.ROTATE
    names = ("more_elements", "fraction_bits", "wide", "byte", "reduction", "carry", "target")
    m.d.comb += [
        *(o[name].eq(job[name]) for name in names),
        *(o.operation.eq(job.operation), o.amount.eq(clamp(shift, MAX_SHIFT))),
        o.takes_b.eq(vector | rotate | (job.operation == Operation.PRODUCT)),
        *(o.factors.first.eq(first), o.factors.second.eq(Mux(job.minus, -first, job.second))),
        o.factors.scalar.eq(Mux(job.source == Second.SCALAR, scalar, 0)),
        *(o.factors.vector.eq(vector), o.factors.rotate.eq(rotate)),
    ]
    return o

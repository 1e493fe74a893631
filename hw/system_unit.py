"""Executes a core's SYS instructions: order of units, cores and the host."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import SystemOperation, Unit
from hw.isa import instruction_layout


class SystemUnit(wiring.Component):
    """Every instruction but BARRIER is over one cycle after it is taken.

    Members:
        i: stream of `hw.isa.instruction_layout` of SYS.
        complete: high for a cycle: the instruction has ended.
        clear: high for a cycle: CLEAR was taken.
        arrived: a BARRIER is in work; until `released` is high for a cycle.
        ended: an END was taken; until a reset. interrupt: it asks for the interrupt.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Unit.SYS))),
                "complete": Out(1),
                "clear": Out(1),
                "arrived": Out(1),
                "released": In(1),
                "ended": Out(1),
                "interrupt": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "system_unit"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from an instruction taken to its end; of a BARRIER, from `released`."""
        return 1

    def elaborate(self, platform: object) -> Module:
        """One instruction in work."""
        m = Module()
        busy, barrier = Signal(), Signal()
        begins = Signal()
        op = self.i.payload.op
        m.d.comb += [
            begins.eq(self.i.valid & ~busy),
            self.i.ready.eq(~busy),
            self.arrived.eq(busy & barrier),
            self.complete.eq(busy & (~barrier | self.released)),
            self.clear.eq(begins & (op == SystemOperation.CLEAR)),
        ]
        m.d.sync += busy.eq(begins | (busy & ~self.complete))
        with m.If(begins):
            m.d.sync += barrier.eq(op == SystemOperation.BARRIER)
            with m.If(op == SystemOperation.END):
                m.d.sync += [self.ended.eq(1), self.interrupt.eq(self.i.payload.interrupt)]
        return m

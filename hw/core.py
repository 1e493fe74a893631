"""A core: the units that run a program, and the registers through which a host runs it."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.control import SPACE_BITS
from golden.spec.core import CoreConfig
from golden.spec.isa import ErrorCode
from hw.axi_lite import axi_lite_ports
from hw.control_registers import ControlRegisters
from hw.core_ports import memory_ports
from hw.core_units import CoreUnits, connect, core_name
from hw.emit import add
from hw.load_unit import vector_write_layout


class Core(wiring.Component):
    """Runs one program after the other.

    A program that is over, by its END, by an error or by the host, leaves nothing behind but what
    it wrote: no port begins a further burst, those in flight come to their ends, and then all units
    are reset. The memories on the chip keep their words; scalar registers are undefined.

    Args:
        others: cores beside this one, which get its strips and give it theirs.

    Members:
        s_axi_*: the host's port, see `golden.spec.control`.
        irq: the interrupt, see `hw.control_registers`.
        arrived, released, i_strips, o_strips, m_axi_*: see `hw.core_units.CoreUnits`.
    """

    def __init__(self, config: CoreConfig, others: int = 0) -> None:
        self.config = config
        self.others = others
        strips = stream.Signature(vector_write_layout(config))
        super().__init__(
            {
                **axi_lite_ports(SPACE_BITS),
                "irq": Out(1),
                **{"arrived": Out(1), "released": In(1)},
                "i_strips": In(strips).array(others),
                "o_strips": Out(strips).array(others),
                **memory_ports(config),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"core_{core_name(self.config)}_of{self.others + 1}"

    def elaborate(self, platform: object) -> Module:
        """Start, run, come to rest, reset."""
        m = Module()
        host_ports: dict[str, Any] = {name: getattr(self, name) for name in axi_lite_ports(0)}
        unit_ports: dict[str, Any] = {
            name: getattr(self, name) for name in memory_ports(self.config)
        }
        host = add(m, platform, "registers", ControlRegisters, **host_ports)
        offers, runs, rests, resets = Signal(), Signal(), Signal(), Signal()
        units = add(
            m, platform, "units", CoreUnits, self.config, self.others, reset=resets, **unit_ports
        )
        failed, over, done, stopped = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            failed.eq(units.error.code != ErrorCode.NONE),
            over.eq(runs & (failed | units.ended | host.stop | stopped)),
            units.i_program.valid.eq(offers),
            units.stop.eq(rests),
            host.busy.eq(offers | runs | rests | resets),
            host.failed.eq((runs | rests) & failed),
            host.done.eq(resets & done),
        ]
        m.d.sync += [
            offers.eq(host.start | (offers & ~units.i_program.ready)),
            runs.eq((offers & units.i_program.ready) | (runs & ~over)),
            rests.eq(over | (rests & units.busy)),
            resets.eq(rests & ~units.busy),
            stopped.eq((host.stop | stopped) & host.busy),
        ]
        with m.If(over):
            m.d.sync += done.eq(units.ended & ~failed)
        with m.Elif(failed):  # a burst that was still in flight
            m.d.sync += done.eq(0)
        m.d.comb += [
            units.i_program.payload.eq(host.o_program),
            units.bases.eq(host.bases),
            host.interrupt_request.eq(units.interrupt),
            host.error.eq(units.error),
            *(host.busy_units.eq(units.running), host.waiting_units.eq(units.waiting)),
            *(host.starved.eq(units.starved), host.word_taken.eq(units.fed)),
            host.clear.eq(units.clear),
            self.irq.eq(host.irq),
            *(self.arrived.eq(units.arrived), units.released.eq(self.released)),
        ]
        for k in range(self.others):
            connect(m, self.i_strips[k], units.i_strips[k])
            connect(m, units.o_strips[k], self.o_strips[k])
        return m

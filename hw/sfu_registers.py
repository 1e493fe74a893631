"""The scalar registers of the special function unit: two write ports, so that nobody waits."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.special_function_unit import REGISTERS
from hw.sfu_layouts import REGISTER_BITS, scalar_layout, write_layout

READERS = ("scale", "other", "target")


class SfuRegisters(wiring.Component):
    """A bank in LUT memory for each writer, and which of the two has a register's value.

    What a register holds before it is written is undefined. A value can be read in the cycle after
    it was written. Both writers may write in one cycle, but not the same register.

    Members:
        write_pass, written_pass, write_step, written_step: what passes and steps write.
        scale, other, target: registers that are read; scale_value and so on: what they hold.
    """

    module_name = "sfu_registers"

    def __init__(self) -> None:
        super().__init__(
            {
                **{"write_pass": In(1), "written_pass": In(write_layout())},
                **{"write_step": In(1), "written_step": In(write_layout())},
                **{name: In(unsigned(REGISTER_BITS)) for name in READERS},
                **{f"{name}_value": Out(scalar_layout()) for name in READERS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Two memories, each with a read port for each reader."""
        m = Module()
        by_step = Signal(REGISTERS, reset_less=True)
        banks = []
        for number, name in enumerate(("pass", "step")):
            bank = memory.Memory(shape=scalar_layout(), depth=REGISTERS, init=[])
            m.submodules[f"bank_{name}"] = bank
            writes, written = getattr(self, f"write_{name}"), getattr(self, f"written_{name}")
            port = bank.write_port()
            m.d.comb += [
                *(port.en.eq(writes), port.addr.eq(written.target)),
                port.data.eq(written.scalar),
            ]
            with m.If(writes):
                m.d.sync += by_step.bit_select(written.target, 1).eq(number)
            banks.append(bank)
        for name in READERS:
            register = getattr(self, name)
            ports = [bank.read_port(domain="comb") for bank in banks]
            m.d.comb += [
                *(port.addr.eq(register) for port in ports),
                getattr(self, f"{name}_value").eq(
                    Mux(
                        by_step.bit_select(register, 1),
                        ports[1].data.as_value(),
                        ports[0].data.as_value(),
                    )
                ),
            ]
        return m

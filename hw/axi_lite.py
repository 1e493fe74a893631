"""An AXI4-Lite port (Arm IHI 0022) in front of registers of 32 bits."""

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.emit import add

DATA_BITS = 32
"""Width of the data; AXI4-Lite allows 64 too."""

STROBES = DATA_BITS // 8
"""Bytes of a word of data, each with a strobe."""


class Response(IntEnum):
    """How an access went."""

    OKAY = 0
    SLVERR = 2


def axi_lite_ports(address_bits: int) -> dict[str, wiring.Member]:
    """Return the ports of a slave, by name."""
    members = {
        **{"awaddr": In(address_bits), "awprot": In(3), "awvalid": In(1), "awready": Out(1)},
        **{"wdata": In(DATA_BITS), "wstrb": In(STROBES), "wvalid": In(1), "wready": Out(1)},
        **{"bresp": Out(2), "bvalid": Out(1), "bready": In(1)},
        **{"araddr": In(address_bits), "arprot": In(3), "arvalid": In(1), "arready": Out(1)},
        **{"rdata": Out(DATA_BITS), "rresp": Out(2), "rvalid": Out(1), "rready": In(1)},
    }
    return {f"s_axi_{name}": member for name, member in members.items()}


class AxiLitePort(wiring.Component):
    """Turns AXI4-Lite accesses into reads and writes of registers, one of each at a time.

    No output depends on an input of the bus in the same cycle. Writes and reads do not wait for
    each other. Throughput: a write and a read in every second cycle. Latency: `cycles`.

    An address that is no multiple of 4 is answered SLVERR, and nothing is read or written.
    Protection bits (AxPROT) make no difference.

    Members:
        s_axi_*: see `axi_lite_ports`.
        write: a write happens in this cycle, at the byte address `write_address`: of the bytes of
            `write_data`, those whose bit in `write_strobe` is set.
        write_refused: there is nothing to be written there: the answer is SLVERR. It may depend on
            address, data and strobe of the same cycle, and is to be 0 or 1 without `write` too.
        read: a read happens in this cycle, at the byte address `read_address`.
        read_data, read_refused: what is there, in the same cycle; or that nothing is.
    """

    def __init__(self, address_bits: int) -> None:
        self.address_bits = address_bits
        super().__init__(
            {
                **axi_lite_ports(address_bits),
                "write": Out(1),
                "write_address": Out(address_bits),
                "write_data": Out(DATA_BITS),
                "write_strobe": Out(STROBES),
                "write_refused": In(1),
                "read": Out(1),
                "read_address": Out(address_bits),
                "read_data": In(DATA_BITS),
                "read_refused": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"axi_lite_port_a{self.address_bits}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from an address and its data taken to the response offered.

        The timing contract: exact when the response in front of it is taken at once. A write or
        read happens one cycle before its response is offered.
        """
        return 2

    def elaborate(self, platform: object) -> Module:
        """A register for what each channel takes, and for each response."""
        m = Module()
        has_address, has_data, has_read = Signal(), Signal(), Signal()
        m.d.comb += [
            self.s_axi_awready.eq(~has_address),
            self.s_axi_wready.eq(~has_data),
            self.s_axi_arready.eq(~has_read),
        ]
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [has_address.eq(1), self.write_address.eq(self.s_axi_awaddr)]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [has_data.eq(1), self.write_data.eq(self.s_axi_wdata)]
            m.d.sync += self.write_strobe.eq(self.s_axi_wstrb)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [has_read.eq(1), self.read_address.eq(self.s_axi_araddr)]

        writes, reads, unaligned_write, unaligned_read = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            writes.eq(has_address & has_data & (~self.s_axi_bvalid | self.s_axi_bready)),
            reads.eq(has_read & (~self.s_axi_rvalid | self.s_axi_rready)),
            unaligned_write.eq(self.write_address[:2].any()),
            unaligned_read.eq(self.read_address[:2].any()),
            self.write.eq(writes & ~unaligned_write),
            self.read.eq(reads & ~unaligned_read),
        ]
        with m.If(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(writes):
            refused = unaligned_write | self.write_refused
            m.d.sync += [has_address.eq(0), has_data.eq(0), self.s_axi_bvalid.eq(1)]
            m.d.sync += self.s_axi_bresp.eq(Mux(refused, Response.SLVERR, Response.OKAY))
        with m.If(self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If(reads):
            refused = unaligned_read | self.read_refused
            m.d.sync += [has_read.eq(0), self.s_axi_rvalid.eq(1)]
            m.d.sync += self.s_axi_rresp.eq(Mux(refused, Response.SLVERR, Response.OKAY))
            m.d.sync += self.s_axi_rdata.eq(Mux(refused, 0, self.read_data))
        return m


def add_axi_lite_port(
    m: Module, platform: object, name: str, address_bits: int, own: object
) -> AxiLitePort:
    """Add the port to `m` as the submodule `name`; its `s_axi_*` are the parent's `own`."""
    port: AxiLitePort = add(m, platform, name, AxiLitePort, address_bits)
    for wire, member in axi_lite_ports(address_bits).items():
        ours, theirs = getattr(own, wire), getattr(port, wire)
        m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
    return port

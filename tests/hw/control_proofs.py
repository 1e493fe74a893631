"""What is proven of AXI4-Lite ports, control registers and barriers; broken copies fail it."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from golden.spec.control import SPACE_BITS
from hw.axi_lite import AxiLitePort, Response, axi_lite_ports
from hw.barrier import Barrier
from hw.control_registers import ControlRegisters
from hw.formal import assert_stream

OFFERED = ("awaddr", "awvalid", "wdata", "wstrb", "wvalid", "bready", "araddr", "arvalid", "rready")
"""What a host drives. It need not keep its own rules; ours hold all the same."""


def before(m, value, name):
    """Return the value in the cycle before; 0 in the first one."""
    past = Signal(len(value), name=name)
    m.d.sync += past.eq(value)
    return past


def host_ports(address_bits):
    """Return what a host drives, as free inputs of a proof."""
    ports = axi_lite_ports(address_bits)
    return {name: In(ports[f"s_axi_{name}"].shape) for name in OFFERED}


def connect_host(m, proof, dut):
    """Connect the free host of `proof`."""
    for name in OFFERED:
        m.d.comb += getattr(dut, f"s_axi_{name}").eq(getattr(proof, name))


def assert_axi_lite(m, proof, dut):
    """Assert the rules of the bus.

    What is offered stays until it is taken; every request is answered, once, and nothing else is.
    """
    pin = SimpleNamespace(**{n: getattr(dut, f"s_axi_{n}") for n in response_names()})
    for name, payload, requests in (
        ("b", pin.bresp, {"aw": pin.awready, "w": pin.wready}),
        ("r", Cat(pin.rdata, pin.rresp), {"ar": pin.arready}),
    ):
        valid, ready = getattr(pin, f"{name}valid"), getattr(proof, f"{name}ready")
        answers = SimpleNamespace(valid=valid, ready=ready, payload=payload)
        assert_stream(m, answers, name)
        there = []
        for request, taken in requests.items():
            open_ = Signal(3, name=f"open_{request}")
            enters = getattr(proof, f"{request}valid") & taken
            m.d.sync += open_.eq(open_ + enters - (valid & ready))
            there.append(open_ != 0)
            m.d.comb += [
                Assert(~valid | (open_ != 0), f"no {name} response without a request"),
                Assert(open_ <= 2, f"no more than two {request} requests are open"),
                Assert((open_ != 0) | taken, f"a port without {request} requests takes one"),
            ]
        waits = Cat(there).all() & ~valid
        m.d.comb += Assert(
            ~(waits & before(m, waits, f"{name}_waited")), f"every {name} request is answered"
        )


def response_names():
    """Return the names of what a port drives."""
    return [name.removeprefix("s_axi_") for name in axi_lite_ports(1) if name[6:] not in OFFERED]


class AxiLiteProof(wiring.Component):
    """A port keeps the rules; its reads and writes are those that the host asks for."""

    def __init__(self, port=AxiLitePort, address_bits=4):
        self.port, self.address_bits = port, address_bits
        inputs = {"write_refused": In(1), "read_refused": In(1), "read_data": In(32)}
        super().__init__({**host_ports(address_bits), **inputs})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.port(self.address_bits)
        connect_host(m, self, dut)
        assert_axi_lite(m, self, dut)
        for name in ("write_refused", "read_refused", "read_data"):
            m.d.comb += getattr(dut, name).eq(getattr(self, name))
        address = self.last_taken(m, self.awvalid & dut.s_axi_awready, self.awaddr, "aw")
        given = Cat(self.wdata, self.wstrb)
        data = self.last_taken(m, self.wvalid & dut.s_axi_wready, given, "w")
        read = self.last_taken(m, self.arvalid & dut.s_axi_arready, self.araddr, "ar")
        written = Cat(dut.write_data, dut.write_strobe)
        m.d.comb += [
            Assert(~dut.write | (dut.write_address == address), "a write has its address"),
            Assert(~dut.write | (written == data), "a write has its data"),
            Assert(~dut.read | (dut.read_address == read), "a read has its address"),
        ]
        self.answers(m, "b", dut.write, address, dut.write_refused, dut)
        self.answers(m, "r", dut.read, read, dut.read_refused, dut)
        got = Mux(dut.s_axi_rresp == Response.OKAY, before(m, self.read_data, "was_data"), 0)
        m.d.comb += Assert(~self.is_new(m, "r", dut) | (dut.s_axi_rdata == got), "data are right")
        return m

    def last_taken(self, m, enters, payload, name):
        taken = Signal(len(payload), name=f"taken_{name}")
        with m.If(enters):
            m.d.sync += taken.eq(payload)
        return taken

    def is_new(self, m, name, dut):
        """Return whether a response is offered for the first time."""
        valid, ready = getattr(dut, f"s_axi_{name}valid"), getattr(self, f"{name}ready")
        return valid & ~before(m, valid & ~ready, f"{name}_waits_since")

    def answers(self, m, name, happens, address, refused, dut):
        """Assert that what happens is answered in the next cycle, and how."""
        happened = before(m, happens, f"{name}_happened")
        no = before(m, refused, f"{name}_refused")
        unaligned = before(m, address[:2].any(), f"{name}_unaligned")
        new = self.is_new(m, name, dut)
        right = Mux(unaligned | no, Response.SLVERR, Response.OKAY)
        response = getattr(dut, f"s_axi_{name}resp")
        m.d.comb += [
            Assert(~happened | new, f"what happens has a {name} response"),
            Assert(~new | (happened != unaligned), f"{name} accesses happen if they are aligned"),
            Assert(~new | (response == right), f"the {name} response is right"),
        ]


class ControlProof(wiring.Component):
    """Control registers keep the contract with the core, whatever the host and the core do.

    Their port is proven by `AxiLiteProof`.
    """

    def __init__(self, registers=ControlRegisters):
        self.registers = registers()
        self.inputs = [
            *("busy", "done", "interrupt_request", "failed", "error", "busy_units"),
            *("waiting_units", "starved", "word_taken", "clear"),
        ]
        members = self.registers.signature.members
        inputs = {name: members[name] for name in self.inputs}
        super().__init__({**host_ports(SPACE_BITS), **inputs})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.registers
        connect_host(m, self, dut)
        for name in self.inputs:
            m.d.comb += getattr(dut, name).eq(getattr(self, name))
        settings = Cat(dut.o_program.as_value(), dut.bases.as_value())
        locked = before(m, self.busy | dut.start, "was_locked")
        m.d.comb += [
            Assert(~(dut.start & self.busy), "nothing starts while it is busy"),
            Assert(~dut.stop | self.busy, "nothing stops while it is not busy"),
            Assert(
                ~locked | (settings == before(m, settings, "last_settings")),
                "program and bases hold still while it is busy",
            ),
        ]
        return m


class BarrierProof(wiring.Component):
    """All cores are released together, one cycle after the last one has arrived."""

    def __init__(self, cores, barrier=Barrier):
        self.cores, self.barrier = cores, barrier
        super().__init__({"arrived": In(cores)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.barrier(self.cores)
        m.d.comb += dut.arrived.eq(self.arrived)
        released = dut.released.any()
        since, was = before(m, self.arrived, "since"), before(m, dut.released, "was_released")
        taken_back = Signal()
        m.d.comb += taken_back.eq(
            before(m, taken_back, "ever") | (since & ~was & ~self.arrived).any()
        )
        m.d.comb += [
            Assert(~released | dut.released.all(), "cores are released together"),
            Assert(~released | since.all(), "no core is released before all have arrived"),
            Assert(~(released & was.any()), "a release is one cycle"),
            Assert(~since.all() | was.any() | released, "when all have arrived they are released"),
            Assert(~released | taken_back | self.arrived.all(), "all see their release"),
        ]
        return m

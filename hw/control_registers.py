"""The control and status registers of a core, behind an AXI4-Lite port."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.control import (
    COUNTER_BITS,
    COUNTERS,
    COUNTERS_OFFSET,
    IDENTITY,
    MAX_PROGRAM_WORDS,
    REGISTER_BITS,
    REGISTERS,
    SPACE_BITS,
    Access,
    Control,
    Status,
)
from golden.spec.isa import ADDRESS_BITS, BASES, PC_BITS, ErrorCode, Unit
from hw.axi_lite import AxiLitePort, add_axi_lite_port, axi_lite_ports
from hw.isa import error_layout


def program_layout() -> data.StructLayout:
    """A program: the byte address of its first word, and its words less 1."""
    return data.StructLayout({"address": unsigned(ADDRESS_BITS), "more_words": unsigned(PC_BITS)})


def bases_layout() -> data.ArrayLayout:
    """The base registers."""
    return data.ArrayLayout(unsigned(ADDRESS_BITS), BASES)


class ControlRegisters(wiring.Component):
    """Lets a host start a program, see how it went, and count its cycles.

    The registers are those of `golden.spec.control`. A start sets all counters, DONE, ERROR,
    INTERRUPT, ERROR_CODE and ERROR_PC to 0. An event of the core comes before a host that sets its
    bit to 0 in the same cycle. Latency of an access: `AxiLitePort.cycles`.

    Members:
        s_axi_*: see `hw.axi_lite.axi_lite_ports`; addresses of `SPACE_BITS` bits.
        start: a program begins: `o_program`; never while `busy`.
        stop: it is broken off; only while `busy`.
        o_program: `program_layout`; it holds still from `start` until `busy` has fallen.
        bases: `bases_layout`; they hold still as long.
        busy: a program runs: high from the cycle after `start` on, until the core can take the
            next one. It falls after `done`, and after a failure or `stop` as soon as the core has
            come to rest.
        done: the program has ended, in this cycle, while `busy`; `interrupt_request`, beside it,
            says whether it raises the interrupt.
        failed: it is stopped by an error, `error`, in this cycle, while `busy`; that raises the
            interrupt too. Only the first one of a program counts.
        error: `hw.isa.error_layout`, beside `failed`.
        busy_units, waiting_units: a bit for each unit: it executes an instruction, or its next one
            waits for tokens.
        starved: the matrix unit has a job, and no chain takes a word.
        word_taken: some chain takes a word.
        clear: sets all counters to 0; what happens in the same cycle is not counted.
        irq: the interrupt: STATUS.INTERRUPT, if it is enabled.
    """

    def __init__(self) -> None:
        units = len(Unit)
        super().__init__(
            {
                **axi_lite_ports(SPACE_BITS),
                "start": Out(1),
                "stop": Out(1),
                "o_program": Out(program_layout()),
                "bases": Out(bases_layout()),
                "busy": In(1),
                "done": In(1),
                "interrupt_request": In(1),
                "failed": In(1),
                "error": In(error_layout()),
                "busy_units": In(units),
                "waiting_units": In(units),
                "starved": In(1),
                "word_taken": In(1),
                "clear": In(1),
                "irq": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "control_registers"

    def elaborate(self, platform: object) -> Module:
        """Registers that the host writes, those that the core writes, and counters."""
        m = Module()
        port = add_axi_lite_port(m, platform, "port", SPACE_BITS, self)
        words = Signal(PC_BITS + 1)
        address = Signal(ADDRESS_BITS)
        bases = [Signal(ADDRESS_BITS, name=f"base_{number}") for number in range(BASES)]
        enable = Signal()
        status = {flag: Signal(name=str(flag.name).lower()) for flag in Status}
        error = Signal(error_layout())
        settings = {
            "INTERRUPT_ENABLE": enable,
            "PROGRAM_WORDS": words,
            **_halves("PROGRAM_ADDRESS", address),
        }
        for number, base in enumerate(bases):
            settings |= _halves(f"BASE_{number}", base)
        m.d.comb += [
            self.o_program.address.eq(address),
            self.o_program.more_words.eq(words - 1),
            Cat(self.bases).eq(Cat(bases)),
            status[Status.BUSY].eq(self.busy),
            self.irq.eq(status[Status.INTERRUPT] & enable),
        ]
        self._write(m, port, settings, status, words)
        self._note_events(m, status, error)
        self._read(
            m,
            port,
            {
                "IDENTITY": Const(IDENTITY, REGISTER_BITS),
                "CONTROL": Const(0),
                "STATUS": Cat(status.values()),
                "ERROR_CODE": error.code,
                "ERROR_PC": error.pc,
                **settings,
            },
            self._count(m),
        )
        return m

    def _write(
        self,
        m: Module,
        port: AxiLitePort,
        settings: Mapping[str, Value],
        status: Mapping[Status, Signal],
        words: Signal,
    ) -> None:
        """Do what the host writes, or refuse it."""
        command = Mux(port.write_strobe[0], port.write_data[: len(Control)], 0)
        starts, stops = (command & flag != 0 for flag in Control)
        cannot_start = self.busy | stops | (words == 0) | (words > MAX_PROGRAM_WORDS)
        m.d.comb += port.write_refused.eq(1)
        with m.Switch(port.write_address):
            with m.Case(REGISTERS["CONTROL"].offset):
                m.d.comb += [
                    port.write_refused.eq(starts & cannot_start),
                    self.start.eq(port.write & starts & ~cannot_start),
                    self.stop.eq(port.write & stops & ~starts & self.busy),
                ]
            with m.Case(REGISTERS["STATUS"].offset):
                m.d.comb += port.write_refused.eq(0)
                for place, (flag, value) in enumerate(status.items()):
                    cleared = port.write & port.write_strobe[0] & port.write_data[place]
                    if flag is not Status.BUSY:
                        with m.If(cleared):
                            m.d.sync += value.eq(0)
            for name, value in settings.items():
                with m.Case(REGISTERS[name].offset):
                    locked = REGISTERS[name].access is Access.SETTING
                    m.d.comb += port.write_refused.eq(self.busy & locked)
                    with m.If(port.write & ~port.write_refused):
                        _store(m, value, port)

    def _note_events(self, m: Module, status: Mapping[Status, Signal], error: data.View) -> None:
        """Keep what the core reports: it comes before what the host writes in the same cycle."""
        with m.If(self.start):
            m.d.sync += [status[flag].eq(0) for flag in Status if flag is not Status.BUSY]
            m.d.sync += error.eq(0)
        with m.If(self.done):
            m.d.sync += status[Status.DONE].eq(1)
            with m.If(self.interrupt_request):
                m.d.sync += status[Status.INTERRUPT].eq(1)
        with m.If(self.failed & (error.code == ErrorCode.NONE)):
            m.d.sync += [status[flag].eq(1) for flag in (Status.ERROR, Status.INTERRUPT)]
            m.d.sync += error.eq(self.error)

    def _count(self, m: Module) -> data.View:
        """Count events while a program runs; return the counters, in the order of `COUNTERS`."""
        events = {"CYCLES": Const(1), "WORDS": self.word_taken, "STARVED": self.starved}
        for unit in Unit:
            events[f"BUSY_{unit.name}"] = self.busy_units[unit]
            events[f"WAITING_{unit.name}"] = self.waiting_units[unit]
        counters = Signal(data.ArrayLayout(unsigned(COUNTER_BITS), len(COUNTERS)))
        for number, name in enumerate(COUNTERS):
            counter = counters[number]
            with m.If(self.start | self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(self.busy & events[name]):
                m.d.sync += counter.eq(counter + 1)
        return counters

    def _read(
        self, m: Module, port: AxiLitePort, values: Mapping[str, Value], counters: data.View
    ) -> None:
        """Give the host what it reads. The low half of a counter keeps its high half for later."""
        kept = Signal(REGISTER_BITS)
        place = Signal(SPACE_BITS)
        is_high, number = place[2], place[3:]
        m.d.comb += place.eq(port.read_address - COUNTERS_OFFSET)
        counter = Signal(COUNTER_BITS)
        m.d.comb += counter.eq(counters[number])
        with m.If(number < len(COUNTERS)):
            m.d.comb += port.read_data.eq(Mux(is_high, kept, counter))
            with m.If(port.read & ~is_high):
                m.d.sync += kept.eq(counter[REGISTER_BITS:])
        with m.Else():
            m.d.comb += port.read_refused.eq(1)
            with m.Switch(port.read_address):
                for name, value in values.items():
                    with m.Case(REGISTERS[name].offset):
                        m.d.comb += [port.read_data.eq(value), port.read_refused.eq(0)]


def _halves(name: str, value: Value) -> dict[str, Value]:
    """Return the two registers that a number of more than 32 bits stands in, by name."""
    return {f"{name}_LOW": value[:REGISTER_BITS], f"{name}_HIGH": value[REGISTER_BITS:]}


def _store(m: Module, value: Value, port: AxiLitePort) -> None:
    """Put the bytes that are written into a register; bits that it does not have are lost."""
    for lane, strobe in enumerate(port.write_strobe):
        low = 8 * lane
        if low < len(value):
            with m.If(strobe):
                m.d.sync += value[low : low + 8].eq(port.write_data[low:])

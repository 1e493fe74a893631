"""Expands a load into runs: three nested loops, at the same address in every channel it names."""

from collections.abc import Sequence
from math import prod

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.axi import AxiConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import ADDRESS_BITS, BASES, CHANNELS, FORMATS, Unit
from hw.emit import add
from hw.isa import instruction_layout, run_layout

LOOPS = (1, 2, 3)
"""Levels of loops, the innermost first."""

COUNT_BITS = FORMATS[Unit.LD].field("count_1").bits
LENGTH_BITS = FORMATS[Unit.LD].field("length").bits


def strides_layout() -> data.StructLayout:
    """Runs of `length` at `address + i1 * stride_1 + i2 * stride_2 + i3 * stride_3`.

    i1 counts to `count_1` - 1 first. Addresses are modulo 2**34.
    """
    counts = {f"count_{level}": unsigned(COUNT_BITS) for level in LOOPS}
    strides = {f"stride_{level}": signed(ADDRESS_BITS) for level in LOOPS}
    return data.StructLayout({"address": ADDRESS_BITS, "length": LENGTH_BITS, **counts, **strides})


def strided_run_layout() -> data.StructLayout:
    """One run, and whether it is the last one."""
    return data.StructLayout({"address": ADDRESS_BITS, "length": LENGTH_BITS, "last": 1})


class StridedRuns(wiring.Component):
    """Gives the runs of three nested loops.

    Throughput: one run per cycle, from job to job. Latency: one cycle. `i.ready` depends on
    `o.ready`.

    Members:
        i: stream of `strides_layout`; counts are 1 or more.
        o: stream of `strided_run_layout`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(strides_layout())),
                "o": Out(stream.Signature(strided_run_layout())),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "strided_runs"

    @staticmethod
    def cycles(counts: Sequence[Sequence[int]]) -> int:
        """Return the cycles of successive jobs, from the first one offered to the last run given.

        The timing contract: exact when no stream waits.

        Args:
            counts: of the three loops of each job.
        """
        return sum(map(prod, counts)) + 1

    def elaborate(self, platform: object) -> Module:
        """Each loop has where its present round began, and how many rounds are left."""
        m = Module()
        job = Signal(strides_layout())
        active = Signal()
        begins = [Signal(ADDRESS_BITS, name=f"begin_{level}") for level in LOOPS]
        left = [Signal(COUNT_BITS, name=f"left_{level}") for level in LOOPS]
        more = [rounds != 1 for rounds in left]
        gives = self.o.valid & self.o.ready
        # The innermost loop that has a round left goes on; those in it begin anew from there.
        onward = Signal(ADDRESS_BITS)
        m.d.comb += [
            self.o.valid.eq(active),
            self.o.payload.address.eq(begins[0]),
            self.o.payload.length.eq(job.length),
            self.o.payload.last.eq(~Cat(more).any()),
            onward.eq(
                Mux(more[0], begins[0], Mux(more[1], begins[1], begins[2]))
                + Mux(more[0], job.stride_1, Mux(more[1], job.stride_2, job.stride_3))
            ),
            self.i.ready.eq(~active | (gives & self.o.payload.last)),
        ]
        with m.If(gives):
            m.d.sync += [begins[0].eq(onward), left[0].eq(left[0] - 1)]
            with m.If(~more[0]):
                m.d.sync += [left[0].eq(job.count_1), begins[1].eq(onward), left[1].eq(left[1] - 1)]
                with m.If(~more[1]):
                    m.d.sync += [left[1].eq(job.count_2), begins[2].eq(onward)]
                    m.d.sync += left[2].eq(left[2] - 1)
            with m.If(self.o.payload.last):
                m.d.sync += active.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [job.eq(self.i.payload), active.eq(1)]
            for level in LOOPS:
                m.d.sync += begins[level - 1].eq(self.i.payload.address)
                m.d.sync += left[level - 1].eq(self.i.payload[f"count_{level}"])
        return m


class LoadExpander(wiring.Component):
    """Expands LD instructions into jobs of readers: those of its channels, or the general port's.

    A run is offered to all ports of its instruction; each takes it when it is ready, and the next
    run follows with the last of them. So ports are at most one run apart.

    Throughput: one run per cycle for all ports together. Latency: one cycle. `i.ready` depends on
    the outputs' `ready`; no output's `valid` does.

    Args:
        channels: memory channels of the core, 0 to 32.

    Members:
        i: stream of `hw.isa.instruction_layout` of LD; taken a cycle before its first run is
            offered, at the earliest with the last run of the instruction in front of it.
        bases: the base registers; they may change only while no instruction is offered.
        o: a stream of `hw.isa.run_layout` for each channel.
        o_general: the same for the general port.
        given: high in the cycle in which the last port takes the last run of an instruction.

    Raises:
        ConfigError: `channels` is outside its range, or a reader's addresses or jobs have other
            widths than an instruction's.
    """

    def __init__(self, config: AxiConfig, channels: int) -> None:
        if not 0 <= channels <= CHANNELS:
            raise ConfigError(f"channels is {channels!r}; allowed are 0 to {CHANNELS}")
        if config.address_bits != ADDRESS_BITS:
            raise ConfigError(
                f"address_bits is {config.address_bits!r}; instructions have {ADDRESS_BITS}"
            )
        if config.length_bits < LENGTH_BITS:
            raise ConfigError(
                f"length_bits is {config.length_bits!r}; instructions have {LENGTH_BITS}"
            )
        self.config = config
        self.channels = channels
        run = stream.Signature(run_layout(config))
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Unit.LD))),
                "bases": In(data.ArrayLayout(unsigned(ADDRESS_BITS), BASES)),
                "o": Out(run).array(channels),
                "o_general": Out(run),
                "given": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"load_expander_c{self.channels}_l{self.config.length_bits}"

    cycles = staticmethod(StridedRuns.cycles)
    """The timing contract: exact when no stream waits, however many channels there are."""

    def elaborate(self, platform: object) -> Module:
        """The loops, and a fork of their runs to the ports of the present instruction."""
        m = Module()
        runs = add(m, platform, "runs", StridedRuns)
        load = self.i.payload
        ports = [*self.o, self.o_general]
        wanted, served = Signal(len(ports)), Signal(len(ports))
        done = served | ~wanted | Cat(port.ready for port in ports)
        m.d.comb += [
            runs.i.valid.eq(self.i.valid),
            self.i.ready.eq(runs.i.ready),
            runs.i.payload.address.eq(self.bases[load.base] + load.offset),
            *(
                runs.i.payload[name].eq(load[name])
                for name in strides_layout().members
                if name != "address"
            ),
            runs.o.ready.eq(done.all()),
            self.given.eq(runs.o.valid & runs.o.ready & runs.o.payload.last),
        ]
        with m.If(self.i.valid & self.i.ready):
            named = load.channels[: self.channels]
            m.d.sync += wanted.eq(Cat(named, ~load.channels.any()))
        with m.If(runs.o.valid):
            m.d.sync += served.eq(Mux(done.all(), 0, done & wanted))
        for k, port in enumerate(ports):
            m.d.comb += [
                port.valid.eq(runs.o.valid & wanted[k] & ~served[k]),
                port.payload.address.eq(runs.o.payload.address),
                port.payload.more_words.eq(runs.o.payload.length - 1),
                port.payload.last.eq(runs.o.payload.last),
            ]
        return m

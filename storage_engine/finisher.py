"""The finisher: from the slices' sums to a job's outputs in FP16, with SparF's compensation.

`golden.attention_engine.outputs` and `attention_engine_formats.to_half` are its twins. A job goes
through these states; those from WHOLE on once for each query, and without compensation only those
that it needs:

    JOB           the job is taken
    TOKENS        the number of tokens is inverted
    MEANS         the sum of all values is divided by it, and kept
    WHOLE         the first step's mass over all tokens is taken and inverted
    KEPT          that of the kept tokens is taken and divided by it: alpha
    MASS          the attention's mass comes from the slices and is inverted
    ROWS          the rows are divided by it and weighed against the mean
    DRAIN         the last outputs leave
"""

from enum import Enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.spec.attention_engine import BIN_OCTAVES, BINS, WEIGHT_FRACTION_BITS
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.special_function_unit import MANTISSA_BITS, WIDE_BITS
from hw.emit import add
from hw.group_scale import delay
from hw.mux import select
from storage_engine.engine_layouts import (
    finisher_job_layout,
    half_layout,
    partial_layout,
    value_sum_layout,
)
from storage_engine.finisher_divide import AMOUNT_BITS, WEIGHT_BITS, FinisherDivide, FinisherWeigh
from storage_engine.finisher_merge import FinisherMerge
from storage_engine.finisher_reciprocal import FinisherReciprocal
from storage_engine.fixed_to_half import FRACTION_BITS, FixedToHalf

ONE = 1 << WEIGHT_FRACTION_BITS

ROOM_BITS = WIDE_BITS - MANTISSA_BITS
"""A mixture has 16 bits more than a value; shifted by this less a value's bits it has 27."""

MEAN_UNIT = MANTISSA_BITS - 1
"""The mean is divided in units in which a token has a power of 2**15."""

DEPTH = 1 + FinisherDivide.cycles() + FinisherWeigh.cycles() + FixedToHalf.cycles()
"""Cycles from an element's row to its FP16 number."""


class State(Enum):
    """What the unit is at; INVERT goes on to `then`."""

    JOB = 0
    TOKENS = 1
    MEANS = 2
    WHOLE = 3
    KEPT = 4
    MASS = 5
    ROWS = 6
    INVERT = 7
    DRAIN = 8


class Kind(Enum):
    """What is in the divider: nothing, a mean, a kept mass, or an output."""

    NONE = 0
    MEAN = 1
    KEPT = 2
    OUTPUT = 3


class Finisher(wiring.Component):
    """The finisher. Throughput: an element per cycle, and a row in four at most. `cycles` says all.

    Members:
        i_job: stream of `finisher_job_layout`.
        i_value_sum: stream of `value_sum_layout`, row by row, of a job that compensates.
        i_mass: stream of unsigned masses, of a job that compensates: for each query four bins of
            the first step's mass over all tokens, the lowest first, and the same four bins over the
            kept tokens, of whose masses none is more than that over all.
        i_partial_0, i_partial_1, ...: a stream of `partial_layout` from each slice.
        o: stream of `half_layout`: the outputs, query by query.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        partial = stream.Signature(partial_layout(config))
        super().__init__(
            {
                "i_job": In(stream.Signature(finisher_job_layout(config))),
                "i_value_sum": In(stream.Signature(value_sum_layout(config))),
                "i_mass": In(stream.Signature(unsigned(config.attention.mass_bits))),
                **{f"i_partial_{c}": In(partial) for c in range(config.flash_channels)},
                "o": Out(stream.Signature(half_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        shape = f"{c.flash_channels}x{c.lanes}of{c.head_size}g{c.queries}"
        return f"finisher_{shape}_{c.kv_bits}x{c.context_bits}"

    @staticmethod
    def cycles(config: DriveEngineConfig, *, compensates: bool) -> int:
        """Return the cycles from a job offered to its last outputs taken: the contract.

        Exact when the unit is idle, all is offered at once, and no slice's top is one to three bins
        below the highest one. Each cycle in which `o` waits is one more; so is, for each query at
        most, each bin of the largest such distance.
        """
        rows, lanes, queries = config.rows, config.lanes, config.queries
        invert = 1 + FinisherReciprocal.cycles(config.attention.mass_bits)
        # Two rows wait when a query's masses are inverted; the others come every four cycles.
        outputs = invert + max(2 * lanes + BINS * (rows - 2), rows * lanes)
        if compensates:
            means = 1 + invert + rows * lanes
            weight = 2 * (BINS + 1) + invert - 1
            return means + queries * (weight + outputs) + DEPTH + 1
        mass = FinisherMerge.cycles(config)
        wait = max(mass - ceil_log2(config.flash_channels) - lanes - 1, 0)
        return mass + queries * outputs + (queries - 1) * wait + DEPTH + 1

    def elaborate(self, platform: object) -> Module:
        """Masses are inverted; elements are divided, weighed, and become FP16."""
        m = Module()
        r = _Registers(self.config)
        advance = Signal()
        m.d.comb += advance.eq(~self.o.valid | self.o.ready)
        merge = add(m, platform, "merge", FinisherMerge, self.config)
        m.d.comb += merge.advance.eq(advance)
        for channel in range(self.config.flash_channels):
            own, its = getattr(self, f"i_partial_{channel}"), getattr(merge, f"i_{channel}")
            m.d.comb += [its.payload.eq(own.payload), its.valid.eq(own.valid)]
            m.d.comb += own.ready.eq(its.ready)
        inverse = add(m, platform, "inverse", FinisherReciprocal, self.config.attention.mass_bits)
        m.d.comb += inverse.advance.eq(advance)

        self._lead(m, r, advance, merge.o, inverse)
        value, kind = self._element(m, r, advance, merge.o)
        self._finish(m, platform, r, advance, inverse, value, kind)
        return m

    def _lead(
        self,
        m: Module,
        r: "_Registers",
        advance: Value,
        rows: wiring.PureInterface,
        inverse: wiring.PureInterface,
    ) -> None:
        """Go from state to state; take jobs, masses and tokens, and have them inverted."""
        takes_mass = (r.state == State.WHOLE) | (r.state == State.KEPT)
        full = r.bin == BINS
        m.d.comb += [
            self.i_job.ready.eq(advance & (r.state == State.JOB)),
            self.i_mass.ready.eq(advance & takes_mass & ~full),
            inverse.mass.eq(r.mass),
            inverse.start.eq(r.starts),
        ]
        with m.If(advance):
            m.d.sync += r.starts.eq(0)
            with m.Switch(r.state):
                with m.Case(State.JOB):
                    m.d.sync += [
                        *(r.compensates.eq(self.i_job.payload.compensates), r.weight.eq(ONE)),
                        r.fraction.eq(
                            self.i_job.payload.value_fraction
                            + self.config.attention.output_fraction_bits
                        ),
                        r.mass.eq(self.i_job.payload.tokens << MEAN_UNIT),
                    ]
                    with m.If(self.i_job.valid):
                        m.d.sync += r.state.eq(
                            Mux(self.i_job.payload.compensates, State.TOKENS, State.MASS)
                        )
                with m.Case(State.TOKENS):
                    self._invert(m, r, State.MEANS)
                with m.Case(State.WHOLE), m.If(full):
                    self._invert(m, r, State.KEPT)
                with m.Case(State.KEPT), m.If(full):
                    m.d.sync += [r.state.eq(State.MASS), r.bin.eq(0)]
                with m.Case(State.MASS):
                    m.d.sync += r.mass.eq(rows.payload[0])
                    with m.If(rows.valid):
                        self._invert(m, r, State.ROWS)
                with m.Case(State.INVERT), m.If(inverse.done):
                    m.d.sync += r.state.eq(r.then)
                with m.Case(State.DRAIN):
                    m.d.sync += r.drained.eq(r.drained + 1)
                    with m.If(r.drained == DEPTH - 1):
                        m.d.sync += [r.state.eq(State.JOB), r.drained.eq(0)]
            with m.If(self.i_mass.valid & self.i_mass.ready):
                total = _collapsed(r.mass, self.i_mass.payload)
                m.d.sync += [
                    r.mass.eq(Mux(r.bin == 0, self.i_mass.payload, total)),
                    r.bin.eq(r.bin + 1),
                ]
            with m.If(r.ends_rows):
                with m.If(r.state == State.MEANS):
                    m.d.sync += r.state.eq(State.WHOLE)
                with m.Else():
                    last = r.query == self.config.queries - 1
                    more = Mux(r.compensates, State.WHOLE, State.MASS)
                    m.d.sync += r.query.eq(Mux(last, 0, r.query + 1))
                    m.d.sync += r.state.eq(Mux(last, State.DRAIN, more))

    def _invert(self, m: Module, r: "_Registers", then: State) -> None:
        m.d.sync += [r.starts.eq(1), r.state.eq(State.INVERT), r.then.eq(then), r.bin.eq(0)]

    def _element(
        self, m: Module, r: "_Registers", advance: Value, rows: wiring.PureInterface
    ) -> tuple[Value, Value]:
        """Take rows of sums, element by element; return what goes to the divider, and its kind."""
        config = self.config
        means, outputs = r.state == State.MEANS, r.state == State.ROWS
        goes, last = Signal(), Signal()
        m.d.comb += [
            goes.eq((means & self.i_value_sum.valid) | (outputs & rows.valid)),
            last.eq(r.lane == config.lanes - 1),
            self.i_value_sum.ready.eq(advance & means & last),
            rows.ready.eq(advance & ((outputs & last) | (r.state == State.MASS))),
            r.ends_rows.eq(goes & last & (r.row == config.rows - 1)),
        ]
        with m.If(advance & goes):
            m.d.sync += r.lane.eq(Mux(last, 0, r.lane + 1))
            with m.If(last):
                m.d.sync += r.row.eq(Mux(r.ends_rows, 0, r.row + 1))

        up = max(ROOM_BITS - config.attention.element_bits, 0)
        mean, sum_ = (
            select(r.lane, {k: payload[k] for k in range(config.lanes)}) << up
            for payload in (self.i_value_sum.payload, rows.payload)
        )
        value = Signal(signed(config.attention.mixed_bits + up), reset_less=True)
        kind = Signal(Kind)
        kept = (r.state == State.KEPT) & (r.bin == BINS)
        with m.If(advance):
            m.d.sync += [
                value.eq(Mux(outputs, sum_, Mux(means, mean << MEAN_UNIT, r.mass))),
                kind.eq(
                    Mux(
                        kept,
                        Kind.KEPT,
                        Mux(goes, Mux(means, Kind.MEAN, Kind.OUTPUT), Kind.NONE),
                    )
                ),
            ]
        return value, kind

    def _finish(
        self,
        m: Module,
        platform: object,
        r: "_Registers",
        advance: Value,
        inverse: wiring.PureInterface,
        value: Value,
        kind: Value,
    ) -> None:
        """Divide; keep means and alpha; weigh outputs, make FP16 of them, and collect a beat."""
        config = self.config
        down = max(config.attention.element_bits - ROOM_BITS, 0)
        divide = add(m, platform, "divide", FinisherDivide, len(value))
        weigh = add(m, platform, "weigh", FinisherWeigh)
        half = add(m, platform, "half", FixedToHalf)
        is_kept, amount = Signal(), Signal(AMOUNT_BITS)
        m.d.comb += [
            *(part.advance.eq(advance) for part in (divide, weigh, half)),
            is_kept.eq(kind == Kind.KEPT),
            amount.eq(inverse.down + Mux(is_kept, 0, down)),
            *(divide.i.eq(value), divide.amount.eq(amount), divide.is_kept.eq(is_kept)),
            divide.share.eq(inverse.share),
        ]
        divided = delay(m, advance, "kind", kind, FinisherDivide.cycles(), reset=True)[-1]
        mean = self._means(m, r, advance, divided, divide.o)
        with m.If(advance & (divided == Kind.KEPT)):
            m.d.sync += r.weight.eq(Mux(divide.o[WEIGHT_FRACTION_BITS:].any(), ONE, divide.o))
        m.d.comb += [
            *(weigh.i.eq(divide.o), weigh.mean.eq(mean), weigh.weight.eq(r.weight)),
            *(half.i.eq(weigh.o), half.fraction.eq(r.fraction)),
        ]
        rest = FinisherWeigh.cycles() + FixedToHalf.cycles()
        given = delay(m, advance, "given", divided == Kind.OUTPUT, rest, reset=True)[-1]
        collected = Signal(range(config.lanes))
        with m.If(advance):
            m.d.sync += self.o.valid.eq(given & (collected == config.lanes - 1))
            with m.If(given):
                beat = Value.cast(self.o.payload)
                m.d.sync += [
                    beat.eq(Cat(beat, half.o)[len(half.o) :]),
                    collected.eq(Mux(collected == config.lanes - 1, 0, collected + 1)),
                ]

    def _means(
        self, m: Module, r: "_Registers", advance: Value, kind: Value, divided: Value
    ) -> Value:
        """Keep the means; return that of the output's channel."""
        size = self.config.head_size
        m.submodules.means = rows = memory.Memory(shape=signed(WIDE_BITS), depth=size, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(advance & (kind == Kind.MEAN)),
            *(write.addr.eq(r.channel), write.data.eq(divided), read.addr.eq(r.channel)),
        ]
        with m.If(advance & ((kind == Kind.MEAN) | (kind == Kind.OUTPUT))):
            m.d.sync += r.channel.eq(Mux(r.channel == size - 1, 0, r.channel + 1))
        return read.data


class _Registers:
    """The unit's registers.

    `mass` is what is collapsed, or inverted next; `starts` says so. `channel` counts what has been
    divided, `row` and `lane` what goes there. `fraction` is the outputs'; `weight` is alpha.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.state, self.then = Signal(State), Signal(State, name="then")
        self.starts, self.compensates = Signal(name="starts"), Signal(name="compensates")
        self.fraction = Signal(signed(FRACTION_BITS), name="fraction")
        self.mass = Signal(config.attention.mass_bits, name="mass")
        self.weight = Signal(unsigned(WEIGHT_BITS), name="weight")
        self.bin = Signal(range(BINS + 1), name="bin")
        self.lane, self.row = Signal(range(config.lanes)), Signal(range(config.rows), name="row")
        self.channel = Signal(range(config.head_size), name="channel")
        self.query = Signal(range(config.queries), name="query")
        self.drained = Signal(range(DEPTH), name="drained")
        self.ends_rows = Signal(name="ends_rows")


def _collapsed(mass: Value, bin_: Value) -> Value:
    """Return the mass over 2**8, rounded half to even, and the bin."""
    floor, rest = mass >> BIN_OCTAVES, mass[:BIN_OCTAVES]
    rises = rest[-1] & (rest[:-1].any() | floor[0])
    return (Cat(Const(1, 1), floor) + Cat(rises, bin_)) >> 1

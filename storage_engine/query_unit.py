"""A job's queries: FP16 to fixed point, SparF's channels, and what makes logits of scores.

`golden.attention_engine_formats.to_queries` and `golden.attention_engine.choose_channels`,
`temperature` and `_scale` are the twins. A job goes through these states; those from SEARCH to
CHANNELS only if it is SparF's:

    JOB       the job is taken
    LOAD      the queries come; the largest of them is found
    CONVERT   they become fixed point, with one exponent; |q| is added up
    SEARCH    bit by bit, the least |q| that is chosen; then, how many larger ones there are
    MASK      channels are chosen; their |q| is added up
    SCALE     the approximate scores' scales are made, query by query
    CHANNELS  the channels are told
    ROWS      the rows leave, whole, then those of the chosen channels
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.attention_engine_formats import HALF_EXPONENT_BIAS
from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import add
from hw.group_scale import delay
from hw.mux import select
from storage_engine.engine_layouts import (
    FRACTION_BITS,
    half_layout,
    query_job_layout,
    query_layout,
    query_scales_layout,
)
from storage_engine.half_to_fixed import BITS, MANTISSA_BITS, HalfToFixed
from storage_engine.query_registers import QueryRegisters, State, size_bits
from storage_engine.query_scale import QueryScale, logit_scale

LARGEST_EXPONENT = 31
"""Of what is infinite or no number."""


class QueryUnit(wiring.Component):
    """The unit. One job at a time; `cycles` says how long one takes.

    Members:
        i_job: stream of `query_job_layout`.
        i: stream of `half_layout`: the rows of the first query, of the second, ...
        o_query: stream of `query_layout`: all whole rows, and in a SparF job all masked ones.
        o_scales: `query_scales_layout`; it changes with the first row of a job.
        o_channels: stream of bitmaps of a SparF job's channels, in front of its rows.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(query_job_layout(config))),
                "i": In(stream.Signature(half_layout(config))),
                "o_query": Out(stream.Signature(query_layout(config))),
                "o_scales": Out(query_scales_layout(config)),
                "o_channels": Out(stream.Signature(unsigned(config.head_size))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"query_unit_l{c.lanes}_g{c.queries}_d{c.head_size}_r{c.attention.channels}"

    @staticmethod
    def cycles(config: DriveEngineConfig, *, sparf: bool) -> int:
        """Return the cycles from a job taken to its last row taken: the contract.

        Exact where no stream waits.
        """
        beats = config.queries * config.rows
        common = 1 + beats + beats + HalfToFixed.cycles() + config.rows
        if not sparf:
            return common
        search = (size_bits(config) + 1) * config.rows
        scale = config.queries * QueryScale.cycles(config)
        return common + search + beats + scale + 1 + config.rows

    def elaborate(self, platform: object) -> Module:
        """Rows in, through the states, and out."""
        m = Module()
        r = QueryRegisters(self.config)
        last_row, last_query = r.row == self.config.rows - 1, r.query == self.config.queries - 1
        r.ends = last_row & last_query
        halves = self._load(m, r)
        fixed, comes = self._convert(m, platform, r, halves)
        values = self._keep(m, r, fixed, comes)
        sizes = self._sizes(m, r, fixed, comes)
        self._search(m, r, sizes)
        mask = self._mask(m, r, sizes)
        self._add_up(m, r, fixed, comes, values, mask)
        self._scale(m, platform, r)
        self._give(m, r, values)
        self._lead(m, r, comes)
        return m

    def _load(self, m: Module, r: QueryRegisters) -> Value:
        """Keep the FP16 rows, and the largest magnitude; return the row that is read."""
        config = self.config
        m.submodules.halves = rows = memory.Memory(
            shape=unsigned(config.lanes * BITS), depth=config.queries * config.rows, init=[]
        )
        write, read = rows.write_port(), rows.read_port(domain="comb")
        place = Signal(range(config.queries * config.rows))
        m.d.comb += [
            *(write.addr.eq(place), write.data.eq(self.i.payload.as_value())),
            write.en.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(r.state == State.LOAD),
            read.addr.eq(r.query * config.rows + r.row),
        ]
        largest: Value = r.largest
        for lane in range(config.lanes):
            size = self.i.payload[lane][:-1]
            larger = Signal(BITS - 1, name=f"larger_{lane}")
            m.d.comb += larger.eq(Mux(size > largest, size, largest))
            largest = larger
        with m.If(r.state == State.JOB):
            m.d.sync += [place.eq(0), r.largest.eq(0)]
        with m.Elif(write.en):
            m.d.sync += [place.eq(place + 1), r.largest.eq(largest)]
        return read.data

    def _convert(
        self, m: Module, platform: object, r: QueryRegisters, halves: Value
    ) -> tuple[list[Value], data.View]:
        """Return lanes in fixed point, and whose they are: `row`, `query`, `valid`."""
        config = self.config
        exponent, mantissa = r.largest[MANTISSA_BITS:], r.largest[:MANTISSA_BITS]
        length = Signal(range(MANTISSA_BITS + 1))
        for bit in range(MANTISSA_BITS):
            with m.If(mantissa[bit]):
                m.d.comb += length.eq(bit + 1)
        # With these fraction bits the largest has all bits of a query; of zeros it is `most`.
        most = config.attention.query_bits - 1 + HALF_EXPONENT_BIAS
        fraction = Signal(signed(FRACTION_BITS))
        m.d.comb += fraction.eq(
            Mux(
                exponent.any(),
                most - (MANTISSA_BITS + 1) - exponent,
                Mux(mantissa.any(), most - 1 - length, most),
            )
        )
        _, place = logit_scale(config)
        m.d.sync += r.exponent.eq(place - fraction - r.key_fraction)
        lanes = []
        for lane in range(config.lanes):
            to_fixed = add(m, platform, f"to_fixed_{lane}", HalfToFixed)
            m.d.comb += [
                *(to_fixed.advance.eq(1), to_fixed.fraction.eq(fraction)),
                to_fixed.half.eq(halves[lane * BITS : (lane + 1) * BITS]),
            ]
            lanes.append(to_fixed.o)
        goes = Signal(r.place_layout)
        m.d.comb += [
            *(goes.row.eq(r.row), goes.query.eq(r.query)),
            goes.valid.eq((r.state == State.CONVERT) & ~r.issued),
            goes.last.eq(r.ends),
        ]
        delayed = delay(m, Const(1), "converted", goes.as_value(), HalfToFixed.cycles(), reset=True)
        comes = Signal(r.place_layout)
        m.d.comb += comes.as_value().eq(delayed[-1])
        return lanes, comes

    def _keep(
        self, m: Module, r: QueryRegisters, fixed: list[Value], comes: data.View
    ) -> list[Value]:
        """Keep the queries in fixed point; return the lanes of the current row, of each query."""
        config = self.config
        read_rows = []
        for query in range(config.queries):
            m.submodules[f"values_{query}"] = rows = memory.Memory(
                shape=unsigned(config.lanes * BITS), depth=config.rows, init=[]
            )
            write, read = rows.write_port(), rows.read_port(domain="comb")
            m.d.comb += [
                *(write.addr.eq(comes.row), write.data.eq(Cat(fixed))),
                write.en.eq(comes.valid & (comes.query == query)),
                read.addr.eq(r.row),
            ]
            read_rows.append(read.data)
        return read_rows

    def _sizes(
        self, m: Module, r: QueryRegisters, fixed: list[Value], comes: data.View
    ) -> list[Value]:
        """Keep |q| of each channel, added up over the group; return those of the current row."""
        config, bits = self.config, size_bits(self.config)
        m.submodules.sizes = rows = memory.Memory(
            shape=unsigned(config.lanes * bits), depth=config.rows, init=[]
        )
        write, read = rows.write_port(), rows.read_port(domain="comb")
        sums = []
        for lane, value in enumerate(fixed):
            so_far, total = Signal(bits, name=f"so_far_{lane}"), Signal(bits, name=f"size_{lane}")
            m.d.comb += total.eq(Mux(comes.query == 0, 0, so_far) + _magnitude(value))
            m.d.sync += so_far.eq(total)
            sums.append(total)
        m.d.comb += [
            *(write.addr.eq(comes.row), write.data.eq(Cat(sums))),
            write.en.eq(comes.valid & (comes.query == config.queries - 1)),
            read.addr.eq(r.row),
        ]
        return [read.data[lane * bits : (lane + 1) * bits] for lane in range(config.lanes)]

    def _search(self, m: Module, r: QueryRegisters, sizes: list[Value]) -> None:
        """Find the least |q| of the chosen ones, and how many of those of this size are chosen."""
        config = self.config
        trial = Signal(size_bits(config) + 1)
        count = Signal(range(config.head_size + 1))
        total = Signal.like(count)
        most = config.attention.channels
        counts = r.bit == 0  # the larger ones are counted
        m.d.comb += [
            trial.eq(Mux(counts, r.least + 1, r.least | r.bit)),
            total.eq(count + sum(size >= trial for size in sizes)),
        ]
        with m.If(r.state == State.CONVERT):
            m.d.sync += [r.least.eq(0), r.bit.eq(1 << size_bits(config) - 1), count.eq(0)]
        with m.If(r.state == State.SEARCH):
            m.d.sync += count.eq(total)
            with m.If(r.row == config.rows - 1):
                m.d.sync += [count.eq(0), r.bit.eq(r.bit >> 1)]
                with m.If(counts):
                    m.d.sync += r.room.eq(most - total)
                with m.Elif(total >= most):
                    m.d.sync += r.least.eq(trial)

    def _mask(self, m: Module, r: QueryRegisters, sizes: list[Value]) -> Value:
        """Choose channels of the current row: larger ones, and equal ones while there is room."""
        config = self.config
        room: Value = r.room
        mask = Signal(config.lanes)
        for lane, size in enumerate(sizes):
            equal = (size == r.least) & (room != 0)
            m.d.comb += mask[lane].eq((size > r.least) | equal)
            left = Signal.like(r.room, name=f"room_{lane}")
            m.d.comb += left.eq(room - equal)
            room = left
        with m.If((r.state == State.MASK) & (r.query == config.queries - 1)):
            m.d.sync += [r.room.eq(room), r.channels.eq(Cat(r.channels[config.lanes :], mask))]
        return mask

    def _add_up(
        self,
        m: Module,
        r: QueryRegisters,
        fixed: list[Value],
        comes: data.View,
        values: list[Value],
        mask: Value,
    ) -> None:
        """Add up each query's |q|, of all channels, then of the chosen ones."""
        config = self.config
        masks = r.state == State.MASK
        row = Signal(config.lanes * BITS)
        m.d.comb += row.eq(select(r.query, dict(enumerate(values))))
        sizes = []
        for lane, value in enumerate(fixed):
            kept = row[lane * BITS : (lane + 1) * BITS].as_signed()
            size = _magnitude(Mux(masks, kept, value))
            sizes.append(Mux(~masks | mask[lane], size, 0))
        total = Signal(range(config.lanes * (1 << BITS - 1)))
        m.d.comb += total.eq(sum(sizes))
        for query in range(config.queries):
            with m.If(r.state == State.JOB):
                m.d.sync += [r.totals[query].eq(0), r.chosen[query].eq(0)]
            with m.Elif(comes.valid & (comes.query == query)):
                m.d.sync += r.totals[query].eq(r.totals[query] + total)
            with m.Elif(masks & (r.query == query)):
                m.d.sync += r.chosen[query].eq(r.chosen[query] + total)

    def _scale(self, m: Module, platform: object, r: QueryRegisters) -> None:
        """Make the approximate scores' scales, one after the other."""
        unit = add(m, platform, "to_scale", QueryScale, self.config)
        works = Signal()
        scales = r.state == State.SCALE
        m.d.comb += [
            unit.start.eq(scales & ~works),
            unit.total.eq(select(r.query, dict(enumerate(r.totals)))),
            unit.chosen.eq(select(r.query, dict(enumerate(r.chosen)))),
            unit.exponent.eq(r.exponent),
            r.scaled.eq(unit.done),
        ]
        m.d.sync += works.eq(scales & ~unit.done)
        for query, scale in enumerate(r.scales):
            with m.If(unit.done & (r.query == query)):
                m.d.sync += scale.eq(unit.scale)

    def _give(self, m: Module, r: QueryRegisters, values: list[Value]) -> None:
        """Tell channels, then rows; with the first row the scales."""
        config = self.config
        value, _ = logit_scale(config)
        rows = self.o_query
        m.d.comb += [
            self.o_channels.valid.eq(r.state == State.CHANNELS),
            self.o_channels.payload.eq(r.channels),
            *(rows.valid.eq(r.state == State.ROWS), rows.payload.row.eq(r.row)),
            *(rows.payload.masked.eq(r.masked), rows.payload.last.eq(r.ends_rows)),
            r.ends_rows.eq((r.row == config.rows - 1) & (r.masked | ~r.sparf)),
            r.gives.eq(rows.valid & rows.ready),
        ]
        for query, row in enumerate(values):
            for lane in range(config.lanes):
                shown = ~r.masked | r.channels[lane]
                element = row[lane * BITS : (lane + 1) * BITS]
                m.d.comb += rows.payload.values[query][lane].eq(Mux(shown, element, 0))
        with m.If(r.gives & (r.row == 0) & ~r.masked):
            m.d.sync += self.o_scales.not_finite.eq(r.largest[MANTISSA_BITS:] == LARGEST_EXPONENT)
            for query, scale in enumerate(r.scales):
                m.d.sync += [
                    self.o_scales.scale[query].value.eq(value),
                    self.o_scales.scale[query].exponent.eq(r.exponent),
                    self.o_scales.approximate_scale[query].eq(scale),
                ]
        with m.If(r.gives & r.masked):
            m.d.sync += r.channels.eq(Cat(r.channels[config.lanes :], r.channels[: config.lanes]))

    def _lead(self, m: Module, r: QueryRegisters, comes: data.View) -> None:
        """Go from state to state; count rows and queries."""
        config, job = self.config, self.i_job
        m.d.comb += job.ready.eq(r.state == State.JOB)
        last_row, last_query = r.row == config.rows - 1, r.query == config.queries - 1

        def by_query() -> None:
            """Count the queries of a row, then rows."""
            m.d.sync += r.query.eq(Mux(last_query, 0, r.query + 1))
            with m.If(last_query):
                m.d.sync += r.row.eq(Mux(last_row, 0, r.row + 1))

        with m.Switch(r.state):
            with m.Case(State.JOB):
                m.d.sync += [
                    *(r.sparf.eq(job.payload.sparf), r.issued.eq(0), r.masked.eq(0)),
                    r.key_fraction.eq(job.payload.key_fraction),
                ]
                with m.If(job.valid):
                    m.d.sync += r.state.eq(State.LOAD)
            with m.Case(State.LOAD), m.If(self.i.valid):
                by_query()
                with m.If(r.ends):
                    m.d.sync += r.state.eq(State.CONVERT)
            with m.Case(State.CONVERT):
                with m.If(~r.issued):
                    by_query()
                    m.d.sync += r.issued.eq(r.ends)
                with m.If(comes.valid & comes.last):
                    m.d.sync += r.state.eq(Mux(r.sparf, State.SEARCH, State.ROWS))
            with m.Case(State.SEARCH):
                m.d.sync += r.row.eq(Mux(last_row, 0, r.row + 1))
                with m.If(last_row & (r.bit == 0)):
                    m.d.sync += r.state.eq(State.MASK)
            with m.Case(State.MASK):
                by_query()
                with m.If(r.ends):
                    m.d.sync += r.state.eq(State.SCALE)
            with m.Case(State.SCALE), m.If(r.scaled):
                m.d.sync += r.query.eq(Mux(last_query, 0, r.query + 1))
                with m.If(last_query):
                    m.d.sync += r.state.eq(State.CHANNELS)
            with m.Case(State.CHANNELS), m.If(self.o_channels.ready):
                m.d.sync += r.state.eq(State.ROWS)
            with m.Case(State.ROWS), m.If(r.gives):
                m.d.sync += r.row.eq(Mux(last_row, 0, r.row + 1))
                with m.If(last_row):
                    m.d.sync += r.masked.eq(1)
                with m.If(r.ends_rows):
                    m.d.sync += r.state.eq(State.JOB)


def _magnitude(value: Value) -> Value:
    """Return |value| of what is never the least value."""
    return Mux(value[-1], -value, value)[: BITS - 1]

"""A slice's commands: when each is carried out, what it reads, and what may come in meanwhile."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.engine_layouts import (
    PAGE_COUNT_BITS,
    TOP_BITS,
    SliceCommand,
    slice_command_layout,
)
from storage_engine.slice_bins import SLOT_BITS
from storage_engine.slice_query import BANKS, lane_bits, reading_layout, row_bits, word_bits

_TOP, _MASS, _MIXED = range(3)


class SliceCommands(wiring.Component):
    """Carries out commands, one after the other.

    Members:
        i_command: stream of `slice_command_layout`; a command stays until all of it is done.
        came: a page's last beat is taken: of each bank, and of pairs.
        loaded: the last beat of a job's queries is taken.
        begins: the command is BEGIN. loads: and queries may come.
        open_own, open_next, open_pairs: pages may come in of the command's span, of the one behind
            it, of pairs.
        approximate, partial: an output is offered; what was read for it is there.
        taken: the output that is offered is taken.
        reading: what is read and cleared.
        asked_query, asked_place: of the bins; slot, filled, top, mass: what they answer.
        query: of the row that is read.
        is_mixed: what is offered are mixed sums, which count as 0 unless `shows`; else `scalar`.
    """

    def __init__(self, config: DriveEngineConfig, settle: int) -> None:
        self.config = config
        self.settle = settle
        query = range(max(config.queries, 2))
        super().__init__(
            {
                "i_command": In(stream.Signature(slice_command_layout(config))),
                **{"came": In(BANKS + 1), "loaded": In(1)},
                **{"begins": Out(1), "loads": Out(1)},
                **{"open_own": Out(1), "open_next": Out(1), "open_pairs": Out(1)},
                **{"approximate": Out(1), "partial": Out(1), "taken": In(1)},
                "reading": Out(reading_layout(config)),
                **{"asked_query": Out(query), "asked_place": Out(SLOT_BITS)},
                **{"slot": In(SLOT_BITS), "filled": In(1)},
                **{"top": In(signed(TOP_BITS)), "mass": In(config.attention.mass_bits)},
                **{"is_mixed": Out(1), "shows": Out(1), "offered_query": Out(query)},
                "scalar": Out(signed(config.attention.mixed_bits)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        sizes = f"g{c.queries}_l{c.lanes}_d{c.head_size}_w{word_bits(c)}"
        return f"slice_commands_{sizes}_{c.attention.mixed_bits}_c{c.context_bits}_t{self.settle}"

    def elaborate(self, platform: object) -> Module:
        """Wait for the pages, wait until all of them is written, read and give."""
        m = Module()
        command, valid = self.i_command.payload, self.i_command.valid
        begin, span, partial = (Signal(name=f"is_{each.name.lower()}") for each in SliceCommand)
        m.d.comb += [
            begin.eq(valid & (command.kind == SliceCommand.BEGIN)),
            span.eq(valid & (command.kind == SliceCommand.SPAN)),
            partial.eq(valid & (command.kind == SliceCommand.PARTIAL)),
            self.begins.eq(begin),
        ]
        finish, settled = Signal(), Signal(range(self.settle + 1))
        mine = Cat(span & ~command.span[0], span & command.span[0], partial)
        reached = self._count(m, mine, finish, begin)
        m.d.comb += [
            *(self.open_own.eq(span & ~reached), self.open_next.eq(span)),
            self.open_pairs.eq(partial & ~reached),
        ]

        works = Signal()
        m.d.comb += works.eq(settled == self.settle)
        with m.If((begin | reached) & ~works):
            m.d.sync += settled.eq(settled + 1)
        offered, issued, advance, issue = Signal(), Signal(), Signal(), Signal()
        loaded = self._loaded(m, finish)
        words = Signal(word_bits(self.config) + 1)
        m.d.comb += [
            words.eq((command.tokens + (self.config.lanes - 1)) >> lane_bits(self.config)),
            advance.eq(~offered | self.taken),
            issue.eq(works & ~issued & ~(span & (words == 0)) & advance),
            finish.eq(works & ~issue & advance & (~begin | loaded)),
            self.loads.eq(begin & ~loaded),
            self.i_command.ready.eq(finish),
            *(self.approximate.eq(offered & span), self.partial.eq(offered & partial)),
        ]
        word_ends = self._words(m, issue, finish, Mux(begin, 0, words), begin, span)
        row_ends = self._rows(m, issue & partial)
        with m.If(advance):
            m.d.sync += offered.eq(issue & ~begin)
        with m.If(issue & Mux(partial, row_ends, word_ends)):
            m.d.sync += issued.eq(1)
        with m.If(finish):
            m.d.sync += [issued.eq(0), settled.eq(0)]
        m.d.comb += [
            self.reading.mixed.eq(partial & works),
            self.reading.bank.eq(Mux(span & works, Const(1, BANKS) << command.span[0], 0)),
            self.reading.enable.eq(advance),
        ]
        return m

    def _count(self, m: Module, mine: Value, finish: Value, begin: Value) -> Value:
        """Count pages; return whether as many have come as the command waits for."""
        reached = Const(0)
        for number in range(BANKS + 1):
            pages = Signal(PAGE_COUNT_BITS, name=f"pages_{number}")
            m.d.sync += pages.eq(pages + self.came[number])
            with m.If(begin | (finish & mine[number])):
                m.d.sync += pages.eq(0)
            reached = reached | (mine[number] & (pages == self.i_command.payload.pages))
        return reached

    def _loaded(self, m: Module, finish: Value) -> Value:
        """Return whether the queries have come since the last command began."""
        loaded = Signal()
        with m.If(self.loaded):
            m.d.sync += loaded.eq(1)
        with m.If(finish):
            m.d.sync += loaded.eq(0)
        return loaded

    def _words(
        self, m: Module, issue: Value, finish: Value, words: Value, begin: Value, span: Value
    ) -> Value:
        """Go through a bank's words, and clear them behind; return whether this one is the last.

        Args:
            words: how many; 0 for all.
        """
        word = Signal(word_bits(self.config))
        clear, cleared = Signal(BANKS), Signal.like(word, reset_less=True)
        banks = Mux(begin, Const(-1, BANKS), Const(1, BANKS) << self.i_command.payload.span[0])
        m.d.sync += [clear.eq(Mux(issue & (begin | span), banks, 0)), cleared.eq(word)]
        with m.If(issue):
            m.d.sync += word.eq(word + 1)
        with m.If(finish):
            m.d.sync += word.eq(0)
        m.d.comb += [
            self.reading.word.eq(word),
            *(self.reading.clear.eq(clear), self.reading.cleared.eq(cleared)),
        ]
        return (word + 1)[: len(word)] == words[: len(word)]

    def _rows(self, m: Module, issue: Value) -> Value:
        """Go through the queries' tops, masses and rows; return whether this is the last beat."""
        config = self.config
        query, section = Signal.like(self.asked_query), Signal(2)
        row, place = Signal(row_bits(config)), Signal(SLOT_BITS, init=BINS - 1)
        is_mixed, shows = Signal(), Signal(reset_less=True)
        scalar, offered_query = (
            Signal(self.scalar.shape(), reset_less=True),
            Signal.like(query, reset_less=True),
        )
        row_ends, query_ends = row == config.rows - 1, query == config.queries - 1
        ends = (section == _MIXED) & (place == 0) & row_ends
        with m.If(issue):
            m.d.sync += [
                *(is_mixed.eq(section == _MIXED), shows.eq(self.filled)),
                scalar.eq(Mux(section == _TOP, self.top, self.mass)),
                offered_query.eq(query),
            ]
            with m.If(section == _TOP):
                m.d.sync += section.eq(_MASS)
            with m.Else():
                m.d.sync += place.eq(place - 1)
                with m.If(place == 0):
                    m.d.sync += section.eq(_MIXED)
                    with m.If(section == _MIXED):
                        m.d.sync += row.eq(Mux(row_ends, 0, row + 1))
            with m.If(ends):
                m.d.sync += [section.eq(_TOP), query.eq(Mux(query_ends, 0, query + 1))]
        m.d.comb += [
            *(self.asked_query.eq(query), self.asked_place.eq(place)),
            *(self.reading.slot.eq(self.slot), self.reading.row.eq(row)),
            *(self.is_mixed.eq(is_mixed), self.shows.eq(shows), self.scalar.eq(scalar)),
            self.offered_query.eq(offered_query),
        ]
        return ends & query_ends

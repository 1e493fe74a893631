"""Adds up the slices' sums and collapses their bins, row by row.

Each slice counts its bins from its own top. A slice whose top is d bins lower than the highest one
drops its d lowest bins and is 0 in the d highest; so all it takes is when its beats are taken.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.spec.attention_engine import BIN_OCTAVES, BINS
from golden.spec.drive_engine import DriveEngineConfig
from hw.group_scale import delay
from storage_engine.engine_layouts import partial_layout

TOP_BITS = 8

LAST_BIN = BINS - 1


class State(Enum):
    """What the unit is at: it waits for all tops, finds the highest, takes bins."""

    TOPS = 0
    ALIGN = 1
    BINS = 2


class FinisherMerge(wiring.Component):
    """The merger. Throughput: a bin of all slices per cycle, so a row in four. Latency: `cycles`.

    Members:
        advance: all registers hold while it is low, and no stream moves.
        i_0, i_1, ...: a stream of `partial_layout` from each slice.
        o: stream of `partial_layout`: for each query the collapsed mass as its first element, then
            the collapsed rows.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        partial = stream.Signature(partial_layout(config))
        inputs = {f"i_{c}": In(partial) for c in range(config.flash_channels)}
        super().__init__({"advance": In(1), **inputs, "o": Out(partial)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        shape = f"{c.flash_channels}x{c.lanes}x{c.attention.mixed_bits}"
        return f"finisher_merge_{shape}_{c.rows}"

    @staticmethod
    def cycles(config: DriveEngineConfig, dropped: int = 0) -> int:
        """Return the cycles from all tops offered to the mass offered, of a query.

        The timing contract, if slices offer all their beats at once and `o` takes them. The mass'
        last bin is taken `dropped` + 4 cycles behind the tops were found; a row follows every four
        cycles, and the next query's tops are taken one cycle behind the last row's last bin.

        Args:
            dropped: most bins that a slice's mass loses, if those that lose all do not count.
        """
        levels = ceil_log2(config.flash_channels)
        return 1 + (levels + 1) + dropped + BINS + (levels + 1)

    def elaborate(self, platform: object) -> Module:
        """Find the highest top, take the bins that belong together, add them, collapse."""
        m = Module()
        config = self.config
        self._slices = [getattr(self, f"i_{c}") for c in range(config.flash_channels)]
        move, ends_row = Signal(), Signal()
        # Only what would be overwritten must wait.
        m.d.comb += move.eq(self.advance & ~(ends_row & self.o.valid & ~self.o.ready))
        state = Signal(State)
        downs = self._downs(m, state, move)
        goes, bin_, ends = self._take(m, state, move, downs)

        sums = [
            _tree(m, move, f"lane_{lane}", [each[lane] for each in self._terms], _add)
            for lane in range(config.lanes)
        ]
        levels = ceil_log2(config.flash_channels)
        added = delay(m, move, "added", goes, 1 + levels, reset=True)[-1]
        place = delay(m, move, "place", bin_, 1 + levels)[-1]
        given = Signal()
        m.d.comb += [ends_row.eq(added & (place == LAST_BIN)), given.eq(move & ends_row)]
        for lane, sum_ in enumerate(sums):
            total = Signal(sum_.shape(), name=f"total_{lane}", reset_less=True)
            here = Mux(place == 0, sum_, _collapsed(total, sum_))[: len(total)].as_signed()
            with m.If(move & added):
                m.d.sync += total.eq(here)
            with m.If(given):
                m.d.sync += self.o.payload[lane].eq(here)
        with m.If(given):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.advance & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(goes & ends):
            m.d.sync += state.eq(State.TOPS)
        return m

    def _downs(self, m: Module, state: Signal, move: Signal) -> list[Value]:
        """Take the tops; return for each slice by how many bins it is lower, 4 for all and more."""
        takes, levels = Signal(), ceil_log2(self.config.flash_channels)
        m.d.comb += takes.eq(
            move & (state == State.TOPS) & Cat(each.valid for each in self._slices).all()
        )
        self._takes_top = takes
        tops = [Signal(signed(TOP_BITS), name=f"top_{c}") for c in range(len(self._slices))]
        with m.If(takes):
            m.d.sync += [
                top.eq(each.payload[0][:TOP_BITS].as_signed())
                for top, each in zip(tops, self._slices, strict=True)
            ]
            m.d.sync += state.eq(State.ALIGN)
        found = delay(m, move, "found", takes, 1 + levels, reset=True)[-1]
        highest = _tree(m, move, "highest", tops, _larger)
        downs = [Signal(range(BINS + 1), name=f"down_{c}") for c in range(len(self._slices))]
        with m.If(move & found):
            for down, top in zip(downs, tops, strict=True):
                below = (highest - top)[: TOP_BITS + 1]
                m.d.sync += down.eq(Mux(below[2:].any(), BINS, below[:2]))
            m.d.sync += state.eq(State.BINS)
        return list(downs)

    def _take(
        self, m: Module, state: Signal, move: Signal, downs: list[Value]
    ) -> tuple[Value, Value, Value]:
        """Take the bins; return whether one is taken, which it is, and whether it is the last.

        A slice's bins that are dropped leave as soon as they are offered.
        """
        config = self.config
        bin_, row = Signal(range(BINS)), Signal(range(config.rows + 1))
        goes, begins = Signal(), Signal()
        last_row = row == config.rows
        m.d.comb += begins.eq(state == State.BINS)
        ready, self._terms = [], []
        for number, (each, down) in enumerate(zip(self._slices, downs, strict=True)):
            at = Signal(range(BINS), name=f"at_{number}")
            over = Signal(name=f"over_{number}")  # it gave all of this query
            drops = begins & ~over & (at < down[:2])
            needed = (bin_ + down[:2])[: len(bin_) + 1] < BINS
            ready.append((each.valid & ~drops) | ~needed)
            taken = Signal(name=f"taken_{number}")
            m.d.comb += taken.eq((move & drops & each.valid) | (goes & needed))
            m.d.comb += each.ready.eq(self._takes_top | (move & drops) | (goes & needed))
            with m.If(taken):
                m.d.sync += [at.eq(at + 1), over.eq(last_row & (at == LAST_BIN))]
            with m.If(self._takes_top):
                m.d.sync += over.eq(0)
            term = [
                Signal(signed(config.attention.mixed_bits), name=f"term_{number}_{lane}")
                for lane in range(config.lanes)
            ]
            with m.If(move):
                for lane, own in enumerate(term):
                    m.d.sync += own.eq(Mux(needed & ~down[2], each.payload[lane], 0))
            self._terms.append(term)
        m.d.comb += goes.eq(move & begins & Cat(ready).all())
        with m.If(goes):
            m.d.sync += bin_.eq(bin_ + 1)
            with m.If(bin_ == LAST_BIN):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
        return goes, bin_, last_row & (bin_ == LAST_BIN)


def _tree(
    m: Module,
    advance: Value,
    name: str,
    values: Sequence[Value],
    join: Callable[[Value, Value], Value],
) -> Value:
    """Return what `join` makes of all values, with registers behind each level of pairs."""
    level = 0
    while len(values) > 1:
        pairs = [values[k : k + 2] for k in range(0, len(values), 2)]
        level_values: list[Value] = []
        for k, pair in enumerate(pairs):
            joined = Signal.like(pair[0], name=f"{name}_{level}_{k}", reset_less=True)
            with m.If(advance):
                m.d.sync += joined.eq(join(*pair) if len(pair) == 2 else pair[0])
            level_values.append(joined)
        values = level_values
        level += 1
    return values[0]


def _add(a: Value, b: Value) -> Value:
    return a + b


def _larger(a: Value, b: Value) -> Value:
    return Mux(a > b, a, b)


def _collapsed(total: Value, sum_: Value) -> Value:
    """Return the total over 2**8, rounded half to even, and the sum."""
    floor, rest = total >> BIN_OCTAVES, total[:BIN_OCTAVES]
    rises = rest[-1] & (rest[:-1].any() | floor[0])
    # The carry of one adder.
    return (Cat(Const(1, 1), floor).as_signed() + Cat(rises, sum_).as_signed()) >> 1

"""The entry filter: which elements of a page leave, and in which order.

A page's entries are its tokens' keys and then their values, or its channels. Of those that are kept
the elements leave beat by beat; one that is not kept costs a cycle and no read. What stands behind
the last kept entry, or pads half a page, costs nothing.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import INDEX_FIELDS
from storage_engine.engine_layouts import (
    FRACTION_BITS,
    ElementKind,
    RequestKind,
    element_layout,
)
from storage_engine.page_buffer import front_end_name, wanted_layout


def page_beats(config: DriveEngineConfig) -> int:
    """Return how many beats of `lanes` elements a page has room for: a power of two."""
    return config.page_bytes // (config.lanes * config.kv_format.stored_bytes)


def place_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A beat that is wanted, before it is read.

    `beat`: its number in the page, and above it the page's `place` in the buffer. `lanes`: those
    that count. `fraction`: of its fixed point. The others are those of `element_layout`.
    """
    fields = dict(element_layout(config).members)
    del fields["elements"]
    return data.StructLayout(
        {
            "beat": range(config.buffer_pages * page_beats(config)),
            "lanes": config.lanes,
            "fraction": signed(FRACTION_BITS),
            **fields,
        }
    )


class EntryFilter(wiring.Component):
    """Gives the places of the elements that are wanted of page after page.

    Throughput: a beat per cycle. Entries that are not kept take a cycle each, as far as one that is
    kept stands behind them; a page takes one more. Latency: 1 cycle.

    Members:
        i: stream of `wanted_layout`. Ready when the page before has been read.
        o: stream of `place_layout`. PAIRS: the beats of the kept tokens' keys, then of their
            values, unless `keys_only`. KEY_CHANNELS: of the kept channels, as far as there are
            tokens. Tokens that are not there count as not kept.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(wanted_layout(config))),
                "o": Out(stream.Signature(place_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"entry_filter_{front_end_name(self.config)}"

    @staticmethod
    def cycles(config: DriveEngineConfig, pages: Sequence[Sequence[bool]]) -> int:
        """Return the cycles from the first page taken to the last one's last beat: the contract.

        Exact when no stream waits.

        Args:
            pages: of each page, cycle by cycle, whether there is a beat: `page_steps`.
        """
        return sum(1 + len(steps) for steps in pages)

    def elaborate(self, platform: object) -> Module:
        """A shift register of what is kept, whose lowest bit is the current entry."""
        m = Module()
        config = self.config
        page = Signal(wanted_layout(config))
        request = page.request
        channels = request.kind == RequestKind.KEY_CHANNELS
        place = self.o.payload
        busy, values = Signal(), Signal()
        kept, left = Signal(len(request.keep)), Signal(len(request.keep))
        entry, row, last_row = (
            Signal(range(len(kept))),
            Signal.like(place.row),
            Signal.like(place.row),
        )
        beats = page_beats(config)
        begin, beat = Signal(range(beats)), Signal(range(beats))

        taken = self.i.valid & ~busy
        moves = busy & (~left[0] | self.o.ready)
        ends = row == last_row
        more = left[1:].any()  # entries behind this one
        again = ~(channels | request.keys_only | values)  # the values follow
        m.d.comb += [
            self.i.ready.eq(~busy),
            self.o.valid.eq(busy & left[0]),
            place.beat.eq(Cat(beat, page.place)),
            place.fraction.eq(Mux(values, request.value_fraction, request.key_fraction)),
            place.row.eq(row),
            place.token.eq(entry),
            place.channel.eq(self._channel(request, entry)),
            place.last.eq(ends & ~more & ~again),
            place.first_token.eq(request.first),
        ]
        with m.If(channels):
            m.d.comb += place.kind.eq(ElementKind.CHANNEL)
        with m.Elif(request.keys_only):
            m.d.comb += place.kind.eq(ElementKind.TAIL_KEYS)
        with m.Else():
            m.d.comb += place.kind.eq(Mux(values, ElementKind.VALUES, ElementKind.KEYS))
        self._count_lanes(m, channels & ends, taken)

        following = Signal(len(begin))
        m.d.comb += following.eq(
            begin + Mux(channels, config.layout.span_tokens // config.lanes, config.rows)
        )
        with m.If(moves):
            with m.If(left[0] & ~ends):
                m.d.sync += [row.eq(row + 1), beat.eq(beat + 1)]
            with m.Else():
                m.d.sync += [row.eq(0), left.eq(left[1:]), entry.eq(entry + 1)]
                m.d.sync += [begin.eq(following), beat.eq(following)]
            with m.If(place.last):
                m.d.sync += busy.eq(0)
            with m.Elif(ends & ~more):
                m.d.sync += [values.eq(1), left.eq(kept), entry.eq(0)]
                m.d.sync += [begin.eq(beats // 2), beat.eq(beats // 2)]
        with m.If(taken):
            m.d.sync += [page.eq(self.i.payload), values.eq(0), entry.eq(0), row.eq(0)]
            m.d.sync += [begin.eq(0), beat.eq(0)]
            wanted = self._kept(self.i.payload.request)
            m.d.sync += [kept.eq(wanted), left.eq(wanted), busy.eq(wanted.any())]
            m.d.sync += last_row.eq(self._last_row(self.i.payload.request))
        return m

    def _kept(self, request: data.View) -> Value:
        """Return which entries are wanted and there."""
        layout = self.config.layout
        tokens = Cat(request.tokens > k for k in range(layout.group_tokens))
        channels = request.tokens.any().replicate(layout.channels_per_page)
        return request.keep & Mux(request.kind == RequestKind.KEY_CHANNELS, channels, tokens)

    def _last_row(self, request: data.View) -> Value:
        """Return the last beat of an entry."""
        down = _bits(self.config.lanes)
        channel = (request.tokens - 1)[down : len(request.tokens)]
        return Mux(request.kind == RequestKind.KEY_CHANNELS, channel, self.config.rows - 1)

    def _channel(self, request: data.View, entry: Value) -> Value:
        """Return the number of a channel in its head."""
        index = INDEX_FIELDS["channel_group"]
        group = request.address[index.low : index.low + index.bits]
        return Cat(entry[: _bits(self.config.layout.channels_per_page)], group)

    def _count_lanes(self, m: Module, partial: Value, taken: Value) -> None:
        """Say which lanes count; behind a channel's last token, in its last beat, none does."""
        last_lane = Signal(range(self.config.lanes))
        with m.If(taken):
            m.d.sync += last_lane.eq(self.i.payload.request.tokens - 1)
        others = (~partial | (last_lane >= k) for k in range(1, self.config.lanes))
        m.d.comb += self.o.payload.lanes.eq(Cat(Const(1), *others))


def page_steps(
    config: DriveEngineConfig, kind: RequestKind, keep: int, tokens: int, *, keys_only: bool = False
) -> list[bool]:
    """Return cycle by cycle what the filter does with a page: whether it gives a beat.

    Args:
        kind, keep, tokens, keys_only: of its request.
    """
    layout = config.layout
    if kind is RequestKind.KEY_CHANNELS:
        entries, rows, passes = layout.channels_per_page, -(-tokens // config.lanes), 1
        entries *= tokens > 0
    else:
        entries, rows, passes = layout.group_tokens, config.rows, 1 if keys_only else 2
        entries = min(entries, tokens)
    kept = [bool(keep >> k & 1) for k in range(entries)]
    while kept and not kept[-1]:
        kept.pop()
    return passes * [step for is_kept in kept for step in ([True] * rows if is_kept else [False])]


def _bits(count: int) -> int:
    """Return the bits of a number below `count`, a power of two."""
    return (count - 1).bit_length()

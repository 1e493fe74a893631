"""The attention kernel of one flash channel: scores, powers and their sums, at the channel's rate.

Elements of pages come in fixed point and in any order of pages. Sums are exact, so the slices of
all channels and drives can be added up at the end. `golden/attention_engine.py` is the twin.

    front end -> multipliers of each query -> scores -> logits -> powers -> bins -> weights
                        |        ^                                                     |
                        v        +------------------- of the page's values ------------+
                  sums of a job, approximate scores of two spans
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from hw.emit import add
from hw.fifo import MAX_DEPTH, Fifo
from hw.group_scale import delay
from hw.mux import select
from storage_engine.engine_layouts import (
    ElementKind,
    approximate_layout,
    element_layout,
    partial_layout,
    query_layout,
    scale_layout,
    slice_command_layout,
    span_bits,
    span_tokens,
)
from storage_engine.slice_bins import SliceBins, weight_layout
from storage_engine.slice_commands import SliceCommands
from storage_engine.slice_logit import SliceLogit
from storage_engine.slice_power import SlicePower
from storage_engine.slice_query import (
    AT_FACTORS,
    AT_WRITE,
    BANKS,
    SliceQuery,
    beat_layout,
    lane_bits,
    score_cycles,
    word_bits,
)

_ADVANCE = Const(1)


def weight_cycles(config: DriveEngineConfig) -> int:
    """Return the cycles from a key's last row to the first cycle in which its value may be taken.

    One query after the other goes through the same logit, power and bins.
    """
    serial = SliceLogit.cycles() + SlicePower.cycles() + SliceBins.cycles()
    return score_cycles(config) + serial + config.queries - 1 + Fifo.cycles()


def check_slice(config: DriveEngineConfig) -> None:
    """Raise ConfigError unless a slice has room for a configuration's queries and pages."""
    if config.queries > config.rows:
        raise ConfigError(
            f"queries is {config.queries}; a head of {config.rows} beats allows "
            f"{config.rows} at most, take fewer lanes"
        )
    if config.layout.group_tokens > MAX_DEPTH:
        raise ConfigError(
            f"page_bytes is {config.page_bytes}; a page of {config.layout.group_tokens} tokens "
            f"is too large for a slice, which has room for {MAX_DEPTH}"
        )


class AttentionSlice(wiring.Component):
    """The slice. Throughput: one beat per cycle, but for the waits below. Latency: `cycles`.

    A job begins with BEGIN, which forgets all sums and takes the job's queries. Then comes SPAN for
    each span, in their order, and PARTIAL. Each waits for as many pages of its own as it says,
    and is then carried out: SPAN gives the approximate scores of a span and clears them, PARTIAL
    gives the sums of the job. While SPAN is offered, channels and tails are taken, its own span's
    until it has all of its pages, and the next one's; while PARTIAL is offered, pairs are, until it
    has all of them. So no beat comes too early: pages may be asked for at once, but for those of
    another job behind one that has no pairs here, which must wait until its BEGIN is taken.

    A value's beat waits until its weight is there, `weight_cycles` behind its key. With a page's
    keys in front of its values that is so, unless a page has fewer tokens than take this long. A
    channel's beat waits for one cycle in which an approximate score of a tail's key is written.

    Members:
        i_command: stream of `slice_command_layout`.
        i_query: stream of `query_layout`; every row of the queries, and of the masked ones if there
            are channels or a tail; taken with BEGIN.
        scale: [queries] of `scale_layout`, of the whole queries' scores; held during a job.
        i: stream of `element_layout`. Of PAIRS first the keys of all tokens of a page, then their
            values. The words of a channel are at least three.
        o_approximate: stream of `approximate_layout`: words of `lanes` tokens of the span; a span
            or a token that did not come has zeros.
        o_partial: stream of `partial_layout`.

    Raises:
        ConfigError: a head has fewer beats than there are queries, or a group too many tokens.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        check_slice(config)
        self.config = config
        super().__init__(
            {
                "i_command": In(stream.Signature(slice_command_layout(config))),
                "i_query": In(stream.Signature(query_layout(config))),
                "scale": In(data.ArrayLayout(scale_layout(), config.queries)),
                "i": In(stream.Signature(element_layout(config))),
                "o_approximate": Out(stream.Signature(approximate_layout(config))),
                "o_partial": Out(stream.Signature(partial_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        kv = f"l{c.lanes}_g{c.queries}_d{c.head_size}_{c.kv_bits}"
        return f"attention_slice_{kv}_p{c.page_bytes}x{c.channels_per_page}_c{c.context_bits}"

    @staticmethod
    def begin_cycles(config: DriveEngineConfig) -> int:
        """Return the cycles from BEGIN offered to the first one in which a beat may be taken.

        The queries come meanwhile.
        """
        return weight_cycles(config) + (1 << word_bits(config)) + 1

    @staticmethod
    def page_cycles(config: DriveEngineConfig, tokens: int) -> int:
        """Return the cycles that the beats of a page of pairs take of which so many are kept."""
        between = weight_cycles(config) - config.rows * (tokens - 1) - 1
        return 2 * config.rows * tokens + max(between, 0) if tokens else 0

    @staticmethod
    def partial_beats(config: DriveEngineConfig) -> int:
        """Return the beats that PARTIAL gives."""
        return config.queries * (1 + BINS + BINS * config.rows)

    @classmethod
    def cycles(cls, config: DriveEngineConfig, pages: Sequence[int]) -> int:
        """Return the cycles of a job of dense attention, BEGIN offered to the last sum taken.

        The timing contract, where no stream waits, and the queries do not come later than BEGIN
        needs them.

        Args:
            pages: how many tokens each page of pairs gives, in their order; none gives 0.
        """
        beats = sum(cls.page_cycles(config, tokens) for tokens in pages)
        given = weight_cycles(config) + 1 + cls.partial_beats(config)
        return cls.begin_cycles(config) + beats + given

    def elaborate(self, platform: object) -> Module:
        """Beats to the queries, scores to weights, commands, outputs."""
        m = Module()
        config = self.config
        settle = weight_cycles(config)
        commands = add(m, platform, "commands", SliceCommands, config, settle)
        bins = add(m, platform, "bins", SliceBins, config)
        width = config.queries * weight_layout(config).size
        depth = max(config.layout.group_tokens, 2)
        weights = add(m, platform, "weights", Fifo, width, depth, reset=commands.begins)
        beat = self._take(m, commands, weights)

        queries = [
            add(m, platform, f"query_{q}", SliceQuery, config) for q in range(config.queries)
        ]
        layout = data.ArrayLayout(weight_layout(config), config.queries)
        weight = Signal(layout, reset_less=True)
        m.d.sync += weight.as_value().eq(weights.o.payload)
        for number, query in enumerate(queries):
            m.d.comb += [
                *(query.beat.eq(beat), query.weight.eq(weight[number])),
                query.reading.eq(commands.reading),
                self.o_approximate.payload[number].eq(query.approximate),
            ]
        self._load(m, commands, queries)
        self._weigh(m, platform, beat, queries, bins, weights)
        self._give(m, commands, bins, queries)
        return m

    def _take(self, m: Module, commands: wiring.PureInterface, weights: Value) -> data.View:
        """Take beats; return what was taken, a cycle later."""
        config, p = self.config, self.i.payload
        self.kinds = {kind: Signal(name=f"is_{kind.name.lower()}") for kind in ElementKind}
        m.d.comb += [signal.eq(p.kind == kind) for kind, signal in self.kinds.items()]
        keys, values, channel, tail = self.kinds.values()
        token = Mux(channel, p.first_token, p.first_token + p.token)
        span, bank = Signal(span_bits(config)), Signal()
        size = span_tokens(config).bit_length() - 1
        m.d.comb += [span.eq(token[size : config.context_bits]), bank.eq(span[0])]
        asked = self.i_command.payload.span
        may_come = Mux(
            channel | tail,
            ((span == asked) & commands.open_own) | ((span == asked + 1) & commands.open_next),
            commands.open_pairs,
        )
        last_row = p.row == config.rows - 1
        taken, waits = Signal(), Signal()
        # A tail's score is written when a channel's beat of so many cycles later would be.
        ended = delay(m, _ADVANCE, "ended", taken & tail & last_row, self.tail_gap(config))[-1]
        collides = ended if self.tail_gap(config) else Const(0)
        m.d.comb += [
            waits.eq(~may_come | (channel & collides) | (values & ~weights.o.valid)),
            *(self.i.ready.eq(~waits), taken.eq(self.i.valid & ~waits)),
            weights.o.ready.eq(taken & values & last_row),
            commands.came.eq(
                Mux(
                    taken & p.last,
                    Mux(channel | tail, Const(1, BANKS + 1) << bank, Const(1 << BANKS)),
                    0,
                )
            ),
        ]
        beat = Signal(beat_layout(config), reset_less=True)
        lane = Mux(channel, p.channel, token)[: lane_bits(config)]
        word = Mux(channel, p.row, token[lane_bits(config) :])
        m.d.sync += [
            *(beat.elements.eq(p.elements), beat.keys.eq(taken & (keys | tail))),
            *(beat.values.eq(taken & values), beat.channel.eq(taken & channel)),
            *(beat.first.eq(p.row == 0), beat.last.eq(last_row), beat.tail.eq(tail)),
            *(beat.row.eq(p.row), beat.bank.eq(bank), beat.word.eq(word), beat.lane.eq(lane)),
        ]
        return beat

    @staticmethod
    def tail_gap(config: DriveEngineConfig) -> int:
        """Return how many cycles behind a tail's key a channel's beat would be written with it."""
        return score_cycles(config) - AT_WRITE

    def _load(
        self, m: Module, commands: wiring.PureInterface, queries: Sequence[wiring.PureInterface]
    ) -> None:
        """Write the queries, and read their rows for the beat that is taken."""
        config, p, given = self.config, self.i.payload, self.i_query
        channel, tail = self.kinds[ElementKind.CHANNEL], self.kinds[ElementKind.TAIL_KEYS]
        loads = given.valid & given.ready
        m.d.comb += [
            given.ready.eq(commands.loads),
            commands.loaded.eq(loads & given.payload.last),
        ]
        row = Mux(channel, p.channel >> lane_bits(config), p.row)
        for number, query in enumerate(queries):
            m.d.comb += [
                *(query.load.eq(loads), query.load_masked.eq(given.payload.masked)),
                *(query.load_row.eq(given.payload.row), query.query_row.eq(row)),
                query.load_values.eq(given.payload.values[number]),
                query.query_masked.eq(channel | tail),
            ]

    def _weigh(
        self,
        m: Module,
        platform: object,
        beat: data.View,
        queries: Sequence[wiring.PureInterface],
        bins: wiring.PureInterface,
        weights: wiring.PureInterface,
    ) -> None:
        """Scores of all queries, one after the other, to weights, all at once."""
        config = self.config
        logit = add(m, platform, "to_logit", SliceLogit, config)
        power = add(m, platform, "to_power", SlicePower)
        scored = beat.keys & beat.last & ~beat.tail
        turns = delay(
            m, _ADVANCE, "turn", scored, score_cycles(config) - AT_FACTORS + config.queries - 1
        )[-config.queries :]
        number = Signal.like(bins.query)
        for each, turn in enumerate(turns):
            with m.If(turn):
                m.d.comb += number.eq(each)
        numbers = range(config.queries)
        comes = Cat(number, Cat(turns).any())
        later = delay(m, _ADVANCE, "comes", comes, SliceLogit.cycles() + SlicePower.cycles())[-1]
        m.d.comb += [
            logit.score.eq(select(number, {q: queries[q].score for q in numbers})),
            logit.scale.eq(select(number, {q: self.scale[q].as_value() for q in numbers})),
            power.logit.eq(logit.logit),
            *(bins.valid.eq(later[-1]), bins.query.eq(later[:-1])),
            *(bins.power.eq(power.power), bins.bin.eq(power.bin)),
        ]
        chain = delay(m, _ADVANCE, "weight", bins.weight, config.queries - 1)
        complete = delay(
            m, _ADVANCE, "complete", bins.valid & (bins.query == config.queries - 1), 1
        )[-1]
        m.d.comb += [
            weights.i.valid.eq(complete),
            weights.i.payload.eq(Cat(weight.as_value() for weight in reversed(chain))),
        ]

    def _give(
        self,
        m: Module,
        commands: wiring.PureInterface,
        bins: wiring.PureInterface,
        queries: Sequence[wiring.PureInterface],
    ) -> None:
        """Outputs, and what commands ask of the bins."""
        wiring.connect(m, wiring.flipped(self.i_command), commands.i_command)
        sums = self.o_partial
        m.d.comb += [
            bins.clear.eq(commands.begins),
            bins.asked_query.eq(commands.asked_query),
            bins.asked_place.eq(commands.asked_place),
            *(commands.slot.eq(bins.slot), commands.filled.eq(bins.filled)),
            *(commands.top.eq(bins.top), commands.mass.eq(bins.mass)),
            self.o_approximate.valid.eq(commands.approximate),
            sums.valid.eq(commands.partial),
            commands.taken.eq(Mux(commands.partial, sums.ready, self.o_approximate.ready)),
        ]
        numbers = range(self.config.queries)
        for lane in range(self.config.lanes):
            mixed = select(commands.offered_query, {q: queries[q].mixed[lane] for q in numbers})
            shown = Mux(commands.is_mixed & commands.shows, mixed, 0)
            scalar = Mux(commands.is_mixed, 0, commands.scalar) if lane == 0 else Const(0)
            m.d.comb += sums.payload[lane].eq(shown | scalar)

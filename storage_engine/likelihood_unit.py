"""SparF's choice of tokens: what their approximate scores, added up over all slices, make of them.

`golden.attention_engine.sparf` is the twin, for a group that chooses by its logits.

    scores of all slices -> sum -> logit -> power -> bins: the mass of all tokens
                                     |-> key -> arg-top-k -> kept tokens
                                     \\-> memory -> power of the kept tokens -> their mass

A job goes through these states:

    JOB      the job is taken
    CLEAR    the kept tokens' masses become 0
    SCORES   the scores come, token by token, query by query
    SETTLE   the last ones' powers are added up
    KEPT     the kept tokens come from arg-top-k, and behind them the current one
    DRAIN    the last ones' powers are added up
    MASS     the masses leave
"""

import torch
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.arg_top_k import ArgTopKConfig
from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.special_function_unit import WIDE_BITS
from hw.emit import add
from hw.fifo import Fifo
from hw.group_scale import delay
from hw.mux import select
from storage_engine.arg_top_k import ArgTopK
from storage_engine.engine_layouts import (
    approximate_layout,
    likelihood_job_layout,
    scale_layout,
)
from storage_engine.kept_groups import kept_token_layout
from storage_engine.likelihood_registers import (
    SETTLE_CYCLES,
    SUM_CYCLES,
    LikelihoodRegisters,
    State,
)
from storage_engine.slice_bins import SLOT_BITS, SliceBins
from storage_engine.slice_logit import SliceLogit
from storage_engine.slice_power import SlicePower

KEYS = 32
"""Keys that may be on their way to arg-top-k."""

_ADVANCE = Const(1)


def key_bits(config: DriveEngineConfig) -> int:
    """Return the bits of the sum of a group's logits, and one more for what beats them all."""
    return WIDE_BITS + (config.queries - 1).bit_length() + 1


def arg_top_k_config(config: DriveEngineConfig) -> ArgTopKConfig:
    """Return the unit that chooses an engine's tokens."""
    scores = config.attention.max_context
    return ArgTopKConfig(max_scores=scores, max_k=config.max_k, score_bits=key_bits(config))


class LikelihoodUnit(wiring.Component):
    """The unit. Throughput: one score per cycle, so `queries` cycles per token.

    Members:
        i_job: stream of `likelihood_job_layout`; k is at most the engine's `max_k`, and some token
            is kept.
        scale: [queries] of `scale_layout`, of the approximate scores; held during a job.
        i_0, i_1, ...: a stream of `approximate_layout` from each slice, in lockstep: the scores of
            a job's tokens, from the first one on.
        o_kept: stream of `kept_token_layout`, ascending.
        o_mass: stream of unsigned masses, for each query: four bins of the mass over all tokens,
            the lowest first, and the same four bins over the kept tokens.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        scores = stream.Signature(approximate_layout(config))
        super().__init__(
            {
                "i_job": In(stream.Signature(likelihood_job_layout(config))),
                "scale": In(data.ArrayLayout(scale_layout(), config.queries)),
                **{f"i_{c}": In(scores) for c in range(config.flash_channels)},
                "o_kept": Out(stream.Signature(kept_token_layout(config))),
                "o_mass": Out(stream.Signature(unsigned(config.attention.mass_bits))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        scores = f"{c.flash_channels}x{c.lanes}g{c.queries}_{c.attention.score_bits}"
        return f"likelihood_unit_{scores}_c{c.context_bits}_k{c.max_k}"

    @staticmethod
    def cycles(config: DriveEngineConfig, keys: torch.Tensor) -> int:
        """Return the cycles from a job taken to its last mass taken: the contract."""
        return 0

    def elaborate(self, platform: object) -> Module:
        """Scores in, keys to arg-top-k, kept tokens out, masses out."""
        m = Module()
        r = LikelihoodRegisters(self.config)
        logit = add(m, platform, "to_logit", SliceLogit, self.config)
        power = add(m, platform, "to_power", SlicePower)
        bins = add(m, platform, "bins", SliceBins, self.config)
        keys = add(m, platform, "keys", Fifo, key_bits(self.config), KEYS)
        choose = add(m, platform, "choose", ArgTopK, arg_top_k_config(self.config))
        room = Signal()
        comes = self._score(m, r, logit, room)
        m.d.comb += room.eq(self._keys(m, r, comes, logit.logit, keys, choose))
        token, take = self._kept(m, r, choose)
        kept = self._remember(m, r, comes, logit.logit, token, take)
        self._weigh(m, r, comes, logit.logit, kept, power, bins)
        self._lead(m, r, choose)
        return m

    def _score(
        self, m: Module, r: LikelihoodRegisters, logit: wiring.PureInterface, room: Value
    ) -> data.View:
        """Take beats, score by score; return whose logit comes out, and when."""
        config = self.config
        sources = [getattr(self, f"i_{c}") for c in range(config.flash_channels)]
        there = Cat(source.valid for source in sources).all()
        goes, last_query = Signal(), r.query == config.queries - 1
        ends = last_query & ((r.lane == config.lanes - 1) | r.last_token)
        m.d.comb += [
            r.last_token.eq(r.token == r.context - 1),
            goes.eq((r.state == State.SCORES) & there & room),
            *(r.ends_token.eq(goes & last_query), r.ends_scores.eq(r.ends_token & r.last_token)),
            *(source.ready.eq(goes & ends) for source in sources),
        ]
        with m.If(goes):
            m.d.sync += r.query.eq(Mux(last_query, 0, r.query + 1))
            with m.If(last_query):
                m.d.sync += [r.token.eq(r.token + 1), r.lane.eq(Mux(ends, 0, r.lane + 1))]
        place = Signal(range(config.queries * config.lanes))
        m.d.comb += place.eq(r.query * config.lanes + r.lane)
        chosen = []
        for number, source in enumerate(sources):
            score = Signal(
                signed(config.attention.score_bits), name=f"score_{number}", reset_less=True
            )
            choices = {
                query * config.lanes + lane: source.payload[query][lane]
                for query in range(config.queries)
                for lane in range(config.lanes)
            }
            m.d.sync += score.eq(select(place, choices))
            chosen.append(score)
        total = Signal(signed(config.attention.score_bits), reset_less=True)
        m.d.sync += total.eq(sum(chosen[1:], start=chosen[0]))
        tag = Signal(r.tag_layout)
        m.d.comb += [
            *(tag.valid.eq(goes), tag.token.eq(r.token), tag.query.eq(r.query)),
            tag.last.eq(last_query),
        ]
        tags = delay(
            m, _ADVANCE, "tag", tag.as_value(), SUM_CYCLES + SliceLogit.cycles(), reset=True
        )
        summed, comes = Signal(r.tag_layout), Signal(r.tag_layout)
        m.d.comb += [
            *(summed.as_value().eq(tags[SUM_CYCLES]), comes.as_value().eq(tags[-1])),
            logit.score.eq(total),
            logit.scale.eq(select(summed.query, dict(enumerate(self.scale)))),
        ]
        return comes

    def _keys(
        self,
        m: Module,
        r: LikelihoodRegisters,
        comes: data.View,
        logit: Value,
        keys: wiring.PureInterface,
        choose: wiring.PureInterface,
    ) -> Value:
        """Add up a token's logits; offer the sums of those that may be chosen to arg-top-k.

        Return whether there is room for another token's key.
        """
        config = self.config
        most = (1 << key_bits(config) - 1) - 1
        so_far, key = (Signal(signed(key_bits(config)), name=name) for name in ("so_far", "key"))
        forced = comes.token >= r.others - r.newest
        m.d.comb += [
            key.eq(Mux(comes.query == 0, 0, so_far) + logit),
            keys.i.payload.eq(Mux(forced, most, key)),
            keys.i.valid.eq(comes.valid & comes.last & (comes.token < r.others) & r.chooses),
            choose.i.payload[0].eq(keys.o.payload.as_signed()),
            *(choose.i.valid.eq(keys.o.valid), keys.o.ready.eq(choose.i.ready)),
        ]
        with m.If(comes.valid):
            m.d.sync += so_far.eq(key)
        # A key has a place in the queue from its token's first score on.
        free, leaves = Signal(range(KEYS + 1), init=KEYS), keys.o.valid & keys.o.ready
        enters = r.ends_token & (r.token < r.others) & r.chooses
        m.d.sync += free.eq(free - enters + leaves)
        return free != 0

    def _remember(
        self,
        m: Module,
        r: LikelihoodRegisters,
        comes: data.View,
        logit: Value,
        kept: Value,
        take: Value,
    ) -> list[Value]:
        """Keep the logits of all tokens; return those of the kept token that was taken."""
        config = self.config
        row = data.ArrayLayout(signed(WIDE_BITS), config.queries)
        m.submodules.logits = rows = memory.Memory(
            shape=unsigned(row.size), depth=config.attention.max_context, init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        before = [
            Signal(WIDE_BITS, name=f"before_{q}", reset_less=True)
            for q in range(config.queries - 1)
        ]
        for query, register in enumerate(before):
            with m.If(comes.valid & (comes.query == query)):
                m.d.sync += register.eq(logit)
        m.d.comb += [
            *(write.addr.eq(comes.token), write.data.eq(Cat(*before, logit))),
            write.en.eq(comes.valid & comes.last),
            *(read.addr.eq(kept), read.en.eq(take)),
        ]
        bits = WIDE_BITS
        return [read.data[q * bits : (q + 1) * bits].as_signed() for q in range(config.queries)]

    def _kept(
        self, m: Module, r: LikelihoodRegisters, choose: wiring.PureInterface
    ) -> tuple[Value, Value]:
        """Give kept tokens, the current one last; return the one that is given, and when."""
        out, current = self.o_kept, Signal()
        index = choose.o.payload.index
        token, there, take = Signal.like(out.payload.token), Signal(), Signal()
        keeps = r.state == State.KEPT
        free = ~r.busy | (r.kept_query == self.config.queries - 1)
        m.d.comb += [
            current.eq(~r.chooses | r.chosen),
            token.eq(Mux(current, r.others, index)),
            there.eq(keeps & ~r.given & (current | choose.o.valid)),
            *(out.payload.token.eq(token), out.valid.eq(there & free)),
            out.payload.last.eq(current | (choose.o.payload.last & ~r.has_current)),
            take.eq(out.valid & out.ready),
            choose.o.ready.eq(keeps & ~r.given & ~current & free & out.ready),
        ]
        with m.If(take):
            m.d.sync += [
                r.given.eq(out.payload.last),
                r.chosen.eq(r.chosen | (~current & choose.o.payload.last)),
            ]
        with m.If(take):
            m.d.sync += [r.busy.eq(1), r.kept_query.eq(0)]
        with m.Elif(r.busy):
            last = r.kept_query == self.config.queries - 1
            m.d.sync += [r.busy.eq(~last), r.kept_query.eq(Mux(last, 0, r.kept_query + 1))]
        return token, take

    def _weigh(
        self,
        m: Module,
        r: LikelihoodRegisters,
        comes: data.View,
        logit: Value,
        kept: list[Value],
        power: wiring.PureInterface,
        bins: wiring.PureInterface,
    ) -> None:
        """Add up the powers of all tokens, and then those of the kept ones."""
        remembered = Signal(signed(WIDE_BITS))
        m.d.comb += [
            remembered.eq(select(r.kept_query, dict(enumerate(kept)))),
            power.logit.eq(Mux(r.busy, remembered, logit)),
        ]
        whose = Cat(comes.valid, r.busy, Mux(r.busy, r.kept_query, comes.query))
        of = delay(m, _ADVANCE, "whose", whose, SlicePower.cycles(), reset=True)[-1]
        is_whole, is_kept, query = of[0], of[1], of[2:]
        gives = r.state == State.MASS
        m.d.comb += [
            *(bins.valid.eq(is_whole), bins.query.eq(query)),
            *(bins.power.eq(power.power), bins.bin.eq(power.bin)),
            bins.asked_query.eq(Mux(gives, r.query, query)),
            bins.asked_place.eq(BINS - 1 - r.place),
            bins.clear.eq(r.state == State.CLEAR),
        ]
        # The kept tokens' bins count down from the top of all tokens.
        m.submodules.kept_masses = rows = memory.Memory(
            shape=unsigned(self.config.attention.mass_bits),
            depth=BINS * max(self.config.queries, 2),
            init=[],
        )
        write, read = rows.write_port(), rows.read_port(domain="comb")
        below = Signal(signed(len(bins.top) + 1))
        clears = r.state == State.CLEAR
        place = Mux(clears | gives, BINS - 1 - r.place, below)[:SLOT_BITS]
        own = Cat(place, bins.asked_query)
        m.d.comb += [
            below.eq(bins.top - power.bin),
            *(read.addr.eq(own), write.addr.eq(own)),
            write.en.eq(clears | (is_kept & (below < BINS))),
            write.data.eq(Mux(clears, 0, read.data + power.power)),
        ]
        with m.If(clears):
            m.d.comb += bins.asked_query.eq(r.query)
        mass = self.o_mass
        m.d.comb += [
            mass.valid.eq(gives),
            mass.payload.eq(Mux(r.of_kept, read.data, bins.mass)),
        ]

    def _lead(self, m: Module, r: LikelihoodRegisters, choose: wiring.PureInterface) -> None:
        """Go from state to state."""
        job, config = self.i_job, self.config
        asked = choose.i_job
        last_place, last_query = r.place == BINS - 1, r.query == config.queries - 1
        m.d.comb += [
            job.ready.eq((r.state == State.JOB) & (asked.ready | ~r.job_chooses)),
            r.job_chooses.eq((job.payload.k != 0) & (job.payload.context > job.payload.ends)),
            asked.valid.eq((r.state == State.JOB) & job.valid & r.job_chooses),
            asked.payload.count.eq(job.payload.context - job.payload.ends),
            asked.payload.k.eq(job.payload.k),
        ]
        settled = r.wait == SETTLE_CYCLES
        with m.Switch(r.state):
            with m.Case(State.JOB):
                m.d.sync += [
                    *(r.context.eq(job.payload.context), r.newest.eq(job.payload.newest)),
                    r.others.eq(job.payload.context - job.payload.ends),
                    *(r.has_current.eq(job.payload.ends), r.chooses.eq(r.job_chooses)),
                    *(r.token.eq(0), r.lane.eq(0), r.query.eq(0), r.place.eq(0)),
                    *(r.given.eq(0), r.chosen.eq(0), r.of_kept.eq(0)),
                ]
                with m.If(job.valid & job.ready):
                    m.d.sync += r.state.eq(State.CLEAR)
            with m.Case(State.CLEAR):
                m.d.sync += r.place.eq(r.place + 1)
                with m.If(last_place):
                    m.d.sync += r.query.eq(Mux(last_query, 0, r.query + 1))
                    with m.If(last_query):
                        m.d.sync += r.state.eq(State.SCORES)
            with m.Case(State.SCORES), m.If(r.ends_scores):
                m.d.sync += [r.state.eq(State.SETTLE), r.wait.eq(0)]
            with m.Case(State.SETTLE):
                m.d.sync += r.wait.eq(r.wait + 1)
                with m.If(settled):
                    m.d.sync += r.state.eq(State.KEPT)
            with m.Case(State.KEPT), m.If(r.given & ~r.busy):
                m.d.sync += [r.state.eq(State.DRAIN), r.wait.eq(0)]
            with m.Case(State.DRAIN):
                m.d.sync += r.wait.eq(r.wait + 1)
                with m.If(r.wait == SlicePower.cycles()):
                    m.d.sync += [r.state.eq(State.MASS), r.query.eq(0)]
            with m.Case(State.MASS), m.If(self.o_mass.ready):
                m.d.sync += r.place.eq(r.place + 1)
                with m.If(last_place):
                    m.d.sync += r.of_kept.eq(~r.of_kept)
                    with m.If(r.of_kept):
                        m.d.sync += r.query.eq(Mux(last_query, 0, r.query + 1))
                        with m.If(last_query):
                            m.d.sync += r.state.eq(State.JOB)

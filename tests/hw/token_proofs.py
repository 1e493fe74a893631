"""What is proven of tokens, as components for `hw.formal.prove`."""

from amaranth.hdl import Assert, Assume, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from golden.spec.isa import ErrorCode, Unit
from hw.isa import instruction_layout, port_name
from hw.scoreboard import Scoreboard, TokenCounters

MASKS = data.ArrayLayout(len(Unit) - 1, len(Unit))


class CountersProof(wiring.Component):
    """The counter from one unit to another holds what was given and not taken."""

    def __init__(self, giver, taker, token_bits=2, counters=TokenCounters):
        self.giver, self.taker, self.token_bits = giver, taker, token_bits
        self.counters = counters(token_bits)
        bits = len(Unit)
        super().__init__(
            {
                **{"wait": In(MASKS), "want": In(bits), "release": In(MASKS)},
                **{"end": In(bits), "clear": In(1)},
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.counters = counters = self.counters
        giver, taker = self.giver, self.taker
        m.d.comb += [
            counters.wait.eq(self.wait),
            counters.start.eq(self.want & counters.there),
            counters.release.eq(self.release),
            counters.end.eq(self.end),
            counters.clear.eq(self.clear),
        ]
        waits, releases = self.wait[taker], self.release[giver]
        own_wait, own_release = taker.others.index(giver), giver.others.index(taker)
        takes = counters.start[taker] & waits[own_wait]
        gives = self.end[giver] & releases[own_release]
        most = (1 << self.token_bits) - 1
        between, following = Signal(self.token_bits), Signal(signed(self.token_bits + 2))
        m.d.comb += following.eq(Mux(gives, between + 1, between) - takes)
        m.d.sync += between.eq(Mux(self.clear, 0, Mux(following > most, most, following)))
        overflow = counters.overflow[giver]
        m.d.comb += [
            Assert(~takes | (between != 0), "no start without a token"),
            Assert(
                (waits != 1 << own_wait) | (counters.there[taker] == (between != 0)),
                "no token is lost or made",
            ),
            Assert((waits != 0) | counters.there[taker], "who waits for nobody may start"),
            Assert((following <= most) | overflow, "an overflow is seen"),
            Assert(
                (releases != 1 << own_release) | (following > most) | ~overflow,
                "nothing else is an overflow",
            ),
        ]
        return m


class ScoreboardProof(wiring.Component):
    """Of one pair of units: nothing starts without tokens, and whatever may start is offered.

    With `alone` the taker waits for no other unit. `pair` says that an instruction names the other
    unit of the pair in its mask.
    """

    def __init__(self, giver, taker, in_flight=2, token_bits=1, board=Scoreboard):
        self.giver, self.taker = giver, taker
        self.in_flight, self.token_bits = in_flight, token_bits
        self.board = board(2, in_flight, token_bits)
        bits = len(Unit)
        inputs = {
            port_name("i", unit): In(stream.Signature(instruction_layout(unit))) for unit in Unit
        }
        super().__init__(
            {**inputs, "o_ready": In(bits), "end": In(bits), "stop": In(1), "alone": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = board = self.board
        for unit in Unit:
            name = port_name("i", unit)
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(board, name))
            m.d.comb += getattr(board, port_name("o", unit)).ready.eq(self.o_ready[unit])
        m.d.comb += [board.end.eq(self.end), board.stop.eq(self.stop)]
        giver, taker = self.giver, self.taker
        entry = getattr(board, port_name("i", taker))
        gives, takes = (getattr(board, port_name("o", unit)) for unit in (giver, taker))
        own_wait, own_release = taker.others.index(giver), giver.others.index(taker)

        started, last_alone = Signal(), Signal()
        m.d.sync += [started.eq(1), last_alone.eq(self.alone)]
        others = entry.payload.wait & ~(1 << own_wait)
        m.d.comb += [
            Assume(~started | (self.alone == last_alone)),
            Assume(~self.alone | (others == 0)),
        ]
        # The releases of what the giver executes, the oldest one lowest.
        releases, executed = Signal(self.in_flight + 1), Signal(range(self.in_flight + 2))
        starts = gives.valid & gives.ready
        ends = self.end[giver] & (executed != 0)
        m.d.comb += Assume(~self.end[giver] | (executed != 0))
        left, kept = Signal.like(executed), Signal.like(releases)
        m.d.comb += [left.eq(executed - ends), kept.eq(Mux(ends, releases >> 1, releases))]
        m.d.sync += [
            executed.eq(left + starts),
            releases.eq(Mux(starts, kept | gives.payload.release[own_release] << left, kept)),
        ]
        given = ends & releases[0]
        taken = takes.valid & takes.ready & takes.payload.wait[own_wait]
        between = Signal(self.token_bits + 2)
        overflow = Signal()
        error = board.error.code
        full = between == (1 << self.token_bits) - 1
        m.d.sync += [
            between.eq(between + given - taken),
            overflow.eq(overflow | (given & ~taken & full)),
        ]
        queued, running = Signal(2), Signal(range(self.in_flight + 1))
        enters, leaves = entry.valid & entry.ready, takes.valid & takes.ready
        m.d.sync += [
            queued.eq(queued + enters - leaves),
            running.eq(running + leaves - (self.end[taker] & (running != 0))),
        ]
        stopped = self.stop | (error != ErrorCode.NONE)
        may_start = self.alone & (queued != 0) & (between != 0) & (running != self.in_flight)
        m.d.comb += [
            Assert(~taken | (between != 0), "no start without a token"),
            Assert(~may_start | stopped | takes.valid, "what may start is offered"),
            Assert(~overflow | (error == ErrorCode.TOKEN_OVERFLOW), "an overflow is an error"),
            Assert(~stopped | ~takes.valid, "nothing starts when it is stopped"),
            Assert(queued <= 2, "no instruction is made"),
        ]
        return m

"""Starts each unit's instructions when the tokens that they wait for are there."""

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError
from golden.spec.isa import PC_BITS, TOKEN_BITS, ErrorCode, Unit
from hw.emit import add
from hw.fifo import MAX_DEPTH, Fifo
from hw.isa import error_layout, instruction_layout, port_name

MAX_TOKEN_BITS = 16

_OTHERS = len(Unit) - 1
_PAIRS = [(giver, taker) for giver in Unit for taker in giver.others]


def release_layout() -> data.StructLayout:
    """What is kept of an instruction while it is executed."""
    return data.StructLayout({"release": unsigned(_OTHERS), "pc": unsigned(PC_BITS)})


class TokenCounters(wiring.Component):
    """A counter of tokens for every ordered pair of units.

    Args:
        token_bits: width of a counter; it holds up to 2**token_bits - 1 tokens.

    Members, one bit or mask for each unit:
        wait: the mask of its next instruction, as in the instruction.
        there: all tokens of that mask are there.
        start: one of each is taken; only while `there`.
        release, end: one is given to each unit of the mask `release`, in the cycle `end`.
        overflow: it would give a token to a full counter; the counter stays full.
        clear: takes all tokens away.
    """

    def __init__(self, token_bits: int) -> None:
        self.token_bits = token_bits
        masks, bits = data.ArrayLayout(_OTHERS, len(Unit)), len(Unit)
        super().__init__(
            {
                "wait": In(masks),
                "there": Out(bits),
                "start": In(bits),
                "release": In(masks),
                "end": In(bits),
                "overflow": Out(bits),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"token_counters_{self.token_bits}"

    def elaborate(self, platform: object) -> Module:
        """Every counter goes up, down, or stays."""
        m = Module()
        missing: dict[Unit, list[Value]] = {unit: [] for unit in Unit}
        overflows: dict[Unit, list[Value]] = {unit: [] for unit in Unit}
        for giver, taker in _PAIRS:
            tokens = Signal(self.token_bits, name=f"tokens_{giver.name}_{taker.name}".lower())
            wanted = self.wait[taker][taker.others.index(giver)]
            takes = self.start[taker] & wanted
            gives = self.end[giver] & self.release[giver][giver.others.index(taker)]
            full = gives & ~takes & tokens.all()
            missing[taker].append(wanted & (tokens == 0))
            overflows[giver].append(full)
            with m.If(self.clear):
                m.d.sync += tokens.eq(0)
            with m.Elif(~full):
                m.d.sync += tokens.eq(tokens + gives - takes)
        for unit in Unit:
            m.d.comb += self.there[unit].eq(~Cat(missing[unit]).any())
            m.d.comb += self.overflow[unit].eq(Cat(overflows[unit]).any())
        return m


class Scoreboard(wiring.Component):
    """A queue of instructions for each unit, and what lets the first one in it start.

    An instruction is offered to its unit when a token from each unit of its wait mask is there; it
    starts, and takes them, when the unit takes it. With its end it gives a token to each unit of
    its release mask. A unit may start instructions before it ends others; it ends them in their
    order.

    An instruction can start one cycle after it has come, and one cycle after the end that gives its
    last token. Throughput: one start and one end per unit and cycle.

    A token that finds its counter full is an error: from then on nothing starts until a reset.
    What was offered and not taken is then withdrawn.

    Args:
        queue_depth: instructions that wait in a unit's queue, 2 to 1024.
        in_flight: instructions that a unit has started and not ended, 2 to 1024.
        token_bits: width of a token counter, 1 to 16.

    Members:
        i_ld, i_st, i_mm, i_mv, i_misc, i_sys: streams of `hw.isa.instruction_layout`.
        o_ld, ... o_sys: streams of the same instructions, when they may start.
        end: a bit for each unit: its oldest instruction has ended; at the earliest in the cycle
            after its start.
        clear: takes all tokens away; only while `idle`.
        stop: nothing starts.
        idle: no instruction waits or is executed.
        running: a bit for each unit: it has started an instruction and not ended it.
        waiting: a bit for each unit: its next instruction waits for a token.
        error: `hw.isa.error_layout`: TOKEN_OVERFLOW, and the instruction that gave the token; of
            several in one cycle the first unit's.

    Raises:
        ConfigError: an argument is outside its range.
    """

    def __init__(
        self, queue_depth: int = 8, in_flight: int = 4, token_bits: int = TOKEN_BITS
    ) -> None:
        for name, depth in (("queue_depth", queue_depth), ("in_flight", in_flight)):
            if not 2 <= depth <= MAX_DEPTH:
                raise ConfigError(f"{name} is {depth!r}; allowed are 2 to {MAX_DEPTH}")
        if not 1 <= token_bits <= MAX_TOKEN_BITS:
            raise ConfigError(f"token_bits is {token_bits!r}; allowed are 1 to {MAX_TOKEN_BITS}")
        self.depths = queue_depth, in_flight
        self.token_bits = token_bits
        streams: dict[str, wiring.Member] = {}
        for unit in Unit:
            payload = stream.Signature(instruction_layout(unit))
            streams |= {port_name("i", unit): In(payload), port_name("o", unit): Out(payload)}
        bits = len(Unit)
        super().__init__(
            {
                **streams,
                "end": In(bits),
                "clear": In(1),
                "stop": In(1),
                "idle": Out(1),
                "running": Out(bits),
                "waiting": Out(bits),
                "error": Out(error_layout()),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        queue_depth, in_flight = self.depths
        return f"scoreboard_q{queue_depth}_f{in_flight}_t{self.token_bits}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from an instruction that comes, or a token given, to the start.

        The timing contract: exact when nothing else keeps the instruction; what else does is in
        `golden.scoreboard.run`.
        """
        return 1

    def elaborate(self, platform: object) -> Module:
        """Two queues for each unit around the counters of tokens."""
        m = Module()
        tokens = add(m, platform, "tokens", TokenCounters, self.token_bits)
        m.d.comb += tokens.clear.eq(self.clear)
        stopped = Signal()
        m.d.comb += stopped.eq(self.stop | (self.error.code != ErrorCode.NONE))
        busy = [self._unit(m, platform, unit, tokens, stopped) for unit in Unit]
        m.d.comb += self.idle.eq(~Cat(busy).any())
        return m

    def _unit(
        self, m: Module, platform: object, unit: Unit, tokens: TokenCounters, stopped: Signal
    ) -> Signal:
        """Queue a unit's instructions and their releases; return whether there are any."""
        i, o = (getattr(self, port_name(side, unit)) for side in "io")
        layout = instruction_layout(unit)
        queue = add(m, platform, port_name("queue", unit), Fifo, layout.size, self.depths[0])
        size = release_layout().size
        running = add(m, platform, port_name("running", unit), Fifo, size, self.depths[1])
        head = data.View(layout, queue.o.payload)
        oldest = data.View(release_layout(), running.o.payload)
        starts, ends, there = o.valid & o.ready, Signal(), Signal()
        m.d.comb += [
            queue.i.payload.eq(i.payload.as_value()),
            queue.i.valid.eq(i.valid),
            i.ready.eq(queue.i.ready),
            o.payload.eq(head),
            o.valid.eq(queue.o.valid & there & running.i.ready & ~stopped),
            queue.o.ready.eq(starts),
            running.i.payload.eq(Cat(head.release, head.pc)),
            running.i.valid.eq(starts),
            running.o.ready.eq(self.end[unit]),
            ends.eq(self.end[unit] & running.o.valid),
            tokens.wait[unit].eq(head.wait),
            there.eq(tokens.there[unit]),
            tokens.start[unit].eq(starts),
            tokens.release[unit].eq(oldest.release),
            tokens.end[unit].eq(ends),
            self.running[unit].eq(running.o.valid),
            self.waiting[unit].eq(queue.o.valid & ~there),
        ]
        is_first = ~tokens.overflow[:unit].any() & (self.error.code == ErrorCode.NONE)
        with m.If(tokens.overflow[unit] & is_first):
            m.d.sync += self.error.code.eq(ErrorCode.TOKEN_OVERFLOW)
            m.d.sync += self.error.pc.eq(oldest.pc)
        busy = Signal(name=f"{unit.name.lower()}_is_busy")
        m.d.comb += busy.eq(queue.o.valid | running.o.valid)
        return busy

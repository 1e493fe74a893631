"""Decoder and scoreboard with units whose durations are chosen, and a log of all that happens."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import SystemOperation, Unit
from hw.emit import add
from hw.fifo import Fifo
from hw.instruction_decoder import InstructionDecoder
from hw.isa import error_layout, instruction_layout, port_name, word_layout
from hw.layouts import unstoppable
from hw.scoreboard import Scoreboard

CHANNELS = 8
TIME_BITS = 24
DURATION_BITS = 10


class Units(wiring.Component):
    """Programs in; one begins when the one before it has ended and its tokens are cleared.

    Members:
        i: the words of programs.
        i_duration_ld, ...: cycles from each start to its end; a unit starts none without one.
        stop: as the scoreboard's.
        o_arrive_ld, ..., o_start_ld, ..., o_end_ld, ...: what happens, with the instruction.
        o_error: each value that the scoreboard's error takes.
        o_waiting: the scoreboard's `waiting`, in each cycle in which it is not 0.
    """

    def __init__(self, *configuration):
        self.configuration = configuration
        members = {"i": In(stream.Signature(word_layout())), "stop": In(1)}
        for unit in Unit:
            given = unstoppable(instruction_layout(unit))
            duration = stream.Signature(unsigned(DURATION_BITS))
            members |= {
                port_name("i_duration", unit): In(duration),
                port_name("o_arrive", unit): Out(given),
                port_name("o_start", unit): Out(given),
                port_name("o_end", unit): Out(unstoppable(unsigned(1))),
            }
        members["o_error"] = Out(unstoppable(error_layout()))
        members["o_waiting"] = Out(unstoppable(unsigned(len(Unit))))
        super().__init__(members)

    @property
    def module_name(self):
        return f"units_{Scoreboard(*self.configuration).module_name}"

    def elaborate(self, platform):
        m = Module()
        decoder = add(m, platform, "decoder", InstructionDecoder, CHANNELS)
        board = add(m, platform, "board", Scoreboard, *self.configuration)
        now, held, ending = Signal(TIME_BITS), Signal(), Signal()
        before = Signal.like(board.error.as_value())
        end_starts = board.o_sys.valid & board.o_sys.ready
        m.d.comb += [
            decoder.i.payload.eq(self.i.payload),
            decoder.i.valid.eq(self.i.valid & ~held),
            self.i.ready.eq(decoder.i.ready & ~held),
            board.stop.eq(self.stop),
            board.clear.eq(ending & board.idle),
            self.o_error.payload.eq(board.error),
            self.o_error.valid.eq(board.error.as_value() != before),
            self.o_waiting.payload.eq(board.waiting),
            self.o_waiting.valid.eq(board.waiting != 0),
        ]
        m.d.sync += [now.eq(now + 1), before.eq(board.error.as_value())]
        with m.If(self.i.valid & self.i.ready & self.i.payload.last):
            m.d.sync += held.eq(1)
        with m.If(end_starts & (board.o_sys.payload.op == SystemOperation.END)):
            m.d.sync += ending.eq(1)
        with m.If(board.clear):
            m.d.sync += [held.eq(0), ending.eq(0)]
        ends = [self._unit(m, platform, unit, decoder, board, now) for unit in Unit]
        m.d.comb += board.end.eq(Cat(ends))
        return m

    def _unit(self, m, platform, unit, decoder, board, now):
        """Execute a unit's instructions; return whether one ends."""
        source, entry = getattr(decoder, port_name("o", unit)), getattr(board, port_name("i", unit))
        begins = getattr(board, port_name("o", unit))
        duration = getattr(self, port_name("i_duration", unit))
        arrive, start, end = (
            getattr(self, port_name(f"o_{what}", unit)) for what in ("arrive", "start", "end")
        )
        wiring.connect(m, source, entry)
        deadlines = add(m, platform, port_name("deadlines", unit), Fifo, TIME_BITS, 16)
        m.d.comb += [
            begins.ready.eq(duration.valid & deadlines.i.ready),
            duration.ready.eq(start.valid),
            deadlines.i.payload.eq(now + duration.payload),
            deadlines.i.valid.eq(start.valid),
            deadlines.o.ready.eq(end.valid),
            arrive.payload.eq(entry.payload),
            arrive.valid.eq(entry.valid & entry.ready),
            start.payload.eq(begins.payload),
            start.valid.eq(begins.valid & begins.ready),
            end.valid.eq(deadlines.o.valid & (now >= deadlines.o.payload)),
        ]
        return end.valid

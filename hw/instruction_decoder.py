"""Puts instructions together from their words, checks them, and hands each to its unit."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError
from golden.spec.isa import (
    CHANNELS,
    FORMATS,
    OPCODE_BITS,
    PC_BITS,
    WORD_BITS,
    ErrorCode,
    SystemOperation,
    Unit,
)
from hw.isa import (
    MAX_WORDS,
    error_layout,
    instruction_layout,
    is_illegal,
    port_name,
    unpack,
    word_layout,
)


class InstructionDecoder(wiring.Component):
    """Takes a program word by word; decodes it as `golden.spec.instruction.walk` does.

    Throughput: one word per cycle, whatever the instructions' lengths are. Latency: `cycles`. A
    word that follows an instruction is taken in the cycle in which the unit takes that instruction,
    so `i.ready` depends on the outputs' `ready`.

    Behind SYS END the rest of the program is dropped, up to its last word. The next word is the
    first of a new program; it can be taken two cycles after the last one of an END.

    With the first error the decoder stops until it is reset. Instructions in front of it have been
    handed out.

    Args:
        channels: memory channels of the core, 0 to 32.

    Members:
        i: stream of `hw.isa.word_layout`.
        o_ld, o_st, o_mm, o_mv, o_misc, o_sys: streams of `hw.isa.instruction_layout`; an
            instruction is offered in only one of them.
        error: `hw.isa.error_layout`; NONE until there is one.

    Raises:
        ConfigError: `channels` is outside its range.
    """

    def __init__(self, channels: int) -> None:
        if not 0 <= channels <= CHANNELS:
            raise ConfigError(f"channels is {channels!r}; allowed are 0 to {CHANNELS}")
        self.channels = channels
        outputs = {
            port_name("o", unit): Out(stream.Signature(instruction_layout(unit))) for unit in Unit
        }
        super().__init__(
            {"i": In(stream.Signature(word_layout())), **outputs, "error": Out(error_layout())}
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"instruction_decoder_c{self.channels}"

    @staticmethod
    def cycles(words: int) -> int:
        """Return the cycles from the first word offered to the last instruction offered.

        The timing contract: exact for `words` words of a program, up to its END, when no stream
        waits.
        """
        return words + 1

    def elaborate(self, platform: object) -> Module:
        """Registers for the words of one instruction, which the outputs offer when it is whole."""
        m = Module()
        words = Array(
            Signal(WORD_BITS, name=f"word_{k}", reset_less=True) for k in range(MAX_WORDS)
        )
        number = Signal(range(MAX_WORDS))
        whole, was_last, dropping = Signal(), Signal(), Signal()
        pc, next_pc = Signal(PC_BITS), Signal(PC_BITS)
        taken, bad, is_end = self._offer(m, words, whole, pc, next_pc)
        take = self.i.valid & self.i.ready
        stopped = self.error.code != ErrorCode.NONE
        passes = ~whole | (taken & ~is_end & ~was_last)
        m.d.comb += self.i.ready.eq(~stopped & (dropping | passes))

        with m.If(taken):
            m.d.sync += [whole.eq(0), pc.eq(next_pc)]
            with m.If(is_end):
                m.d.sync += [pc.eq(0), dropping.eq(~was_last)]
            with m.Elif(was_last):
                self._fail(m, ErrorCode.PAST_END, next_pc)
        with m.If(bad):
            self._fail(m, ErrorCode.ILLEGAL_FIELD, pc)
        with m.If(take & dropping):
            m.d.sync += dropping.eq(~self.i.payload.last)
        with m.Elif(take):
            self._collect(m, words, number, whole, was_last, Mux(whole, next_pc, pc))
        return m

    def _collect(
        self, m: Module, words: Array, number: Signal, whole: Signal, was_last: Signal, pc: Value
    ) -> None:
        """Store a word of the instruction at `pc`."""
        word, last = self.i.payload.word, self.i.payload.last
        opcode = Mux(number == 0, word, words[0])[-OPCODE_BITS:]
        forms = FORMATS.values()
        known = Cat(opcode == form.opcode for form in forms).any()
        ends = Cat((opcode == f.opcode) & (number == f.words - 1) for f in forms).any()
        m.d.sync += [words[number].eq(word), was_last.eq(last), number.eq(number + 1)]
        with m.If(~known):
            self._fail(m, ErrorCode.ILLEGAL_OPCODE, pc)
        with m.Elif(ends):
            m.d.sync += [whole.eq(1), number.eq(0)]
        with m.Elif(last):
            self._fail(m, ErrorCode.PAST_END, pc)

    def _offer(
        self, m: Module, words: Array, whole: Signal, pc: Signal, next_pc: Signal
    ) -> tuple[Signal, Signal, Signal]:
        """Offer a whole instruction to its unit, if it is legal.

        Returns:
            It is taken; it is illegal; it is an END.
        """
        taken, bad, is_end = Signal(), Signal(), Signal()
        for unit, form in FORMATS.items():
            output = getattr(self, port_name("o", unit))
            found = data.View(instruction_layout(unit), unpack(unit, words, pc))
            is_mine = whole & (words[0][-OPCODE_BITS:] == form.opcode)
            illegal = Signal(name=f"{unit.name.lower()}_is_illegal")
            m.d.comb += [
                illegal.eq(is_illegal(unit, words, found, self.channels)),
                output.payload.eq(found),
                output.valid.eq(is_mine & ~illegal),
            ]
            with m.If(is_mine):
                m.d.comb += [
                    bad.eq(illegal),
                    taken.eq(~illegal & output.ready),
                    next_pc.eq(pc + form.words),
                ]
                if unit is Unit.SYS:
                    m.d.comb += is_end.eq(found.op == SystemOperation.END)
        return taken, bad, is_end

    def _fail(self, m: Module, code: ErrorCode, pc: Value) -> None:
        m.d.sync += [self.error.code.eq(code), self.error.pc.eq(pc)]

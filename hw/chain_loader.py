"""Cuts a chain's weight stream (`hw.weight_stream`) into the streams that its unit takes."""

from collections.abc import Iterable

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.emit import add
from hw.expansion import word_layout
from hw.mux import select
from hw.weight_stream import KIND_BITS, Kind, check_word_bits, slot_bits, unpacked_layouts

UNPACKED_PORTS = {
    Kind.SEGMENTS: "o_segment",
    Kind.INDICES: "o_index",
    Kind.PASSES: "o_pass",
    Kind.SCALES: "o_scale",
    Kind.DESTINATIONS: "o_destination",
}
"""The output of each kind that stands in slots."""


class ChainLoader(wiring.Component):
    """Takes the words of a weight stream and gives each kind's payloads in their order.

    Throughput: one word per cycle. A word waits while the word before it of the same kind still has
    payloads left, or while a word of weights is not taken.

    Members:
        i: stream of words.
        o_word: stream of words of packed weights, in the cycle in which they come.
        o_segment, o_index, o_pass, o_scale, o_destination: streams of the payloads, a cycle later
            at the earliest, one per cycle of each.

    Raises:
        ConfigError: the engine's words are not a power of two of bits.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        check_word_bits(config)
        layouts = unpacked_layouts(config)
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(config.word_bits))),
                "o_word": Out(stream.Signature(word_layout(config.expansion))),
                **{
                    port: Out(stream.Signature(layouts[kind]))
                    for kind, port in UNPACKED_PORTS.items()
                },
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        sizes = "_".join(str(layout.size) for layout in unpacked_layouts(c).values())
        return f"chain_loader_w{c.word_bits}_{sizes}"

    @staticmethod
    def cycles(config: MatrixEngineConfig, words: Iterable[tuple[Kind, int]]) -> int:
        """Return the cycles from the first word taken to the last one, both counted.

        The timing contract: exact where the source always has a word and no sink waits.

        Args:
            words: kind and number of payloads of each word, those of headers and weights unused.
        """
        free = dict.fromkeys(UNPACKED_PORTS, 0)
        now = -1
        for kind, payloads in words:
            now = max(now + 1, free.get(kind, 0))
            if kind in free:
                free[kind] = now + payloads
        return now + 1

    def elaborate(self, platform: object) -> Module:
        """The kinds of the words to come, a way for each kind, and what unpacks it."""
        m = Module()
        config = self.config
        kinds = Signal(config.word_bits)
        kind, partial = kinds[: KIND_BITS - 1], kinds[KIND_BITS - 1]
        ready: dict[int, Value] = {Kind.HEADER: Const(1), Kind.WEIGHTS: self.o_word.ready}
        for each, port in UNPACKED_PORTS.items():
            bits = len(getattr(self, port).payload.as_value())
            unpacker = add(m, platform, f"{port[2:]}s", WordUnpacker, config.word_bits, bits)
            m.d.comb += [
                unpacker.partial.eq(partial),
                unpacker.i.payload.eq(self.i.payload),
                unpacker.i.valid.eq(self.i.valid & (kind == each)),
                getattr(self, port).payload.as_value().eq(unpacker.o.payload),
                getattr(self, port).valid.eq(unpacker.o.valid),
                unpacker.o.ready.eq(getattr(self, port).ready),
            ]
            ready[each] = unpacker.i.ready
        m.d.comb += [
            self.o_word.payload.as_value().eq(self.i.payload),
            self.o_word.valid.eq(self.i.valid & (kind == Kind.WEIGHTS)),
            self.i.ready.eq(select(kind, ready)),
        ]
        with m.If(self.i.valid & self.i.ready):
            following = Mux(kind == Kind.HEADER, self.i.payload, kinds >> KIND_BITS)
            m.d.sync += kinds.eq(following)
        return m


class WordUnpacker(wiring.Component):
    """Gives the payloads of a word, one per cycle, the lowest first.

    A word is taken in the cycle in which the last payload of the one before leaves.

    Args:
        payload_bits: of a payload; its slot has the next power of two.

    Members:
        i: stream of words. partial: beside it, the last slot holds the number of payloads.
        o: stream of payloads.
    """

    def __init__(self, word_bits: int, payload_bits: int) -> None:
        self.word_bits = word_bits
        self.payload_bits = payload_bits
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(word_bits))),
                "partial": In(1),
                "o": Out(stream.Signature(unsigned(payload_bits))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"word_unpacker_{self.word_bits}to{self.payload_bits}"

    def elaborate(self, platform: object) -> Module:
        """The word, the slot that is offered, and how many are left."""
        m = Module()
        width = slot_bits(self.payload_bits)
        slots = self.word_bits // width
        word = Signal(self.word_bits, reset_less=True)
        slot = Signal(range(slots), reset_less=True)
        left = Signal(range(slots + 1))
        taken = self.o.valid & self.o.ready
        last_slot = self.i.payload[(slots - 1) * width :]
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.payload.eq(select(slot, {k: word.word_select(k, width) for k in range(slots)})),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        m.d.sync += [left.eq(left - taken), slot.eq(slot + taken)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                word.eq(self.i.payload),
                slot.eq(0),
                left.eq(Mux(self.partial, last_slot[: len(left)], slots)),
            ]
        return m

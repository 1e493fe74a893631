"""Reads the beats that are wanted out of the page buffer, and makes them fixed point."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import add
from hw.mux import select
from storage_engine.engine_layouts import element_layout
from storage_engine.entry_filter import place_layout
from storage_engine.half_to_fixed import HalfToFixed
from storage_engine.page_buffer import buffer_words, front_end_name

READ_STAGES = 2
"""Cycles in which a beat is read: the memory's, and one in which its part of a word is taken."""


class ElementReader(wiring.Component):
    """Gives the elements of each place.

    Throughput: a beat per cycle. Latency: `cycles`.

    Members:
        i: stream of `place_layout`.
        o: stream of `element_layout`.
        read, address: read the word at `address` of the page buffer.
        word: what was read last.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(place_layout(config))),
                "o": Out(stream.Signature(element_layout(config))),
                "read": Out(1),
                "address": Out(range(buffer_words(config))),
                "word": In(unsigned(config.word_bits)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"element_reader_{front_end_name(self.config)}"

    @staticmethod
    def cycles(config: DriveEngineConfig) -> int:
        """Return the cycles from a place taken to its elements offered: the contract."""
        return READ_STAGES + (HalfToFixed.cycles() if config.kv_bits == 16 else 0)

    def elaborate(self, platform: object) -> Module:
        """A pipeline that moves or stands still as a whole."""
        m = Module()
        config = self.config
        advance = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(advance)]
        stages = self._stages(m, advance)
        part = self._read(m, stages[1][1], advance)
        valid, place = stages[-1]
        m.d.comb += self.o.valid.eq(valid)
        for name in element_layout(config).members:
            if name != "elements":
                m.d.comb += self.o.payload[name].eq(place[name])
        for k in range(config.lanes):
            element = part.word_select(k, config.kv_bits)
            if config.kv_bits == 16:
                lane = add(m, platform, f"lane_{k}", HalfToFixed)
                m.d.comb += [
                    lane.advance.eq(advance),
                    lane.half.eq(element),
                    lane.fraction.eq(stages[READ_STAGES][1].fraction),
                ]
                element = lane.o
            m.d.comb += self.o.payload.elements[k].eq(element)
        return m

    def _stages(self, m: Module, advance: Value) -> Sequence[tuple[Value, data.View]]:
        """Return for each stage whether a beat is in it, and its place; the first is `i`."""
        stages = [(self.i.valid, self.i.payload)]
        for number in range(self.cycles(self.config)):
            valid = Signal(name=f"valid_{number}")
            place = Signal(place_layout(self.config), name=f"place_{number}", reset_less=True)
            with m.If(advance):
                m.d.sync += [valid.eq(stages[-1][0]), place.eq(stages[-1][1])]
            stages.append((valid, place))
        return stages

    def _read(self, m: Module, place: data.View, advance: Value) -> Signal:
        """Return a beat's part of its word, with zeros in the lanes that do not count.

        Args:
            place: of the word that has been read.
        """
        config = self.config
        parts = config.word_elements // config.lanes
        bits = config.kv_bits * config.lanes
        low = (parts - 1).bit_length()
        m.d.comb += [
            self.address.eq(self.i.payload.beat[low:]),
            self.read.eq(advance & self.i.valid),
        ]
        part = Signal(bits, reset_less=True)
        chosen = select(place.beat[:low], {k: self.word.word_select(k, bits) for k in range(parts)})
        counts = Cat(lane.replicate(config.kv_bits) for lane in place.lanes)
        with m.If(advance):
            m.d.sync += part.eq(chosen & counts)
        return part

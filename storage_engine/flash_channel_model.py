"""A flash channel for benches: pages that a bench wrote, given in the order they are asked for.

It stands for the channel's controller: reads wait in a queue, each takes `latency` cycles until its
first word is there, those of several reads overlap, and words come at the channel's rate. It runs
at the simulator's speed.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import add
from hw.fifo import Fifo
from storage_engine.attention_engine import AttentionEngine
from storage_engine.engine_job_layouts import flash_read_layout

RATE_UNIT = 1000
"""Rates are in thousandths of a word per cycle."""


@dataclass(frozen=True)
class FlashModelConfig:
    """A channel's memory and speed.

    Attributes:
        pages: that it has room for.
        images: what a page gives at its first, second, ... read; later reads give the last one.
        latency: cycles from a read taken to its first word, 2 or more.
        rate: words per thousand cycles, 1 to 1000.
    """

    pages: int
    images: int = 1
    latency: int = 2
    rate: int = RATE_UNIT


class FlashChannelModel(wiring.Component):
    """The channel.

    Members:
        words: how many words the bench writes.
        i_image: stream of those words: all pages' first image, then all pages' second one, ...
        loaded: it has them.
        i_read: stream of `flash_read_layout`.
        o: stream of the pages' words.
    """

    def __init__(self, config: DriveEngineConfig, model: FlashModelConfig) -> None:
        self.config, self.model = config, model
        words = stream.Signature(unsigned(config.word_bits))
        super().__init__(
            {
                "words": In(32),
                "i_image": In(words),
                "loaded": Out(1),
                "i_read": In(stream.Signature(flash_read_layout(config))),
                "o": Out(words),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        m = self.model
        size = f"{m.pages}x{self.config.code.stored_bytes}x{m.images}_w{self.config.word_bits}"
        return f"flash_channel_{size}_l{m.latency}_r{m.rate}_q{self.config.reads}"

    def elaborate(self, platform: object) -> Module:
        """A memory of words, a queue of reads with the cycle of their first word, and a rate."""
        m = Module()
        model, each = self.model, self.config.code.stored_bytes * 8 // self.config.word_bits
        depth = model.pages * model.images * each
        m.submodules.memory = rows = memory.Memory(
            shape=self.config.word_bits, depth=depth, init=[]
        )
        write, read = rows.write_port(), rows.read_port(domain="comb")
        m.d.comb += [
            self.loaded.eq(write.addr == self.words),
            self.i_image.ready.eq(~self.loaded),
            write.en.eq(self.i_image.valid & self.i_image.ready),
            write.data.eq(self.i_image.payload),
        ]
        with m.If(write.en):
            m.d.sync += write.addr.eq(write.addr + 1)

        now = Signal(32)
        m.d.sync += now.eq(now + 1)
        layout = data.StructLayout({"first": len(read.addr), "cycle": 32})
        queue = add(m, platform, "reads", Fifo, layout.size, self.config.reads)
        asked, head = Signal(layout), Signal(layout)
        page, attempt = self.i_read.payload.page, self.i_read.payload.attempt
        image = Mux(attempt < model.images, attempt, model.images - 1)
        m.d.comb += [
            asked.first.eq((image * model.pages + page) * each),
            asked.cycle.eq(now + (model.latency - 1)),
            *(queue.i.payload.eq(asked), queue.i.valid.eq(self.i_read.valid)),
            *(self.i_read.ready.eq(queue.i.ready), head.as_value().eq(queue.o.payload)),
        ]
        word, credit = Signal(range(each)), Signal(range(2 * RATE_UNIT))
        due, moves = Signal(), Signal()
        m.d.comb += [
            due.eq(credit >= RATE_UNIT),
            self.o.valid.eq(due & queue.o.valid & (word.any() | (now >= head.cycle))),
            *(read.addr.eq(head.first + word), self.o.payload.eq(read.data)),
            moves.eq(self.o.valid & self.o.ready),
            queue.o.ready.eq(moves & (word == each - 1)),
        ]
        # A word that waits does not make the next ones come faster.
        m.d.sync += credit.eq(credit - Mux(moves, RATE_UNIT, 0) + Mux(due & ~moves, 0, model.rate))
        with m.If(moves):
            m.d.sync += word.eq(Mux(word == each - 1, 0, word + 1))
        return m


class EngineWithFlash(wiring.Component):
    """An engine with flash channels: what `AttentionEngine` has, without reads and words.

    Jobs are taken when all channels have their pages.

    Members:
        words_0, i_image_0, ...: of each channel's `FlashChannelModel`.
        o_word_0, ...: stream without ready, of each word that a front end takes; its payload is 1
            if it had to wait.
    """

    def __init__(self, config: DriveEngineConfig, model: FlashModelConfig) -> None:
        self.config, self.model = config, model
        super().__init__(self.members(config))

    @staticmethod
    def members(config: DriveEngineConfig) -> dict[str, wiring.Member]:
        """Return the members by their names."""
        engine = AttentionEngine.members(config)
        channels = range(config.flash_channels)
        words = stream.Signature(unsigned(config.word_bits))
        taken = wiring.Signature({"payload": Out(1), "valid": Out(1)})
        own = ("o_read_", "i_flash_")
        return {
            **{name: member for name, member in engine.items() if not name.startswith(own)},
            **{f"words_{c}": In(32) for c in channels},
            **{f"i_image_{c}": In(words) for c in channels},
            **{f"o_word_{c}": Out(taken) for c in channels},
        }

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "engine_with_flash"

    def elaborate(self, platform: object) -> Module:
        """Wire them."""
        m = Module()
        engine = add(m, platform, "engine", AttentionEngine, self.config)
        flash = [
            add(m, platform, f"flash_{c}", FlashChannelModel, self.config, self.model)
            for c in range(self.config.flash_channels)
        ]
        loaded = Signal()
        m.d.comb += loaded.eq(Cat(each.loaded for each in flash).all())
        for name in ("i_job", "i_query", "i_entry", "i_value_sum", "o", "o_completion"):
            mine, its = getattr(self, name), getattr(engine, name)
            source, sink = (its, mine) if name.startswith("o") else (mine, its)
            gate = loaded if name == "i_job" else 1
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid & gate),
                source.ready.eq(sink.ready & gate),
            ]
        for number, channel in enumerate(flash):
            image, word = getattr(self, f"i_image_{number}"), getattr(self, f"o_word_{number}")
            read, words = getattr(engine, f"o_read_{number}"), getattr(engine, f"i_flash_{number}")
            waited = Signal(name=f"waited_{number}")
            m.d.sync += waited.eq(words.valid & ~words.ready)
            m.d.comb += [
                channel.words.eq(getattr(self, f"words_{number}")),
                word.valid.eq(words.valid & words.ready),
                word.payload.eq(waited),
            ]
            for source, sink in (
                (image, channel.i_image),
                (read, channel.i_read),
                (channel.o, words),
            ):
                m.d.comb += [
                    sink.payload.eq(source.payload),
                    sink.valid.eq(source.valid),
                    source.ready.eq(sink.ready),
                ]
        return m

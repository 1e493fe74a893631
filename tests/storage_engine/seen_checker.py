"""The CRC's checker with what it says in a stream, where a bench can see it."""

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.emit import add
from storage_engine.page_crc import PageCrcChecker


class SeenChecker(wiring.Component):
    """Gives each word with `ended` and `wrong` in the two bits above it."""

    def __init__(self, config):
        self.config = config
        word, seen = unsigned(config.word_bits), unsigned(config.word_bits + 2)
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(seen))})

    @property
    def module_name(self):
        return "seen_checker"

    def elaborate(self, platform):
        m = Module()
        checker = add(m, platform, "checker", PageCrcChecker, self.config, i=self.i)
        m.d.comb += [
            self.o.payload.eq(Cat(checker.o.payload, checker.ended, checker.wrong)),
            self.o.valid.eq(checker.o.valid),
            checker.o.ready.eq(self.o.ready),
        ]
        return m

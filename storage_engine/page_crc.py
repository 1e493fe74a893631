"""The CRC of a page: put into its last bytes on the way to flash, checked on the way back."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.page_crc import CRC_BITS, ONES, POLYNOMIAL, RESIDUE
from golden.spec.bch import CRC_BYTES, BchConfig
from golden.spec.errors import ConfigError
from storage_engine.bch_field import linear


class PageCrcWriter(wiring.Component):
    """Replaces the last four bytes of every page with the CRC-32C of those before them.

    Throughput: one word per cycle. Latency: 1 cycle.

    Members:
        i, o: streams of the words of pages, data and tags, `page_words` a page.

    Raises:
        ConfigError: the configuration has no room for a CRC.
    """

    def __init__(self, config: BchConfig) -> None:
        check_room(config)
        self.config = config
        word = stream.Signature(unsigned(config.word_bits))
        super().__init__({"i": In(word), "o": Out(word)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"page_crc_writer_{_name(self.config)}"

    @staticmethod
    def cycles(config: BchConfig, pages: int) -> int:
        """Return the cycles from the first word taken to the last one given: the contract.

        Exact when no stream waits; each cycle in which one does adds one.
        """
        return pages * config.page_words + 1

    def elaborate(self, platform: object) -> Module:
        """A word is wider than the CRC, or the CRC leaves in several words."""
        m = Module()
        config = self.config
        bits = config.word_bits
        crc = Signal(CRC_BITS, init=ONES)
        number = Signal(range(config.page_words))
        advance, last, taken = Signal(), Signal(), Signal()
        words = max(CRC_BITS // bits, 1)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
            taken.eq(advance & self.i.valid),
            last.eq(number == config.page_words - 1),
        ]
        with m.If(advance):
            m.d.sync += self.o.valid.eq(self.i.valid)
        following = crc_after(m, crc, self.i.payload, "following")
        given = Signal(bits)
        is_crc = number >= config.page_words - words
        if bits > CRC_BITS:
            before = self.i.payload[: bits - CRC_BITS]
            end = crc_after(m, crc, before, "end")
        else:
            before, end = Value.cast(self.i.payload)[:0], crc
        m.d.comb += given.eq(Mux(is_crc, Cat(before, ~end), self.i.payload))
        with m.If(taken):
            m.d.sync += [
                self.o.payload.eq(given),
                crc.eq(Mux(last, ONES, Mux(is_crc, crc >> min(bits, CRC_BITS), following))),
                number.eq(Mux(last, 0, number + 1)),
            ]
        return m


class PageCrcChecker(wiring.Component):
    """Lets the words of pages through and says of each page whether its CRC is right.

    Throughput: one word per cycle. Latency: none; handshakes are wires.

    Members:
        i, o: streams of the words of pages, data and tags, `page_words` a page.
        ended: all words of a page have passed, and none of the next one.
        wrong: then, the CRC says that a bit is wrong.

    Raises:
        ConfigError: the configuration has no room for a CRC.
    """

    def __init__(self, config: BchConfig) -> None:
        check_room(config)
        self.config = config
        word = stream.Signature(unsigned(config.word_bits))
        super().__init__({"i": In(word), "o": Out(word), "ended": Out(1), "wrong": Out(1)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"page_crc_checker_{_name(self.config)}"

    @staticmethod
    def cycles(config: BchConfig, pages: int) -> int:
        """Return the cycles from the first word taken to the last one given: the contract.

        Exact when no stream waits; each cycle in which one does adds one.
        """
        return pages * config.page_words

    def elaborate(self, platform: object) -> Module:
        """With its CRC behind it every right message leaves the same residue."""
        m = Module()
        config = self.config
        crc = Signal(CRC_BITS, init=ONES)
        number = Signal(range(config.page_words + 1))
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            self.ended.eq(number == config.page_words),
            self.wrong.eq(self.ended & (crc != RESIDUE)),
        ]
        before = Signal(CRC_BITS)
        m.d.comb += before.eq(Mux(self.ended, ONES, crc))
        following = crc_after(m, before, self.i.payload, "following")
        with m.If(self.i.valid & self.o.ready):
            m.d.sync += [crc.eq(following), number.eq(Mux(self.ended, 1, number + 1))]
        return m


def crc_after(m: Module, crc: Value, bits: Value, name: str) -> Signal:
    """Return the CRC register after some more bits, the lowest first."""
    width = max(CRC_BITS, len(bits))
    feedback = Signal(width, name=f"{name}_feedback")
    # What lies above `bits` only moves down.
    m.d.comb += feedback.eq(crc ^ bits)
    columns = [_moved(1 << k, len(bits)) if k < CRC_BITS else 0 for k in range(width)]
    for k in range(CRC_BITS, width):  # enters when the register has moved by k - 31 bits
        columns[k] = _moved(1 << CRC_BITS - 1, len(bits) - (k - CRC_BITS + 1))
    return linear(m, feedback, columns, CRC_BITS, name)


def check_room(config: BchConfig) -> None:
    """Raise ConfigError unless a page of `config` has room for its CRC."""
    if config.tag_bytes < CRC_BYTES:
        raise ConfigError(
            f"tag_bytes is {config.tag_bytes}; a page's CRC needs {CRC_BYTES} bytes or more"
        )


def _moved(register: int, bits: int) -> int:
    for _ in range(bits):
        register = register >> 1 ^ (POLYNOMIAL if register & 1 else 0)
    return register


def _name(config: BchConfig) -> str:
    return f"{config.page_words}x{config.word_bits}"

"""Some pages: one is received and judged, one is read, and those between them wait.

A page counts only as a whole. It becomes readable when the status of its last chunk says that all
are good and its header is that of the page that was asked for; else the next page is written over
it.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from hw.mux import select
from storage_engine.bch_codec import page_status_layout
from storage_engine.bch_encoder import configuration_name
from storage_engine.engine_layouts import page_request_layout, page_verdict_layout
from storage_engine.flash_format import HEADER_BYTES, MAGIC, VERSION, PageType
from storage_engine.half_to_fixed import EXPONENT_BITS, MANTISSA_BITS

IDENTITY_BYTES, TOKENS_AT, ADDRESS_AT = 4, 4, 12
"""Where a header's fields are, in bytes: magic, version and type; the tokens; the address."""

TOKENS_BITS, ADDRESS_BITS = 16, 64


def wanted_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A page that can be read: the request for it, and its place in the buffer."""
    return data.StructLayout(
        {"request": page_request_layout(config), "place": range(config.buffer_pages)}
    )


def buffer_words(config: DriveEngineConfig) -> int:
    """Return the words of all pages' payloads."""
    return config.buffer_pages * config.page_bytes // config.code.word_bytes


class PageBuffer(wiring.Component):
    """Receives pages and judges them.

    Throughput: one word per cycle, as long as `o_page` is taken in the cycle of a page's last
    status. It takes nothing of a page before there is a request for it. Latency: a page can be read
    in the cycle after its verdict.

    Members:
        i: stream of the words of pages, data and tags, `page_words` a page.
        i_chunk: stream of `page_status_layout`, a beat per chunk, behind the chunk's last word.
        i_request: stream of `page_request_layout`, in the order of the pages.
        o_verdict: stream of `page_verdict_layout`, in the order of the pages.
        o_page: stream of `wanted_layout`, a beat for each good page, with its verdict. When the
            next one is taken, at most `buffer_pages - 2` of those before it have not been read.
        read, address: read the word at `address`: page words, and `place` above them.
        word: what was read last, from the next cycle on.

    Raises:
        ConfigError: a page's tags have no room for its header.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        check_room(config)
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(config.word_bits))),
                "i_chunk": In(stream.Signature(page_status_layout(config.code))),
                "i_request": In(stream.Signature(page_request_layout(config))),
                "o_verdict": Out(stream.Signature(page_verdict_layout(config))),
                "o_page": Out(stream.Signature(wanted_layout(config))),
                "read": In(1),
                "address": In(range(buffer_words(config))),
                "word": Out(unsigned(config.word_bits)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"page_buffer_{front_end_name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """A request is held until its page is judged."""
        m = Module()
        code = self.config.code
        request = Signal(page_request_layout(self.config))
        requested, judged = Signal(), Signal()
        place = Signal(range(self.config.buffer_pages))
        chunk = Signal(range(code.chunks))
        taken = Signal()
        number, is_tag = self._place(m, taken)
        m.d.comb += [
            self.i.ready.eq(requested),
            taken.eq(self.i.valid & requested),
            self.i_request.ready.eq(~requested | judged),
            self.o_page.payload.request.eq(request),
            self.o_page.payload.place.eq(place),
        ]
        with m.If(self.i_request.ready):
            m.d.sync += [requested.eq(self.i_request.valid), request.eq(self.i_request.payload)]

        word = Cat(number[: _bits(code.data_bytes // code.word_bytes)], chunk)
        self._keep(m, Cat(word, place), taken & ~is_tag)
        tag = Cat(number[: _bits(code.tag_bytes // code.word_bytes)], chunk)
        misplaced = self._misplaced(m, request, tag, taken & is_tag, judged)
        not_finite = self._not_finite(m, taken & ~is_tag, judged)
        good = self._judge(m, chunk, judged, misplaced, not_finite)
        with m.If(judged & good):
            m.d.sync += place.eq(place + 1)
        return m

    def _place(self, m: Module, taken: Value) -> tuple[Signal, Value]:
        """Return the number of the next word in its chunk, and whether it is of the tag."""
        code = self.config.code
        number = Signal(range(code.message_words))
        with m.If(taken):
            m.d.sync += number.eq(Mux(number == code.message_words - 1, 0, number + 1))
        return number, number[_bits(code.data_bytes // code.word_bytes)]

    def _keep(self, m: Module, address: Value, enable: Value) -> None:
        m.submodules.memory = rows = memory.Memory(
            shape=unsigned(self.config.word_bits), depth=buffer_words(self.config), init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        m.d.comb += [
            write.addr.eq(address),
            write.data.eq(self.i.payload),
            write.en.eq(enable),
            read.addr.eq(self.address),
            read.en.eq(self.read),
            self.word.eq(read.data),
        ]

    def _misplaced(
        self, m: Module, request: data.View, tag: Value, enable: Value, judged: Value
    ) -> Value:
        """Return whether the header, of which word `tag` comes, is not that of the page wanted."""
        config = self.config
        bits = config.word_bits
        header, counts = _header(request)
        begins = {begin // bits: begin for begin in range(0, len(header), bits)}
        expected = select(tag, {word: header[at : at + bits] for word, at in begins.items()})
        counting = select(
            tag, {word: Const(counts >> at & (1 << bits) - 1, bits) for word, at in begins.items()}
        )
        wrong = ((self.i.payload ^ expected) & counting).any() & (tag < len(begins))
        differs = Signal()
        with m.If(judged):
            m.d.sync += differs.eq(0)
        with m.Elif(enable & wrong):
            m.d.sync += differs.eq(1)
        return differs | (self._tokens(m, tag, enable) < request.tokens)

    def _tokens(self, m: Module, tag: Value, enable: Value) -> Signal:
        """Return how many tokens the header says."""
        bits, place = self.config.word_bits, 8 * TOKENS_AT
        tokens = Signal(TOKENS_BITS)
        for begin in range(place - place % bits, place + TOKENS_BITS, bits):
            low, high = max(begin, place), min(begin + bits, place + TOKENS_BITS)
            with m.If(enable & (tag == begin // bits)):
                m.d.sync += tokens[low - place : high - place].eq(
                    self.i.payload[low - begin : high - begin]
                )
        return tokens

    def _not_finite(self, m: Module, enable: Value, judged: Value) -> Value:
        """Return whether an element of the page has the largest exponent; of INT8 none has."""
        config = self.config
        if config.kv_bits == 8:
            return Const(0)
        exponents = range(MANTISSA_BITS, config.word_bits, config.kv_bits)
        found = Cat(self.i.payload[low : low + EXPONENT_BITS].all() for low in exponents).any()
        seen = Signal()
        with m.If(judged):
            m.d.sync += seen.eq(0)
        with m.Elif(enable & found):
            m.d.sync += seen.eq(1)
        return seen

    def _judge(
        self, m: Module, chunk: Signal, judged: Signal, misplaced: Value, not_finite: Value
    ) -> Value:
        """Add up the chunks' statuses; with the last one give the verdict. Return if it is good."""
        status, verdict = self.i_chunk.payload, self.o_verdict.payload
        sofar = Signal(page_verdict_layout(self.config))
        last = chunk == self.config.code.chunks - 1
        good = Signal()
        m.d.comb += [
            verdict.corrected.eq(sofar.corrected + status.corrected),
            verdict.uncorrectable.eq(sofar.uncorrectable | status.uncorrectable),
            verdict.crc_wrong.eq(status.crc_wrong),
            verdict.misplaced.eq(misplaced & ~verdict.uncorrectable & ~verdict.crc_wrong),
            verdict.not_finite.eq(not_finite & good),
            good.eq(~(verdict.uncorrectable | verdict.crc_wrong | misplaced)),
            self.o_verdict.valid.eq(self.i_chunk.valid & last & (~good | self.o_page.ready)),
            self.o_page.valid.eq(self.i_chunk.valid & last & good & self.o_verdict.ready),
            judged.eq(self.o_verdict.valid & self.o_verdict.ready),
            self.i_chunk.ready.eq(~last | judged),
        ]
        with m.If(judged):
            m.d.sync += [sofar.eq(0), chunk.eq(0)]
        with m.Elif(self.i_chunk.valid & ~last):
            m.d.sync += [
                sofar.corrected.eq(verdict.corrected),
                sofar.uncorrectable.eq(verdict.uncorrectable),
                chunk.eq(chunk + 1),
            ]
        return good


def check_room(config: DriveEngineConfig) -> None:
    """Raise ConfigError unless a page's tags have room for its header."""
    if config.code.owner_bytes < HEADER_BYTES:
        raise ConfigError(
            f"page_bytes is {config.page_bytes}; the tags of such a page have "
            f"{config.code.owner_bytes} bytes for its header, which needs {HEADER_BYTES}: "
            "take larger pages"
        )


def front_end_name(config: DriveEngineConfig) -> str:
    """Return what tells the parts of different front ends from each other."""
    c = config
    kept = f"h{c.head_size}x{c.kv_bits}_c{c.channels_per_page}_n{c.context_bits}_l{c.lanes}"
    return f"{c.buffer_pages}x{c.code.chunks}x{configuration_name(c.code)}_{kept}"


def _header(request: data.View) -> tuple[Value, int]:
    """Return a header as it must be up to the address, and which of its bits count."""
    identity = MAGIC | VERSION << 16 | PageType.DATA << 24
    free = Const(0, 8 * (ADDRESS_AT - IDENTITY_BYTES))
    counts = (1 << 8 * IDENTITY_BYTES) - 1 | (1 << ADDRESS_BITS) - 1 << 8 * ADDRESS_AT
    return Cat(Const(identity, 8 * IDENTITY_BYTES), free, request.address), counts


def _bits(count: int) -> int:
    """Return the bits of a number below `count`, a power of two."""
    return (count - 1).bit_length()

"""A channel's error correction: pages out to flash, and pages back from it.

words of a page -> CRC put in -> encoder -> flash
flash -> decoder -> CRC checked -> words of a page, and a status for each of its chunks
"""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.bch import BchConfig
from hw.emit import add
from storage_engine.bch_decoder import BchDecoder
from storage_engine.bch_encoder import BchEncoder, configuration_name
from storage_engine.page_crc import PageCrcChecker, PageCrcWriter, check_room


def page_status_layout(config: BchConfig) -> data.StructLayout:
    """What became of a chunk: so many bits were `corrected`, or it is `uncorrectable`.

    `crc_wrong` stands with a page's last chunk; then some chunk was corrected wrongly, or one is
    uncorrectable.
    """
    return data.StructLayout({"corrected": range(config.t + 1), "uncorrectable": 1, "crc_wrong": 1})


class BchCodec(wiring.Component):
    """An encoder and a decoder of pages, side by side; neither waits for the other.

    Throughput and latency: those of `BchEncoder`, one cycle later, and of `BchDecoder`.

    Members:
        i_page: stream of the words of pages that are written: data and tags, chunk after chunk. The
            last four bytes are replaced with the CRC.
        o_flash: stream of the words that stand in flash.
        i_flash: stream of words that were read from flash.
        o_page: stream of the words of pages, data and tags. They are worth something only when the
            status of all the page's chunks says so.
        o_status: stream of `page_status_layout`, a beat per chunk, behind the chunk's last word.

    Raises:
        ConfigError: the configuration has no room for a CRC.
    """

    def __init__(self, config: BchConfig) -> None:
        check_room(config)
        self.config = config
        word = stream.Signature(unsigned(config.word_bits))
        super().__init__(
            {
                "i_page": In(word),
                "o_flash": Out(word),
                "i_flash": In(word),
                "o_page": Out(word),
                "o_status": Out(stream.Signature(page_status_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_codec_{configuration_name(self.config)}x{self.config.chunks}"

    def elaborate(self, platform: object) -> Module:
        """Two rows of blocks."""
        m = Module()
        config = self.config
        writer = add(m, platform, "writer", PageCrcWriter, config, i=self.i_page)
        encoder = add(m, platform, "encoder", BchEncoder, config, o=self.o_flash)
        decoder = add(m, platform, "decoder", BchDecoder, config, i=self.i_flash)
        checker = add(m, platform, "checker", PageCrcChecker, config, o=self.o_page)
        for source, sink in ((writer.o, encoder.i), (decoder.o, checker.i)):
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
        status, chunk = self.o_status, decoder.o_status
        # A chunk's status comes when its last word has passed the checker.
        m.d.comb += [
            status.payload.corrected.eq(chunk.payload.corrected),
            status.payload.uncorrectable.eq(chunk.payload.uncorrectable),
            status.payload.crc_wrong.eq(checker.wrong),
            status.valid.eq(chunk.valid),
            chunk.ready.eq(status.ready),
        ]
        return m

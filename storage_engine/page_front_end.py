r"""The front end of a flash channel: stored pages in, the elements that attention wants out.

    words -> BCH decoder -> CRC -> page buffer -> good pages -> entry filter, reads -> fixed point
                                       \-> a verdict for each page                \-> elements

Nothing of a page leaves before all its chunks, its CRC and its header have been found to be right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import add
from hw.fifo import Fifo
from storage_engine.bch_decoder import BchDecoder, ChunkTiming
from storage_engine.element_reader import ElementReader
from storage_engine.engine_layouts import (
    element_layout,
    page_request_layout,
    page_verdict_layout,
)
from storage_engine.entry_filter import EntryFilter
from storage_engine.page_buffer import PageBuffer, front_end_name, wanted_layout
from storage_engine.page_crc import PageCrcChecker


@dataclass(frozen=True)
class PageTiming:
    """What decides a page's time: its chunks, and what the filter does with it.

    Attributes:
        chunks: of the page.
        good: its verdict lets its elements through.
        steps: `page_steps` of its request.
    """

    chunks: tuple[ChunkTiming, ...]
    good: bool
    steps: tuple[bool, ...]


def waiting_pages(config: DriveEngineConfig) -> int:
    """Return how many good pages wait between the one that is received and the one that is read."""
    return config.buffer_pages - 2


class PageFrontEnd(wiring.Component):
    """Gives the wanted elements of good pages, and a verdict for each page.

    Throughput: one word of flash per cycle, as long as the decoder keeps up and each page is read
    in no more cycles than the next one comes in: a page takes a cycle for each beat, and one more
    (`EntryFilter`). When `o` waits, it goes on until all of its `buffer_pages` are full. Latency:
    `cycles`.

    Members:
        i_request: stream of `page_request_layout`, one for each page, in the order in which the
            flash delivers them. Words of a page wait for its request.
        i_flash: stream of the words of stored pages, `stored_bytes` of them a page.
        o: stream of `element_layout`: what `EntryFilter` gives, in fixed point.
        o_verdict: stream of `page_verdict_layout`, one for each page, in order. The elements of a
            good page come behind its verdict; of a page that is not good none come.

    Raises:
        ConfigError: a page's tags have no room for its header.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_request": In(stream.Signature(page_request_layout(config))),
                "i_flash": In(stream.Signature(unsigned(config.word_bits))),
                "o": Out(stream.Signature(element_layout(config))),
                "o_verdict": Out(stream.Signature(page_verdict_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"page_front_end_{front_end_name(self.config)}"

    @staticmethod
    def cycles(config: DriveEngineConfig, pages: Sequence[PageTiming]) -> int:
        """Return the cycles from the first word taken to the last verdict or beat: the contract.

        Exact when no stream waits, no page is read in more cycles than the next one comes in, and
        the decoder keeps up: its `chunk_period` is `chunk_words`, or no chunk has errors. The
        other cases are in `storage_engine.page_front_end_timing`.
        """
        chunks: list[ChunkTiming] = []
        end = 0
        for page in pages:
            chunks += page.chunks
            judged = BchDecoder.cycles(config.code, chunks)
            reads = page.good and any(page.steps)
            waits = Fifo.cycles() if waiting_pages(config) else 0
            read = waits + len(page.steps) + ElementReader.cycles(config)
            end = judged + (read if reads else 0)
        return end

    def elaborate(self, platform: object) -> Module:
        """Words up to the buffer, places from the filter, and elements where they meet."""
        m = Module()
        config = self.config
        decoder = add(m, platform, "decoder", BchDecoder, config.code, i=self.i_flash)
        checker = add(m, platform, "checker", PageCrcChecker, config.code)
        buffer = add(
            m,
            platform,
            "buffer",
            PageBuffer,
            config,
            i_request=self.i_request,
            o_verdict=self.o_verdict,
        )
        filter_ = add(m, platform, "filter", EntryFilter, config)
        reader = add(m, platform, "reader", ElementReader, config, o=self.o)
        links = [(decoder.o, checker.i), (checker.o, buffer.i), (filter_.o, reader.i)]
        if waiting_pages(config):
            size = wanted_layout(config).size
            waiting = add(m, platform, "waiting", Fifo, size, waiting_pages(config))
            links += [(buffer.o_page, waiting.i), (waiting.o, filter_.i)]
        else:
            links.append((buffer.o_page, filter_.i))
        for source, sink in links:
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
        # A chunk's status comes when its last word has passed the checker.
        status, chunk = decoder.o_status, buffer.i_chunk
        m.d.comb += [
            chunk.payload.corrected.eq(status.payload.corrected),
            chunk.payload.uncorrectable.eq(status.payload.uncorrectable),
            chunk.payload.crc_wrong.eq(checker.wrong),
            chunk.valid.eq(status.valid),
            status.ready.eq(chunk.ready),
        ]
        m.d.comb += [
            buffer.read.eq(reader.read),
            buffer.address.eq(reader.address),
            reader.word.eq(buffer.word),
        ]
        return m

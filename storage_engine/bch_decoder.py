"""The BCH decoder: chunks in, corrected words out, and what was corrected.

    words -+-> syndromes -> key equation -> search -> (+) -> corrected words, then the status
           +-> buffer -------------------------------->

The three steps work on three chunks at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.bch import BchConfig
from hw.emit import add
from storage_engine.bch_buffer import BchBuffer
from storage_engine.bch_chien import BchChien, middle, start
from storage_engine.bch_encoder import configuration_name
from storage_engine.bch_key_equation import BchKeyEquation
from storage_engine.bch_syndromes import BchSyndromes


def status_layout(config: BchConfig) -> data.StructLayout:
    """What became of a chunk: so many bits were `corrected`, or it is `uncorrectable`."""
    return data.StructLayout({"corrected": range(config.t + 1), "uncorrectable": 1})


@dataclass(frozen=True)
class ChunkTiming:
    """What decides a chunk's time: has it errors, and is there a polynomial to search?"""

    dirty: bool
    searched: bool


def buffer_depth(config: BchConfig) -> int:
    """Return a power of two that holds the chunk that is received and the two before it."""
    return 1 << max((3 * config.message_words - 1).bit_length(), 4)


class BchDecoder(wiring.Component):
    """Corrects chunks, one behind the other.

    Throughput: one word per cycle, with or without errors, as long as the key equation takes no
    longer than a chunk: `chunk_period`. Latency and the rest of the contract: `cycles`.

    Members:
        i: stream of words, `chunk_words` a chunk.
        o: stream of the corrected words of data and tag, `message_words` a chunk. They are worth
            something only when the chunk's status says so.
        o_status: stream of `status_layout`, a beat per chunk, behind the chunk's last word.
    """

    def __init__(self, config: BchConfig) -> None:
        self.config = config
        word = stream.Signature(unsigned(config.word_bits))
        status = stream.Signature(status_layout(config))
        super().__init__({"i": In(word), "o": Out(word), "o_status": Out(status)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_decoder_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: BchConfig, chunks: Sequence[ChunkTiming]) -> int:
        """Return the cycles from the first word taken to the last status given: the contract.

        Exact when no stream waits and the decoder keeps up with chunks that all have errors, that
        is, `chunk_period` is `config.chunk_words`; `storage_engine.bch_timing` has the other cases.
        """
        words = config.chunk_words
        begins = 0  # cycle in which the search takes a chunk
        for number, chunk in enumerate(chunks):
            key = BchKeyEquation.cycles(config, clean=not chunk.dirty)
            begins = max(words * (number + 1) + key, begins + words if number else 0)
        return begins + BchChien.cycles(config, [False])

    @staticmethod
    def chunk_period(config: BchConfig) -> int:
        """Return the cycles per chunk where many chunks with errors follow each other."""
        key = BchKeyEquation.cycles(config, clean=False)
        return max(config.chunk_words * config.searches, key)

    def elaborate(self, platform: object) -> Module:
        """The three steps, the buffer beside them, and the correction."""
        m = Module()
        config = self.config
        syndromes = add(m, platform, "syndromes", BchSyndromes, config)
        key = add(m, platform, "key", BchKeyEquation, config, start(config), middle(config))
        chien = add(m, platform, "chien", BchChien, config)
        buffer = add(m, platform, "buffer", BchBuffer, config.word_bits, buffer_depth(config))
        for source, sink in ((syndromes.o, key.i), (key.o, chien.i)):
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
        m.d.comb += [
            syndromes.i.payload.eq(self.i.payload),
            buffer.i.payload.eq(self.i.payload),
            syndromes.i.valid.eq(self.i.valid & (syndromes.is_parity | buffer.i.ready)),
            buffer.i.valid.eq(self.i.valid & ~syndromes.is_parity & syndromes.i.ready),
            self.i.ready.eq(syndromes.i.ready & (syndromes.is_parity | buffer.i.ready)),
        ]
        found = chien.o.payload
        is_data = chien.o.valid & ~found.is_parity
        m.d.comb += [
            self.o.payload.eq(buffer.o.payload ^ found.wrong),
            self.o.valid.eq(is_data & buffer.o.valid),
            buffer.o.ready.eq(is_data & self.o.ready),
            self.o_status.payload.corrected.eq(found.corrected),
            self.o_status.payload.uncorrectable.eq(found.uncorrectable),
            self.o_status.valid.eq(chien.o.valid & found.last),
            chien.o.ready.eq(
                Mux(
                    found.is_parity,
                    ~found.last | self.o_status.ready,
                    buffer.o.valid & self.o.ready,
                )
            ),
        ]
        return m

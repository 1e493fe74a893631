"""Reads runs of words from an AXI4 memory into a stream."""

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.axi import AxiConfig
from hw.axi import INCR, AxiError, error_layout, flight_layout, name_part, read_ports
from hw.block_fifo import BlockFifo
from hw.emit import add
from hw.fifo import Fifo

ISSUE_CYCLES = 2
"""Cycles from a job taken to its first address offered: the job's register, the address' one."""

BLOCK_WORDS = 256
"""A queue of so many words and more lies in block RAM, a shorter one in look-up tables."""


def read_job_layout(config: AxiConfig) -> data.StructLayout:
    """A job: the byte address of its first word, its words less 1, and a tag for its errors."""
    return data.StructLayout(
        {
            "address": config.address_bits,
            "more_words": config.length_bits,
            "tag": unsigned(config.tag_bits),
        }
    )


def read_flight_layout(config: AxiConfig) -> data.StructLayout:
    """What is kept of a burst in flight, and the tag of its job."""
    return data.StructLayout({"burst": flight_layout(config), "tag": unsigned(config.tag_bits)})


def read_word_layout(config: AxiConfig) -> data.StructLayout:
    """A word, and whether it is the job's last."""
    return data.StructLayout({"data": config.data_bits, "last": 1})


class AxiReader(wiring.Component):
    """Turns jobs into bursts, and what comes back into a stream of words.

    Throughput: a word per cycle, from burst to burst and from job to job, as long as the words in
    flight, from an address to its word taken, fit in `buffer_words`. Latency: `cycles`.

    A burst is asked for when there is room for all of its words, so `rready` is always high: a
    stream that waits never blocks a memory that others share.

    After an error nothing more is asked for, and no word is given from the first bad one on; those
    in front of it may still be taken. The error stays until a reset. A reset must find no burst in
    flight, or reach the memory too: else words that come late would belong to the next job.

    Members:
        i_job: stream of `read_job_layout`; a job's words must not reach beyond the address space.
        o: stream of `read_word_layout`.
        stop: while it is high no further burst is begun.
        busy: a burst is in flight; while `stop` is high this only falls.
        error: see `hw.axi.error_layout`; UNALIGNED with the address of the job, SLAVE and DECODE
            with that of the burst, which then is of an earlier job and replaces the former.
        m_axi_*: see `hw.axi.read_ports`.
    """

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(read_job_layout(config))),
                "o": Out(stream.Signature(read_word_layout(config))),
                "stop": In(1),
                "busy": Out(1),
                "error": Out(error_layout(config)),
                **read_ports(config),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"axi_reader_{name_part(self.config)}"

    @staticmethod
    def cycles(config: AxiConfig, jobs: Iterable[tuple[int, int]], latency: int) -> int:
        """Return the cycles of successive jobs, from the first one offered to the last word given.

        The timing contract: exact when no stream waits, with a memory that takes every address at
        once and gives a burst's first word `latency` cycles later, then a word per cycle. With room
        for the latency it is the number of words and `latency` + 3.

        Args:
            jobs: byte address and words of each, 1 or more.
            latency: 1 or more.
        """
        issued = 0  # the cycle in which a burst's words are reserved
        asked = 0  # words, before the burst
        ends: list[int] = []  # the cycle in which each burst's last word comes
        comes: list[int] = []  # and each word
        for address, words in jobs:
            for beats in config.bursts(address, words):
                issued += 1
                if len(ends) >= config.outstanding:
                    issued = max(issued, ends[-config.outstanding] + 1)
                if asked + beats > config.buffer_words:
                    given = comes[asked + beats - config.buffer_words - 1] + Fifo.cycles()
                    issued = max(issued, given + 1)
                first = max(issued + ISSUE_CYCLES - 1 + latency, ends[-1] + 1 if ends else 0)
                comes += range(first, first + beats)
                ends.append(comes[-1])
                asked += beats
        return ends[-1] + Fifo.cycles() + 1

    def elaborate(self, platform: object) -> Module:
        """A job's register, the address' register, and two queues: bursts in flight, and words."""
        m = Module()
        c = self.config
        bursts = add(m, platform, "bursts", Fifo, read_flight_layout(c).size, c.outstanding)
        queue = BlockFifo if c.buffer_words >= BLOCK_WORDS else Fifo
        words = add(m, platform, "words", queue, c.data_bits + 1, c.buffer_words)
        flight = data.View(read_flight_layout(c), bursts.o.payload)
        burst = flight.burst
        bad = self.m_axi_rresp[1]
        spoilt = self.error.code[1]  # by a bad word
        m.d.comb += [
            self.busy.eq(bursts.o.valid),
            self.m_axi_rready.eq(1),
            bursts.o.ready.eq(self.m_axi_rvalid & self.m_axi_rlast),
            words.i.valid.eq(self.m_axi_rvalid & ~(bad | spoilt)),  # and ready, for it is reserved
            words.i.payload.eq(Cat(self.m_axi_rdata, self.m_axi_rlast & burst.ends_job)),
            self.o.valid.eq(words.o.valid),
            self.o.payload.as_value().eq(words.o.payload),
            words.o.ready.eq(self.o.ready),
        ]
        self._issue(m, bursts.i)
        with m.If(self.m_axi_rvalid & bad & ~spoilt):
            m.d.sync += self.error.code.eq(self.m_axi_rresp)
            m.d.sync += self.error.address.eq(Cat(Const(0, c.byte_bits), burst.word_address))
            m.d.sync += self.error.tag.eq(flight.tag)
        return m

    def _issue(self, m: Module, bursts: stream.Interface) -> None:
        """Take a job, and ask for one burst after the other."""
        c = self.config
        failed = self.error.code != AxiError.NONE
        active = Signal()
        address = Signal(c.address_bits - c.byte_bits, reset_less=True)  # of the next burst's word
        more_words = Signal(c.length_bits, reset_less=True)  # of the job, from there on
        tag = Signal(c.tag_bits, reset_less=True)
        reserved = Signal(range(c.buffer_words + 1))  # words asked for and not yet taken
        begins, ends, takes, unaligned = Signal(), Signal(), Signal(), Signal()
        more_beats = Signal(c.beat_bits)
        # A burst goes up to a multiple of the longest one: so it never crosses a page.
        offset, block = address[: c.beat_bits], address[c.beat_bits :]
        m.d.comb += [
            ends.eq(more_words <= ~offset),
            more_beats.eq(Mux(ends, more_words, ~offset)),
            begins.eq(
                active
                & (~self.m_axi_arvalid | self.m_axi_arready)
                & (reserved + more_beats < c.buffer_words)
                & bursts.ready
                & ~(self.stop | failed)
            ),
            self.i_job.ready.eq(~failed & (~active | (begins & ends))),
            takes.eq(self.i_job.valid & self.i_job.ready),
            unaligned.eq(self.i_job.payload.address[: c.byte_bits].any()),
            bursts.valid.eq(begins),
            bursts.payload.eq(Cat(address, ends, tag)),
            self.m_axi_arsize.eq(c.byte_bits),
            self.m_axi_arburst.eq(INCR),
        ]
        m.d.sync += reserved.eq(
            reserved + Mux(begins, more_beats + 1, 0) - (self.o.valid & self.o.ready)
        )
        with m.If(self.m_axi_arready):
            m.d.sync += self.m_axi_arvalid.eq(0)
        with m.If(begins):
            m.d.sync += [
                self.m_axi_arvalid.eq(1),
                self.m_axi_araddr.eq(Cat(Const(0, c.byte_bits), address)),
                self.m_axi_arlen.eq(more_beats),
                address.eq(Cat(Const(0, c.beat_bits), block + 1)),
                more_words.eq(more_words - more_beats - 1),
                active.eq(~ends),
            ]
        with m.If(takes):
            m.d.sync += [
                active.eq(1),
                address.eq(self.i_job.payload.address[c.byte_bits :]),
                more_words.eq(self.i_job.payload.more_words),
                tag.eq(self.i_job.payload.tag),
            ]
            with m.If(unaligned):
                m.d.sync += self.error.code.eq(AxiError.UNALIGNED)
                m.d.sync += self.error.address.eq(self.i_job.payload.address)
                m.d.sync += self.error.tag.eq(self.i_job.payload.tag)

"""Writes runs of bytes from a stream into an AXI4 memory, at any byte address."""

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.axi import AxiConfig
from hw.axi import INCR, AxiError, error_layout, flight_layout, name_part, write_ports
from hw.emit import add
from hw.fifo import Fifo


def write_job_layout(config: AxiConfig) -> data.StructLayout:
    """A job: the address of its first byte, and its bytes less 1."""
    return data.StructLayout(
        {"address": config.address_bits, "more_bytes": config.length_bits + config.byte_bits}
    )


def beat_layout(config: AxiConfig) -> data.StructLayout:
    """A word in its place in memory, and whether it is its burst's last."""
    return data.StructLayout({"data": config.data_bits, "strobe": config.word_bytes, "last": 1})


def burst_layout(config: AxiConfig) -> data.StructLayout:
    """A burst: what is kept of it while it is in flight, and its beats less 1."""
    return data.StructLayout({"flight": flight_layout(config), "more_beats": config.beat_bits})


class AxiWriter(wiring.Component):
    """Turns jobs and their bytes into bursts, and reports each job that has reached the memory.

    Throughput: a word of memory per cycle, from burst to burst and from job to job, as long as
    `outstanding` bursts cover the memory's latency. Latency: `cycles`.

    A burst is begun when all of its words lie in the queue: so `wvalid` never falls within a burst,
    and a stream that waits never blocks a memory that others share.

    After an error nothing more is begun; bursts in flight come to their ends. The error stays until
    a reset. A reset must find no burst in flight, or reach the memory too.

    Members:
        i_job: stream of `write_job_layout`; a job's bytes must not reach beyond the address space.
        i: the jobs' bytes in words: each job begins with the lowest byte of a word, and leaves the
            rest of its last one unused.
        done: for one cycle, when the last response of a job has come.
        stop: while it is high no further burst is begun.
        busy: a burst is in flight; while `stop` is high this only falls.
        error: see `hw.axi.error_layout`; SLAVE or DECODE with the address of the burst.
        m_axi_*: see `hw.axi.write_ports`.
    """

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(write_job_layout(config))),
                "i": In(stream.Signature(config.data_bits)),
                "done": Out(1),
                "stop": In(1),
                "busy": Out(1),
                "error": Out(error_layout(config)),
                **write_ports(config),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"axi_writer_{name_part(self.config)}"

    @staticmethod
    def cycles(config: AxiConfig, jobs: Iterable[tuple[int, int]], latency: int) -> int:
        """Return the cycles of successive jobs, from the first one offered to the last one done.

        The timing contract: exact when no stream waits, with a memory that takes an address at
        once and then a word per cycle, and responds `latency` cycles after a burst's last word.
        With room for the latency, and full bursts, it is the number of words, a burst and
        `latency` + 4.

        Args:
            jobs: byte address and bytes of each, 1 or more.
            latency: 1 or more.
        """
        queued = 1  # the cycle in which a word is written into the queue
        leaves: list[int] = []  # and in which it is taken by the memory
        begins: list[int] = []  # the cycle in which a burst leaves its queue
        responds: list[int] = []
        for address, count in jobs:
            words = (address + count - 1) // config.word_bytes - address // config.word_bytes + 1
            for beats in config.bursts(address, words):
                for beat in range(beats):
                    queued += 1
                    number = len(leaves) + beat
                    if number >= config.buffer_words:
                        queued = max(queued, leaves[number - config.buffer_words] + 1)
                if len(begins) >= config.outstanding:
                    queued = max(queued, begins[-config.outstanding] + 1)
                begin = queued + Fifo.cycles()
                if begins:
                    begin = max(begin, begins[-1] + 1)
                if len(responds) >= config.outstanding:
                    begin = max(begin, responds[-config.outstanding] + 1)
                begins.append(begin)
                first = max(begin, leaves[-1] if leaves else 0) + 1
                leaves += range(first, first + beats)
                responds.append(max(leaves[-1] + latency, responds[-1] + 1 if responds else 0))
        return responds[-1] + 2

    def elaborate(self, platform: object) -> Module:
        """The packer, queues of words and of bursts behind it, and a queue of bursts in flight."""
        m = Module()
        c = self.config
        packer = add(m, platform, "packer", BurstPacker, c, i_job=self.i_job, i=self.i)
        words = add(m, platform, "words", Fifo, beat_layout(c).size, c.buffer_words)
        bursts = add(m, platform, "bursts", Fifo, burst_layout(c).size, c.outstanding)
        flying = add(m, platform, "flying", Fifo, flight_layout(c).size, c.outstanding)
        beat = packer.o.payload.beat
        m.d.comb += [
            words.i.valid.eq(packer.o.valid & (~beat.last | bursts.i.ready)),
            words.i.payload.eq(beat.as_value()),
            bursts.i.valid.eq(packer.o.valid & beat.last & words.i.ready),
            bursts.i.payload.eq(packer.o.payload.burst.as_value()),
            packer.o.ready.eq(words.i.ready & (~beat.last | bursts.i.ready)),
            self.busy.eq(flying.o.valid),
        ]
        failed = self.error.code != AxiError.NONE
        begins = self._address(m, bursts.o, flying.i, failed)
        self._data(m, words.o, begins)
        self._response(m, flying.o, failed)
        return m

    def _address(
        self, m: Module, bursts: stream.Interface, flying: stream.Interface, failed: Value
    ) -> Value:
        """Begin one burst after the other; return whether one begins in this cycle."""
        c = self.config
        begins = Signal()
        burst = data.View(burst_layout(c), bursts.payload)
        m.d.comb += [
            begins.eq(
                bursts.valid
                & (~self.m_axi_awvalid | self.m_axi_awready)
                & flying.ready
                & ~(self.stop | failed)
            ),
            bursts.ready.eq(begins),
            flying.valid.eq(begins),
            flying.payload.eq(burst.flight.as_value()),
            self.m_axi_awsize.eq(c.byte_bits),
            self.m_axi_awburst.eq(INCR),
        ]
        with m.If(self.m_axi_awready):
            m.d.sync += self.m_axi_awvalid.eq(0)
        with m.If(begins):
            m.d.sync += [
                self.m_axi_awvalid.eq(1),
                self.m_axi_awaddr.eq(Cat(Const(0, c.byte_bits), burst.flight.word_address)),
                self.m_axi_awlen.eq(burst.more_beats),
            ]
        return begins

    def _data(self, m: Module, words: stream.Interface, begins: Value) -> None:
        """Give the words of the bursts that have begun: all of them lie in the queue."""
        c = self.config
        unsent = Signal(range(c.outstanding + 1))  # bursts begun whose last word has not left
        beat = data.View(beat_layout(c), words.payload)
        leaves = self.m_axi_wvalid & self.m_axi_wready
        m.d.comb += [
            self.m_axi_wvalid.eq(unsent != 0),
            self.m_axi_wdata.eq(beat.data),
            self.m_axi_wstrb.eq(beat.strobe),
            self.m_axi_wlast.eq(beat.last),
            words.ready.eq(leaves),
        ]
        m.d.sync += unsent.eq(unsent + begins - (leaves & beat.last))

    def _response(self, m: Module, flying: stream.Interface, failed: Value) -> None:
        """Count responses off; the last one of a job makes it done."""
        c = self.config
        burst = data.View(flight_layout(c), flying.payload)
        bad = self.m_axi_bresp[1]
        m.d.comb += [self.m_axi_bready.eq(1), flying.ready.eq(self.m_axi_bvalid)]
        m.d.sync += self.done.eq(self.m_axi_bvalid & burst.ends_job & ~bad & ~failed)
        with m.If(self.m_axi_bvalid & bad & ~failed):
            m.d.sync += self.error.code.eq(self.m_axi_bresp)
            m.d.sync += self.error.address.eq(Cat(Const(0, c.byte_bits), burst.word_address))


class BurstPacker(wiring.Component):
    """Moves a job's bytes to their places in words of memory, and cuts these into bursts.

    Throughput: a word of memory per cycle. Latency: one cycle from a word taken to the first word
    of memory with its bytes; a job is taken one cycle before its first word at the earliest.

    Members:
        i_job, i: see `AxiWriter`.
        o: a word of memory, and its burst, which is complete with the burst's last word.
    """

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        o = data.StructLayout({"beat": beat_layout(config), "burst": burst_layout(config)})
        super().__init__(
            {
                "i_job": In(stream.Signature(write_job_layout(config))),
                "i": In(stream.Signature(config.data_bits)),
                "o": Out(stream.Signature(o)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"burst_packer_{c.data_bits}_a{c.address_bits}_b{c.burst_beats}_l{c.length_bits}"

    def elaborate(self, platform: object) -> Module:
        """A job's register, a rotator with the lanes that are left over, and an output register.

        Rotated by `shift` lanes, a word's low bytes stand in their places, and its high bytes in
        those of the next word. With the last word of memory no input may be left to take.
        """
        m = Module()
        c = self.config
        job = self.i_job.payload
        active, begins = Signal(), Signal()  # a job is at work, with its first word
        address = Signal(c.address_bits - c.byte_bits, reset_less=True)
        shift = Signal(c.byte_bits, reset_less=True)  # lane of the job's first byte
        end = Signal(c.byte_bits, reset_less=True)  # and of its last one
        more_words = Signal(c.length_bits + 1, reset_less=True)  # of memory
        overhangs = Signal(reset_less=True)  # there is a word of memory more than there are inputs
        steps, last, needs_input = Signal(), Signal(), Signal()
        total = Signal(len(job.more_bytes) + 1)
        m.d.comb += [
            total.eq(job.more_bytes + job.address[: c.byte_bits]),
            last.eq(more_words == 0),
            needs_input.eq(~(last & overhangs)),
            steps.eq(active & (~self.o.valid | self.o.ready) & (self.i.valid | ~needs_input)),
            self.i.ready.eq(steps & needs_input),
            self.i_job.ready.eq(~active | (steps & last)),
        ]
        # Lanes from the job's first byte on, and lanes behind its last one.
        whole = Const(-1, c.word_bytes)
        from_first, behind = Signal(c.word_bytes), Signal(c.word_bytes)
        m.d.comb += [from_first.eq(whole << shift), behind.eq(whole << 1 << end)]
        made = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(made)
        turned = self._rotate(m, shift)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(steps):
            strobe = Mux(begins, from_first, whole) & ~Mux(last, behind, 0)
            m.d.sync += [
                self.o.valid.eq(1),
                begins.eq(0),
                active.eq(~last),
                address.eq(address + 1),
                more_words.eq(more_words - 1),
                made.beat.strobe.eq(strobe),
            ]
            self._fill(m, made.beat.data, turned, from_first)
            self._cut(m, made, address, last)
        with m.If(self.i_job.valid & self.i_job.ready):
            m.d.sync += [
                active.eq(1),
                begins.eq(1),
                address.eq(job.address[c.byte_bits :]),
                shift.eq(job.address),
                end.eq(total),
                more_words.eq(total >> c.byte_bits),
                overhangs.eq((total >> c.byte_bits) != (job.more_bytes >> c.byte_bits)),
            ]
        return m

    def _rotate(self, m: Module, shift: Value) -> Value:
        """Return the word that comes in, rotated: its lowest byte stands in lane `shift`."""
        turned: Value = self.i.payload
        for bit in range(self.config.byte_bits):
            stage = Signal(self.config.data_bits, name=f"turned_{bit}")
            m.d.comb += stage.eq(Mux(shift[bit], turned.rotate_left(8 << bit), turned))
            turned = stage
        return turned

    def _fill(self, m: Module, made: Value, turned: Value, from_first: Value) -> None:
        """Register a word of memory: rotated bytes, those that wrap around one word later."""
        kept = Signal.like(turned, reset_less=True)
        m.d.sync += kept.eq(turned)
        for lane in range(self.config.word_bytes):
            byte = Mux(from_first[lane], turned.word_select(lane, 8), kept.word_select(lane, 8))
            m.d.sync += made.word_select(lane, 8).eq(byte)

    def _cut(self, m: Module, made: data.View, address: Value, last: Value) -> None:
        """Register the word's place in its burst, which goes up to a multiple of the longest."""
        c = self.config
        beats = Signal(c.beat_bits)  # of the burst, in front of this one
        offset, block = address[: c.beat_bits], address[c.beat_bits :]
        ends = last | offset.all()
        m.d.sync += [
            beats.eq(Mux(ends, 0, beats + 1)),
            made.beat.last.eq(ends),
            made.burst.flight.word_address.eq(Cat((offset - beats)[: c.beat_bits], block)),
            made.burst.more_beats.eq(beats),
            made.burst.flight.ends_job.eq(last),
        ]

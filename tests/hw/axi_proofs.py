"""What is proven of the AXI4 masters, for `hw.formal.prove`; and broken copies of them fail it."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from hw.axi import AxiError
from hw.axi_reader import AxiReader, read_job_layout
from hw.axi_writer import AxiWriter, BurstPacker, write_job_layout
from hw.fifo import Fifo
from hw.formal import assert_in_order, assert_stream, assume_stream


def follow_job(m, c, mark, dut, address, words, counts):
    """Assert that the bursts of the job that `mark` chooses are the job, word for word.

    Args:
        c: the configuration; dut: what takes the jobs; address: the channel of its bursts.
        words: of the job that is offered; counts: whether it has any.
    """
    takes = dut.i_job.valid & dut.i_job.ready & counts
    asks = address.valid & address.ready
    bits = c.length_bits + 3
    todo, before, left = Signal(bits), Signal(bits), Signal(bits)
    following = Signal()
    at = Signal(c.address_bits - c.byte_bits)
    asked = Mux(asks, address.beats, 0)
    m.d.sync += todo.eq(todo + Mux(takes, words, 0) - asked)
    is_it = following & (before == 0)
    with m.If(asks & following):
        m.d.sync += before.eq(Mux(before == 0, 0, before - address.beats))
    with m.If(asks & is_it):
        m.d.sync += [at.eq(at + address.beats), left.eq(left - address.beats)]
        m.d.sync += following.eq(left != address.beats)
    with m.If(takes & mark & ~following):
        m.d.sync += [
            following.eq(1),
            before.eq(todo - asked),
            left.eq(words),
            at.eq(dut.i_job.payload.address[c.byte_bits :]),
        ]
    m.d.comb += [
        Assert(~asks | (address.beats <= todo), "no more is asked for than the jobs have"),
        Assert(
            ~(asks & following & ~is_it) | (address.beats <= before),
            "no burst belongs to two jobs",
        ),
        Assert(
            ~(asks & is_it) | (address.address[c.byte_bits :] == at),
            "bursts follow one another",
        ),
        Assert(~(asks & is_it) | (address.beats <= left), "a job has its words"),
    ]


class MasterProof(wiring.Component):
    """What holds for both masters: the addresses of their bursts, `stop`, `busy` and errors."""

    def __init__(self, config, master, layout, inputs):
        self.config, self.master = config, master
        super().__init__(
            {
                "i_job": In(stream.Signature(layout(config))),
                "stop": In(1),
                "mark": In(1),
                "address_ready": In(1),
                **{name: In(width) for name, width in inputs.items()},
            }
        )

    def start(self, m, kind):
        """Add the master, and what holds of its addresses; return it and its address channel.

        Args:
            kind: "ar" or "aw".
        """
        m.submodules.dut = dut = self.master(self.config)
        wiring.connect(m, wiring.flipped(self.i_job), dut.i_job)
        assume_stream(m, dut.i_job, "i_job")
        address = SimpleNamespace(
            valid=getattr(dut, f"m_axi_{kind}valid"),
            ready=getattr(dut, f"m_axi_{kind}ready"),
            address=getattr(dut, f"m_axi_{kind}addr"),
            beats=getattr(dut, f"m_axi_{kind}len") + 1,
        )
        address.payload = Cat(address.address, getattr(dut, f"m_axi_{kind}len"))
        m.d.comb += [dut.stop.eq(self.stop), address.ready.eq(self.address_ready)]
        assert_stream(m, address, "address")
        c = self.config
        end = address.address[:12] + address.beats * c.word_bytes
        idle, failed = Signal(), Signal()
        m.d.sync += [
            idle.eq(self.stop & ~dut.busy),
            failed.eq((dut.error.code != AxiError.NONE) & ~address.valid),
        ]
        m.d.comb += [
            Assert(~address.valid | (end <= 4096), "no burst crosses 4 KB"),
            Assert(~address.valid | (address.beats <= c.burst_beats), "no burst is too long"),
            Assert(~address.valid | ~address.address[: c.byte_bits].any(), "bursts are aligned"),
            Assert(~address.valid | dut.busy, "it is busy while a burst is in flight"),
            Assert(~(idle & self.stop & dut.busy), "nothing begins after stop"),
            Assert(~failed | ~address.valid, "nothing begins after an error"),
        ]
        return dut, address


class ReaderProof(MasterProof):
    """A reader in front of any memory that gives what was asked for, in order, or errors."""

    def __init__(self, config, master=AxiReader):
        inputs = {"r_valid": 1, "r_bit": 1, "r_response": 2, "o_ready": 1}
        super().__init__(config, master, read_job_layout, inputs)

    def elaborate(self, platform):
        m = Module()
        c = self.config
        dut, address = self.start(m, "ar")
        aligned = ~dut.i_job.payload.address[: c.byte_bits].any()
        follow_job(m, c, self.mark, dut, address, dut.i_job.payload.more_words + 1, aligned)

        # The memory: bursts that it was asked for, and the beat that it gives.
        m.submodules.asked = asked = Fifo(8, c.outstanding + 1)
        beat, spoilt = Signal(8), Signal()
        last = beat == asked.o.payload
        bad = self.r_response[1]
        m.d.comb += [
            asked.i.valid.eq(address.valid & address.ready),
            asked.i.payload.eq(dut.m_axi_arlen),
            asked.o.ready.eq(self.r_valid & last),
            Assume(~self.r_valid | asked.o.valid),
            dut.m_axi_rvalid.eq(self.r_valid),
            dut.m_axi_rdata.eq(self.r_bit),
            dut.m_axi_rresp.eq(self.r_response),
            dut.m_axi_rlast.eq(last),
            dut.o.ready.eq(self.o_ready),
        ]
        with m.If(self.r_valid):
            m.d.sync += [beat.eq(Mux(last, 0, beat + 1)), spoilt.eq(spoilt | bad)]
        came = SimpleNamespace(
            valid=self.r_valid & ~bad & ~spoilt, ready=dut.m_axi_rready, payload=self.r_bit
        )
        given = SimpleNamespace(
            valid=dut.o.valid, ready=dut.o.ready, payload=dut.o.payload.data[:1]
        )
        assert_stream(m, dut.o)
        assert_in_order(m, came, given, self.mark, capacity=c.buffer_words)
        room = Signal(range(-c.buffer_words, c.buffer_words + 1), init=c.buffer_words)
        m.d.sync += room.eq(
            room
            - Mux(address.valid & address.ready, address.beats, 0)
            + (dut.o.valid & dut.o.ready)
        )
        m.d.comb += [
            Assert(room >= 0, "there is room for all that is asked for"),
            Assert(asked.i.ready, "no more bursts are in flight than allowed"),
            Assert(~asked.o.valid | dut.busy, "it is busy while a burst is in flight"),
            Assert(dut.error.code[1] == spoilt, "a bad word is an error"),
        ]
        return m


class WriterProof(MasterProof):
    """A writer in front of any memory that responds to the bursts that it has got."""

    def __init__(self, config, master=AxiWriter):
        inputs = {"i_valid": 1, "i_bit": 1, "w_ready": 1, "b_valid": 1, "b_response": 2}
        super().__init__(config, master, write_job_layout, inputs)

    def elaborate(self, platform):
        m = Module()
        dut, address = self.start(m, "aw")
        m.d.comb += [
            dut.i.valid.eq(self.i_valid),
            dut.i.payload.eq(self.i_bit),
            dut.m_axi_wready.eq(self.w_ready),
            dut.m_axi_bvalid.eq(self.b_valid),
            dut.m_axi_bresp.eq(self.b_response),
        ]
        self._check_words(m, dut, address)
        self._respond(m, dut, address)
        return m

    def _respond(self, m, dut, address):
        """Respond to bursts whose address and words have come; assert what holds of them."""
        c = self.config
        addresses, bursts = Signal(8), Signal(8)
        sent = dut.m_axi_wvalid & dut.m_axi_wready & dut.m_axi_wlast
        spoilt, stopped = Signal(), Signal()
        m.d.sync += [
            stopped.eq(spoilt),
            addresses.eq(addresses + (address.valid & address.ready) - self.b_valid),
            bursts.eq(bursts + sent - self.b_valid),
            spoilt.eq(spoilt | (self.b_valid & self.b_response[1])),
        ]
        m.d.comb += [
            Assume(~self.b_valid | ((addresses != 0) & (bursts != 0))),
            Assert(dut.m_axi_bready, "responses are taken at once"),
            Assert((addresses == 0) | dut.busy, "it is busy while a burst is in flight"),
            Assert(addresses <= c.outstanding, "no more bursts are in flight than allowed"),
            Assert((dut.error.code != AxiError.NONE) == spoilt, "a bad response is an error"),
            Assert(~(stopped & dut.done), "nothing is done after an error"),
        ]

    def _check_words(self, m, dut, address):
        """Assert what holds of the words: each burst's number of them, the last one marked."""
        c = self.config
        word = SimpleNamespace(
            valid=dut.m_axi_wvalid,
            ready=dut.m_axi_wready,
            payload=Cat(dut.m_axi_wdata[:1], dut.m_axi_wstrb, dut.m_axi_wlast),
        )
        assert_stream(m, word, "word")
        # An address counts from the cycle on in which it is first offered.
        m.submodules.offered = offered = Fifo(8, c.outstanding + 1)
        seen, beat = Signal(), Signal(8)
        new = address.valid & ~seen
        more = Mux(offered.o.valid, offered.o.payload, dut.m_axi_awlen)
        leaves = word.valid & word.ready
        last = beat == more
        m.d.sync += seen.eq(address.valid & ~address.ready)
        with m.If(leaves):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        m.d.comb += [
            offered.i.valid.eq(new & (offered.o.valid | ~(leaves & last))),
            offered.i.payload.eq(dut.m_axi_awlen),
            offered.o.ready.eq(leaves & last),
            Assert(~word.valid | offered.o.valid | new, "no word comes without an address"),
            Assert(~word.valid | (dut.m_axi_wlast == last), "WLAST is on a burst's last word"),
            Assert((beat == 0) | word.valid, "no burst waits for its words"),
            Assert(~word.valid | dut.m_axi_wstrb.any(), "every word has a byte"),
        ]


class PackerProof(wiring.Component):
    """The bursts of a packer are its jobs', with all of their words and inputs."""

    def __init__(self, config, packer=BurstPacker):
        self.config, self.packer = config, packer
        members = {"i_valid": In(1), "i_bit": In(1), "o_ready": In(1), "mark": In(1)}
        super().__init__({"i_job": In(stream.Signature(write_job_layout(config))), **members})

    def elaborate(self, platform):
        m = Module()
        c = self.config
        m.submodules.dut = dut = self.packer(c)
        wiring.connect(m, wiring.flipped(self.i_job), dut.i_job)
        assume_stream(m, dut.i_job, "i_job")
        assert_stream(m, dut.o)
        m.d.comb += [
            dut.i.valid.eq(self.i_valid),
            dut.i.payload.eq(self.i_bit),
            dut.o.ready.eq(self.o_ready),
        ]
        beat, burst = dut.o.payload.beat, dut.o.payload.burst
        address = SimpleNamespace(
            valid=dut.o.valid & beat.last,
            ready=dut.o.ready,
            address=Cat(Const(0, c.byte_bits), burst.flight.word_address),
            beats=burst.more_beats + 1,
        )
        job = dut.i_job.payload
        total = job.address[: c.byte_bits] + job.more_bytes
        follow_job(m, c, self.mark, dut, address, (total >> c.byte_bits) + 1, 1)

        leaves, enters = dut.o.valid & dut.o.ready, dut.i.valid & dut.i.ready
        takes = dut.i_job.valid & dut.i_job.ready
        beats, inputs, jobs = Signal(8), Signal(c.length_bits + 2), Signal(3)
        ends_job = leaves & beat.last & burst.flight.ends_job
        m.d.sync += [
            inputs.eq(inputs + Mux(takes, (job.more_bytes >> c.byte_bits) + 1, 0) - enters),
            jobs.eq(jobs + takes - ends_job),
        ]
        with m.If(leaves):
            m.d.sync += beats.eq(Mux(beat.last, 0, beats + 1))
        m.d.comb += [
            Assert(~address.valid | (beats == burst.more_beats), "a burst has its words"),
            Assert(~dut.o.valid | beat.strobe.any(), "every word has a byte"),
            Assert(~enters | (inputs != 0), "no more is taken than the jobs have"),
            Assert(~(takes & (inputs != enters)), "a job takes all of its inputs"),
            Assert(~ends_job | (jobs != 0), "a job ends once"),
            Assert(jobs <= 2, "every job ends"),
        ]
        return m

"""The matrix unit of a core: activations from a memory, weights from channels, strips of outputs.

It executes matrix-vector products, one after the other: every chain of the engine takes words of
its own, all take the same activations.
"""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import FORMATS, Unit
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.activation_reader import ActivationReader, column_layout, reader_job_layout
from hw.chain_feed import ChainFeed, feed_job_layout
from hw.chain_unit import connect
from hw.chain_unit import name as unit_name
from hw.emit import add
from hw.matrix_engine import MatrixEngine
from hw.matrix_unit_timing import matrix_unit_cycles
from hw.output_gatherer import OutputGatherer, strip_layout
from hw.stream_merge import StreamMerge


def matrix_job_layout(config: MatrixEngineConfig, depth: int) -> data.StructLayout:
    """One beat per matrix-vector product.

    Fields:
        activations: see `hw.activation_reader`. feed: see `hw.chain_feed`; `active` is not used,
            and `plan.destination` is the first chain's.
        active: a bit per chain; strips of the others are dropped.
        paired: see `hw.output_gatherer`.
        more_strips: strips that come out of all chains - 1, those dropped too.
    """
    return data.StructLayout(
        {
            "activations": reader_job_layout(config, depth),
            "feed": feed_job_layout(config),
            "active": unsigned(config.chains),
            "paired": unsigned(1),
            "more_strips": unsigned(FORMATS[Unit.MV].field("strips").bits),
        }
    )


class MatrixUnit(wiring.Component):
    """The engine with what feeds it and gathers its outputs.

    Args:
        depth: words of the activation memory, see `ActivationReader`.

    Members:
        i_job: stream of `matrix_job_layout`; taken when the one before is complete.
        i: streams of memory words, one per chain.
        enable, address, word: a read port of the activation memory.
        o: stream of `strip_layout`.
        complete: high for the cycle in which a job's last strip has left or is dropped.
    """

    cycles = staticmethod(matrix_unit_cycles)
    """The timing contract."""

    def __init__(self, config: MatrixEngineConfig, depth: int) -> None:
        self.config = config
        self.depth = depth
        words = stream.Signature(unsigned(config.word_bits))
        super().__init__(
            {
                "i_job": In(stream.Signature(matrix_job_layout(config, depth))),
                "i": In(words).array(config.chains),
                "enable": Out(1),
                "address": Out(range(depth)),
                "word": In(column_layout(config)),
                "o": Out(stream.Signature(strip_layout(config))),
                "complete": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"matrix_unit_{c.chains}x{unit_name(c)}_{self.depth}"

    def elaborate(self, platform: object) -> Module:
        """Start a job everywhere at once, count its strips, start the next."""
        m = Module()
        config, job = self.config, self.i_job.payload
        lanes = config.products_per_dsp
        engine = add(m, platform, "engine", MatrixEngine, config)
        reader = add(m, platform, "reader", ActivationReader, config, self.depth)
        merge = add(m, platform, "merge", StreamMerge, config.chains, strip_layout(config).size)
        active, paired = Signal(config.chains), Signal()
        begins, feeds_ready = Signal(), []
        drops = Signal(config.chains)
        for chain in range(config.chains):
            feed = add(m, platform, f"feed_{chain}", ChainFeed, config)
            gatherer = add(m, platform, f"gatherer_{chain}", OutputGatherer, config)
            connect(m, self.i[chain], feed.i)
            for kind in ("segment", "word", "index", "pass", "scale"):
                connect(m, getattr(feed, f"o_{kind}"), getattr(engine, f"i_{kind}")[chain])
            connect(m, engine.o[chain], gatherer.i)
            connect(m, feed.o_destination, gatherer.i_destination)
            own = feed.i_job.payload
            m.d.comb += [
                own.eq(job.feed),
                own.active.eq(job.active[chain]),
                own.plan.destination.eq(job.feed.plan.destination + chain * lanes),
                feed.i_job.valid.eq(begins),
                gatherer.paired.eq(paired),
                merge.i[chain].payload.eq(gatherer.o.payload.as_value()),
                merge.i[chain].valid.eq(gatherer.o.valid & active[chain]),
                gatherer.o.ready.eq(merge.i[chain].ready | ~active[chain]),
                drops[chain].eq(gatherer.o.valid & ~active[chain]),
            ]
            feeds_ready.append(feed.i_job.ready)
        connect(m, reader.o_sweep, engine.i_sweep)
        connect(m, reader.o, engine.i_activation[0])
        busy, left = Signal(), Signal.like(job.more_strips)
        gone = Signal(range(config.chains + 2))  # strips that leave or are dropped in this cycle
        m.d.comb += [
            engine.matrix_vector.eq(1),
            reader.i_job.payload.eq(job.activations),
            reader.i_job.valid.eq(self.i_job.valid & ~busy & Cat(feeds_ready).all()),
            begins.eq(self.i_job.valid & self.i_job.ready),
            self.i_job.ready.eq(~busy & reader.i_job.ready & Cat(feeds_ready).all()),
            *(self.enable.eq(reader.enable), self.address.eq(reader.address)),
            reader.word.eq(self.word),
            self.o.payload.as_value().eq(merge.o.payload),
            self.o.valid.eq(merge.o.valid),
            merge.o.ready.eq(self.o.ready),
            gone.eq(sum(drops, merge.o.valid & merge.o.ready)),
            self.complete.eq(busy & (gone == left + 1)),
        ]
        m.d.sync += [busy.eq(begins | (busy & ~self.complete)), left.eq(left - gone)]
        with m.If(begins):
            m.d.sync += [left.eq(job.more_strips), active.eq(job.active), paired.eq(job.paired)]
        return m

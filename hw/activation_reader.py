"""Reads activations from the activation memory and gives them to the matrix engine."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import OPERAND_BITS, MatrixEngineConfig
from hw.emit import add
from hw.layouts import activation_layout, sweep_layout
from hw.word_mover import WordReader, address_bits


def column_layout(config: MatrixEngineConfig) -> data.ArrayLayout:
    """One word of the activation memory: the m inputs of a column, in each lane."""
    column = data.ArrayLayout(signed(OPERAND_BITS), config.m)
    return data.ArrayLayout(column, config.products_per_dsp)


def reader_job_layout(config: MatrixEngineConfig, depth: int) -> data.StructLayout:
    """One beat per job: the word of its first column, and the engine's `sweep_layout`."""
    return data.StructLayout(
        {"address": unsigned(address_bits(depth)), "sweep": sweep_layout(config)}
    )


class ActivationReader(wiring.Component):
    """Gives the engine a sweep and the inputs of its columns, which lie in successive words.

    Throughput: one input per cycle, from column to column and from job to job. Latency: `cycles`.

    Args:
        depth: words of the activation memory, 16 to 65536.

    Members:
        i_job: stream of `reader_job_layout`, taken with its sweep, as soon as the last word of the
            job before is read.
        o_sweep: stream of `sweep_layout`.
        o: stream of `activation_layout`.
        enable, address: a read of the memory; `word` is what it gives, from the next cycle on.

    Raises:
        ConfigError: `depth` is outside its range.
    """

    def __init__(self, config: MatrixEngineConfig, depth: int) -> None:
        self.config = config
        self.depth = depth
        job = reader_job_layout(config, depth)
        super().__init__(
            {
                "i_job": In(stream.Signature(job)),
                "o_sweep": Out(stream.Signature(sweep_layout(config))),
                "o": Out(stream.Signature(activation_layout(config.chain))),
                "enable": Out(1),
                "address": Out(job["address"].shape),
                "word": In(column_layout(config)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        sweep = sweep_layout(c).size
        return f"activation_reader_m{c.m}x{c.products_per_dsp}_{sweep}_{self.depth}"

    @staticmethod
    def cycles(config: MatrixEngineConfig, columns: int) -> int:
        """Return the cycles of successive jobs of `columns` columns together.

        From the first job taken to the last input given; exact when no stream waits.
        """
        return 3 + columns * config.m

    def elaborate(self, platform: object) -> Module:
        """A word is read while the one before moves down, by an input per cycle."""
        m = Module()
        config, job = self.config, self.i_job.payload
        words = add(m, platform, "words", WordReader, column_layout(config).size, self.depth)
        left = Signal(range(config.m + 1))
        taken = Signal()
        m.d.comb += [
            self.o_sweep.payload.eq(job.sweep),
            self.o_sweep.valid.eq(self.i_job.valid & words.i.ready),
            self.i_job.ready.eq(self.o_sweep.ready & words.i.ready),
            words.i.payload.address.eq(job.address),
            words.i.payload.more_words.eq(job.sweep.more_columns),
            words.i.valid.eq(self.i_job.valid & self.o_sweep.ready),
            *(self.enable.eq(words.enable), self.address.eq(words.address)),
            words.word.eq(self.word),
            taken.eq(self.o.valid & self.o.ready),
            words.o.ready.eq((left == 0) | ((left == 1) & taken)),
            self.o.valid.eq(left != 0),
        ]
        moves = words.o.valid & words.o.ready
        with m.If(moves | taken):
            m.d.sync += left.eq(Mux(moves, config.m, left - 1))
        given = data.View(column_layout(config), words.o.payload)
        for lane in range(config.products_per_dsp):
            inputs = Signal(data.ArrayLayout(signed(OPERAND_BITS), config.m), reset_less=True)
            following = Cat(inputs.as_value()[OPERAND_BITS:], inputs[0])
            m.d.comb += self.o.payload[lane].eq(inputs[0])
            with m.If(moves | taken):
                m.d.sync += inputs.as_value().eq(Mux(moves, given[lane].as_value(), following))
        return m

"""Reads activations from the activation memory and gives them to the matrix engine."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import OPERAND_BITS, MatrixEngineConfig
from hw.layouts import activation_layout, sweep_layout

MIN_DEPTH, MAX_DEPTH = 16, 65536


def column_layout(config: MatrixEngineConfig) -> data.ArrayLayout:
    """One word of the activation memory: the m inputs of a column, in each lane."""
    column = data.ArrayLayout(signed(OPERAND_BITS), config.m)
    return data.ArrayLayout(column, config.products_per_dsp)


def reader_job_layout(config: MatrixEngineConfig, depth: int) -> data.StructLayout:
    """One beat per job: the word of its first column, and the engine's `sweep_layout`."""
    return data.StructLayout(
        {"address": unsigned((depth - 1).bit_length()), "sweep": sweep_layout(config)}
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
        if not MIN_DEPTH <= depth <= MAX_DEPTH:
            raise ConfigError(f"depth is {depth!r}; allowed are {MIN_DEPTH} to {MAX_DEPTH} words")
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
        """Words are read ahead by one; the word in use moves down by an input per cycle."""
        m = Module()
        config = self.config
        to_read = Signal(range(config.activation_depth // config.m + 1))
        has_next, left = Signal(), Signal(range(config.m + 1))
        current = Signal(column_layout(config), reset_less=True)
        job, taken, moves = self.i_job.payload, Signal(), Signal()
        m.d.comb += [
            self.o_sweep.payload.eq(job.sweep),
            self.o_sweep.valid.eq(self.i_job.valid & (to_read == 0)),
            self.i_job.ready.eq(self.o_sweep.ready & (to_read == 0)),
            self.o.valid.eq(left != 0),
            taken.eq(self.o.valid & self.o.ready),
            moves.eq(has_next & ((left == 0) | ((left == 1) & taken))),
            self.enable.eq((to_read != 0) & (~has_next | moves)),
        ]
        m.d.sync += has_next.eq(self.enable | (has_next & ~moves))
        with m.If(self.i_job.valid & self.i_job.ready):
            m.d.sync += [self.address.eq(job.address), to_read.eq(job.sweep.more_columns + 1)]
        with m.Elif(self.enable):
            m.d.sync += [self.address.eq(self.address + 1), to_read.eq(to_read - 1)]
        with m.If(moves | taken):
            m.d.sync += left.eq(Mux(moves, config.m, left - 1))
        for lane, column in enumerate(current):
            m.d.comb += self.o.payload[lane].eq(column[0])
            following = (*list(column)[1:], column[0])
            for item, below, new in zip(column, following, self.word[lane], strict=True):
                with m.If(moves | taken):
                    m.d.sync += item.eq(Mux(moves, new, below))
        return m

"""Executes a core's MV instructions: matrix-vector products from memory to the vector buffer."""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.core import LANES, CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import ErrorCode, Unit, Weights
from hw.activation_reader import column_layout
from hw.emit import add
from hw.isa import error_layout, instruction_layout
from hw.load_unit import vector_write_layout
from hw.matrix_unit import MatrixUnit
from hw.matrix_unit_work import instruction_product
from hw.word_memory import read_signature


class ProductUnit(wiring.Component):
    """The matrix unit with what turns instructions into its jobs.

    Members:
        i: stream of `hw.isa.instruction_layout` of MV, taken when the one before is complete.
        i_words: streams of words of memory, one per chain.
        activation: a read port of the activation memory, see `hw.word_memory`.
        o: stream of `hw.load_unit.vector_write_layout`.
        complete: high for the cycle in which an instruction's last strip leaves.
        error: `hw.isa.error_layout`: ILLEGAL_FIELD where `CoreConfig.check_product` refuses an
            instruction. It stays until a reset, and nothing is taken.
    """

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        words = stream.Signature(unsigned(config.word_bits))
        columns = column_layout(config.engine).size
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Unit.MV))),
                "i_words": In(words).array(config.chains),
                "activation": Out(read_signature(columns, config.activation_depth)),
                "o": Out(stream.Signature(vector_write_layout(config))),
                "complete": Out(1),
                "error": Out(error_layout()),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        memories = f"v{c.vector_depth}_a{c.activation_depth}"
        chains = f"c{c.chains}of{c.all_chains}"
        return f"product_unit_{chains}_m{c.m}_s{c.strips}_{memories}_z{c.zero_fraction_bits}"

    @staticmethod
    def cycles(
        config: CoreConfig, products: Sequence[Instruction], words: Sequence[np.ndarray]
    ) -> list[int]:
        """Return the cycles of successive instructions, from taken to complete, both counted.

        The timing contract, see `hw.matrix_unit_timing`.

        Args:
            words: of each instruction, as `hw.matrix_unit_work.instruction_product` takes them.
        """
        engine = config.engine
        jobs = [instruction_product(engine, *each) for each in zip(products, words, strict=True)]
        return MatrixUnit.cycles(engine, jobs)

    def elaborate(self, platform: object) -> Module:
        """A job from an instruction; strips go where the instruction in work says."""
        m = Module()
        config, product = self.config, self.i.payload
        unit = add(m, platform, "matrix", MatrixUnit, config.engine, config.activation_depth)
        out = Signal.like(self.o.payload.address)
        illegal, begins = Signal(), Signal()
        strip = unit.o.payload
        m.d.comb += [
            illegal.eq(self._is_illegal()),
            unit.i_job.valid.eq(self.i.valid & ~illegal),
            self.i.ready.eq(unit.i_job.ready & ~illegal),
            begins.eq(self.i.valid & self.i.ready),
            *(self.activation.enable.eq(unit.enable), self.activation.address.eq(unit.address)),
            unit.word.as_value().eq(self.activation.word),
            self.o.payload.address.eq(out + strip.strip),
            self.o.payload.word.eq(strip.rows.as_value()),
            self.o.valid.eq(unit.o.valid),
            unit.o.ready.eq(self.o.ready),
            self.complete.eq(unit.complete),
        ]
        for own, words in zip(unit.i, self.i_words, strict=True):
            m.d.comb += [
                *(own.payload.eq(words.payload), own.valid.eq(words.valid)),
                words.ready.eq(own.ready),
            ]
        self._job(m, unit.i_job.payload)
        with m.If(begins):
            m.d.sync += out.eq(product.out)
        with m.If(self.i.valid & illegal):
            m.d.sync += [self.error.code.eq(ErrorCode.ILLEGAL_FIELD), self.error.pc.eq(product.pc)]
        return m

    def _job(self, m: Module, job: data.View) -> None:
        """Say what the instruction is for the matrix unit."""
        config, product = self.config, self.i.payload
        is_raw = product.weights == Weights.RAW
        sweep, plan = job.activations.sweep, job.feed.plan
        m.d.comb += [
            job.activations.address.eq(product.activation),
            sweep.more_columns.eq(product.columns - 1),
            sweep.more_sweeps.eq(product.sweeps - 1),
            sweep.more_in_group.eq(product.group - 1),
            *(job.feed.words.eq(product.words), job.feed.dense.eq(is_raw)),
            plan.more_columns.eq(product.columns - 1),
            plan.more_in_group.eq(product.group - 1),
            plan.more_strips.eq(product.addresses - 1),
            plan.more_beats.eq((product.words - 1)[: len(product.words)]),
            plan.scale.eq(product.scale),
            plan.step.eq(config.raw_step),
            job.active.eq(Mux(product.channels.any(), product.channels, Const(-1, config.chains))),
            job.paired.eq(product.paired),
            job.more_strips.eq(product.strips - 1),
        ]

    def _is_illegal(self) -> Value:
        """Return whether `CoreConfig.check_product` refuses the instruction."""
        config, product = self.config, self.i.payload
        chains = config.chains
        strips = product.addresses * (chains * LANES)
        both = [
            product.columns > config.max_columns,
            product.group > product.columns,
            product.group > config.max_group_columns,
        ]
        raw = [
            product.addresses > config.strips,
            *(product.sweeps != 1, product.paired),
            product.words != product.columns * product.addresses * config.m,
            product.strips != strips,
        ]
        is_raw = product.weights == Weights.RAW
        return Cat(both).any() | Mux(is_raw, Cat(raw).any(), product.channels.any())

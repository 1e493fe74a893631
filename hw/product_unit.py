"""Executes a core's MV and MM instructions: matrix products from memory to the vector buffer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.core import LANES, CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import FORMATS, ErrorCode, Unit, Weights
from hw.activation_reader import column_layout
from hw.emit import add
from hw.isa import error_layout, instruction_layout
from hw.load_unit import vector_write_layout
from hw.matrix_unit import MatrixUnit, matrix_job_layout
from hw.product_timing import unit_cycles
from hw.replay_buffer import ReplayBuffer
from hw.word_memory import read_signature
from hw.word_mover import address_bits


def token_layout(config: CoreConfig) -> data.StructLayout:
    """A token of a product.

    Fields:
        job: of the matrix unit. out: where strip 0 goes.
        step, out_step: from here to the next token's activations and outputs. more_tokens: of the
            product, behind this one.
        is_mm: the product is an MM.
    """
    vector_bits = address_bits(config.vector_depth)
    return data.StructLayout(
        {
            "job": matrix_job_layout(config.engine, config.activation_depth),
            "out": unsigned(vector_bits),
            "step": unsigned(address_bits(config.activation_depth)),
            "out_step": unsigned(vector_bits),
            "more_tokens": unsigned(FORMATS[Unit.MM].field("tokens").bits),
            "is_mm": unsigned(1),
        }
    )


class ProductUnit(wiring.Component):
    """The matrix unit with what turns instructions into its jobs: one for each token.

    For the first token the chains take words of their streams, and keep them; for further ones they
    take them again. Of an MV and an MM that are both offered, the MM is taken.

    Members:
        i: stream of `hw.isa.instruction_layout` of MV, taken when the one before is complete.
        i_mm: the same of MM.
        i_words: streams of words of memory, one per chain.
        activation: a read port of the activation memory, see `hw.word_memory`.
        o: stream of `hw.load_unit.vector_write_layout`.
        complete: high for the cycle in which an MV's last strip leaves. complete_mm: an MM's.
        fed: a chain takes a word, from its stream or again.
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
                "i_mm": In(stream.Signature(instruction_layout(Unit.MM))),
                "i_words": In(words).array(config.chains),
                "activation": Out(read_signature(columns, config.activation_depth)),
                "o": Out(stream.Signature(vector_write_layout(config))),
                **{"complete": Out(1), "complete_mm": Out(1), "fed": Out(1)},
                "error": Out(error_layout()),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        memories = f"v{c.vector_depth}_a{c.activation_depth}_r{c.replay_words}"
        chains = f"c{c.chains}of{c.all_chains}"
        return f"product_unit_{chains}_m{c.m}_s{c.strips}_{memories}_z{c.zero_fraction_bits}"

    @staticmethod
    def cycles(
        config: CoreConfig, products: Sequence[Instruction], words: Sequence[np.ndarray]
    ) -> list[int]:
        """Return the cycles of successive instructions, from taken to complete, both counted.

        The timing contract, exact when every chain always has a word and strips are always taken.

        Args:
            words: of each instruction, as `hw.matrix_unit_work.instruction_product` takes them.
        """
        return unit_cycles(config.engine, products, words)

    def elaborate(self, platform: object) -> Module:
        """A job per token, and the way of the words; strips go where the token in work says."""
        m = Module()
        config, layout = self.config, token_layout(self.config)
        unit = add(m, platform, "matrix", MatrixUnit, config.engine, config.activation_depth)
        product = self._offered(m)
        # The first token of what is offered, the next one of what is in work, and what is to begin.
        first, following, token = Signal(layout), Signal(layout), Signal(layout)
        continues, illegal, begins, takes = Signal(), Signal(), Signal(), Signal()
        out = Signal.like(self.o.payload.address)
        strip = unit.o.payload
        self._first_token(m, product, first)
        m.d.comb += [
            illegal.eq(self._is_illegal(product)),
            token.eq(Mux(continues, following.as_value(), first.as_value())),
            unit.i_job.payload.eq(token.job),
            unit.i_job.valid.eq(continues | ((self.i.valid | self.i_mm.valid) & ~illegal)),
            begins.eq(unit.i_job.valid & unit.i_job.ready),
            takes.eq(unit.i_job.ready & ~(continues | illegal)),
            *(self.i_mm.ready.eq(takes), self.i.ready.eq(takes & ~self.i_mm.valid)),
            *(self.activation.enable.eq(unit.enable), self.activation.address.eq(unit.address)),
            unit.word.as_value().eq(self.activation.word),
            self.o.payload.address.eq(out + strip.strip),
            self.o.payload.word.eq(strip.rows.as_value()),
            self.o.valid.eq(unit.o.valid),
            unit.o.ready.eq(self.o.ready),
            self.complete.eq(unit.complete & ~continues & ~following.is_mm),
            self.complete_mm.eq(unit.complete & ~continues & following.is_mm),
        ]
        address = token.job.activations.address
        with m.If(begins):
            m.d.sync += [
                out.eq(token.out),
                continues.eq(token.more_tokens != 0),
                following.eq(token),
                following.job.activations.address.eq(address + token.step),
                following.out.eq(token.out + token.out_step),
                following.more_tokens.eq(token.more_tokens - 1),
            ]
        self._words(m, platform, unit, begins, continues, token.more_tokens != 0)
        with m.If((self.i.valid | self.i_mm.valid) & illegal):
            m.d.sync += [self.error.code.eq(ErrorCode.ILLEGAL_FIELD), self.error.pc.eq(product.pc)]
        return m

    def _offered(self, m: Module) -> data.View:
        """Return the instruction that is offered, an MV as an MM of one token."""
        vector, matrix = self.i.payload, self.i_mm.payload
        fields = {
            name: shape
            for name, shape in matrix.shape().members.items()
            if name not in ("wait", "release")
        }
        product = Signal(data.StructLayout(fields), name="offered")
        with m.If(self.i_mm.valid):
            m.d.comb += [product[name].eq(matrix[name]) for name in fields]
        with m.Else():
            shared = [name for name in fields if name in vector.shape().members]
            m.d.comb += [product[name].eq(vector[name]) for name in shared]
            m.d.comb += product.tokens.eq(1)
        return product

    def _words(
        self, m: Module, platform: object, unit: Any, begins: Value, again: Value, more: Value
    ) -> None:
        """Lead words of the streams to the matrix unit; keep them if `more` tokens take them."""
        config, fed = self.config, []
        for k, (own, words) in enumerate(zip(unit.i, self.i_words, strict=True)):
            replay = add(
                m, platform, f"replay_{k}", ReplayBuffer, config.word_bits, config.replay_words
            )
            m.d.comb += [
                replay.begins.eq(begins),
                *(replay.keeps.eq(more & ~again), replay.repeats.eq(again)),
            ]
            for source, sink in ((words, replay.i), (replay.o, own)):
                m.d.comb += [
                    *(sink.payload.eq(source.payload), sink.valid.eq(source.valid)),
                    source.ready.eq(sink.ready),
                ]
            fed.append(replay.o.valid & replay.o.ready)
        m.d.comb += self.fed.eq(Cat(fed).any())

    def _first_token(self, m: Module, product: data.View, token: data.View) -> None:
        """Say what an instruction's first token is for the matrix unit."""
        config, job = self.config, token.job
        is_raw = product.weights == Weights.RAW
        sweep, plan = job.activations.sweep, job.feed.plan
        m.d.comb += [
            *(token[name].eq(product[name]) for name in ("out", "step", "out_step")),
            token.more_tokens.eq(product.tokens - 1),
            token.is_mm.eq(self.i_mm.valid),
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

    def _is_illegal(self, product: data.View) -> Value:
        """Return whether `CoreConfig.check_product` refuses the instruction."""
        config, chains = self.config, self.config.chains
        strips = product.addresses * (chains * LANES)
        both = [
            product.columns > config.max_columns,
            product.group > product.columns,
            product.group > config.max_group_columns,
            (product.tokens > 1) & (product.words > config.replay_words),
        ]
        raw = [
            product.addresses > config.strips,
            *(product.sweeps != 1, product.paired),
            product.words != product.columns * product.addresses * config.m,
            product.strips != strips,
        ]
        is_raw = product.weights == Weights.RAW
        return Cat(both).any() | Mux(is_raw, Cat(raw).any(), product.channels.any())

"""A sparse chain with its self-test: patterns in, signatures and cycles compared."""

from functools import reduce
from operator import or_, xor

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitstreams.chain_pattern import chain_pattern
from bitstreams.pattern_source import PatternSource
from bitstreams.signature import BITS, Signature
from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import add
from hw.layouts import activation_layout, pass_layout, row_sum_layout, weight_layout
from hw.sparse_chain import SparseChain

CYCLE_BITS = 16
"""Of the counter that the tester holds against the timing contract."""

_COMPARE_CYCLES = 3
"""From the last sums to `passed`: signature, each compared, all together."""


class ChainTester(wiring.Component):
    """The chain number `number`, which takes its pattern after each `start`.

    It passes if each node gave golden's sums, and the last of them in the very cycle that the
    timing contract says.

    Members:
        start: begin; only when the round before is over.
        passed: this round was right, from `round_cycles` after `start` on.
        total: the signatures of all nodes together, at the same time.
    """

    def __init__(self, config: SparseChainConfig, number: int) -> None:
        self.config = config
        self.number = number
        self.pattern = chain_pattern(config, number)
        super().__init__({"start": In(1), "passed": Out(1), "total": Out(BITS)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"chain_tester_{self.number}"

    @staticmethod
    def last_cycle(config: SparseChainConfig, number: int) -> int:
        """Return the cycle after `start` in which the last sums come, by the contract."""
        return PatternSource.cycles() + chain_pattern(config, number).cycles - 1

    @staticmethod
    def round_cycles(config: SparseChainConfig, number: int) -> int:
        """Return the cycles from `start` to the verdict."""
        return ChainTester.last_cycle(config, number) + _COMPARE_CYCLES

    def elaborate(self, platform: object) -> Module:
        """Three sources, the chain, a signature behind each node, and what compares them."""
        m = Module()
        config, pattern = self.config, self.pattern
        chain = add(m, platform, "chain", SparseChain, config)
        for name, layout, payloads in (
            ("activation", activation_layout(config), pattern.activations),
            ("pass", pass_layout(config), pattern.passes),
            ("weight", weight_layout(config), pattern.weights),
        ):
            width = layout.size
            source = add(m, platform, f"{name}_source", PatternSource, width, payloads)
            sink = getattr(chain, f"i_{name}")
            m.d.comb += [
                source.start.eq(self.start),
                sink.payload.as_value().eq(source.o.payload),
                sink.valid.eq(source.o.valid),
                source.o.ready.eq(sink.ready),
            ]

        found, right = [], []
        for group, expected in enumerate(pattern.signatures):
            node = chain.o[group]
            width = row_sum_layout(config).size
            signature = add(m, platform, f"signature_{group}", Signature, width)
            same = Signal(name=f"same_{group}")
            m.d.comb += [
                signature.restart.eq(self.start),
                signature.valid.eq(node.valid),
                signature.payload.eq(node.payload.as_value()),
            ]
            m.d.sync += same.eq(signature.value == expected)
            found.append(signature.value)
            right.append(same)

        cycle = Signal(CYCLE_BITS)
        last = Signal(CYCLE_BITS)
        in_time = Signal()
        m.d.sync += [
            cycle.eq(cycle + 1),
            in_time.eq(last == self.last_cycle(config, self.number)),
            self.passed.eq(Cat(*right, in_time).all()),
            self.total.eq(reduce(xor, found)),
        ]
        with m.If(self.start):
            m.d.sync += [cycle.eq(1), last.eq(0)]
        with m.Elif(reduce(or_, (node.valid for node in chain.o))):
            m.d.sync += last.eq(cycle)
        return m

"""An FPGA that runs matrix-vector products on sparse DSP chains in parallel."""

from itertools import accumulate
from math import ceil
from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.sparse_chain import SparseChain
from sim.hardware import Memory, NamedBoard
from sim.memory_formats import WeightFormat, deal, spread
from sim.operators import Operator
from sim.system import System, Tile, split, steps


class FpgaSystem(System):
    """`chains` sparse DSP chains on a board.

    A unit of work is one strip of m output rows by one group of inputs; it gives m partial sums, so
    the units of an operator are dealt to the chains in turn. One unit for each chain is a tile.
    At batch 1 there is no second activation to share a weight with. So a sparse product takes a DSP
    of its own; where all blocks are dense, two rows share an activation and so a DSP.
    """

    kind: Literal["fpga"]
    board: NamedBoard
    memory: str
    chains: PositiveInt
    clock_mhz: PositiveFloat
    chain: SparseChainConfig

    @property
    def main_memory(self) -> Memory:
        """The memory that holds weights and KV cache."""
        return self.board.memories[self.memory]

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for an FPGA takes for granted."""
        return (
            f"{self.chains} chains run at {self.clock_mhz:g} MHz: parameters, not a routed design.",
            "Every chain gets the same mix of N; loading activations and scaling sums is hidden.",
            f"The KV cache has {self.cache.bits} bits and is used as dense blocks.",
        )

    def check(self, weights: WeightFormat) -> None:
        """Raise ConfigError unless the board holds the chains and the chains take `weights`."""
        m, known = self.chain.m, ", ".join(self.board.memories)
        if self.memory not in self.board.memories:
            raise ConfigError(f"memory is {self.memory!r}; {self.board.name} has {known}")
        if self.chains * m > self.board.dsps:
            raise ConfigError(
                f"chains is {self.chains}; with {m} DSPs each, {self.board.name} with "
                f"{self.board.dsps} DSPs holds at most {self.board.dsps // m}"
            )
        if max(weights.bits, self.cache.bits) > self.chain.weight_bits:
            raise ConfigError(
                f"weights have {weights.bits} bits and the KV cache {self.cache.bits}; "
                f"the chain takes at most {self.chain.weight_bits}"
            )
        if weights.group_size is None or weights.group_size % m:
            raise ConfigError(
                f"group_size is {weights.group_size}; the chain needs a multiple of {m} inputs"
            )
        known_keeps = (0, *self.chain.keeps)
        for n in weights.keep:
            if n not in known_keeps:
                allowed = ", ".join(map(str, known_keeps))
                raise ConfigError(f"keep has blocks of {n}:{m}; allowed N are {allowed}")

    def label(self, weights: WeightFormat) -> str:
        """Return the system and its weight format as a chart shows them."""
        m = self.chain.m
        kept = sum(n * share for n, share in weights.mix(m).items()) / m
        density = "dense" if kept == 1 else f"{kept:.0%} kept"
        return f"{self.title}, {weights.number} {density}"

    def bytes_read(self, operator: Operator, weights: WeightFormat) -> int:
        """Return the bytes that `operator` reads from main memory."""
        if operator.cached:
            return self.cache.bytes(operator)
        return weights.block_bytes(operator, self.chain)

    def tiles(self, operator: Operator, weights: WeightFormat) -> list[Tile]:
        """Return `operator` in tiles of one unit for each chain, timed by the busiest chain.

        Units are dealt in turn, the largest first, so the first chain is the busiest. It streams
        its units as one job, whose pipeline fills once.
        """
        units = self._unit_blocks(operator, weights)
        dealt = [*range(self.chains, len(units), self.chains), len(units)]
        parts = split(self.bytes_read(operator, weights), dealt)

        block_ends = list(accumulate(units[:: self.chains]))
        mix = {self.chain.m: 1.0} if operator.cached else weights.mix(self.chain.m)
        keep = spread(deal(mix, block_ends[-1]))
        per_beat = self.chain.products_per_dsp if set(mix) == {self.chain.m} else 1
        beats = np.cumsum(keep)[np.array(block_ends) - 1]
        # One column stands for all: there are strips enough to hide the loads of the others.
        finished = [SparseChain.cycles(self.chain, [ceil(n / per_beat)]) for n in beats.tolist()]
        return [
            Tile(part, cycles / (self.clock_mhz * 1e6), cycles)
            for part, cycles in zip(parts, steps(finished), strict=True)
        ]

    def _unit_blocks(self, operator: Operator, weights: WeightFormat) -> list[int]:
        """Return the blocks of every unit, those of whole groups first."""
        m, group = self.chain.m, weights.group_size or operator.inputs
        strips = operator.matrices * operator.vectors * ceil(operator.rows / m)
        whole, rest = divmod(operator.inputs, group)
        return [group // m] * (strips * whole) + [ceil(rest / m)] * (strips if rest else 0)

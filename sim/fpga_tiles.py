"""How an FPGA's cores cut a matrix product into tiles, one for each instruction.

Facts about FlightLLM's instructions are of its paper (arXiv 2401.03868) and of its authors'
released generator; docs/systems/flightllm.md has all of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from pydantic import PositiveInt

from golden.spec.records import Record
from golden.spec.sparse_chain import SparseChainConfig
from hw.sparse_chain import SparseChain
from sim.double_buffer import Tile
from sim.operators import Operator


class Mode(Record):
    """How one instruction cuts a product.

    Attributes:
        chains: sparse DSP chains of a core that work; products: of each of their DSPs in a cycle,
            for two tokens where it is 2.
        rows, inputs: of the matrix, in one instruction. An instruction computes all rows, though
            the last one of a matrix may have fewer to load.
        tokens: that it takes; for more, the matrix is read again. With 1, it is read once and every
            token takes its own instruction.
        channels: of memory, that the matrix comes through.
    """

    chains: PositiveInt
    products: PositiveInt
    rows: PositiveInt
    inputs: PositiveInt
    tokens: PositiveInt
    channels: PositiveInt

    def beats(self, m: int, inputs: int, keep: float, tokens: int) -> int:
        """Return the beats of the busiest chain in an instruction.

        The blocks of `m` x `m` weights are dealt to the chains evenly; one takes N beats for the
        tokens that share a DSP.

        Args:
            inputs: of the matrix. keep: the mean N. tokens: that it is multiplied with.
        """
        blocks = ceil(self.rows / m) * ceil(inputs / m)
        return ceil(blocks * keep * ceil(tokens / self.products) / self.chains)


@dataclass(frozen=True)
class Product:
    """An operator on a core's units.

    Attributes:
        size: its bytes in memory. keep: the mean N of its blocks.
        chain: of the core. cycle: seconds of a clock cycle.
        channel: bytes per second of a memory channel; channels: that activations come through.
        finish: the seconds of the special functions on so many outputs of one instruction.
    """

    operator: Operator
    mode: Mode
    size: int
    keep: float
    chain: SparseChainConfig
    cycle: float
    channel: float
    channels: int
    finish: Callable[[int], float]

    def tiles(self, core: int, cores: int) -> tuple[Tile, ...]:
        """Return the tiles of one of some cores.

        Instructions are dealt to the cores in turn, each with all inputs of its rows; those of keys
        and values head by head. The chains' pipelines fill once.
        """
        found: list[Tile] = []
        rows = list(self._rows(core, cores))
        for tokens, times in self._passes() if rows else ():
            if self.mode.tokens > 1:
                found.append(self._activations(tokens))
            alike = {each: list(self._row(each, tokens, times)) for each in set(rows)}
            for each in rows:
                found += alike[each]
        if found:
            fill = SparseChain.cycles(self.chain, [0]) * self.cycle
            found[-1] = found[-1]._replace(compute=found[-1].compute + fill)
        return tuple(found)

    def _passes(self) -> list[tuple[int, float]]:
        """Return, for each time that the matrix is read, the tokens of an instruction, and times.

        Tokens that see a part of the cache only count for that part.
        """
        vectors, most = self.operator.vectors, self.mode.tokens
        if most == 1:
            return [(1, vectors)]
        whole, rest = divmod(ceil(vectors), most)
        return [(most, 1.0)] * whole + ([(rest, 1.0)] if rest else [])

    def _activations(self, tokens: int) -> Tile:
        """Return the load of the tokens' vectors, which every core needs."""
        size = tokens * self.operator.inputs
        return Tile(size, size / (self.channel * self.channels))

    def _rows(self, core: int, cores: int) -> Iterator[int]:
        """Yield the rows that each of the core's instructions loads."""
        operator, most = self.operator, self.mode.rows
        for matrix in range(operator.matrices):
            for place in range(ceil(operator.rows / most)):
                turn = matrix if operator.cached else place
                if turn % cores == core:
                    yield min(most, operator.rows - place * most)

    def _row(self, rows: int, tokens: int, times: float) -> Iterator[Tile]:
        """Yield the tiles of some rows along the inputs; the last one gives the outputs."""
        operator, mode = self.operator, self.mode
        share = self.size * rows / (operator.matrices * operator.rows * operator.inputs)
        left = operator.inputs
        while left > 0:
            inputs = min(mode.inputs, left)
            left -= inputs
            read = ceil(share * inputs)
            beats = mode.beats(self.chain.m, inputs, self.keep, tokens) * times
            done = 0.0 if left else self.finish(rows * tokens) * times
            yield Tile(read, read / (self.channel * mode.channels), beats * self.cycle, done)

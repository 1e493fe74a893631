"""An FPGA that runs matrix-vector products on sparse DSP chains in parallel."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import ceil
from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt, model_validator

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.sparse_chain import SparseChain
from sim import double_buffer
from sim.cost import Cost
from sim.double_buffer import Tile
from sim.hardware import Memory, NamedBoard
from sim.memory_formats import CacheFormat, WeightFormat, deal, spread
from sim.operators import Operator, forward
from sim.system import Footprint, Span, System
from sim.workload import Pass, Workload


class FpgaSystem(System):
    """`chains` sparse DSP chains on a board.

    A unit of work is one strip of m output rows by one group of inputs; it gives m partial sums, so
    the units of an operator are dealt to the chains in turn. One unit for each chain is a tile.
    At batch 1 there is no second activation to share a weight with. So a sparse product takes a DSP
    of its own; where all blocks are dense, two rows share an activation and so a DSP.

    Attributes:
        board: by name; memory: the one of its memories that holds weights and KV cache.
        chains, chain, clock_mhz: the compute unit.
        weights, cache: the formats in memory.
        typical_watts, board_usd: what the board draws and costs, where it is known.
    """

    kind: Literal["fpga"]
    board: NamedBoard
    memory: str
    chains: PositiveInt
    clock_mhz: PositiveFloat
    chain: SparseChainConfig
    weights: WeightFormat
    cache: CacheFormat
    typical_watts: PositiveFloat | None = None
    board_usd: PositiveFloat | None = None

    @property
    def main_memory(self) -> Memory:
        """The memory that holds weights and KV cache."""
        return self.board.memories[self.memory]

    @property
    def resources(self) -> tuple[str, ...]:
        """What could be made faster."""
        return ("memory", "compute")

    def faster(self, resource: str, factor: float) -> "FpgaSystem":
        """Return the same system with one resource `factor` times as fast."""
        if resource == "compute":
            return self.model_copy(update={"clock_mhz": self.clock_mhz * factor})
        memory = self.main_memory.model_copy(
            update={"gb_per_s": self.main_memory.gb_per_s * factor}
        )
        board = self.board.model_copy(
            update={"memories": self.board.memories | {self.memory: memory}}
        )
        return self.model_copy(update={"board": board})

    @property
    def bytes_per_s(self) -> float:
        """Peak bytes per second of the memory."""
        return self.main_memory.bytes_per_s

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for an FPGA takes for granted."""
        return (
            "An upper bound on tokens/s: memory streams at its datasheet bandwidth, no latency.",
            "Softmax, norms, RoPE, SiLU and additions take no time, nor do host and instructions.",
            "Embedding look-up, sampling and the token's own place in the cache are left out.",
            "Reading the prompt is not modelled.",
            f"{self.chains} chains run at {self.clock_mhz:g} MHz: parameters, not a routed design.",
            "Every chain gets the same mix of N; loading activations and scaling sums is hidden.",
            f"The KV cache has {self.cache.bits} bits and is used as dense blocks.",
        )

    @model_validator(mode="after")
    def _runs_its_own_format(self) -> "FpgaSystem":
        self._check_board()
        self._check_weights()
        return self

    def with_weights(self, weights: WeightFormat) -> "FpgaSystem":
        """Return the same system with another format of the weights.

        Raises:
            ConfigError: the chains cannot take it.
        """
        system = self.model_copy(update={"weights": weights})
        system._check_weights()
        return system

    def _check_board(self) -> None:
        m, known = self.chain.m, ", ".join(self.board.memories)
        if self.memory not in self.board.memories:
            raise ConfigError(f"memory is {self.memory!r}; {self.board.name} has {known}")
        if self.chains * m > self.board.dsps:
            raise ConfigError(
                f"chains is {self.chains}; with {m} DSPs each, {self.board.name} with "
                f"{self.board.dsps} DSPs holds at most {self.board.dsps // m}"
            )

    def _check_weights(self) -> None:
        weights, m = self.weights, self.chain.m
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

    def check(self, workload: Workload) -> None:
        """Raise ConfigError unless there is one sequence."""
        if workload.batch != 1:
            raise ConfigError(
                f"batch is {workload.batch}; {self.name} decodes 1 sequence at a time"
            )

    @property
    def label(self) -> str:
        """The system and its weight format as a chart shows them."""
        m = self.chain.m
        kept = sum(n * share for n, share in self.weights.mix(m).items()) / m
        density = "dense" if kept == 1 else f"{kept:.0%} kept"
        return f"{self.title}, {self.weights.number} {density}"

    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what a step at the longest context reads: all that must be in the memory."""
        job = Pass(1, 1, max(workload.longest - 1, 1))
        read = {False: 0, True: 0}
        for operator in forward(model, job):
            read[bool(operator.cached)] += self.bytes_read(operator)
        return Footprint(read[False], read[True], 0, self.main_memory.bytes)

    def remedy(self, model: ModelShape, workload: Workload) -> str:
        """Return what to do where a workload does not fit."""
        return "a shorter context, fewer bits of a weight or a board with more memory would fit"

    def bytes_read(self, operator: Operator) -> int:
        """Return the bytes that `operator` reads from main memory."""
        if operator.cached:
            return self.cache.bytes(operator)
        return self.weights.block_bytes(operator, self.chain)

    def prefill(self, model: ModelShape, workload: Workload) -> None:
        """Return None: reading a prompt is not modelled yet."""

    def step(self, model: ModelShape, job: Pass) -> Cost:
        """Return the cost of one decode step."""
        operators = list(forward(model, job))
        step = self._tiles_of(operators)
        tiles = [tile for each in step for tile in each]
        taken = double_buffer.durations(step, self.bytes_per_s)
        parts: dict[str, float] = {}
        names: dict[str, float] = {}
        for operator, seconds in zip(operators, taken, strict=True):
            parts[operator.part] = parts.get(operator.part, 0.0) + seconds
            names[operator.name] = names.get(operator.name, 0.0) + seconds
        moved = sum(self.bytes_read(operator) for operator in operators)
        loading = moved / self.bytes_per_s
        return Cost(
            sum(taken),
            parts,
            names,
            {"memory": loading, "compute": sum(tile.seconds for tile in tiles)},
            {"memory": moved},
            {"seconds": loading, "bytes": moved},
            {"cycles": sum(tile.cycles for tile in tiles)},
        )

    def spans(self, model: ModelShape, job: Pass) -> list[Span]:
        """Return when each operator's weights were loaded and multiplied in one decode step."""
        operators = list(forward(model, job))
        stretches = double_buffer.run(self._tiles_of(operators), self.bytes_per_s)
        spans = []
        for operator, stretch in zip(operators, stretches, strict=True):
            for unit, (begin, end) in (("memory", stretch.load), ("compute", stretch.compute)):
                spans.append(Span(unit, operator.name, operator.part, begin, end - begin))
        return spans

    def _tiles_of(self, operators: Sequence[Operator]) -> list[list[Tile]]:
        """Return each operator in tiles; layers repeat, so each distinct one is cut once."""
        cut = {operator: self.tiles(operator) for operator in dict.fromkeys(operators)}
        return [cut[operator] for operator in operators]

    def joules(self, cost: Cost) -> float | None:
        """Return the energy at the board's typical power; None where it is not known."""
        return self.watts and self.watts * cost.seconds

    @property
    def watts(self) -> float | None:
        """What the board typically draws."""
        return self.typical_watts

    @property
    def price_usd(self) -> float | None:
        """What the board costs."""
        return self.board_usd

    def tiles(self, operator: Operator) -> list[Tile]:
        """Return `operator` in tiles of one unit for each chain, timed by the busiest chain.

        Units are dealt in turn, the largest first, so the first chain is the busiest. It streams
        its units as one job, whose pipeline fills once.
        """
        units = self._unit_blocks(operator)
        dealt = [*range(self.chains, len(units), self.chains), len(units)]
        parts = split(self.bytes_read(operator), dealt)

        block_ends = list(accumulate(units[:: self.chains]))
        mix = {self.chain.m: 1.0} if operator.cached else self.weights.mix(self.chain.m)
        keep = spread(deal(mix, block_ends[-1]))
        per_beat = self.chain.products_per_dsp if set(mix) == {self.chain.m} else 1
        beats = np.cumsum(keep)[np.array(block_ends) - 1]
        # One column stands for all: there are strips enough to hide the loads of the others.
        finished = [SparseChain.cycles(self.chain, [ceil(n / per_beat)]) for n in beats.tolist()]
        return [
            Tile(part, cycles / (self.clock_mhz * 1e6), cycles)
            for part, cycles in zip(parts, steps(finished), strict=True)
        ]

    def _unit_blocks(self, operator: Operator) -> list[int]:
        """Return the blocks of every unit, those of whole groups first."""
        m, group = self.chain.m, self.weights.group_size or operator.inputs
        strips = int(operator.matrices * operator.vectors) * ceil(operator.rows / m)
        whole, rest = divmod(operator.inputs, group)
        return [group // m] * (strips * whole) + [ceil(rest / m)] * (strips if rest else 0)


def split(total: int, ends: Sequence[int]) -> list[int]:
    """Return `total` in integer parts as large as the steps of 0, *ends, their sum exact."""
    marks = [total * end // ends[-1] for end in ends]
    return steps(marks)


def steps(marks: Sequence[int]) -> list[int]:
    """Return the differences of 0, *marks."""
    return [mark - before for before, mark in pairwise([0, *marks])]

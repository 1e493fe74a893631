"""An FPGA whose cores run a model on sparse DSP chains, as FlightLLM does."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.board import Memory, NamedBoard
from sim import double_buffer
from sim.cost import Cost, total
from sim.double_buffer import UNITS, Stage, Tile
from sim.fpga_program import instruction_bytes
from sim.fpga_stages import StageMaker
from sim.fpga_tiles import Mode, Product
from sim.memory_formats import CacheFormat, WeightFormat
from sim.operators import Operator
from sim.system import Footprint, Span, System
from sim.workload import Pass, Workload, prefill_passes


class FpgaSystem(System):
    """Cores on a board, each with chains, channels of memory and special functions of its own.

    Decode steps multiply matrices with a vector, prompts with many. Between two operators all cores
    wait for each other, and nothing is loaded ahead; within one, loads, products and special
    functions overlap.

    Attributes:
        board: by name; memory: the one of its memories that holds weights and KV cache;
            instructions: the one that holds the programs.
        cores, chain, clock_mhz: the compute units. lanes: elements per cycle of each core's special
            functions.
        vector, matrix: how an instruction cuts a product, in a decode step and in a prompt.
        burst_efficiency: the share of a channel's bandwidth that loads and stores reach.
        latency_ns: from a read to its first byte.
        weights, cache: the formats in memory.
        attention_kept: the share of a prompt's attention that is computed.
        typical_watts, board_usd: what the board draws and costs, where it is known.
    """

    kind: Literal["fpga"]
    board: NamedBoard
    memory: str
    instructions: str
    cores: PositiveInt
    clock_mhz: PositiveFloat
    chain: SparseChainConfig
    vector: Mode
    matrix: Mode
    lanes: PositiveInt = 16
    burst_efficiency: float = Field(gt=0, le=1)
    latency_ns: PositiveFloat
    weights: WeightFormat
    cache: CacheFormat
    attention_kept: float = Field(default=1.0, gt=0, le=1)
    typical_watts: PositiveFloat | None = None
    board_usd: PositiveFloat | None = None

    @property
    def main_memory(self) -> Memory:
        """The memory that holds weights and KV cache."""
        return self.board.memories[self.memory]

    @property
    def cycle(self) -> float:
        """Seconds of a clock cycle."""
        return 1e-6 / self.clock_mhz

    @property
    def bytes_per_s(self) -> float:
        """Peak bytes per second of the memory."""
        return self.main_memory.bytes_per_s

    @property
    def channel_bytes_per_s(self) -> float:
        """Bytes per second that loads from one channel reach."""
        memory = self.main_memory
        return memory.bytes_per_s / memory.channels * self.burst_efficiency

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
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for an FPGA takes for granted."""
        return (
            f"Loads reach {self.burst_efficiency:.0%} of a channel's bandwidth.",
            "Nothing is loaded ahead over the barrier behind each operator.",
            f"{self.cores} cores run at {self.clock_mhz:g} MHz: parameters, not a routed design.",
            "Every instruction gets the same mix of N.",
            "Activations stay on the chip in decode steps; embedding look-up, sampling and host "
            "take no time.",
            f"The KV cache has {self.cache.bits} bits and is used as dense blocks.",
        )

    # What it can do

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
        known = ", ".join(self.board.memories)
        for field in ("memory", "instructions"):
            if getattr(self, field) not in self.board.memories:
                raise ConfigError(
                    f"{field} is {getattr(self, field)!r}; {self.board.name} has {known}"
                )
        chains = max(self.vector.chains, self.matrix.chains)
        dsps = chains * self.chain.chain_length
        if self.cores * dsps > self.board.dsps:
            raise ConfigError(
                f"cores is {self.cores}; with {dsps} DSPs each, {self.board.name} with "
                f"{self.board.dsps} DSPs holds at most {self.board.dsps // dsps}"
            )
        channels = max(self.vector.channels, self.matrix.channels)
        if self.cores * channels > self.main_memory.channels:
            raise ConfigError(
                f"cores is {self.cores}; with {channels} channels each, {self.memory} with "
                f"{self.main_memory.channels} channels feeds at most "
                f"{self.main_memory.channels // channels}"
            )

    def _check_weights(self) -> None:
        weights, m = self.weights, self.chain.m
        if max(weights.bits, self.cache.bits) > self.chain.weight_bits:
            raise ConfigError(
                f"weights have {weights.bits:g} bits and the KV cache {self.cache.bits}; "
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

    def cannot(self, model: ModelShape, job: Pass) -> str | None:
        """Return why it cannot do a pass with its techniques; None if it can."""
        m, most = self.chain.m, self.chain.weight_bits
        for operator in self.work(model, job):
            if operator.bits is not None and operator.bits > most:
                return f"its chains take at most {most} bits"
            if operator.pattern and (
                operator.pattern[1] != m or operator.pattern[0] not in self.chain.keeps
            ):
                kept = ", ".join(map(str, self.chain.keeps))
                return f"its chains take blocks that keep {kept} of {m}"
        return None

    @property
    def label(self) -> str:
        """The system and its weight format as a chart shows them."""
        m = self.chain.m
        kept = self._mean_keep / m
        density = "dense" if kept == 1 else f"{kept:.0%} kept"
        return f"{self.title}, {self.weights.number} {density}"

    @property
    def watts(self) -> float | None:
        """What the board typically draws."""
        return self.typical_watts

    @property
    def price_usd(self) -> float | None:
        """What the board costs."""
        return self.board_usd

    def joules(self, cost: Cost) -> float | None:
        """Return the energy at the board's typical power; None where it is not known."""
        return self.watts and self.watts * cost.seconds

    # What is in the memory

    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what a step at the longest context reads: all that must be in the memory."""
        job = Pass(1, 1, max(workload.longest - 1, 1))
        read = {False: 0, True: 0}
        for operator in self.work(model, job):
            read[bool(operator.cached)] += self.bytes_read(operator)
        held = read[False] + self.added_bytes(model, workload)
        return Footprint(held, read[True], 0, self.main_memory.bytes)

    def remedy(self, model: ModelShape, workload: Workload) -> str:
        """Return what to do where a workload does not fit."""
        return "a shorter context, fewer bits of a weight or a board with more memory would fit"

    def bytes_read(self, operator: Operator) -> int:
        """Return the bytes of `operator` in main memory, each once."""
        if operator.bits is not None or operator.kept < 1:
            bits = self.cache.bits if operator.cached else self.weights.element_bits
            return ceil(operator.stored_bits(bits) / 8)
        if operator.cached:
            return self.cache.bytes(operator)
        return self.weights.block_bytes(operator, self.chain)

    @property
    def _mean_keep(self) -> float:
        return sum(n * share for n, share in self.weights.mix(self.chain.m).items())

    def _keep(self, operator: Operator) -> float:
        """Return the mean N of an operator's blocks."""
        if operator.kept < 1:
            return self.chain.m * operator.kept
        return self.chain.m if operator.cached else self._mean_keep

    # What passes take

    def prefill(self, model: ModelShape, workload: Workload) -> Cost:
        """Return the cost of reading the prompt."""
        passes = prefill_passes(workload, self.chunk)
        return total((1, self.step(model, job)) for job in passes)

    def step(self, model: ModelShape, job: Pass) -> Cost:
        """Return the cost of a pass."""
        layer, tail, layers = self.stages(model, job)
        return total([(layers, self._cost(layer)), (1, self._cost(tail))])

    def seconds(self, model: ModelShape, job: Pass) -> float:
        """Return the time of a pass."""
        layer, tail, layers = self.stages(model, job)
        return layers * sum(map(double_buffer.duration, layer)) + sum(
            map(double_buffer.duration, tail)
        )

    def stages(self, model: ModelShape, job: Pass) -> tuple[list[Stage], list[Stage], int]:
        """Return the stages of one layer and those behind the last one, and how many layers."""
        work = self.work(model, job)
        maker = self._maker(model, job)
        return maker.layer(work), maker.tail(work), work.layers

    def _maker(self, model: ModelShape, job: Pass) -> StageMaker:
        scale = self.cache.scale_bits / model.head_size
        channels = self.cores * self.vector.channels
        return StageMaker(
            model,
            job,
            self.cores,
            self.lanes,
            self.cycle,
            self.latency_ns * 1e-9,
            (self.cache.bits + scale) / 8,
            self.channel_bytes_per_s * channels,
            partial(self._product, job),
        )

    def _product(
        self, job: Pass, operator: Operator, finish: Callable[[int], float]
    ) -> tuple[tuple[Tile, ...], ...]:
        """Return each core's tiles of an operator."""
        # The head takes the last token of a prompt alone.
        mode = self.matrix if job.prompt and operator.vectors > 1 else self.vector
        size = self.bytes_read(operator)
        keep = self._keep(operator)
        if job.prompt and operator.cached:
            operator = replace(operator, vectors=operator.vectors * self.attention_kept)
        product = Product(
            operator,
            mode,
            size,
            keep,
            self.chain,
            self.cycle,
            self.channel_bytes_per_s,
            self.vector.channels,
            finish,
        )
        return tuple(product.tiles(core, self.cores) for core in range(self.cores))

    def _cost(self, stages: list[Stage]) -> Cost:
        """Return the cost of stages, one after the other; units are those of the first core."""
        parts: dict[str, float] = {}
        names: dict[str, float] = {}
        busy = dict.fromkeys(UNITS, 0.0)
        for stage in stages:
            seconds = double_buffer.duration(stage)
            parts[stage.part] = parts.get(stage.part, 0.0) + seconds
            names[stage.name] = names.get(stage.name, 0.0) + seconds
            for tile in stage.cores[0]:
                for unit, each in zip(UNITS, (tile.load, tile.compute, tile.finish), strict=True):
                    busy[unit] += each
        seconds, moved = sum(parts.values()), sum(stage.bytes for stage in stages)
        program = sum(map(instruction_bytes, stages)) * self.cores
        rate = self.board.memories[self.instructions].bytes_per_s
        return Cost(
            seconds,
            parts,
            names,
            busy | {"instructions": program / rate},
            {"memory": moved, "instructions": program},
            {"seconds": busy["memory"], "bytes": moved},
            {"cycles": seconds / self.cycle},
        )

    def spans(self, model: ModelShape, job: Pass) -> list[Span]:
        """Return when each core's units worked on each operator of a pass.

        Layers are alike, and nothing passes a barrier: so one of them is simulated.
        """
        layer, tail, layers = self.stages(model, job)
        length = sum(map(double_buffer.duration, layer))
        spans = []
        for stages, times, begin in ((layer, layers, 0.0), (tail, 1, layers * length)):
            for one in double_buffer.run(stages):
                stage, seconds = stages[one.stage], one.end - one.begin
                unit, at = f"core {one.core} {one.unit}", begin + one.begin
                spans += [
                    Span(unit, stage.name, stage.part, at + number * length, seconds)
                    for number in range(times)
                ]
        return sorted(spans, key=lambda span: (span.unit, span.start))

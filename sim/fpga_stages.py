"""What an FPGA's cores do in a pass, stage by stage: products, special functions and the cache.

As in FlightLLM, activations stay on the chip, every core holds all of a product's inputs, and a
barrier follows each product and each norm. Softmax, RoPE, activation functions and additions work
on what an instruction gives while the next one runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from golden.model_shapes import ModelShape
from hw.barrier import Barrier
from hw.system_unit import SystemUnit
from sim import special_functions
from sim.double_buffer import Stage, Tile
from sim.gpu_kernels import ELEMENTWISE
from sim.operators import ATTENTION, VALUES, Forward, Operator
from sim.special_functions import Jobs
from sim.workload import Pass

BARRIER_CYCLES = SystemUnit.cycles() + Barrier.cycles()

MakeProduct = Callable[[Operator, Callable[[int], float]], tuple[tuple[Tile, ...], ...]]
"""Returns each core's tiles of an operator, given the seconds to finish so many outputs."""


@dataclass(frozen=True)
class StageMaker:
    """Makes the stages of passes.

    Attributes:
        cores, lanes: of the accelerator, and elements per cycle of each core's special functions.
        cycle: seconds of a clock cycle. latency: seconds of a read.
        element: bytes of a key's or value's element, scales included; rate: bytes per second at
            which all cores write them.
        product: makes tiles.
    """

    model: ModelShape
    job: Pass
    cores: int
    lanes: int
    cycle: float
    latency: float
    element: float
    rate: float
    product: MakeProduct

    def layer(self, work: Forward) -> list[Stage]:
        """Return the stages of one layer."""
        stages = []
        first_cached = next((one for one in work.layer if one.cached), None)
        for operator in work.layer:
            if self._is_behind_norm(operator):
                stages.append(self.norm())
            if operator is first_cached:
                stages += [self._append("append keys"), self._append("append values")]
            stages.append(self._stage(operator))
        return stages

    def tail(self, work: Forward) -> list[Stage]:
        """Return the stages behind the last layer."""
        return [self.norm(), *map(self._stage, work.tail)]

    def norm(self) -> Stage:
        """Return a norm; each core does its share of the elements, and they exchange the sums."""
        jobs = special_functions.rms_norm if self.model.gated else special_functions.layer_norm
        elements = ceil(self.model.hidden / self.cores)
        return self._only(Tile(finish=self._seconds(jobs, elements, ceil(self.job.tokens))))

    def _only(self, tile: Tile) -> Stage:
        return Stage("norm", ELEMENTWISE, ((tile,),) * self.cores, barrier=self._barrier)

    def _append(self, name: str) -> Stage:
        """Return the write of the tokens' own keys or values, each core its share."""
        elements = self.model.kv_heads * self.model.head_size * self.job.tokens
        size = ceil(elements * self.element / self.cores)
        tile = Tile(size, size / (self.rate / self.cores))
        return Stage(name, ATTENTION, ((tile,),) * self.cores, self.latency, self._barrier)

    def _stage(self, operator: Operator) -> Stage:
        tiles = self.product(operator, self._finish(operator))
        return Stage(operator.name, operator.part, tiles, self.latency, self._barrier)

    @property
    def _barrier(self) -> float:
        return BARRIER_CYCLES * self.cycle if self.cores > 1 else 0.0

    def _is_behind_norm(self, operator: Operator) -> bool:
        if operator.name == "q_proj":
            return True
        first = "gate_proj" if self.model.gated else "up_proj"
        return operator.name == first and not self.model.parallel

    def _finish(self, operator: Operator) -> Callable[[int], float]:
        """Return the seconds of what follows an operator, for some outputs of it."""
        jobs = self._jobs(operator)
        if jobs is None:
            return lambda outputs: 0.0
        return lambda outputs: self._seconds(jobs, outputs)

    def _jobs(self, operator: Operator) -> Jobs | None:
        name, gated = operator.name, self.model.gated
        if operator.cached:
            return None if name.endswith(VALUES) else special_functions.softmax
        if name in ("q_proj", "k_proj"):
            return special_functions.rotation if not self.model.positions else None
        if name == "gate_proj" or (name == "up_proj" and not gated):
            return special_functions.activation
        found: dict[str, Jobs] = {
            "up_proj": special_functions.multiplication,
            "o_proj": special_functions.addition,
            "down_proj": special_functions.addition,
        }
        return found.get(name)

    def _seconds(self, jobs: Jobs, length: int, vectors: int = 1) -> float:
        return special_functions.cycles(self.lanes, jobs, length, vectors) * self.cycle

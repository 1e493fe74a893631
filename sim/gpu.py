"""A GPU alone, by its data sheet."""

from math import ceil
from typing import Literal

from golden.spec.errors import ConfigError
from sim.hardware import Memory, NamedDevice
from sim.memory_formats import WeightFormat
from sim.operators import Operator
from sim.system import System, Tile, split

TILE_BYTES = 2**20
"""Grain of the simulation, not a property of a device: an estimate is off by at most the time of
one tile, since compute may begin once a tile is loaded."""


class GpuSystem(System):
    """One GPU that reads plain matrices and computes in FP16."""

    kind: Literal["gpu"]
    device: NamedDevice

    @property
    def main_memory(self) -> Memory:
        """The memory that holds weights and KV cache."""
        return self.device.memory

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for a GPU takes for granted."""
        return (
            "Kernel launches take no time, and arithmetic runs at the peak FP16 tensor rate.",
            "Loads run ahead over operator boundaries, as no GPU program does throughout.",
        )

    def check(self, weights: WeightFormat) -> None:
        """Raise ConfigError unless the matrices are plain."""
        if weights.keep:
            raise ConfigError(f"keep is {weights.keep!r}; {self.name} takes dense weights only")

    def label(self, weights: WeightFormat) -> str:
        """Return the system and its weight format as a chart shows them."""
        return f"{self.title}, {weights.number}"

    def bytes_read(self, operator: Operator, weights: WeightFormat) -> int:
        """Return the bytes that `operator` reads from main memory."""
        if operator.cached:
            return self.cache.bytes(operator)
        return weights.plain_bytes(operator)

    def tiles(self, operator: Operator, weights: WeightFormat) -> list[Tile]:
        """Return `operator` in tiles of about `TILE_BYTES`, each with its share of the time."""
        total = self.bytes_read(operator, weights)
        count = ceil(total / TILE_BYTES)
        seconds = 2 * operator.products / (self.device.fp16_tflops * 1e12)
        return [Tile(part, seconds / count) for part in split(total, range(1, count + 1))]

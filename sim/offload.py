"""A GPU whose weights or KV cache lie in the host's memory or on a drive."""

import re
from typing import Literal

from pydantic import PositiveFloat, model_validator

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.records import Record
from sim.cost import Cost, total
from sim.gpu import GpuSystem
from sim.gpu_constants import OffloadConstants
from sim.operators import ATTENTION
from sim.system import Footprint
from sim.workload import Pass, Workload

Place = Literal["gpu", "host", "drive"]

WEIGHTS = "weights to the GPU"
CACHE = "cache to the GPU"
HOST_ATTENTION = "attention on the host"


class Host(Record):
    """What stands beside the GPU.

    Attributes:
        dram_gib: of its memory. drive_gb_per_s: sequential reads, by the drive's data sheet.
        source: of the numbers.
    """

    dram_gib: PositiveFloat
    drive_gb_per_s: PositiveFloat
    source: str


class OffloadSystem(GpuSystem):
    """A GPU that fetches what does not fit, layer by layer, in every pass.

    Fetching and computing take turns. Published times are sums of both: data on the way pass
    through staging buffers in the host's memory, which the host copies.

    Attributes:
        host: by its numbers.
        weights_on, cache_on: where they lie.
    """

    kind: Literal["offload"] = "offload"  # type: ignore[assignment]
    host: Host
    weights_on: Place = "host"
    cache_on: Place = "gpu"

    @model_validator(mode="after")
    def _is_known(self) -> "OffloadSystem":
        if self.software.name not in self.fitted.offload:
            known = ", ".join(self.fitted.offload)
            raise ConfigError(f"software is {self.software.name!r}; those that offload are {known}")
        if self.devices != 1:
            raise ConfigError(f"devices is {self.devices}; offloading is modelled for 1 GPU")
        return self

    @property
    def way(self) -> OffloadConstants:
        """The constants of how the program fetches."""
        return self.fitted.offload[self.software.name]

    @property
    def resources(self) -> tuple[str, ...]:
        """What could be made faster."""
        return ("memory", "compute", "launches", "link", "drive", "host")

    def faster(self, resource: str, factor: float) -> "OffloadSystem":
        """Return the same system with one resource `factor` times as fast."""
        if resource == "drive":
            rate = self.host.drive_gb_per_s * factor
            host = self.host.model_copy(update={"drive_gb_per_s": rate})
            return self.model_copy(update={"host": host})
        quicker = {"link": ("weights_link", "cache_link"), "host": ("attention_gb_per_s",)}
        if resource in quicker:
            update = {name: getattr(self.way, name) * factor for name in quicker[resource]}
            way = self.way.model_copy(update=update)
            offload = self.fitted.offload | {self.software.name: way}
            fitted = self.fitted.model_copy(update={"offload": offload})
            return self.model_copy(update={"fitted": fitted})
        system = super().faster(resource, factor)
        assert isinstance(system, OffloadSystem)
        return system

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for offloading takes for granted."""
        return (
            *super().assumptions,
            f"Weights lie on the {self.weights_on}, the KV cache on the {self.cache_on}.",
            "Fetching and computing take turns.",
        )

    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what the GPU's memory holds, or the host's where that is too small.

        Of what is fetched, the GPU holds two layers.
        """
        all_of_it = super().footprint(model, workload)

        def held(place: Place, elsewhere: float) -> tuple[float, float]:
            weights = all_of_it.weights * (1 if self.weights_on == place else elsewhere)
            return weights, all_of_it.cache * (1 if self.cache_on == place else elsewhere)

        gpu = Footprint(*held("gpu", 2 / model.layers), all_of_it.working, all_of_it.held)
        host = Footprint(*held("host", 0.0), 0.0, self.host.dram_gib * 2**30)
        return host if host.short > gpu.short else gpu

    def remedy(self, model: ModelShape, workload: Workload) -> str:
        """Return what to do where a workload does not fit."""
        batch = workload.batch
        while batch > 1 and self.short_of(model, workload.model_copy(update={"batch": batch})):
            batch //= 2
        small = f"--batch {batch} would fit, or " if batch < workload.batch else ""
        return small + "--set cache_on=drive or weights_on=drive"

    def step(self, model: ModelShape, job: Pass) -> Cost:
        """Return the cost of one pass."""
        base = super().step(model, job)
        if self._attends_on_the_host(job):
            base = _without_attention(base)
        return total([(1.0, base), *((1.0, cost) for cost in self._fetched(model, job))])

    def seconds(self, model: ModelShape, job: Pass) -> float:
        """Return the time of one pass."""
        return self.step(model, job).seconds

    def _attends_on_the_host(self, job: Pass) -> bool:
        """In a decode step, where the cache is; over a prompt, the GPU has keys and values."""
        return job.new == 1 and self.cache_on == "host" and self.software.attends_on_host

    def _fetched(self, model: ModelShape, job: Pass) -> list[Cost]:
        bits = self.bits
        found = []
        if self.weights_on != "gpu":
            size = model.layers * model.layer_weights * bits.weights / 8
            found.append(self._moved(WEIGHTS, size, self.weights_on, self.way.weights_link))
        if self.cache_on != "gpu":
            # A decode step reads what is cached; a prompt's keys and values are stored.
            cache = job.batch * job.context * model.cached_elements * bits.cache / 8
            if self._attends_on_the_host(job):
                seconds = cache / (self.way.attention_gb_per_s * 1e9)
                found.append(_cost(HOST_ATTENTION, seconds, {"host": cache}))
            else:
                found.append(self._moved(CACHE, cache, self.cache_on, self.way.cache_link))
        return found

    def _moved(self, name: str, size: float, place: Place, share: float) -> Cost:
        """Return the cost of bytes that come over the link, no faster than a drive reads them."""
        link = size / ((self.device.pcie_gb_per_s or 1) * share * 1e9)
        if place == "host":
            return _cost(name, link, {"link": size})
        drive = size / (self.host.drive_gb_per_s * self.way.drive * 1e9)
        return _cost(name, max(link, drive), {"link": size, "drive": size})


def _cost(name: str, seconds: float, moved: dict[str, float]) -> Cost:
    busy = dict.fromkeys(moved, seconds)
    return Cost(seconds, {name: seconds}, {name: seconds}, busy, moved)


def _without_attention(cost: Cost) -> Cost:
    """Return the cost of a pass whose attention is done elsewhere."""
    gone = cost.parts.get(ATTENTION, 0.0)
    parts = {name: value for name, value in cost.parts.items() if name != ATTENTION}
    operators = {name: value for name, value in cost.operators.items() if name != "attention"}
    return Cost(
        cost.seconds - gone, parts, operators, cost.busy, cost.moved, cost.streaming, cost.work
    )


def places(software: str, note: str) -> tuple[Place, Place] | None:
    """Return where a published note says that weights and cache lie; None if it does not."""
    named: dict[str, Place] = {"cpu": "host", "disk": "drive", "gpu": "gpu"}
    if both := re.search(r"weights on (\w+), KV on (\w+)", note):
        return named[both[1]], named[both[2]]
    if one := re.search(r"offload to (\w+)", note):
        return named[one[1]], "host" if software.startswith("FlexGen") else "gpu"
    return None

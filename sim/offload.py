"""A GPU whose weights or KV cache lie in the host's memory or on a drive."""

import re
from dataclasses import replace
from typing import Literal

from pydantic import Field, PositiveFloat, model_validator

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.records import Record
from sim.cost import Cost, total
from sim.gpu import GpuSystem
from sim.gpu_constants import HostConstants, OffloadConstants
from sim.operators import ATTENTION
from sim.software import load_software
from sim.system import Footprint
from sim.workload import Pass, Workload

Place = Literal["gpu", "host", "drive"]

WEIGHTS = "weights to the GPU"
CACHE = "cache to the GPU"
HOST_ATTENTION = "attention on the host"
ATTENDING = ("attention", "scores", "values")
"""Operators of attention: a GPU's kernel, an FPGA's products."""


class Host(Record):
    """What stands beside the GPU.

    Attributes:
        name: of its constants; "other" for a host that nobody measured.
        dram_gib: of its memory. drive_gb_per_s: sequential reads, by the drive's data sheet.
        file_gb_per_s: at which a GPU's program copies a cache on the drive out of the file system;
            None where it reads the drive without one.
        source: of the numbers.
    """

    name: str = "other"
    dram_gib: PositiveFloat
    drive_gb_per_s: PositiveFloat
    file_gb_per_s: PositiveFloat | None = None
    source: str


class OffloadSystem(GpuSystem):
    """A GPU that fetches what does not fit, layer by layer, in every pass.

    Fetching and computing take turns. Published times are sums of both: data on the way pass
    through staging buffers in the host's memory, which the host copies.

    A cache that lies in files passes through the file system's own cache in the host's memory. A
    step reads all of it, in order; so what does not fit there whole is never there when wanted.
    A page is then waited for, and copied by the program; neither overlaps the other.

    Several GPUs have some of the layers each, and work in a pipeline on as many parts of the batch;
    a step ends when all parts are through.

    Attributes:
        host: by its numbers.
        weights_on, cache_on: where they lie.
        cache_kept: share of the cache that the GPU keeps all the same.
    """

    kind: Literal["offload"] = "offload"  # type: ignore[assignment]
    host: Host
    weights_on: Place = "host"
    cache_on: Place = "gpu"
    cache_kept: float = Field(default=0, ge=0, lt=1)

    @model_validator(mode="after")
    def _is_known(self) -> "OffloadSystem":
        if self.software.name not in self.fitted.offload:
            known = ", ".join(self.fitted.offload)
            raise ConfigError(f"software is {self.software.name!r}; those that offload are {known}")
        if self.devices > 1 and self.software.split != "layers":
            several = ", ".join(name for name in self.fitted.offload if splits_layers(name))
            raise ConfigError(
                f"devices is {self.devices}; {self.software.title} offloads with 1 GPU, and "
                f"{several} with several"
            )
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
            return self._with_host(drive_gb_per_s=self.host.drive_gb_per_s * factor)
        if resource == "host":
            return self._with_faster_host(factor)
        if resource == "link":
            way = self.way
            return self._with_way(
                weights_link=way.weights_link * factor, cache_link=way.cache_link * factor
            )
        system = super().faster(resource, factor)
        assert isinstance(system, OffloadSystem)
        return system

    def _with_host(self, **update: float) -> "OffloadSystem":
        return self.model_copy(update={"host": self.host.model_copy(update=update)})

    def _with_faster_host(self, factor: float) -> "OffloadSystem":
        rate = self.fitted.host(self.host.name).attention_gb_per_s * factor
        own = HostConstants(attention_gb_per_s=rate)
        hosts = self.fitted.hosts | {self.host.name: own}
        fitted = self.fitted.model_copy(update={"hosts": hosts})
        system = self.model_copy(update={"fitted": fitted})
        files = self.host.file_gb_per_s
        return system._with_host(file_gb_per_s=files * factor) if files else system

    def _with_way(self, **update: float) -> "OffloadSystem":
        way = self.way.model_copy(update=update)
        offload = self.fitted.offload | {self.software.name: way}
        return self.model_copy(
            update={"fitted": self.fitted.model_copy(update={"offload": offload})}
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for offloading takes for granted."""
        kept = f", {self.cache_kept:.0%} of it on the GPU" if self.cache_kept else ""
        return (
            *super().assumptions,
            f"Weights lie on the {self.weights_on}, the KV cache on the {self.cache_on}{kept}.",
            "Fetching and computing take turns.",
        )

    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what the GPU's memory holds, or the host's where that is too small.

        Of what is fetched, the GPU holds two layers.
        """
        all_of_it = super().footprint(model, workload)
        some = 2 / model.layers
        weights, cache = all_of_it.weights, all_of_it.cache
        away = 0.0 if self.cache_on == "gpu" else cache * (1 - self.cache_kept)
        gpu = Footprint(
            weights * (1 if self.weights_on == "gpu" else some),
            cache - away + away * some,
            all_of_it.working,
            all_of_it.held,
        )
        host = Footprint(
            weights * (self.weights_on == "host"),
            away * (self.cache_on == "host"),
            0.0,
            self.host.dram_gib * 2**30,
        )
        return host if host.short > gpu.short else gpu

    def keeping(self, model: ModelShape, workload: Workload) -> "OffloadSystem":
        """Return the same system with as much of the cache on the GPU as has room there."""
        whole, some = super().footprint(model, workload), 2 / model.layers
        weights = whole.weights * (1 if self.weights_on == "gpu" else some)
        room = whole.held - weights - whole.working - whole.cache * some
        return self.model_copy(update={"cache_kept": min(max(room / whole.cache, 0.0), 0.99)})

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
            shares = [(1 - self.cache_kept, without_attention(base)), (self.cache_kept, base)]
            base = total(shares) if self.cache_kept else shares[0][1]
        found = total([(1.0, base), *((1.0, cost) for cost in self._fetched(model, job))])
        return found if self.devices == 1 else _sooner(found, self._share(job))

    def _share(self, job: Pass) -> float:
        """Return the share of one GPU's time that a pipeline of GPUs takes."""
        parts = min(self.devices, job.batch)
        return (parts + self.devices - 1) / (parts * self.devices)

    def seconds(self, model: ModelShape, job: Pass) -> float:
        """Return the time of one pass."""
        return self.step(model, job).seconds

    def _attends_on_the_host(self, job: Pass) -> bool:
        """In a decode step, where the cache is; over a prompt, the GPU has keys and values."""
        return job.new == 1 and self.cache_on == "host" and self.software.attends_on_host

    def _fetched(self, model: ModelShape, job: Pass) -> list[Cost]:
        bits = self.bits
        found = []
        layer = self.work(model, job).layer
        if self.weights_on != "gpu":
            stored = sum(one.stored_bits(bits.weights) for one in layer if not one.cached)
            size = model.layers * stored / 8
            found.append(self._moved(WEIGHTS, size, self.weights_on, self.way.weights_link))
        if self.cache_on != "gpu":
            # A decode step reads what is cached; a prompt's keys and values are stored.
            stored = sum(one.stored_bits(bits.cache) for one in layer if one.cached)
            cache = model.layers * stored / 8 * (1 - self.cache_kept)
            if self._attends_on_the_host(job):
                seconds = cache / (self.fitted.host(self.host.name).attention_gb_per_s * 1e9)
                found.append(_cost(HOST_ATTENTION, seconds, {"host": cache}))
            elif self.cache_on == "drive" and self.host.file_gb_per_s:
                found.append(self._from_files(model, job, cache))
            else:
                found.append(self._moved(CACHE, cache, self.cache_on, self.way.cache_link))
        return found

    def _from_files(self, model: ModelShape, job: Pass, size: float) -> Cost:
        """Return the cost of cached bytes that the program copies out of files."""
        assert self.host.file_gb_per_s
        longest = Workload(batch=job.batch, prefill=job.context, decode=0)
        whole = super().footprint(model, longest)
        # The weights were read from files, too, and stay beside the cache as long as they can.
        there = whole.weights + whole.cache * (1 - self.cache_kept) <= self.host.dram_gib * 2**30
        drive = 0.0 if there else size / (self.host.drive_gb_per_s * 1e9)
        copied = size / (self.host.file_gb_per_s * 1e9)
        link = size / ((self.device.pcie_gb_per_s or 1) * self.way.cache_link * 1e9)
        seconds = max(copied + drive, link)
        busy = {"host": copied, "drive": drive, "link": link}
        moved = {"link": size, "host": size, "drive": 0.0 if there else size}
        return Cost(seconds, {CACHE: seconds}, {CACHE: seconds}, busy, moved)

    def _moved(self, name: str, size: float, place: Place, share: float) -> Cost:
        """Return the cost of bytes that come over the link, no faster than a drive reads them."""
        link = size / ((self.device.pcie_gb_per_s or 1) * share * 1e9)
        if place == "host":
            return _cost(name, link, {"link": size})
        drive = size / (self.host.drive_gb_per_s * self.way.drive * 1e9)
        return _cost(name, max(link, drive), {"link": size, "drive": size})


def splits_layers(software: str) -> bool:
    """Whether a program deals layers to GPUs."""
    return load_software(software).split == "layers"


def _sooner(cost: Cost, share: float) -> Cost:
    """Return a cost whose times are a share of what they were."""

    def less(table: dict[str, float]) -> dict[str, float]:
        return {name: value * share for name, value in table.items()}

    return replace(
        cost,
        seconds=cost.seconds * share,
        parts=less(cost.parts),
        operators=less(cost.operators),
        busy=less(cost.busy),
    )


def _cost(name: str, seconds: float, moved: dict[str, float]) -> Cost:
    busy = dict.fromkeys(moved, seconds)
    return Cost(seconds, {name: seconds}, {name: seconds}, busy, moved)


def without_attention(cost: Cost) -> Cost:
    """Return the cost of a pass whose attention is done elsewhere."""
    gone = cost.parts.get(ATTENTION, 0.0)
    parts = {name: value for name, value in cost.parts.items() if name != ATTENTION}
    operators = {name: value for name, value in cost.operators.items() if name not in ATTENDING}
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

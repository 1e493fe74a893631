"""Published measurements as cases that the simulator can run, or why it cannot."""

import re
from dataclasses import dataclass, replace
from functools import cache
from math import floor
from typing import Any

from golden import model_shapes
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim.catalogue import load_system
from sim.devices import device_names, load_device
from sim.fpga import FpgaSystem
from sim.gpu import GpuSystem
from sim.gpu_constants import Constants
from sim.offload import Host, OffloadSystem, places
from sim.published import Point
from sim.software import Software, published_software
from sim.workload import Workload

UNSTATED_DEVICES = {
    # Where a source does not say which variant it measured, or writes it in its own way.
    **{"a100-80gb": "a100-sxm-80gb", "a100": "a100-sxm-80gb", "v100": "v100-sxm2-32gb"},
    **{"v100-sxm-32gb": "v100-sxm2-32gb", "jetson-agx-orin": "jetson-agx-orin-64gb"},
}

FPGA_DESIGNS = {
    ("U280", "FlightLLM"): "flightllm-u280",
    ("U280", "FlightLLM (on-board rerun)"): "flightllm-u280",
    ("VHK158 (simulated)", "FlightLLM simulator"): "flightllm-vhk158",
}
"""Systems by hardware and software of a point; others on an FPGA have no model."""

FEW_TOKENS = 16
"""Of a prompt whose length a source calls short, or does not give at batch 1."""

SOME_TOKENS = 128
"""That are written where a source does not say how many, and the rate hardly depends on it."""


CLOUD_DRIVE_GB_PER_S = 2.0
"""Of the local drive of the cloud machine in FlexGen's paper; see `sim/data/devices.csv`."""


class NotModelledError(Exception):
    """Why a point is not modelled, in one sentence."""


@dataclass(frozen=True)
class Case:
    """A point made ready: the system it was measured on, and what it did.

    Attributes:
        length, output: tokens of a prompt, where they are known, and of what follows.
        chat: whether the prompt's length is that of the chat set, which is not published.
    """

    point: Point
    system: GpuSystem | FpgaSystem
    model: ModelShape
    batch: float
    length: float | None
    output: float
    chat: bool = False

    @property
    def prompt(self) -> float:
        """Tokens of a prompt; of the chat set, as many as the constants say."""
        if self.length is not None:
            return self.length
        return self.gpu.fitted.common.chat_prompt

    @property
    def gpu(self) -> GpuSystem:
        """The system, of a point on GPUs."""
        assert isinstance(self.system, GpuSystem)
        return self.system

    @property
    def hardware(self) -> str:
        """The name of the GPU or the board."""
        if isinstance(self.system, FpgaSystem):
            return self.system.board.name
        return self.gpu.device.name

    @property
    def has_constants(self) -> bool:
        """Whether the system has constants that are fitted on points."""
        return isinstance(self.system, GpuSystem)

    @property
    def served(self) -> bool:
        """Whether requests come and go, at a steady batch."""
        return self.chat or self.point.batch is None

    def with_constants(self, fitted: Constants) -> "Case":
        """Return the same case with other constants, where it has any."""
        if not isinstance(self.system, GpuSystem):
            return self
        return replace(self, system=self.system.model_copy(update={"fitted": fitted}))


def prepare(point: Point) -> Case:
    """Return what a point measured, as the simulator describes it.

    Raises:
        NotModelledError: the simulator has no model of its hardware, software, model or metric.
    """
    if (point.hardware, point.software) in FPGA_DESIGNS:
        return _fpga(point)
    device = _device(point)
    software = _software(point)
    model = _model(point)
    try:
        system = _system(point, device, software)
    except ConfigError as error:
        raise NotModelledError(str(error)) from None
    case = _sized(point, system, model)
    _check_fits(case)
    return case


def _fpga(point: Point) -> Case:
    """Return a point on an FPGA; batches are of 1."""
    if point.metric == "power":
        raise NotModelledError("the power of an FPGA's board is taken over, not modelled")
    name = FPGA_DESIGNS[point.hardware, point.software]
    system, model = load_system(name), _model(point)
    assert isinstance(system, FpgaSystem)
    prompt = FEW_TOKENS if point.input_len is None else point.input_len
    output = SOME_TOKENS if point.output_len is None else point.output_len
    return Case(point, system, model, point.batch or 1, prompt, output)


def _check_fits(case: Case) -> None:
    """Raise NotModelledError where the weights alone overflow the devices: they were offloaded."""
    if not isinstance(case.system, GpuSystem) or isinstance(case.system, OffloadSystem):
        return
    taken = case.system.footprint(case.model, Workload(prefill=1, decode=1))
    memory = case.system.device.memory.bytes * case.system.devices
    if taken.weights > memory:
        raise NotModelledError(
            f"its weights take {taken.weights / 2**30:.0f} GiB of {memory / 2**30:.0f}; where "
            "the rest lay is not published"
        )


def _system(point: Point, device: str, software: Software) -> GpuSystem:
    fields: dict[str, Any] = {
        "name": f"gpu-{device}",
        "title": point.hardware,
        "device": device,
        "devices": point.devices,
        "software": software,
        "weight_bits": point.weight_bits or 16,
        "activation_bits": point.act_bits or 16,
        "cache_bits": point.kv_bits or min(point.act_bits or 16, 16),
    }
    lie = places(point.software, point.source)
    if lie is None or lie == ("gpu", "gpu"):
        return GpuSystem(**fields)
    drive = re.search(r"(?:disk|NVMe) ([\d.]+) GB/s", point.source)
    dram = re.search(r"(\d+) GB DRAM", point.source)
    host = Host(
        name=f"{dram[1]}-gb" if dram else "other",
        dram_gib=float(dram[1]) if dram else 256,
        drive_gb_per_s=float(drive[1]) if drive else CLOUD_DRIVE_GB_PER_S,
        source=point.source,
    )
    system = OffloadSystem(**fields, host=host, weights_on=lie[0], cache_on=lie[1])
    if system.cache_on == "gpu" and _cache_bytes(point) > system.device.memory.bytes:
        # Some notes name the GPU for caches that are several times its memory: what fits is there.
        held = Workload(
            batch=int(point.batch or 1),
            prefill=int(point.input_len or 0),
            decode=int(point.output_len or 0),
        )
        elsewhere = system.model_copy(update={"cache_on": "host"})
        return elsewhere.keeping(_model(point), held)
    return system


def _cache_bytes(point: Point) -> float:
    length = (point.input_len or 0) + (point.output_len or 0)
    cached = (point.batch or 0) * length * _model(point).cached_elements
    return cached * (point.kv_bits or 16) / 8


@cache
def _known(name: str) -> ModelShape:
    return model_shapes.load(name)


def _device(point: Point) -> str:
    name = point.hardware.lower()
    name = UNSTATED_DEVICES.get(name, name)
    if any(point.hardware == hardware for hardware, _ in FPGA_DESIGNS):
        raise NotModelledError(f"of the designs on a {point.hardware}, only FlightLLM has a model")
    if name not in device_names():
        raise NotModelledError(f"no model of the hardware {point.hardware} yet")
    return load_device(name).name


def _software(point: Point) -> Software:
    software = published_software(point.software)
    if software is None:
        raise NotModelledError(f"no model of the software {point.software} yet")
    return software


def _model(point: Point) -> ModelShape:
    try:
        return _known(point.model.lower())
    except ConfigError:
        raise NotModelledError(f"no shape of the model {point.model}") from None


def _sized(point: Point, system: GpuSystem, model: ModelShape) -> Case:
    """Return the case with the batch and lengths that the point gives, or that it must mean."""
    prompt, output, batch = point.input_len, point.output_len, point.batch
    chat = point.group == "MLE"
    if prompt is None and not chat and (batch or 0) > 1 and point.metric == "serving_out_tps":
        raise NotModelledError("the lengths of its requests are not published")
    output = SOME_TOKENS if output is None else output
    if not chat:
        prompt = FEW_TOKENS if prompt is None else prompt
    if point.group == "OFF" and batch is None:
        raise NotModelledError("its batch is not published")
    if batch is None and prompt is not None:
        batch = saturated(system, model, prompt, output)
    if batch is None:
        raise NotModelledError("neither its batch nor its lengths are published")
    return Case(point, system, model, batch, prompt, output, chat)


def saturated(system: GpuSystem, model: ModelShape, prompt: float, output: float) -> float:
    """Return the sequences that a serving engine holds when requests wait: what memory is left for.

    A sequence holds its prompt and, on average, half of what it writes.
    """
    one = Workload(batch=1, prefill=floor(prompt), decode=floor(output))
    taken = system.footprint(model, one)
    left = taken.held - taken.weights
    mean = model.cached_elements * system.cache_bits / 8 * (prompt + output / 2)
    return max(min(left / mean, system.software.most_sequences), 1.0)

"""GPUs alone: one, or several that share a model."""

from collections.abc import Callable
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim import gpu_events
from sim.cost import Cost, total
from sim.devices import Device, load_device
from sim.gpu_constants import Constants, DeviceConstants, SoftwareConstants, constants
from sim.gpu_kernels import Kernel, KernelMaker
from sim.gpu_rates import Bits, Rates, rates
from sim.operators import mean_bits
from sim.software import Software, load_software
from sim.system import Footprint, Span, System
from sim.workload import Pass, Workload, prefill_passes

HOST = "host"
WAITING = "waiting for the host"
OVERHEAD = "scheduling and sampling"


def _by_name(load: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: load(value) if isinstance(value, str) else value)


def _device(value: Any) -> Any:
    """Return a device for its name, or for its data sheet's fields."""
    if isinstance(value, str):
        return load_device(value)
    if isinstance(value, dict):
        own: dict[str, Any] = {"name": "own", "source": "the system's file"}
        return Device(**(own | value))
    return value


class GpuSystem(System):
    """One GPU, or several that share a model, and the program that they run.

    Attributes:
        device: by name, or the fields of its data sheet.
        devices: how many.
        software: the program, by name.
        weight_bits: of a weight in memory, scales included; activation_bits: of the numbers that
            are multiplied; cache_bits: of a cached element.
        fitted: constants to use instead of the project's.
    """

    kind: Literal["gpu"] = "gpu"
    device: Annotated[Device, BeforeValidator(_device)]
    devices: PositiveInt = Field(default=1, le=1024)
    software: Annotated[Software, _by_name(load_software)] = Field(
        default="vllm", validate_default=True
    )
    weight_bits: float = Field(default=16, ge=1, le=32)
    activation_bits: float = Field(default=16, ge=4, le=32)
    cache_bits: float = Field(default=16, ge=1, le=32)
    fitted: Constants = Field(default_factory=constants, repr=False)

    @model_validator(mode="after")
    def _has_the_units(self) -> "GpuSystem":
        if self.activation_bits <= 8 and self.device.int8_tops is None:
            raise ConfigError(
                f"activation_bits is {self.activation_bits:g}; the data sheet of "
                f"{self.device.name} gives no INT8 or FP8 rate, so 16 is allowed"
            )
        if self.devices > 1 and self.device.pcie_gb_per_s is None and not self.device.link_gb_per_s:
            raise ConfigError(
                f"devices is {self.devices}; the data sheet of {self.device.name} names no link, "
                "so it works alone"
            )
        return self

    @property
    def own(self) -> DeviceConstants:
        """The constants of the device."""
        return self.fitted.device(self.device.name)

    @property
    def program(self) -> SoftwareConstants:
        """The constants of the program."""
        return self.fitted.software[self.software.name]

    @property
    def bits(self) -> Bits:
        """The number formats."""
        head = max(self.software.head_bits or self.weight_bits, self.weight_bits)
        return Bits(self.weight_bits, head, self.activation_bits, self.cache_bits)

    @property
    def rates(self) -> Rates:
        """What one device reaches."""
        return self._rates(self.bits)

    def _rates(self, bits: Bits) -> Rates:
        own, program, common = self.own, self.program, self.fitted.common
        return rates(self.device, own, self.software, program, common, bits)

    @property
    def chunk(self) -> int | None:
        """The most tokens of a prompt that go through at a time."""
        return self.software.chunk

    @property
    def resources(self) -> tuple[str, ...]:
        """What could be made faster."""
        return ("memory", "compute", "launches", *(["link"] if self.devices > 1 else []))

    def faster(self, resource: str, factor: float) -> "GpuSystem":
        """Return the same system with one resource `factor` times as fast."""
        device = self.device
        if resource == "launches":
            named = ("kernel_us", "host_us", "step_us", "sequence_us", "request_us", "reduce_us")
            quick = {name: getattr(self.program, name) / factor for name in named}
            program = self.program.model_copy(update=quick)
            software = self.fitted.software | {self.software.name: program}
            fitted = self.fitted.model_copy(update={"software": software})
            return self.model_copy(update={"fitted": fitted})
        if resource == "memory":
            memory = device.memory
            update: dict[str, Any] = {
                "memory": memory.model_copy(update={"gb_per_s": memory.gb_per_s * factor})
            }
        elif resource == "link":
            link = device.link_gb_per_s or device.pcie_gb_per_s or 0
            update = {"link_gb_per_s": link * factor}
        else:
            peaks = ("fp16_tflops", "half_sums_tflops", "int8_tops", "fp32_tflops")
            update = {name: (getattr(device, name) or 0) * factor or None for name in peaks}
        return self.model_copy(update={"device": device.model_copy(update=update)})

    @property
    def bytes_per_s(self) -> float:
        """Peak bytes per second of all devices together."""
        return self.device.memory.bytes_per_s * self.devices

    @property
    def link_bytes_per_s(self) -> float | None:
        """What one device can send: the share of its link's peak that sums over devices reach."""
        rate = self.rates.link
        return rate or None

    @property
    def label(self) -> str:
        """The system and its number formats as a chart shows them."""
        formats = {16: "FP16", 8: "8 bit" if self.activation_bits > 8 else "FP8/INT8"}
        bits = formats.get(int(self.weight_bits), f"{self.weight_bits:g} bit")
        count = f"{self.devices} x " if self.devices > 1 else ""
        return f"{count}{self.title}, {bits}"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for GPUs takes for granted."""
        known = self.own.points
        shown = f"fitted on {known} published points" if known else "the medians of other GPUs'"
        return (
            f"The program is {self.software.title}.",
            f"The shares of its peaks that {self.device.name} reaches are {shown}.",
        )

    def check(self, workload: Workload) -> None:
        """Accept any workload."""

    def cannot(self, model: ModelShape, job: Pass) -> str | None:
        """Return None: kernels can be written for any operator."""

    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what the workload takes of the devices' memory."""
        bits = self.bits
        work = self.work(model, Pass(1, 1, max(workload.longest, 1)))
        matrices = [one for one in work.layer if not one.cached]
        weights = (
            model.layers * model.layer_weights * mean_bits(matrices, bits.weights)
            + sum(one.elements for one in work.tail) * mean_bits(work.tail, bits.head)
            + model.embedding_weights * 16
        ) / 8 + self.added_bytes(model, workload)
        cache = workload.batch * self.cached(model, workload.longest, bits.cache).bytes
        tokens = workload.batch * min(max(workload.prefill, 1), self.software.chunk or 8192)
        width = max((2 if model.gated else 1) * model.feed_forward, model.hidden * 3)
        working = min(tokens, 65536) * width * 2 + workload.batch * model.vocabulary * 4
        held = self.device.memory.bytes * self.devices * (1 - self.software.reserve)
        return Footprint(weights, cache, working, held)

    def remedy(self, model: ModelShape, workload: Workload) -> str:
        """Return what to do where a workload does not fit."""
        taken = self.footprint(model, workload)
        batch = int(
            (taken.held - taken.weights) / max((taken.needed - taken.weights), 1) * workload.batch
        )
        found = [f"--batch {batch}"] if 1 <= batch < workload.batch else []
        found.append(f"--set devices={ceil(self.devices * taken.needed / taken.held)}")
        found += [
            f"--set weight_bits={bits}"
            for bits in (8, 4)
            if bits < self.weight_bits and not self._with_weights(bits).short_of(model, workload)
        ][:1]
        return " or ".join(found) + " would fit"

    def _with_weights(self, bits: int) -> "GpuSystem":
        return self.model_copy(update={"weight_bits": bits})

    def short_of(self, model: ModelShape, workload: Workload) -> float:
        """Return the bytes that are missing for a workload."""
        return self.footprint(model, workload).short

    # Time

    def prefill(self, model: ModelShape, workload: Workload) -> Cost:
        """Return the cost of reading the prompts, from the request to the first token."""
        passes = list(prefill_passes(workload, self.software.chunk))
        costs = [self.step(model, job) for job in passes]
        request = self.program.request_us * 1e-6
        first = Cost(request, {OVERHEAD: request}, {"request": request}, {HOST: request})
        return total([(self._pipelined(passes), cost) for cost in costs]) + first

    def prefill_seconds(self, model: ModelShape, workload: Workload) -> float:
        """Return the time from the request to the first token."""
        passes = list(prefill_passes(workload, self.software.chunk))
        alone = sum(self.seconds(model, job) for job in passes)
        return alone * self._pipelined(passes) + self.program.request_us * 1e-6

    def _pipelined(self, passes: list[Pass]) -> float:
        """Return the share of time that is left when devices work on chunks one behind the other.

        Of a window of c chunks, each of n devices with some layers works on one at a time, which
        takes c + n - 1 times the n-th part of a chunk's time.
        """
        window, chunk = self.software.window, self.software.chunk
        if self.software.split != "layers" or not window or not chunk:
            return 1.0
        chunks = min(len(passes), window // chunk)
        return (chunks + self.devices - 1) / (chunks * self.devices)

    def step(self, model: ModelShape, job: Pass) -> Cost:
        """Return the cost of one pass."""
        layer, tail = self.kernels(model, job)
        return self._cost(model.layers, layer, tail, job)

    def seconds(self, model: ModelShape, job: Pass) -> float:
        """Return the time of one pass."""
        layer, tail = self.kernels(model, job)
        host = self.program.host_us * 1e-6
        return gpu_events.finish(layer, model.layers, tail, host) + self._overhead(job)

    def kernels(self, model: ModelShape, job: Pass) -> tuple[list[Kernel], list[Kernel]]:
        """Return the kernels of one layer, and those after the last layer, on one device."""
        shares = self.devices if self.software.split == "tensor" else 1
        rate, packed = self.rates, self.rates
        if self.techniques:
            packed = self._rates(self.bits._replace(weights=1, head=1))
        maker = KernelMaker(model, self.software, rate, self.bits, shares, packed)
        work = self.work(model, job)
        return maker.layer(work, job), [maker.head(work)]

    def _overhead(self, job: Pass) -> float:
        return (self.program.step_us + job.batch * self.program.sequence_us) * 1e-6

    def _cost(self, layers: int, layer: list[Kernel], tail: list[Kernel], job: Pass) -> Cost:
        host = self.program.host_us * 1e-6
        overhead = self._overhead(job)
        shares = self.devices if self.software.split == "tensor" else 1
        device = total([(layers, _cost_of(layer, shares)), (1, _cost_of(tail, shares))])
        finish = gpu_events.finish(layer, layers, tail, host)
        waiting = max(finish - device.seconds, 0.0)
        beside = {WAITING: waiting} if waiting else {}
        beside[OVERHEAD] = overhead
        launching = device.work["launches"] * host
        return device + Cost(
            finish + overhead - device.seconds,
            beside,
            beside,
            {HOST: launching + overhead},
        )

    def spans(self, model: ModelShape, job: Pass) -> list[Span]:
        """Return what host and device do in one pass, by an event simulation."""
        layer, tail = self.kernels(model, job)
        host = self.program.host_us * 1e-6
        return gpu_events.run([*layer * model.layers, *tail], host, self._overhead(job))

    # Energy and cost

    def joules(self, cost: Cost) -> float | None:
        """Return the energy of passes: what is drawn at rest, for bytes and for operations."""
        limit = self.watts
        if limit is None:
            return None
        own, device = self.own, self.device
        rate = device.fp16_tflops * own.matmul
        if self.activation_bits <= 8:
            rate = (device.int8_tops or 0) * own.matmul8
        memory = cost.moved.get("memory", 0) / (self.bytes_per_s * own.stream)
        compute = cost.work.get("operations", 0) / (self.devices * rate * 1e12)
        drawn = own.idle * cost.seconds + own.memory * memory + own.compute * compute
        return float(limit * min(drawn, cost.seconds))

    @property
    def watts(self) -> float | None:
        """The power limit of all devices together, where it is known."""
        return self.device.tdp_w and self.device.tdp_w * self.devices

    @property
    def price_usd(self) -> float | None:
        """What all devices cost, where it is known."""
        return self.device.price_usd and self.device.price_usd * self.devices

    def spread(self) -> float | None:
        """Return the share by which measured times lie around the estimate."""
        return self.own.spread


def _cost_of(kernels: list[Kernel], shares: int) -> Cost:
    """Return the cost of kernels one after the other, on `shares` devices that do the same."""
    parts: dict[str, float] = {}
    operators: dict[str, float] = {}
    for one in kernels:
        parts[one.part] = parts.get(one.part, 0.0) + one.seconds
        operators[one.name] = operators.get(one.name, 0.0) + one.seconds
    limited = [one for one in kernels if one.memory > max(one.compute, one.link)]
    linked = shares > 1
    sent = shares * sum(one.link_bytes for one in kernels)
    return Cost(
        sum(one.seconds for one in kernels),
        parts,
        operators,
        {
            "memory": sum(one.memory for one in kernels),
            "compute": sum(one.compute for one in kernels),
            **({"link": sum(one.link for one in kernels)} if linked else {}),
        },
        {
            "memory": shares * sum(one.bytes for one in kernels),
            **({"link": sent} if linked else {}),
        },
        {
            "seconds": sum(one.seconds for one in limited),
            "bytes": shares * sum(one.bytes for one in limited),
        },
        {
            "operations": shares * sum(one.ops for one in kernels),
            "launches": sum(one.launches for one in kernels),
        },
    )

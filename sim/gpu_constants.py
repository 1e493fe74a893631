"""What data sheets do not say: how much of its peaks a GPU reaches, and what software adds.

Every constant has a unit and a meaning, and is fitted on published measurements by `sim/fit.py`;
`sim/data/fitted.yaml` holds what that gave.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from golden.spec.records import Record
from sim.tables import FOLDER

FITTED = FOLDER / "fitted.yaml"


class DeviceConstants(Record):
    """How much of its data sheet a GPU reaches, as shares of 1.

    Attributes:
        stream: of the memory's bandwidth, in long reads.
        matmul: of the FP16 rate, in large matrix products; matmul8: of the INT8 or FP8 rate.
        idle, memory, compute: of the power limit: drawn at rest, added while memory streams, and
            added while the tensor cores work at `matmul`.
        points: published points that these were fitted on; 0 means that they are the medians of
            other GPUs'.
        spread: share within which four of five times lie that were kept from fitting; for the
            medians, of those of all GPUs.
    """

    stream: float = Field(gt=0, le=1)
    matmul: float = Field(gt=0, le=1)
    matmul8: float = Field(gt=0, le=1)
    idle: float = Field(ge=0, le=1)
    memory: float = Field(ge=0, le=1)
    compute: float = Field(ge=0, le=1)
    points: NonNegativeInt = 0
    spread: NonNegativeFloat = 0.3


class SoftwareConstants(Record):
    """What a program adds to the time that a GPU's memory and arithmetic take.

    Attributes:
        kernel_us: microseconds from the end of a kernel's work to the begin of the next one's.
        host_us: microseconds the host takes to launch a kernel; 0 where a graph is launched whole.
        step_us: microseconds of a pass outside its kernels: scheduling, sampling.
        sequence_us: the same for each sequence of the batch.
        request_us: microseconds from a request to its first kernel, and from its last to its token.
        reduce_us: microseconds of a sum over devices, whatever its size.
        read: share of `stream` that reading weights reaches; read_packed: for weights of fewer bits
            than the activations.
        matmul: share of the device's `matmul` that its FP16 and 8-bit products reach.
        unpack_ops: FP32 operations that unpack one such weight.
        matmul_packed: share of that which products with them reach.
        attention_read: share of `stream` that reading the KV cache reaches.
        attention_matmul: share of `matmul` that attention over a prompt reaches.
        points: published points that these were fitted on.
    """

    kernel_us: NonNegativeFloat
    host_us: NonNegativeFloat
    step_us: NonNegativeFloat
    sequence_us: NonNegativeFloat
    request_us: NonNegativeFloat
    reduce_us: NonNegativeFloat
    read: float = Field(gt=0, le=1)
    read_packed: float = Field(gt=0, le=1)
    matmul: float = Field(gt=0, le=1)
    unpack_ops: NonNegativeFloat
    matmul_packed: float = Field(gt=0, le=1)
    attention_read: float = Field(gt=0, le=1)
    attention_matmul: float = Field(gt=0, le=1)
    points: NonNegativeInt = 0


class OffloadConstants(Record):
    """How fast a program fetches what does not lie in the GPU's memory.

    Attributes:
        weights_link, cache_link: share of the PCIe slot's bandwidth that weights and KV cache reach
            from the host's memory, the host's own copies included.
        drive: share of a drive's sequential reads that weights reach.
        points: published points that these were fitted on.
    """

    weights_link: float = Field(gt=0, le=1)
    cache_link: float = Field(gt=0, le=1)
    drive: float = Field(gt=0, le=1)
    points: NonNegativeInt = 0


class HostConstants(Record):
    """What a host does beside its GPU.

    Attributes:
        attention_gb_per_s: 1e9 bytes of cache per second that its attention works through.
        points: published points that this was fitted on.
    """

    attention_gb_per_s: PositiveFloat
    points: NonNegativeInt = 0


class CommonConstants(Record):
    """What all GPUs share.

    Attributes:
        knee: how sharply a kernel bends from memory's limit to arithmetic's: its time is
            (memory^knee + arithmetic^knee)^(1/knee), so infinity would be the plain roofline.
        fast_link, pcie_link: share of a link's bandwidth that sums over devices reach.
        chat_prompt: mean tokens of a prompt of the LM-Arena chat set, which is not published.
    """

    knee: PositiveFloat
    fast_link: float = Field(gt=0, le=1)
    pcie_link: float = Field(gt=0, le=1)
    chat_prompt: PositiveFloat


class Constants(Record):
    """All fitted constants.

    Attributes:
        devices, software, offload, hosts: by name of a GPU, a program or a host; the GPU and the
            host "other" are for those that no point tells of.
    """

    common: CommonConstants
    devices: dict[str, DeviceConstants]
    software: dict[str, SoftwareConstants]
    offload: dict[str, OffloadConstants] = Field(default_factory=dict)
    hosts: dict[str, HostConstants] = Field(default_factory=dict)

    def device(self, name: str) -> DeviceConstants:
        """Return a GPU's constants, or those of "other"."""
        return self.devices.get(name, self.devices["other"])

    def host(self, name: str) -> HostConstants:
        """Return a host's constants, or those of "other"."""
        return self.hosts.get(name, self.hosts["other"])


def read_constants(path: Path = FITTED) -> Constants:
    """Return the constants of a file."""
    fields: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Constants(**fields)


@cache
def constants() -> Constants:
    """Return the constants that come with the project."""
    return read_constants()

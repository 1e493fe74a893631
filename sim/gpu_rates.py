"""What one GPU under one program reaches, in bytes and operations per second."""

from collections.abc import Iterable
from typing import NamedTuple

from sim.devices import Device
from sim.gpu_constants import CommonConstants, DeviceConstants, SoftwareConstants
from sim.software import Software


class Rates(NamedTuple):
    """What one GPU under one program reaches: bytes and operations per second, and seconds.

    Attributes:
        weights, head: bytes of a layer's weights and the head's; cache: of the KV cache; plain: of
            anything else.
        matmul, head_matmul: operations in products with them; attention: in attention.
        unpack: seconds for each weight that is unpacked.
        link: bytes of a sum over devices.
        kernel, reduce: seconds of a kernel and of a sum, whatever their size.
        knee: how sharply a kernel bends from one limit to the other.
    """

    weights: float
    head: float
    cache: float
    plain: float
    matmul: float
    head_matmul: float
    attention: float
    unpack: float
    link: float
    kernel: float
    reduce: float
    knee: float


class Bits(NamedTuple):
    """Bits of a weight in layers and head, of an activation and of a cached element."""

    weights: float
    head: float
    activations: float
    cache: float


def rates(
    device: Device,
    own: DeviceConstants,
    software: Software,
    program: SoftwareConstants,
    common: CommonConstants,
    bits: Bits,
) -> Rates:
    """Return what `device` reaches under a program with these constants."""
    stream = device.memory.bytes_per_s * own.stream
    fp16_peak = device.half_sums_tflops if software.sums == "half" else None
    fp16 = (fp16_peak or device.fp16_tflops) * 1e12 * own.matmul * program.matmul
    int8 = (device.int8_tops or 0) * 1e12 * own.matmul8 * program.matmul
    matmul = fp16 if bits.activations > 8 else int8
    packed = bits.weights < bits.activations
    head_packed = bits.head < bits.activations
    link = (device.link_gb_per_s or 0) * common.fast_link
    link = link or (device.pcie_gb_per_s or 0) * common.pcie_link
    fp32 = (device.fp32_tflops or device.fp16_tflops / 8) * 1e12
    return Rates(
        weights=stream * (program.read_packed if packed else program.read),
        head=stream * (program.read_packed if head_packed else program.read),
        cache=stream * program.attention_read,
        plain=stream,
        matmul=matmul * (program.matmul_packed if packed else 1),
        head_matmul=fp16,
        attention=fp16 * program.attention_matmul,
        unpack=program.unpack_ops / fp32 if packed else 0.0,
        link=link * 1e9,
        kernel=program.kernel_us * 1e-6,
        reduce=program.reduce_us * 1e-6,
        knee=common.knee,
    )


def bent(limits: Iterable[float], knee: float) -> float:
    """Return the time under several limits at once: more than the longest, less than their sum."""
    limits = tuple(limits)
    longest = max(limits)
    if longest == 0:
        return 0.0
    return float(longest * sum((one / longest) ** knee for one in limits) ** (1 / knee))

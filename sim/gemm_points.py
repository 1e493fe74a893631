"""Timings of single matrix products: `sim/data/gemm_points.csv`."""

from dataclasses import dataclass

from golden.spec.errors import ConfigError
from sim.devices import Device, load_device
from sim.gpu_constants import Constants
from sim.gpu_rates import bent
from sim.tables import FOLDER, number, read_table

COLUMNS = ("hardware", "m_tokens", "k", "n", "dtype", "time_ms", "source")


@dataclass(frozen=True)
class Gemm:
    """A product of [tokens, inputs] with [inputs, rows] in FP16.

    Attributes:
        device: that it was measured on.
        seconds: how long it took, its launch included.
    """

    device: Device
    tokens: int
    inputs: int
    rows: int
    seconds: float
    source: str

    def simulated(self, constants: Constants, kernel_us: float) -> float:
        """Return the seconds that the GPU model gives, `kernel_us` of them for the launch."""
        own, device = constants.device(self.device.name), self.device
        weights = self.inputs * self.rows
        moved = 2 * (weights + self.tokens * (self.inputs + self.rows))
        memory = moved / (device.memory.bytes_per_s * own.stream)
        compute = 2 * weights * self.tokens / (device.fp16_tflops * 1e12 * own.matmul)
        return bent((memory, compute), constants.common.knee) + kernel_us * 1e-6


def read_gemms() -> list[Gemm]:
    """Return the timings that come with the project.

    Raises:
        ConfigError: the file is damaged.
    """
    return [_gemm(*row) for row in read_table(FOLDER / "gemm_points.csv", COLUMNS)]


def _gemm(where: str, row: dict[str, str]) -> Gemm:
    if row["dtype"] != "fp16":
        raise ConfigError(f"{where}: dtype is {row['dtype']!r}; fp16 is the only one known")
    values = [number(where, name, row[name]) for name in ("m_tokens", "k", "n", "time_ms")]
    tokens, inputs, rows, time_ms = (value or 0 for value in values)
    if not min(tokens, inputs, rows, time_ms):
        raise ConfigError(f"{where}: sizes and time_ms must be above 0")
    device = load_device(row["hardware"].lower())
    return Gemm(device, int(tokens), int(inputs), int(rows), time_ms * 1e-3, row["source"])

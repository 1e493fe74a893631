"""Published measurements: `sim/data/published_points.csv`, or a file with the same columns."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from golden.spec.errors import ConfigError
from sim.tables import FOLDER, number, read_table

POINTS = FOLDER / "published_points.csv"

COLUMNS = (
    *("id", "hardware", "n_devices", "software", "model", "weight_bits", "act_bits", "kv_bits"),
    *("batch", "input_len", "output_len", "metric", "value", "unit", "source"),
)

METRICS = {
    **{"ttft": "ms", "tpot": "ms", "decode_time": "ms", "e2e_latency": "ms"},
    **{"decode_tps": "tok/s", "prefill_tps": "tok/s", "e2e_out_tps": "tok/s"},
    **{"e2e_out_tps_per_gpu": "tok/s", "serving_out_tps": "tok/s", "ms_per_generated_token": "ms"},
    **{"energy_per_token": "J/token", "energy_per_response": "J", "power": "W"},
    **{"power_avg_all_gpus": "W", "mem_bw_achieved_per_gpu": "GB/s", "bw_utilization": "%"},
}
"""What is measured, and in which unit; `docs/validation.md` says what each means."""

GRADE_A = ("FT", "LMD", "GPF", "TRT", "TRT5", "MLE")
"""Sources of grade A: complete and exact about what was measured."""


@dataclass(frozen=True)
class Point:
    """One measurement; what its source does not say is None.

    Attributes:
        id: source and number, as "LMD-004".
        devices: how many share the model.
        batch: sequences at a time, on average; input_len, output_len: tokens of each.
        value: in the unit of `METRICS`.
    """

    id: str
    hardware: str
    devices: int
    software: str
    model: str
    weight_bits: float | None
    act_bits: float | None
    kv_bits: float | None
    batch: float | None
    input_len: float | None
    output_len: float | None
    metric: str
    value: float
    source: str

    @property
    def group(self) -> str:
        """The source's short name."""
        return self.id.rsplit("-", 1)[0]

    @property
    def grade_a(self) -> bool:
        """Whether the source is complete and exact."""
        return self.group in GRADE_A

    @property
    def kind(self) -> str:
        """The class that errors are counted by: the source and what was measured."""
        return f"{self.group} {self.metric}"

    @property
    def held_out(self) -> bool:
        """Whether the point is kept from fitting: the lowest bit of the hash of its id."""
        return bool(hashlib.sha256(self.id.encode()).digest()[-1] & 1)


def read_points(path: Path = POINTS) -> list[Point]:
    """Return the points of a file.

    Raises:
        ConfigError: the file cannot be read, or a field is not what it should be; the message says
            which line.
    """
    points = [_point(where, row) for where, row in read_table(path, COLUMNS)]
    if not points:
        raise ConfigError(f"{path.name} holds no points")
    if len({point.id for point in points}) < len(points):
        ids = [point.id for point in points]
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ConfigError(f"{path.name} holds the id {twice!r} more than once")
    return points


def _point(where: str, row: dict[str, str]) -> Point:
    metric = row["metric"]
    if not row["id"].strip():
        raise ConfigError(f"{where}: id is empty; every point needs one")
    if metric not in METRICS:
        raise ConfigError(f"{where}: metric is {metric!r}; known are {', '.join(METRICS)}")
    if row["unit"] != METRICS[metric]:
        raise ConfigError(f"{where}: unit is {row['unit']!r}; {metric} is in {METRICS[metric]}")
    value = number(where, "value", row["value"])
    if not value:
        raise ConfigError(f"{where}: value is {row['value']!r}; a number above 0 is needed")
    devices = number(where, "n_devices", row["n_devices"])
    if not devices or devices != int(devices):
        raise ConfigError(f"{where}: n_devices is {row['n_devices']!r}; a whole number is needed")
    bits = {name: number(where, name, row[name]) for name in ("weight_bits", "act_bits", "kv_bits")}
    sizes = {name: number(where, name, row[name]) for name in ("batch", "input_len", "output_len")}
    return Point(
        row["id"],
        row["hardware"],
        int(devices),
        row["software"],
        row["model"],
        **bits,
        **sizes,
        metric=metric,
        value=value,
        source=row["source"],
    )

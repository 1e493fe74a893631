"""GPUs by their data sheets: the rows of `sim/data/devices.csv`, and any YAML file beside them."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat, model_validator

from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import Record, load_fields, make, names
from hw.board import Memory
from sim.tables import FOLDER, number, read_table

DEVICES = Path(__file__).parent / "devices"
"""A file here adds a device, or takes the place of a row of the same name."""

SHEETS = FOLDER / "gpu_sheets.csv"

LANE_GB_PER_S = {"2.0": 0.5, "3.0": 0.985, "4.0": 1.969, "5.0": 3.938}
"""Bytes of one PCIe lane in one direction after line coding, by generation (PCI-SIG)."""

COLUMNS = (
    *("device", "kind", "peak_fp16_tflops", "peak_int8_tops", "mem_gb", "mem_bw_gbs"),
    *("tdp_w", "price_usd", "pcie", "source", "verified"),
)


SHEET_COLUMNS = ("device", "fp32_tflops", "fp16_half_sums_tflops", "link_gbs", "source")


class Device(Record):
    """A GPU by its data sheet; what it says nothing of is None.

    Attributes:
        source: of the numbers.
        fp16_tflops: dense matrix products in FP16 with FP32 sums; half_sums_tflops: with FP16 sums,
            where this is faster; int8_tops: in INT8 or FP8.
        fp32_tflops: outside the tensor cores, where packed weights are unpacked.
        tdp_w: the power limit. price_usd: what one costs.
        pcie: generation and lanes, as "4.0 x16".
        link_gb_per_s: GPU to GPU in one direction, where there is a faster way than PCIe.
    """

    name: str
    source: str
    fp16_tflops: PositiveFloat
    memory: Memory
    half_sums_tflops: PositiveFloat | None = None
    int8_tops: PositiveFloat | None = None
    fp32_tflops: PositiveFloat | None = None
    tdp_w: PositiveFloat | None = None
    price_usd: PositiveFloat | None = None
    pcie: str = ""
    link_gb_per_s: PositiveFloat | None = None

    @model_validator(mode="after")
    def _is_sane(self) -> "Device":
        for what, value, unit, least, most in (
            ("fp16_tflops", self.fp16_tflops, "TFLOPS", 0.01, 1e5),
            ("int8_tops", self.int8_tops, "TOPS", 0.01, 1e6),
            ("memory.gib", self.memory.gib, "GiB", 0.1, 1e4),
            ("memory.gb_per_s", self.memory.gb_per_s, "GB/s", 1, 1e5),
            ("tdp_w", self.tdp_w, "W", 1, 1e4),
            ("price_usd", self.price_usd, "USD", 1, 1e7),
        ):
            if value is not None and not least <= value <= most:
                raise ConfigError(
                    f"{what} is {value:g} {unit}; a GPU has from {least:g} to {most:g} {unit}"
                )
        if self.pcie and self.pcie_gb_per_s is None:
            raise ConfigError(
                f'pcie is {self.pcie!r}; generation and lanes are needed, as "4.0 x16"'
            )
        return self

    @property
    def pcie_gb_per_s(self) -> float | None:
        """The PCIe slot's bytes in one direction, in 1e9 per second."""
        found = re.match(r"(\d\.0) x(\d+)", self.pcie)
        return LANE_GB_PER_S[found[1]] * int(found[2]) if found else None


def device_names() -> list[str]:
    """Return the names of all GPUs."""
    return sorted({*_rows(), *names(DEVICES)})


def load_device(name: str) -> Device:
    """Return the GPU called `name`.

    Raises:
        ConfigError: there is no such device, or its file is wrong.
    """
    if name in names(DEVICES):
        return make(Device, name, load_fields(DEVICES, "device", name))
    if name not in _rows():
        raise ConfigError(
            f"there is no device {name!r}{nearest(name, device_names())}; "
            "`nandu list devices` names all"
        )
    return Device(name=name, **_rows()[name])


@cache
def _rows() -> dict[str, dict[str, Any]]:
    """Return the fields of every GPU of the table, by its name in lower case."""
    sheets = dict(_sheet(*row) for row in read_table(SHEETS, SHEET_COLUMNS))
    found = {}
    for where, row in read_table(FOLDER / "devices.csv", COLUMNS):
        if row["kind"] == "gpu":
            found[row["device"].lower()] = _fields(where, row) | sheets.get(row["device"], {})
    return found


def _fields(where: str, row: dict[str, str]) -> dict[str, Any]:
    source = row["source"] if row["verified"] == "yes" else f"{row['source']} (not checked)"
    return {
        "source": source,
        "fp16_tflops": number(where, "peak_fp16_tflops", row["peak_fp16_tflops"]),
        "int8_tops": number(where, "peak_int8_tops", row["peak_int8_tops"]),
        # Data sheets count a GPU's memory in units of 2^30 bytes and its bandwidth in 1e9.
        "memory": Memory(
            gib=number(where, "mem_gb", row["mem_gb"]) or 0,
            gb_per_s=number(where, "mem_bw_gbs", row["mem_bw_gbs"]) or 0,
        ),
        "tdp_w": number(where, "tdp_w", row["tdp_w"]),
        "price_usd": number(where, "price_usd", row["price_usd"]),
        "pcie": row["pcie"],
    }


def _sheet(where: str, row: dict[str, str]) -> tuple[str, dict[str, Any]]:
    return row["device"], {
        "fp32_tflops": number(where, "fp32_tflops", row["fp32_tflops"]),
        "half_sums_tflops": number(where, "fp16_half_sums_tflops", row["fp16_half_sums_tflops"]),
        "link_gb_per_s": number(where, "link_gbs", row["link_gbs"]),
    }

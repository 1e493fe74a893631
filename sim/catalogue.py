"""Systems by name: the files of `sim/systems/`, every GPU of the tables, and a user's own files."""

import difflib
from pathlib import Path
from typing import Any

from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import load_fields, make, names, read_fields
from sim.csd import CsdSystem
from sim.devices import Device, device_names, load_device
from sim.fpga import FpgaSystem
from sim.gpu import GpuSystem
from sim.offload import OffloadSystem
from sim.recompute import RecomputeSystem
from sim.system import System

SYSTEMS = Path(__file__).parent / "systems"
KINDS: dict[str, type[System]] = {
    "csd": CsdSystem,
    "fpga": FpgaSystem,
    "gpu": GpuSystem,
    "offload": OffloadSystem,
    "recompute": RecomputeSystem,
}
NOT_SET = {"name", "kind", "fitted", "techniques"}
"""Fields of a system that no setting gives."""

GPU = "gpu-"
"""What the name of a GPU alone begins with; the device's name follows."""

CSD = "instinfer"
MOST_DRIVES = 20
"""Those that names stand for; `--set drives=` takes more."""


def system_names() -> list[str]:
    """Return the names of all systems."""
    return sorted({*names(SYSTEMS), *_with_drives(), *(GPU + name for name in device_names())})


def load_system(name: str, settings: dict[str, Any] | None = None) -> System:
    """Return the system called `name`, or the one that a file ending in .yaml describes.

    Args:
        settings: fields to use instead of the system's own.

    Raises:
        ConfigError: there is no such system, its file is wrong, or a setting is.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return _system(path.stem, _own_file(path), settings)
    if name in names(SYSTEMS):
        return _system(name, load_fields(SYSTEMS, "system", name), settings)
    if name in _with_drives():
        fields = load_fields(SYSTEMS, "system", CSD) | _with_drives()[name]
        return _system(name, fields, settings)
    if name.startswith(GPU) and name.removeprefix(GPU) in device_names():
        device = load_device(name.removeprefix(GPU))
        fields = {"kind": "gpu", "title": _title(device.name), "device": device.name}
        return _system(name, fields, settings)
    raise ConfigError(
        f"there is no system {name!r}{nearest(name, system_names())}; "
        "`nandu list systems` names all, and a file ending in .yaml describes your own"
    )


def _with_drives() -> dict[str, dict[str, Any]]:
    """Return what a name as `instinfer-2csd-dense` says beyond the file that stands for all."""
    return {
        f"{CSD}-{drives}csd{end}": {"drives": drives, "attention": attention}
        for drives in range(1, MOST_DRIVES + 1)
        for end, attention in (("", "sparf"), ("-dense", "dense"))
    }


def _system(name: str, fields: dict[str, Any], settings: dict[str, Any] | None) -> System:
    kind = fields.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{name}.yaml: kind is {kind!r}; allowed are {', '.join(KINDS)}")
    record = KINDS[kind]
    for key in settings or {}:
        if key not in record.model_fields or key in NOT_SET:
            close = difflib.get_close_matches(key, record.model_fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            known = ", ".join(sorted(set(record.model_fields) - NOT_SET))
            raise ConfigError(f"there is no setting {key!r}{hint}; known are {known}")
    fields = fields | (settings or {})
    if "compute" in record.model_fields and "compute" in fields:
        fields["compute"] = _part(name, fields["compute"])
    return make(record, name, fields)


def _part(name: str, fields: Any) -> System:
    """Return a system that is a part of another: its name, or that and settings."""
    if isinstance(fields, str):
        fields = {"system": fields}
    if not isinstance(fields, dict) or not isinstance(fields.get("system"), str):
        raise ConfigError(
            f"{name}.yaml: compute is {fields!r}; a system's name is needed, or a mapping with "
            "`system` and settings"
        )
    return load_system(fields["system"], {k: v for k, v in fields.items() if k != "system"})


def _own_file(path: Path) -> dict[str, Any]:
    """Return the fields of a user's file: a system, or only a GPU's data sheet."""
    fields = read_fields(path, "system")
    if "kind" in fields or not set(fields) & set(Device.model_fields):
        return fields
    device = make(Device, path.stem, fields)
    return {"kind": "gpu", "title": _title(path.stem), "device": device}


def _title(device: str) -> str:
    """Return a device's name as a chart shows it: "a100-sxm-80gb" becomes "A100 SXM 80GB"."""
    return device.upper().replace("-", " ").replace("PCIE", "PCIe")

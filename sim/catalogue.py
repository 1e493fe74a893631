"""Systems by name: the files of `sim/systems/`, every GPU of the tables, and a user's own files."""

import difflib
from pathlib import Path
from typing import Any

import yaml

from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import load_fields, make, names
from sim.devices import Device, device_names, load_device
from sim.fpga import FpgaSystem
from sim.gpu import GpuSystem
from sim.offload import OffloadSystem
from sim.system import System

SYSTEMS = Path(__file__).parent / "systems"
KINDS: dict[str, type[System]] = {
    "fpga": FpgaSystem,
    "gpu": GpuSystem,
    "offload": OffloadSystem,
}
GPU = "gpu-"
"""What the name of a GPU alone begins with; the device's name follows."""


def system_names() -> list[str]:
    """Return the names of all systems."""
    return sorted({*names(SYSTEMS), *(GPU + name for name in device_names())})


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
    if name.startswith(GPU) and name.removeprefix(GPU) in device_names():
        device = load_device(name.removeprefix(GPU))
        fields = {"kind": "gpu", "title": _title(device.name), "device": device.name}
        return _system(name, fields, settings)
    raise ConfigError(
        f"there is no system {name!r}{nearest(name, system_names())}; "
        "`nandu list systems` names all, and a file ending in .yaml describes your own"
    )


def _system(name: str, fields: dict[str, Any], settings: dict[str, Any] | None) -> System:
    kind = fields.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{name}.yaml: kind is {kind!r}; allowed are {', '.join(KINDS)}")
    record = KINDS[kind]
    for key in settings or {}:
        if key not in record.model_fields:
            close = difflib.get_close_matches(key, record.model_fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            known = ", ".join(sorted(set(record.model_fields) - {"name", "kind", "fitted"}))
            raise ConfigError(f"there is no setting {key!r}{hint}; known are {known}")
    return make(record, name, fields | (settings or {}))


def _own_file(path: Path) -> dict[str, Any]:
    """Return the fields of a user's file: a system, or only a GPU's data sheet."""
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r} ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{path.name} holds {fields!r}; a system is a mapping of named fields")
    if "kind" in fields or not set(fields) & set(Device.model_fields):
        return fields
    device = make(Device, path.stem, fields)
    return {"kind": "gpu", "title": _title(path.stem), "device": device}


def _title(device: str) -> str:
    """Return a device's name as a chart shows it: "a100-sxm-80gb" becomes "A100 SXM 80GB"."""
    return device.upper().replace("-", " ").replace("PCIE", "PCIe")

"""The systems that have a file in `sim/systems/`."""

from pathlib import Path

from golden.spec.errors import ConfigError
from golden.spec.records import load_fields, make, names
from sim.fpga import FpgaSystem
from sim.gpu import GpuSystem
from sim.system import System

SYSTEMS = Path(__file__).parent / "systems"
KINDS: dict[str, type[System]] = {"fpga": FpgaSystem, "gpu": GpuSystem}


def system_names() -> list[str]:
    """Return the names of the systems that have a file."""
    return names(SYSTEMS)


def load_system(name: str) -> System:
    """Return the system called `name`.

    Raises:
        ConfigError: there is no such system, or its file is wrong.
    """
    fields = load_fields(SYSTEMS, "system", name)
    kind = fields.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{name}.yaml: kind is {kind!r}; allowed are {', '.join(KINDS)}")
    return make(KINDS[kind], name, fields)

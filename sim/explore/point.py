"""One point of a space: from its parameters to a result, or to the error that stops it."""

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel

from golden import model_shapes
from golden.spec.errors import ConfigError, NanduError
from sim import treat
from sim.catalogue import KINDS, NOT_SET, SYSTEMS, load_system
from sim.explore.resources import shares, taken
from sim.explore.space import TECHNIQUES, WORKLOAD, Space, plain
from sim.result import Result
from sim.simulate import simulate
from sim.system import System
from sim.technique import Technique
from sim.workload import Workload

Point = dict[str, Any]
"""The parameters of a point by their names, in the space's order."""

PARTS = "compute"
"""The field of a system that is a system itself; only `load_system` reads it."""


class Outcome(NamedTuple):
    """What came of a point.

    Attributes:
        record: the result's fields, and `resources` on an FPGA; None where there is an `error`.
        feasible: whether the result is as the space's constraints want it.
    """

    record: dict[str, Any] | None
    error: str | None = None
    feasible: bool = False


@dataclass(frozen=True)
class Asked:
    """A point as a user would write it: the words behind `nandu simulate`.

    Attributes:
        settings: fields of the system that differ from its own; techniques: as for `--with`.
    """

    system: str
    model: str
    workload: dict[str, int]
    techniques: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def command(self) -> str:
        """The command that simulates it."""
        words = ["nandu", "simulate", self.system, "--model", self.model]
        words += [word for key, value in self.workload.items() for word in (f"--{key}", str(value))]
        words += [word for one in self.techniques for word in ("--with", one)]
        words += [
            word
            for key, value in self.settings.items()
            for word in ("--set", f"{key}={_flow(value)}")
        ]
        return shlex.join(words)


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("...\n").strip()


def asked(point: Mapping[str, Any]) -> Asked:
    """Return what a point asks for.

    Raises:
        ConfigError: its system is unknown, or has no such field.
    """
    name = str(point["system"])
    workload = {key: point.get(key, value) for key, value in WORKLOAD.items()}
    settings: dict[str, Any] = {}
    for key, value in point.items():
        head, _, rest = key.partition(".")
        if head in ("system", "model", TECHNIQUES, *WORKLOAD):
            continue
        if head not in type(_base(name)).model_fields or head in NOT_SET:
            known = ", ".join(sorted(set(type(_base(name)).model_fields) - NOT_SET))
            raise ConfigError(f"{name} has no field {head!r}; known are {known}")
        if not rest:
            settings[head] = value
        else:
            own = settings.get(head, _own(name, head))
            settings[head] = _with(own, rest.split("."), value, key)
    return Asked(name, str(point["model"]), workload, tuple(_techniques(point)), settings)


def _with(own: Any, path: list[str], value: Any, name: str) -> Any:
    """Return a mapping with one value set, however deep."""
    if not path:
        return value
    if not isinstance(own, dict):
        raise ConfigError(f"{name} is set, but {own!r} has no fields of its own")
    head, *rest = path
    return own | {head: _with(own.get(head, {}), rest, value, name)}


def _techniques(point: Mapping[str, Any]) -> list[str]:
    """Return the techniques of a point, each with the options that have a parameter."""
    chosen = point.get(TECHNIQUES) or []
    found = [chosen] if isinstance(chosen, str) else list(chosen)
    for number, text in enumerate(found):
        begin = f"{TECHNIQUES}.{str(text).partition(':')[0]}."
        options = [
            f"{key.removeprefix(begin)}={_flow(value)}"
            for key, value in point.items()
            if key.startswith(begin)
        ]
        if options:
            joined = ",".join(options)
            found[number] = f"{text},{joined}" if ":" in text else f"{text}:{joined}"
    return found


# From names to objects, each read once in a process


@lru_cache(maxsize=256)
def _base(name: str) -> System:
    return load_system(name)


@lru_cache(maxsize=64)
def _model(name: str) -> model_shapes.ModelShape:
    return model_shapes.load(name)


@lru_cache(maxsize=1024)
def _technique(text: str) -> Technique:
    return treat.parse(text)


@lru_cache(maxsize=1024)
def _own(name: str, field: str) -> Any:
    """Return a field of a system as its file has it, or as near to that as can be told."""
    path = SYSTEMS / f"{name}.yaml"
    if path.exists():
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(written.get(field), dict):
            return written[field]
    value = getattr(_base(name), field)
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


def machine(wanted: Asked) -> System:
    """Return the system that is asked for, without its techniques: `load_system`'s, but quicker.

    Raises:
        ConfigError: a setting is wrong.
    """
    base = _base(wanted.system)
    if PARTS in wanted.settings:
        return load_system(wanted.system, wanted.settings)
    if not wanted.settings:
        return base
    return KINDS[base.kind](**(dict(base) | wanted.settings))  # type: ignore[attr-defined]


def fits_board(space: Space, point: Point) -> bool:
    """Return whether a point's blocks stay below the space's limits; True if it has an error."""
    if not space.limits:
        return True
    try:
        used = shares(machine(asked(point)))
    except NanduError:
        return True
    return all(used.get(name, 0.0) <= share for name, share in space.limits.items())


def command(point: Point) -> str:
    """Return the command that simulates a point; "" for a point that no command can ask for."""
    try:
        return asked(point).command
    except NanduError:
        return ""


def evaluate(space: Space, point: Point) -> Outcome:
    """Return what comes of a point; what is wrong with it is a part of that."""
    try:
        wanted = asked(point)
        system = machine(wanted)
        model = _model(wanted.model)
        treated = treat.treat(system, model, [_technique(text) for text in wanted.techniques])
        found = simulate(treated, model, Workload(**wanted.workload))
        record = _record(found, system)
        return Outcome(record, None, _feasible(space, point, record))
    except NanduError as error:
        return Outcome(None, str(error))
    except (ArithmeticError, ValueError, TypeError, LookupError, AssertionError) as error:
        # A bug of ours, or of a user's own system: it must not cost the other points.
        return Outcome(None, f"{type(error).__name__}: {error}")


def _record(found: Result, system: System) -> dict[str, Any]:
    """Return a result as JSON, without how long it took: that is another thing each time."""
    record = {key: value for key, value in vars(found).items() if key != "wall_s"}
    record["quality"] = [one and dataclasses.asdict(one) for one in found.quality]
    if used := taken(system):
        record["resources"] = used
    loaded: dict[str, Any] = json.loads(json.dumps(record))  # as a study gives it back
    return loaded


def values(point: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that expressions may name, of a point and of its result."""
    found = WORKLOAD | plain(point) | dict(record)
    for table, entries in record.items():
        if isinstance(entries, dict):
            found |= {f"{table}.{plain_key(key)}": value for key, value in entries.items()}
    return found


def plain_key(key: str) -> str:
    """Return a table's key as an expression has it."""
    return key.replace(" ", "_").replace("-", "_")


def _feasible(space: Space, point: Point, record: Mapping[str, Any]) -> bool:
    if not space.wanted:
        return True
    known = values(point, record)
    return all(bool(one.value(known)) for one in space.wanted)


def objectives(space: Space, point: Point, record: Mapping[str, Any]) -> list[float] | None:
    """Return a result's objectives, the larger the better; None where one is not modelled."""
    known = values(point, record)
    found = [known.get(name.replace("-", "_")) for name in space.objectives]
    if not all(isinstance(one, bool | int | float) for one in found):
        return None
    signs = [1.0 if way == "max" else -1.0 for way in space.objectives.values()]
    return [sign * float(one) for sign, one in zip(signs, found, strict=True)]  # type: ignore[arg-type]

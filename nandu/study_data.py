"""What a report shows: the points of a study, or one result, and GPUs beside them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from golden import model_shapes
from golden.spec.errors import ConfigError
from sim.catalogue import GPU, load_system
from sim.compare import DEFAULT_GPUS
from sim.devices import Device, load_device
from sim.explore.front import front
from sim.explore.point import values
from sim.explore.space import WORKLOAD
from sim.explore.study import Study
from sim.operators import forward
from sim.simulate import simulate
from sim.workload import Pass, Workload

METRICS = (
    *("decode_tokens_per_s", "e2e_tokens_per_s", "ttft_ms", "tpot_ms", "joules_per_token"),
    *("usd_per_mtoken", "peak_memory_gb", "bytes_per_token", "bandwidth_used"),
)
"""Numbers of a result that a page shows beside the objectives."""

TABLES = ("breakdown", "ttft_breakdown", "why", "resources")

SQLITE = b"SQLite format 3"


@dataclass(frozen=True)
class Shown:
    """A point of a study, or a GPU beside it.

    Attributes:
        number: of the point, from 0; of a GPU, its place among them.
        label: as a chart names it. error: why it has no numbers.
        feasible: as the constraints want it. best: on the front.
        numbers: objectives and METRICS by name, where they are modelled.
        tables: TABLES of its result. intensity, operations: operations per byte, and per second
            while tokens are written; zeros that sparsity leaves out are counted.
        roof: bytes per second of its memory.
    """

    number: int
    label: str
    configuration: dict[str, Any]
    command: str = ""
    error: str = ""
    feasible: bool = True
    best: bool = False
    numbers: dict[str, float] | None = None
    tables: dict[str, Any] | None = None
    bottleneck: str = ""
    intensity: float | None = None
    operations: float | None = None
    roof: float | None = None

    def number_of(self, name: str) -> float | None:
        """Return one of its numbers; None where it is not modelled."""
        return (self.numbers or {}).get(name)

    def table_of(self, name: str) -> dict[str, Any]:
        """Return one of its tables; empty where it has none."""
        found: dict[str, Any] = (self.tables or {}).get(name) or {}
        return found


@dataclass(frozen=True)
class StudyData:
    """What a report shows.

    Attributes:
        objectives: "max" or "min" by name. parameters: those that differ between points.
        points: in the study's order. gpus: simulated on the work of the first point of the front.
        devices: the data sheets of `gpus`.
    """

    title: str
    source: str
    objectives: dict[str, str]
    parameters: tuple[str, ...]
    points: tuple[Shown, ...]
    gpus: tuple[Shown, ...]
    devices: tuple[Device, ...]

    @property
    def front(self) -> list[Shown]:
        """The points that no other one beats, the best in the first objective first."""
        name, way = next(iter(self.objectives.items()))
        sign = -1 if way == "max" else 1
        found = [one for one in self.points if one.best]
        return sorted(found, key=lambda one: sign * (one.number_of(name) or 0.0))


def read_data(path: Path, gpus: Sequence[str] = DEFAULT_GPUS) -> StudyData:
    """Return what a file holds: a study of `nandu explore`, or what `nandu simulate --json` gave.

    Raises:
        ConfigError: it is neither, or a GPU is unknown.
    """
    for name in gpus:
        load_device(name)
    try:
        with path.open("rb") as file:
            begin = file.read(len(SQLITE))
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r} ({error.strerror})") from None
    return _of_study(path, gpus) if begin == SQLITE else _of_result(path, gpus)


def _of_study(path: Path, gpus: Sequence[str]) -> StudyData:
    with Study.read(path) as study:
        space = study.space
        best = {one.number for one in front(space, study.points())}
        points = []
        for one in study.points():
            record, settings = one.outcome.record, one.configuration
            if record is None:
                label = f"point {one.number}"
                shown = Shown(
                    one.number, label, settings, one.command, str(one.outcome.error), False
                )
            else:
                known = values(settings, record)
                numbers = {name: known.get(name.replace("-", "_")) for name in space.objectives}
                shown = _shown(one.number, f"#{one.number}", settings, record, numbers)
                shown = _marked(shown, one.command, one.outcome.feasible, one.number in best)
            points.append(shown)
    if not points:
        raise ConfigError(f"{path} has no points yet; `nandu explore` adds some")
    title = space.title or f"Study {path.name}"
    return _beside(title, path, dict(space.objectives), points, gpus)


def _of_result(path: Path, gpus: Sequence[str]) -> StudyData:
    """Return a report of one point."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    needed = ("system", "model", "context", "decode", "batch", "breakdown", "bytes_per_token")
    if not isinstance(record, dict) or not all(name in record for name in needed):
        raise ConfigError(
            f"{path} is neither a study nor a result; name a file of `nandu explore --study` or of "
            "`nandu simulate --json`"
        )
    settings = {name: record[name] for name in ("system", "model", "decode", "batch")}
    settings["prefill"] = record["context"]
    words = " ".join(f"--{name} {settings[name]}" for name in ("prefill", "decode", "batch"))
    command = f"nandu simulate {record['system']} --model {record['model']} {words}"
    shown = _marked(_shown(0, "#0", settings, record, {}), command, True, True)
    objectives = {"decode_tokens_per_s": "max", "joules_per_token": "min"}
    return _beside(f"{record['model']} on {record['label']}", path, objectives, [shown], gpus)


def _marked(shown: Shown, command: str, feasible: bool, best: bool) -> Shown:
    return replace(shown, command=command, feasible=feasible, best=best)


def _shown(
    number: int,
    label: str,
    settings: dict[str, Any],
    record: dict[str, Any],
    numbers: dict[str, Any],
) -> Shown:
    """Return what a page shows of one result."""
    named = numbers | {name: record.get(name) for name in METRICS}
    kept = {
        name: _rounded(value)
        for name, value in named.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    tables = {name: record[name] for name in TABLES if record.get(name)}
    operations = _operations(record)
    rate, moved = record.get("decode_tokens_per_s"), record["bytes_per_token"]
    used = record.get("bandwidth_used")
    return Shown(
        number,
        label,
        settings,
        numbers=kept,
        tables=_rounded(tables),
        bottleneck=record.get("bottleneck", ""),
        intensity=_rounded(operations / moved) if moved else None,
        operations=_rounded(operations * rate) if rate else None,
        roof=_rounded(moved * rate / used) if rate and used else None,
    )


def _rounded(value: Any) -> Any:
    """Return a value with its numbers to five digits: a page of 10,000 points stays small."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return value


def _operations(record: dict[str, Any]) -> float:
    """Return multiplications and additions for a token, at the mean context of its decode steps."""
    context = record["context"] + max(record["decode"] - 1, 0) // 2
    return _per_token(record["model"], record["batch"], context)


@cache
def _per_token(model: str, batch: int, context: int) -> float:
    work = forward(model_shapes.load(model), Pass(batch, 1, context))
    return 2 * sum(operator.products for operator in work) / batch


def _beside(
    title: str,
    path: Path,
    objectives: dict[str, str],
    points: list[Shown],
    gpus: Sequence[str],
) -> StudyData:
    """Return points with GPUs that do the work of the front's first one."""
    differing = tuple(_differing(points))
    data = StudyData(title, path.name, objectives, differing, tuple(points), (), ())
    first = next(iter(data.front), None) or next((one for one in points if one.numbers), None)
    found: list[Shown] = []
    devices: list[Device] = []
    for name in gpus if first else ():
        assert first is not None
        shown = _gpu(len(found), name, first.configuration)
        if shown is not None:
            found.append(shown)
            devices.append(load_device(name))
    return replace(data, gpus=tuple(found), devices=tuple(devices))


def _gpu(place: int, name: str, work: dict[str, Any]) -> Shown | None:
    """Return a GPU on some work; None where its memory does not hold it."""
    workload = {key: work.get(key, value) for key, value in WORKLOAD.items()}
    model = model_shapes.load(str(work["model"]))
    try:
        result = simulate(load_system(f"{GPU}{name}"), model, Workload(**workload))
    except ConfigError:
        return None
    words = " ".join(f"--{key} {value}" for key, value in workload.items())
    command = f"nandu simulate {GPU}{name} --model {model.name} {words}"
    settings = {"system": f"{GPU}{name}", "model": model.name, **workload}
    return _marked(_shown(place, result.label, settings, vars(result), {}), command, True, False)


def _differing(points: Iterable[Shown]) -> Iterable[str]:
    """Yield the parameters that are not alike in all points."""
    found: dict[str, set[str]] = {}
    for one in points:
        for key, value in one.configuration.items():
            found.setdefault(key, set()).add(repr(value))
    return (key for key, each in found.items() if len(each) > 1)

"""A design beside GPUs: what was published, what the model predicts, what was measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import log
from typing import Literal

from golden import model_shapes
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from sim.baselines import Baseline, Measured
from sim.cases import UNSTATED_DEVICES
from sim.catalogue import GPU, load_system
from sim.devices import device_names
from sim.published import Point, read_points
from sim.simulate import simulate
from sim.system import System
from sim.workload import Workload

DEFAULT_GPUS = ("rtx-4090", "a100-sxm-80gb", "h100-sxm-80gb")

RATES = ("decode_tps", "tpot")
"""Published metrics that say how fast tokens are written; the first is preferred."""

ENERGY = "energy_per_token"

Kind = Literal["published", "model", "measured"]


@dataclass(frozen=True)
class Row:
    """One machine on one workload; what is not known is None.

    Attributes:
        name: the machine, with its number formats. kind: where the numbers come from.
        design: whether it is the design that the others are set beside.
        batch, prefill, decode: of this row; published ones are the nearest that there are.
        tokens_per_s: of all sequences, while they are written.
        joules_per_token, usd_per_mtoken: for a written token, as in `sim/result.py`.
        spread: share within which four of five measured times lie around such estimates.
        source: of a published or measured row. note: why numbers are missing.
    """

    name: str
    kind: Kind
    model: str
    batch: float | None
    prefill: float | None
    decode: float | None
    tokens_per_s: float | None = None
    joules_per_token: float | None = None
    usd_per_mtoken: float | None = None
    ttft_ms: float | None = None
    spread: float | None = None
    design: bool = False
    source: str = ""
    note: str = ""


def compare(
    design: System,
    model: ModelShape,
    workload: Workload,
    gpus: Sequence[str] = DEFAULT_GPUS,
    gpu_bits: Sequence[float] = (16,),
    software: str = "vllm",
    baselines: Iterable[Baseline] = (),
) -> list[Row]:
    """Return a design and GPUs on one model: the design first, then GPU by GPU, then measured ones.

    Args:
        gpus: names of devices. gpu_bits: of a weight of the GPUs that are modelled; their
            activations and caches have 16. software: that they run, a name of `sim/software/`.

    Raises:
        ConfigError: a device is unknown, or the design cannot do the workload.
    """
    check_gpus(gpus)
    found = [_of_design(design, model, workload), *_published_design(design, model, workload)]
    for gpu in gpus:
        found += [_of_gpu(gpu, bits, software, model, workload) for bits in gpu_bits]
        found += published(gpu, model, workload)
    for baseline in baselines:
        found += measured(baseline, model, workload)
    return found


def check_gpus(gpus: Sequence[str]) -> None:
    """Raise ConfigError unless these are names of devices."""
    for name in gpus:
        if name not in device_names():
            raise ConfigError(
                f"there is no device {name!r}{nearest(name, device_names())}; "
                "`nandu list devices` names all"
            )


# The model


def _of_design(design: System, model: ModelShape, workload: Workload) -> Row:
    return _simulated(design, model, workload, design=True)


def _of_gpu(gpu: str, bits: float, software: str, model: ModelShape, workload: Workload) -> Row:
    """Return what the model says of a GPU; where it has too little memory, why."""
    machine = load_system(f"{GPU}{gpu}", {"weight_bits": bits, "software": software})
    name = f"{machine.label}, {software}"
    try:
        return replace(_simulated(machine, model, workload, design=False), name=name)
    except ConfigError as error:
        return Row(name, "model", model.name, *_sizes(workload), note=str(error))


def _simulated(machine: System, model: ModelShape, workload: Workload, design: bool) -> Row:
    result = simulate(machine, model, workload)
    return Row(
        result.label,
        "model",
        model.name,
        *_sizes(workload),
        tokens_per_s=result.decode_tokens_per_s,
        joules_per_token=result.joules_per_token,
        usd_per_mtoken=result.usd_per_mtoken,
        ttft_ms=result.ttft_ms,
        spread=result.spread,
        design=design,
    )


def _sizes(workload: Workload) -> tuple[int, int, int]:
    return workload.batch, workload.prefill, workload.decode


# What was published


def _published_design(design: System, model: ModelShape, workload: Workload) -> list[Row]:
    """Return the figure that the design's authors measured, if there is one at this length."""
    point = design.published_at(model.name, workload.prefill)
    if point is None or workload.batch != 1:
        return []
    row = Row(
        design.title,
        "published",
        model.name,
        1,
        workload.prefill,
        None,
        tokens_per_s=point.tokens_per_s,
        source=point.source,
    )
    return [row]


def published(gpu: str, model: ModelShape, workload: Workload) -> list[Row]:
    """Return what was published of a GPU alone, on the same model at the same batch.

    Of each program and number format it is the point whose lengths are nearest.
    """
    groups: dict[tuple[str, float, float], list[Point]] = {}
    for point in _points():
        if _is_like(point, gpu, model.name, workload.batch):
            bits = point.weight_bits or 16, point.act_bits or 16
            groups.setdefault((point.software, *bits), []).append(point)
    return [_published(points, model, workload) for points in groups.values()]


def _is_like(point: Point, gpu: str, model: str, batch: int) -> bool:
    hardware = point.hardware.lower()
    return (
        point.devices == 1
        and point.metric in (*RATES, ENERGY)
        and UNSTATED_DEVICES.get(hardware, hardware) == gpu
        and _shape(point.model.lower()) == model
        and point.batch is not None
        and round(point.batch) == batch
    )


def _published(points: Sequence[Point], model: ModelShape, workload: Workload) -> Row:
    """Return one row of points that share GPU, program and formats."""
    near = sorted(points, key=lambda point: _distance(point, workload))
    first = next((point for point in near if point.metric in RATES), near[0])
    same = [point for point in near if _lengths(point) == _lengths(first)]
    rates = [point for metric in RATES for point in same if point.metric == metric]
    energies = [point.value for point in same if point.metric == ENERGY]
    formats = f"W{first.weight_bits or 16:g}A{first.act_bits or 16:g}"
    return Row(
        f"{first.hardware}, {first.software}, {formats}",
        "published",
        model.name,
        first.batch,
        first.input_len,
        first.output_len,
        tokens_per_s=_rate(rates[0]) if rates else None,
        joules_per_token=energies[0] if energies else None,
        source=f"{first.id}: {first.source}",
        note="the length of its prompt is not published" if first.input_len is None else "",
    )


def _rate(point: Point) -> float:
    return point.value if point.metric == "decode_tps" else 1e3 * (point.batch or 1) / point.value


def _lengths(point: Point) -> tuple[float | None, float | None]:
    return point.input_len, point.output_len


def _distance(point: Point, workload: Workload) -> float:
    """Return how far the mean context of a point is from that of a workload, as a factor's log."""
    here = (point.input_len or 1) + (point.output_len or 1) / 2
    return abs(log(here / (workload.prefill + workload.decode / 2)))


@cache
def _points() -> tuple[Point, ...]:
    return tuple(read_points())


@cache
def _shape(name: str) -> str | None:
    """Return the name of the shape that a model has; None where we have none."""
    try:
        return model_shapes.load(name).name
    except ConfigError:
        return None


# What was measured here


def measured(baseline: Baseline, model: ModelShape, workload: Workload) -> list[Row]:
    """Return the rows of a baseline on the same model at the same batch, the nearest lengths."""
    nearest_rows: dict[str, Measured] = {}
    for row in baseline.rows:
        if _shape(row.model.lower()) == model.name and row.batch == workload.batch:
            before = nearest_rows.get(row.format)
            if before is None or _apart(row, workload) < _apart(before, workload):
                nearest_rows[row.format] = row
    return [_measured(baseline, row, model) for row in nearest_rows.values()]


def _apart(row: Measured, workload: Workload) -> float:
    here = row.prefill + row.decode / 2
    return abs(log(here / (workload.prefill + workload.decode / 2)))


def _measured(baseline: Baseline, row: Measured, model: ModelShape) -> Row:
    return Row(
        f"{baseline.device}, PyTorch, {row.format.upper()}",
        "measured",
        model.name,
        row.batch,
        row.prefill,
        row.decode,
        tokens_per_s=row.tokens_per_s,
        joules_per_token=row.joules_per_token,
        ttft_ms=row.ttft_ms,
        source=f"{baseline.name}, {baseline.date}".strip(", "),
        note="" if row.joules_per_token else "the card does not count its energy",
    )

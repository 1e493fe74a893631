"""`nandu compare`: from what a user writes to rows."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from golden import model_shapes
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from nandu.run_simulation import parse
from sim import treat
from sim.baselines import load_baselines
from sim.catalogue import load_system
from sim.compare import DEFAULT_GPUS, Row, compare
from sim.explore.point import asked as wanted_of
from sim.explore.study import read_point
from sim.system import System
from sim.workload import Workload

MODEL = "llama-2-7b"
BASELINES = Path("baselines")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is compared; None where the user did not say, and a study's point may."""

    models: Sequence[str]
    prefill: int | None
    decode: int | None
    batch: int | None
    settings: Sequence[str]
    techniques: Sequence[str]


def run(
    design: str,
    asked: Asked,
    gpus: Sequence[str] | None,
    gpu_bits: Sequence[float],
    software: str,
    baselines: Path | None,
) -> list[Row]:
    """Return the rows of every model that is asked for.

    Raises:
        ConfigError: a name or a number is wrong, or the design cannot do the workload.
    """
    known = []
    if baselines is not None or BASELINES.is_dir():
        known = load_baselines(baselines or BASELINES)
    found: list[Row] = []
    for machine, shape, workload in designs(design, asked):
        found += compare(machine, shape, workload, _listed(gpus), gpu_bits, software, known)
    return found


def designs(design: str, asked: Asked) -> list[tuple[System, ModelShape, Workload]]:
    """Return the design, made for each model, with what it is to do.

    Raises:
        ConfigError: a name or a number is wrong.
    """
    if "#" in design:
        if asked.settings or asked.techniques:
            raise ConfigError(
                f"{design} is a point, which has its settings; leave out --set/--with"
            )
        point = wanted_of(read_point(design)[1].configuration)
        system, settings = point.system, point.settings
        techniques, models = point.techniques, asked.models or (point.model,)
        given = point.workload
    else:
        system, settings = design, parse(asked.settings)
        techniques, models = tuple(asked.techniques), asked.models or (MODEL,)
        given = {"prefill": 128, "decode": 128, "batch": 1}
    wanted = {name: getattr(asked, name) for name in given}
    workload = Workload(**(given | {k: v for k, v in wanted.items() if v is not None}))
    shapes = [model_shapes.load(name) for name in models]
    applied = [treat.parse(one) for one in techniques]
    return [
        (treat.treat(load_system(system, settings), shape, applied), shape, workload)
        for shape in shapes
    ]


def _listed(gpus: Sequence[str] | None) -> list[str]:
    """Return names of GPUs, several of which may be in one text with commas between."""
    if gpus is None:
        return list(DEFAULT_GPUS)
    return [name.strip() for words in gpus for name in words.split(",") if name.strip()]


# What a person reads


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the rows in lines for a terminal, model by model."""
    for place, model in enumerate(dict.fromkeys(row.model for row in rows)):
        if place:
            yield ""
        mine = [row for row in rows if row.model == model]
        yield from _table(model, mine)
        for row in mine:
            if row.note:
                yield f"- {row.name}: {row.note}"


def _table(model: str, rows: Sequence[Row]) -> Iterator[str]:
    """Yield a model's rows; the design's speed is 1 in the column "speed"."""
    first = next(row for row in rows if row.design)
    yield (
        f"{model}: {first.batch:g} x {first.prefill:,} tokens read, {first.decode:,} written; "
        "published and measured rows are of the lengths that they name"
    )
    yield (
        f"{'':10}{'read+written':>14}{'tokens/s':>10}{'J/token':>10}{'USD/Mtoken':>12}{'speed':>9}"
    )
    for row in rows:
        share = None
        if row.tokens_per_s and first.tokens_per_s:
            share = row.tokens_per_s / first.tokens_per_s
        yield (
            f"{row.kind:10}{_lengths(row):>14}{_number(row.tokens_per_s):>10}"
            f"{_number(row.joules_per_token):>10}{_number(row.usd_per_mtoken):>12}"
            f"{'' if share is None else f'{share:.2f}x':>9}  {row.name}"
        )


def _lengths(row: Row) -> str:
    return "+".join("?" if size is None else f"{size:g}" for size in (row.prefill, row.decode))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"

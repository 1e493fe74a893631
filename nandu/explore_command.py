"""The command `nandu explore`: its options, and what it prints."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nandu.terminal import errors, output, plain, print_json

EVERY_S = 10.0
"""Seconds between two lines where standard error is no terminal."""

SHOWN = 20
"""Points of the front that are printed."""


def explore(
    space: Annotated[Path, typer.Argument(help="A YAML file, as those of examples/spaces/.")],
    study: Annotated[
        Path,
        typer.Option(help="The file that keeps all points; one that is begun is gone on with."),
    ],
    budget: Annotated[
        int | None,
        typer.Option(help="Points in the study at the end; by default all of a grid, else 1000."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that simulate.")] = 1,
    seed: Annotated[int, typer.Option(help="Of random and Optuna's searches.")] = 0,
    engine: Annotated[str, typer.Option(help="local: processes on this machine.")] = "local",
    parquet: Annotated[
        Path | None, typer.Option(help="Write the points of the study to this file, too.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Search a design space, and say which points no other one beats.

    Example: nandu explore examples/spaces/flightllm_u280.yaml --study out/u280.study --budget 200
    """
    from sim.explore.run import explore as run

    with _progress() as progress:
        done = run(
            space,
            study,
            seed=seed,
            budget=budget,
            workers=workers,
            engine=engine,
            progress=progress,
        )
    record = _record(study, parquet) | {"points_per_s": done.points_per_s, "wall_s": done.wall_s}
    if as_json:
        print_json(record)
    else:
        _show(record)


def _record(path: Path, parquet: Path | None) -> dict[str, Any]:
    """Return what the command prints of a study, and write its points to a Parquet file."""
    from sim.explore.front import front
    from sim.explore.point import objectives
    from sim.explore.study import FAILED, Study

    with Study.read(path) as study:
        space, counts = study.space, study.counts()
        best: list[dict[str, Any]] = []
        for one in front(space, study.points()):
            reached = objectives(space, one.configuration, one.outcome.record or {}) or []
            signs = [1 if way == "max" else -1 for way in space.objectives.values()]
            found = [sign * value for sign, value in zip(signs, reached, strict=True)]
            best.append(
                {
                    "point": one.number,
                    "configuration": one.configuration,
                    "objectives": dict(zip(space.objectives, found, strict=True)),
                    "command": one.command,
                }
            )
        if parquet is not None:
            from sim.explore.export import write_parquet

            write_parquet(study, parquet, {one["point"] for one in best})
        return {
            "study": str(path),
            "points": sum(counts.values()),
            "failed": counts[FAILED],
            "front": best,
            "objectives": space.objectives,
            "first_error": study.first_error(),
        }


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """Show how far an exploration is on standard error: a bar, or a line now and then."""
    bar = Progress(
        TextColumn("explore"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )
    last = time.monotonic()
    with bar:
        task = bar.add_task("explore", total=None)

        def update(done: int, of: int | None) -> None:
            nonlocal last
            bar.update(task, completed=done, total=of)
            if not errors.is_terminal and time.monotonic() - last > EVERY_S:
                last = time.monotonic()
                errors.print(f"{done:,} points" + (f" of {of:,}" if of else ""))

        yield update


def _show(record: dict[str, Any]) -> None:
    """Print the front as a table: the parameters that differ, and the objectives."""
    best, wanted = record["front"], record["objectives"]
    output.print(
        f"{record['points']:,} points, {record['failed']:,} failed, {len(best):,} on the front; "
        f"{record['points_per_s']:.0f} points/s, {record['wall_s']:.1f} s"
    )
    if record["first_error"]:
        output.print(plain(f"the first that failed: {record['first_error']}"))
    if not best:
        output.print("no point is as the constraints want it")
        return
    differing = [
        name
        for name in dict.fromkeys(key for one in best for key in one["configuration"])
        if len({repr(one["configuration"].get(name)) for one in best}) > 1
    ]
    table = Table("point", *map(plain, differing), *(f"{k} ({way})" for k, way in wanted.items()))
    for one in best[:SHOWN]:
        chosen = [plain(_shown(one["configuration"].get(name, ""))) for name in differing]
        table.add_row(str(one["point"]), *chosen, *map(_shown, one["objectives"].values()))
    output.print(table)
    if len(best) > SHOWN:
        output.print(f"and {len(best) - SHOWN:,} more; --json prints all")
    output.print(plain(f"the first one again: {best[0]['command']}"))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

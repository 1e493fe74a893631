"""`nandu validate`: the simulator beside published measurements."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from golden.spec.files import write_text
from sim.published import METRICS
from sim.validate import ClassErrors, Compared, by_class, errors, grade_a, reasons, validate


def run(points: Path | None, table: Path | None) -> tuple[dict[str, Any], list[Compared]]:
    """Compare, write the tables if they are wanted, and return what the command prints.

    Raises:
        ConfigError: the file is not a table of points. OutputError: the tables cannot be written.
    """
    compared = validate(points)
    if table is not None:
        write_text(table, markdown(compared))
    return record(compared), compared


def record(compared: list[Compared]) -> dict[str, Any]:
    """Return the comparison as JSON; `error` is predicted / published - 1.

    `median_abs_error` is that of the points on which no constant was fitted.
    """
    classes = by_class(compared)
    modelled = sum(one.predicted is not None for one in compared)
    return {
        "points": [_point(one) for one in compared],
        "median_abs_error": _column(classes, "held_out"),
        "median_abs_error_fitted": _column(classes, "fitted"),
        "median_abs_error_roofline": _column(classes, "roofline"),
        "median_abs_error_grade_a": _column(grade_a(compared), "held_out"),
        "classes": {
            kind: {"points": one.points, "modelled": one.modelled} for kind, one in classes.items()
        },
        "reasons": dict(reasons(compared)),
        "modelled": modelled,
        "not_modelled": len(compared) - modelled,
    }


def _point(one: Compared) -> dict[str, Any]:
    return {
        "id": one.point.id,
        "predicted": one.predicted,
        "published": one.point.value,
        "error": one.error,
        "class": one.kind,
        "reason": one.reason,
        "fitted": one.fitted,
        "roofline": one.roofline,
        "metric": one.point.metric,
        "source": one.point.source,
    }


def _column(classes: dict[str, ClassErrors], name: str) -> dict[str, float]:
    found = {kind: getattr(one, name) for kind, one in classes.items()}
    return {kind: value for kind, value in found.items() if value is not None}


def lines(compared: list[Compared]) -> Iterator[str]:
    """Yield every point, prediction beside publication, then the tables."""
    for one in compared:
        point, unit = one.point, METRICS[one.point.metric]
        shown = f"{point.id:12}{point.metric:24}{point.value:12.5g}"
        if one.predicted is None or one.error is None:
            yield f"{shown} {unit:8} {one.reason}"
        else:
            half = "fitted" if one.fitted else ""
            yield (
                f"{shown}{one.predicted:12.5g} {unit:8}{one.error:+8.1%}  {half:6}  "
                f"{point.hardware}, {point.software}, {point.model}; {point.source}"
            )
    yield ""
    yield markdown(compared)


# Tables in Markdown


def markdown(compared: list[Compared]) -> str:
    """Return the tables of `docs/validation.md`."""
    modelled = sum(one.predicted is not None for one in compared)
    lines = [
        f"{modelled} of {len(compared)} points are modelled.",
        "",
        "Speed, sources of grade A:",
        "",
        *_table("metric", grade_a(compared) | {"all of them": _all_a(compared)}),
        "",
        "Every class, by source and metric:",
        "",
        *_table("class", by_class(compared)),
        "",
        "Not modelled:",
        "",
        "| points | why |",
        "|---:|---|",
        *(f"| {count} | {reason} |" for reason, count in reasons(compared).most_common()),
    ]
    return "\n".join(lines) + "\n"


def _all_a(compared: list[Compared]) -> ClassErrors:
    metrics = grade_a(compared)
    kinds = [one for one in compared if one.point.metric in metrics and one.point.grade_a]
    return errors(kinds)


def _table(what: str, classes: dict[str, ClassErrors]) -> list[str]:
    head = f"| {what} | points | modelled | held out | median error | fitted ones | roofline |"
    rows = [head, "|---|---:|---:|---:|---:|---:|---:|"]
    for kind, one in classes.items():
        shares = [_percent(value) for value in (one.held_out, one.fitted, one.roofline)]
        counts = [str(count) for count in (one.points, one.modelled, one.fresh)]
        rows.append(f"| {' | '.join([kind, *counts, *shares])} |")
    return rows


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"

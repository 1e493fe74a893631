"""A study's report: one HTML file with figures that opens without a network."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from golden.spec.errors import OutputError, ToolError
from golden.spec.files import make_folder, write_text
from nandu.study_data import TABLES, Shown, StudyData
from nandu.study_figures import axes, energy, figures, numbers

SAYS = {
    "pareto": "The front: what no other point beats",
    "parallel": "Parameters and objectives; drag along an axis to keep a part",
    "roofline": "Roofline: designs and GPUs",
    "time": "Where the time of a decode step goes",
    "energy": "Where the energy of a token goes",
    "sensitivity": "How far each parameter moves the first objective",
}
"""What stands above each figure."""

NOTES = {
    "pareto": "Click a point to see its configuration, its breakdown and its command below.",
    "parallel": "Points on the front are dark.",
    "roofline": "Operations count the zeros that sparsity leaves out, so a sparse design may lie "
    "above the roof of its memory's dense reads; dotted lines are FP16 peaks of data sheets.",
    "time": "The first points of the front, and the GPUs that the model predicts for their work.",
    "energy": "The energy of a token, prompts included, divided like the time: exact where energy "
    "is a board's typical power, an estimate on a GPU.",
    "sensitivity": "From the lowest to the highest mean over all points with one value.",
}

MOST_FILTERED = 40
"""Values of a parameter that the page can choose among."""

SUFFIXES = ("svg", "png")


def write_report(data: StudyData, path: Path) -> dict[str, go.Figure]:
    """Write the page, and return its figures by name.

    Raises:
        OutputError: `path` cannot be written.
    """
    drawn = figures(data)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("study_report.html.j2").render(
        data=data,
        says=SAYS,
        notes=NOTES,
        good=sum(one.feasible for one in data.points),
        failed=sum(bool(one.error) for one in data.points),
        front=len(data.front),
        content=_content(data),
        figures=_embed(drawn),
        plotlyjs=get_plotlyjs(),
    )
    write_text(path, page)
    return drawn


def _embed(drawn: dict[str, go.Figure]) -> str:
    """Return the figures as JSON; Plotly escapes `<`, so no text can end the script element."""
    return "{" + ",".join(f'"{name}":{figure.to_json()}' for name, figure in drawn.items()) + "}"


def _content(data: StudyData) -> str:
    """Return what the page's program reads, as JSON that can end no script element."""
    x, y = axes(data)
    fields = {
        "objectives": data.objectives,
        "numbers": numbers(data),
        "parameters": list(dict.fromkeys(k for one in data.points for k in one.configuration)),
        "filters": _filters(data),
        "axes": [x, y],
        "points": [_point(one) for one in data.points],
        "gpus": [_point(one) for one in data.gpus],
    }
    text = json.dumps(fields, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _filters(data: StudyData) -> dict[str, list[str]]:
    """Return the values of each parameter that the page offers as a filter, as JSON texts."""
    found = {}
    for name in data.parameters:
        values = [one.configuration[name] for one in data.points if name in one.configuration]
        kinds = {json.dumps(value): value for value in values}
        if len(kinds) <= MOST_FILTERED:
            found[name] = sorted(kinds, key=lambda text: (len(text), text))
    return found


def _point(one: Shown) -> dict[str, Any]:
    fields: dict[str, Any] = {"n": one.number, "label": one.label, "c": one.configuration}
    fields["command"] = one.command
    if one.error:
        return fields | {"error": one.error}
    fields |= {"v": one.numbers, "ok": one.feasible, "best": one.best, "limit": one.bottleneck}
    fields |= {name: one.table_of(name) for name in TABLES if one.table_of(name)}
    if one.number_of("joules_per_token") is not None:
        fields["energy"] = {name: float(f"{value:.4g}") for name, value in energy(one).items()}
    return fields


def write_figures(drawn: dict[str, go.Figure], folder: Path) -> list[Path]:
    """Write each figure as SVG and PNG into a folder, and return the files.

    Raises:
        ToolError: the package kaleido or a Chromium that it drives is missing.
        OutputError: the folder cannot be written.
    """
    if find_spec("kaleido") is None:
        raise ToolError(
            "figures as files need the package kaleido and a Chromium: `pip install kaleido`; the "
            "page itself saves each figure without them"
        )
    make_folder(folder)
    files = [folder / f"{name}.{suffix}" for suffix in SUFFIXES for name in drawn]
    try:
        _draw(list(drawn.values()) * len(SUFFIXES), files)
    except OSError as error:
        raise OutputError(f"cannot write figures to {str(folder)!r} ({error})") from None
    except Exception as error:
        # Kaleido has its own errors for a browser that is missing or that ends.
        reason = " ".join(str(error).split())[:200]
        raise ToolError(f"kaleido could not draw with Chromium ({reason})") from None
    return files


def _draw(drawn: Sequence[go.Figure], files: Sequence[Path]) -> None:
    import plotly.io

    plotly.io.write_images(list(drawn), list(files), scale=2)

"""The figures of a study's report, by Plotly; the page adds filters and clicks to them."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from nandu.study_data import METRICS, Shown, StudyData

MOST_DRAWN = 3_000
"""Points of the front's chart beside the front: each is an SVG element that the browser holds."""

MOST_LINES = 1_000
"""Lines of the parallel coordinates."""

MOST_BARS = 12
"""Points whose breakdown is drawn."""

COLOURS = ("#2a78b5", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c96a3", "#d8c81f")
"""Okabe and Ito's colours, which most colour-blind readers can tell apart."""

GREY, PALE = "#8c96a3", "#d5dae0"


def figures(data: StudyData) -> dict[str, go.Figure]:
    """Return every figure by its name: the id of its place in the page, and of its file."""
    return {
        "pareto": pareto(data),
        "parallel": parallel(data),
        "roofline": roofline(data),
        "time": time_breakdown(data),
        "energy": energy_breakdown(data),
        "sensitivity": sensitivity(data),
    }


def axes(data: StudyData) -> tuple[str, str]:
    """Return what the front's chart shows at first: a second number, and the first objective."""
    first, *others = data.objectives
    spare = (name for name in ("joules_per_token", "ttft_ms", *METRICS) if name != first)
    return next(iter(others), next(spare)), first


def numbers(data: StudyData) -> list[str]:
    """Return the names of all numbers that points have, objectives first."""
    return list(dict.fromkeys([*data.objectives, *METRICS]))


def _figure(x: str, y: str, **layout: Any) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        margin={"l": 70, "r": 20, "t": 60, "b": 60},
        height=420,
        font={"family": "system-ui, sans-serif", "size": 13},
        xaxis_title=x,
        yaxis_title=y,
        colorway=COLOURS,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02},
        hovermode="closest",
        **layout,
    )
    return figure


# The front


def drawn(data: StudyData) -> list[Shown]:
    """Return the points that the front's chart has: all of the front, and evenly of the others."""
    others = [one for one in data.points if one.numbers and not one.best]
    step = -(-len(others) // MOST_DRAWN) or 1
    return [*others[::step], *(one for one in data.points if one.best)]


def pareto(data: StudyData) -> go.Figure:
    """Return the chart of the front: the first objective over the second."""
    x, y = axes(data)
    figure = _figure(x, y)
    shown = drawn(data)
    groups = (
        ("not as the constraints want", PALE, 5, [one for one in shown if not one.feasible]),
        ("beaten", GREY, 6, [one for one in shown if one.feasible and not one.best]),
        ("front", COLOURS[0], 10, [one for one in shown if one.best]),
    )
    for name, colour, size, points in groups:
        marker = {"color": colour, "size": size}
        figure.add_trace(_scatter(name, points, x, y, marker, "points"))
    marker = {"color": COLOURS[5], "size": 12, "symbol": "star"}
    figure.add_trace(_scatter("GPUs (model)", data.gpus, x, y, marker, "gpus"))
    return figure


def _scatter(
    name: str, points: Sequence[Shown], x: str, y: str, marker: dict[str, Any], of: str
) -> go.Scatter:
    return go.Scatter(
        name=name,
        mode="markers",
        x=[one.number_of(x) for one in points],
        y=[one.number_of(y) for one in points],
        customdata=[one.number for one in points],
        text=[hover(one) for one in points],
        hovertemplate="%{text}<extra></extra>",
        marker=marker,
        meta=of,
    )


def hover(one: Shown) -> str:
    """Return what a point says when a mouse is over it."""
    words = [f"{key} {value}" for key, value in one.configuration.items()]
    return "<br>".join(text.replace("<", "&lt;") for text in (one.label, *words))


# Parallel coordinates


def parallel(data: StudyData) -> go.Figure:
    """Return a line for each good point over its parameters and objectives."""
    good = [one for one in data.points if one.numbers and one.feasible]
    step = -(-len(good) // MOST_LINES) or 1
    shown = [one for place, one in enumerate(good) if one.best or place % step == 0]
    columns = [_choices(name, shown) for name in data.parameters]
    columns += [
        {"label": name, "values": [one.number_of(name) for one in shown]}
        for name in data.objectives
        if all(one.number_of(name) is not None for one in shown)
    ]
    figure = _figure("", "")
    colour = [1 if one.best else 0 for one in shown]
    scale = [[0, PALE], [1, COLOURS[0]]]
    line = {"color": colour, "colorscale": scale, "cmin": 0, "cmax": 1}
    figure.add_trace(go.Parcoords(dimensions=columns, line=line))
    figure.update_layout(margin={"l": 90, "r": 70, "t": 60, "b": 30})
    return figure


def _choices(name: str, points: Sequence[Shown]) -> dict[str, Any]:
    """Return an axis of a parameter: numbers as they are, all else by its place."""
    found = [one.configuration.get(name) for one in points]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        return {"label": name, "values": found}
    kinds = list(dict.fromkeys(map(str, found)))
    places = [kinds.index(str(value)) for value in found]
    ticks = [text[:24] for text in kinds]
    return {"label": name, "values": places, "tickvals": list(range(len(kinds))), "ticktext": ticks}


# The roofline


def roofline(data: StudyData) -> go.Figure:
    """Return operations per second over operations per byte, with each GPU's roof."""
    figure = _figure("operations per byte of memory", "operations per second, tokens written")
    figure.update_xaxes(type="log", exponentformat="power")
    figure.update_yaxes(type="log", exponentformat="power")
    shown = [one for one in drawn(data) if one.intensity and one.operations]
    right = 4 * max([one.intensity or 0 for one in [*shown, *data.gpus]], default=1)
    left = min([one.intensity or 1 for one in [*shown, *data.gpus]], default=1) / 4
    for place, device in enumerate(data.devices):
        rate, peak = device.memory.gb_per_s * 1e9, device.fp16_tflops * 1e12
        ridge = peak / rate
        ends = [left, ridge, max(right, 4 * ridge)]
        name = f"{device.name}, FP16"
        colour = COLOURS[place % len(COLOURS)]
        figure.add_trace(_roof(name, ends, [min(rate * x, peak) for x in ends], colour))
    for one in data.front[:1]:
        if one.roof:
            ends = [left, right]
            name = f"memory of {one.label}"
            figure.add_trace(_roof(name, ends, [one.roof * x for x in ends], "#1b2430"))
    for name, group, of, symbol in (
        ("designs", shown, "points", "circle"),
        ("GPUs (model)", data.gpus, "gpus", "star"),
    ):
        trace = go.Scatter(
            name=name,
            mode="markers",
            x=[one.intensity for one in group],
            y=[one.operations for one in group],
            customdata=[one.number for one in group],
            text=[hover(one) for one in group],
            hovertemplate="%{text}<extra></extra>",
            marker={"symbol": symbol, "size": 8 if of == "points" else 13},
            meta=of,
        )
        figure.add_trace(trace)
    return figure


def _roof(name: str, x: list[float], y: list[float], colour: str) -> go.Scatter:
    line = {"color": colour, "width": 1.5, "dash": "dot"}
    return go.Scatter(name=name, mode="lines", x=x, y=y, line=line, hoverinfo="name")


# Time and energy


def time_breakdown(data: StudyData) -> go.Figure:
    """Return the time of a decode step by class of operators: the front's points, and GPUs."""
    bars = [*data.front[:MOST_BARS], *data.gpus]
    return _stacked(bars, [one.table_of("breakdown") for one in bars], "ms per step")


def energy_breakdown(data: StudyData) -> go.Figure:
    """Return a token's energy by class: each has the share of it that it has of the time."""
    bars = [one for one in [*data.front[:MOST_BARS], *data.gpus] if "joules_per_token" in _all(one)]
    return _stacked(bars, [energy(one) for one in bars], "J per token")


def _all(one: Shown) -> dict[str, float]:
    return one.numbers or {}


def energy(one: Shown) -> dict[str, float]:
    """Return the joules of a token by class of operators, prompts included.

    The power is taken to be the same all the time; so it is exact where a board's typical power is
    what energy is reckoned from, and an estimate on a GPU.
    """
    count = max(int(one.configuration.get("decode", 128)), 1)
    first, step = one.table_of("ttft_breakdown"), one.table_of("breakdown")
    names = dict.fromkeys([*first, *step])
    times = {name: first.get(name, 0.0) / count + step.get(name, 0.0) for name in names}
    whole = sum(times.values()) or 1.0
    joules = one.number_of("joules_per_token") or 0.0
    return {name: joules * value / whole for name, value in times.items()}


def _stacked(bars: Sequence[Shown], tables: Sequence[dict[str, float]], unit: str) -> go.Figure:
    figure = _figure(unit, "", barmode="stack")
    labels = [one.label for one in bars]
    for name in dict.fromkeys(key for table in tables for key in table):
        values = [table.get(name, 0.0) for table in tables]
        figure.add_trace(go.Bar(name=name, orientation="h", y=labels, x=values))
    figure.update_layout(height=190 + 30 * max(len(bars), 4), margin={"l": 220})
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


# Sensitivity


def sensitivity(data: StudyData) -> go.Figure:
    """Return how far each parameter moves the first objective: its values' lowest and highest mean.

    Means are over all points that have the value, feasible or not.
    """
    name = next(iter(data.objectives))
    found = {}
    for key in data.parameters:
        groups: dict[str, list[float]] = {}
        for one in data.points:
            value = one.number_of(name)
            if value is not None and key in one.configuration:
                groups.setdefault(str(one.configuration[key]), []).append(value)
        if groups:
            means = {choice: fmean(values) for choice, values in groups.items()}
            low, high = min(means, key=lambda k: means[k]), max(means, key=lambda k: means[k])
            found[key] = (means[low], means[high], low, high)
    ordered = sorted(found.items(), key=lambda item: item[1][1] - item[1][0], reverse=True)
    figure = _figure(f"mean {name}", "")
    bars = go.Bar(
        orientation="h",
        y=[key for key, _ in ordered],
        base=[low for _, (low, *_) in ordered],
        x=[high - low for _, (low, high, *_) in ordered],
        text=[f"{low[:20]} to {high[:20]}" for _, (_, _, low, high) in ordered],
        hovertemplate="%{y}: %{base:.4g}, and %{x:.4g} more (%{text})<extra></extra>",
        name=name,
    )
    figure.add_trace(bars)
    figure.update_layout(height=140 + 32 * max(len(ordered), 3), margin={"l": 150})
    figure.update_yaxes(autorange="reversed", type="category")
    return figure

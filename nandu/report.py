"""The demo's report: one HTML file with text, tables and figures that opens without a network."""

import html
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import jinja2
import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from golden.spec.files import write_text
from hw.verify_engine import CaseResult
from nandu.demo_result import DemoResult
from sim.result import Result

MAX_POINTS = 5_000
"""Most points of the scatter: every one is an SVG element that the browser has to hold."""

UTILISATION_GOAL = 0.95
"""The share of useful products that an engine has to reach over a layer, start-up included."""

HEIGHT = 340
"""Pixels of a figure whose height its data does not set."""

ROW = 56
"""Pixels of one bar with its name above."""


def write_report(result: DemoResult, path: Path, command: str = "nandu demo") -> None:
    """Write the report of `result` to `path`; `command` is what makes it again.

    Raises:
        OutputError: `path` cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    page = environment.get_template("report.html.j2").render(
        result=result,
        command=command,
        verdict=verdict(result),
        shares=_shares(result.keep),
        runs=list(zip(result.runs, result.run_errors, strict=True)),
        points=min(result.golden_output.size, MAX_POINTS),
        goal=UTILISATION_GOAL,
        headline=_headline(result.systems),
        assumptions=_assumptions(result.systems),
        classes=_classes(result.systems),
        figures=_embed(figures(result)),
        plotlyjs=get_plotlyjs(),
    )
    write_text(path, page)


def verdict(result: DemoResult) -> str:
    """One sentence that says what was shown, or what failed."""
    if not result.passed:
        return f"Failed: {_failures(result.runs)}."
    run = result.runs[0]
    outputs = f"{run.compared:,} of {run.compared:,} outputs equal golden"
    return f"Bit-exact: {outputs}; {run.cycles:,} cycles, as the contract says."


def _failures(runs: Sequence[CaseResult]) -> str:
    failures = []
    if wrong := sum(run.mismatches for run in runs):
        failures.append(
            f"{wrong:,} of {sum(run.compared for run in runs):,} outputs differ from golden"
        )
    if late := [run for run in runs if run.cycles != run.contract_cycles]:
        names = ", ".join(run.name for run in late)
        failures.append(
            f"{len(late)} of {len(runs)} runs differ from the contract's cycles ({names})"
        )
    return "; ".join(failures)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _shares(keep: np.ndarray) -> list[tuple[int, int, float]]:
    """Each N that occurs, with its blocks and their share."""
    levels, blocks = np.unique(keep, return_counts=True)
    return [
        (int(n), int(count), count / keep.size) for n, count in zip(levels, blocks, strict=True)
    ]


def _headline(systems: Sequence[Result]) -> Result | None:
    """The estimate among the key figures: the U280's, which FlightLLM was built on."""
    u280 = [system for system in systems if "u280" in system.system.lower()]
    return next(iter([*u280, *systems]), None)


def _assumptions(systems: Sequence[Result]) -> dict[str, list[str]]:
    """Each set of systems, as a person reads it, with the assumptions that just these share."""
    grouped: dict[str, list[str]] = {}
    for sentence in dict.fromkeys(s for system in systems for s in system.assumptions):
        labels = [system.label for system in systems if sentence in system.assumptions]
        holders = "All systems" if len(labels) == len(systems) else "; ".join(labels)
        grouped.setdefault(holders, []).append(sentence)
    return grouped


def _classes(systems: Sequence[Result]) -> dict[str, str]:
    """The operator classes of all breakdowns in order of use, with the colour of each."""
    names = dict.fromkeys(name for system in systems for name in system.breakdown)
    return {name: f"var(--s{i % 8})" for i, name in enumerate(names)}


def _embed(drawn: dict[str, go.Figure]) -> str:
    """The figures as JSON; Plotly escapes `<`, so no text in them can end the script element."""
    return "{" + ",".join(f'"{name}":{figure.to_json()}' for name, figure in drawn.items()) + "}"


# Figures. A colour is the name of a CSS variable: the page puts in the light or the dark one.


def figures(result: DemoResult) -> dict[str, go.Figure]:
    """Every figure by the id of its place in the page."""
    drawn = {
        "sparsity-map": _sparsity_map(result.keep),
        "error-histogram": _error_histogram(result),
        "error-scatter": _error_scatter(result),
        "error-parts": _error_parts(result),
        "cycles": _cycles(result.runs),
        "utilisation": _utilisation(result.runs),
    }
    if result.systems:
        drawn["decode-speed"] = _decode_speed(result.systems)
        drawn["time-breakdown"] = _time_breakdown(result.systems)
    return drawn


def _figure(height: int = HEIGHT) -> go.Figure:
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "title_font": {"size": 13, "color": "var(--muted)"},
        "tickfont_color": "var(--muted)",
        "automargin": True,
    }
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": "var(--ink)"},
            "hoverlabel": {"bgcolor": "var(--ink)", "font_color": "var(--card)"},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--muted)"},
            "showlegend": False,
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def _rows(names: Sequence[str], values: Sequence[str], unit: str) -> go.Figure:
    """An empty chart of horizontal bars, one row per name, with name and value above the bar.

    Names beside the bars would leave a telephone no room for the bars themselves.
    """
    figure = _figure(ROW * len(names) + 64)
    figure.update_layout(bargap=0.54, barmode="stack")
    figure.update_xaxes(title_text=unit, rangemode="tozero", fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True, range=[len(names) - 0.6, -0.76])
    for y, (name, value) in enumerate(zip(names, values, strict=True)):
        figure.add_annotation(
            text=f"{_plain(name)}&nbsp; <b>{value}</b>",
            x=0,
            xref="paper",
            xanchor="left",
            y=y - 0.25,
            yanchor="bottom",
            borderpad=0,
            showarrow=False,
            bgcolor="var(--card)",
        )
    return figure


def _add_bars(
    figure: go.Figure,
    lengths: Sequence[float],
    colour: str | list[str],
    hover: str,
    name: str = "",
    offsetgroup: str = "",
) -> None:
    """Add a bar to each row; the bars of one `offsetgroup` stand end to end."""
    figure.add_bar(
        name=name,
        offsetgroup=offsetgroup,
        x=lengths,
        y=list(range(len(lengths))),
        orientation="h",
        marker={"color": colour, "line": {"color": "var(--card)", "width": 1}},
        hovertemplate=f"{hover}<extra>{name}</extra>",
    )


def _plain(text: str) -> str:
    """`text` as Plotly shows it literally: it reads some HTML tags."""
    return html.escape(text, quote=False)


def _wrapped(text: str) -> str:
    """`text` in lines that a hover label has room for on a telephone."""
    return "<br>".join(_plain(line) for line in textwrap.wrap(text, 40))


def _sparsity_map(keep: np.ndarray) -> go.Figure:
    # One flat colour for each N: the scale changes only half-way between neighbours.
    levels = [n for n, _, _ in _shares(keep)]
    low, high = levels[0] - 1, levels[-1] + 1
    edges = [low, *((a + b) / 2 for a, b in pairwise(levels)), high]
    places = [(edge - low) / (high - low) for edge in edges]
    steps = zip(levels, pairwise(places), strict=True)
    scale = [[place, f"var(--n{n})"] for n, step in steps for place in step]
    figure = _figure()
    figure.add_heatmap(
        z=keep,
        zmin=low,
        zmax=high,
        colorscale=scale,
        showscale=False,
        hovertemplate="output block %{y}, input block %{x}: N = %{z}<extra></extra>",
    )
    figure.update_xaxes(title_text="block of inputs", showgrid=False)
    figure.update_yaxes(title_text="block of output rows", showgrid=False, autorange="reversed")
    return figure


def _error_histogram(result: DemoResult) -> go.Figure:
    counts, edges = np.histogram(result.golden_output - result.float_output, bins=60)
    figure = _figure()
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=np.diff(edges),
        marker={"color": "var(--blue)", "line": {"color": "var(--card)", "width": 1}},
        hovertemplate="%{y:,} outputs near %{x:.3g}<extra></extra>",
    )
    figure.update_xaxes(title_text="golden − float (units of the layer's output)", fixedrange=True)
    figure.update_yaxes(title_text="outputs", fixedrange=True)
    return figure


def _error_scatter(result: DemoResult) -> go.Figure:
    size = result.golden_output.size
    chosen = np.linspace(0, size - 1, min(size, MAX_POINTS)).astype(int)
    x, y = result.float_output.ravel()[chosen], result.golden_output.ravel()[chosen]
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    figure = _figure()
    line = {"color": "var(--orange)", "width": 1.5}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip")
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": "var(--blue)", "size": 5, "opacity": 0.35},
        hovertemplate="float %{x:.4g}<br>golden %{y:.4g}<extra></extra>",
    )
    figure.update_xaxes(title_text="float output")
    figure.update_yaxes(title_text="golden output")
    return figure


def _error_parts(result: DemoResult) -> go.Figure:
    parts = {
        "Pruning alone": result.pruning_error,
        "Quantisation alone": result.quantisation_error,
        "Both": result.relative_error,
    }
    figure = _rows(list(parts), [_percent(e) for e in parts.values()], "error / norm of output (%)")
    colours = ["var(--s1)", "var(--s2)", "var(--blue)"]
    _add_bars(figure, [100 * error for error in parts.values()], colours, "%{x:.2f} %")
    return figure


def _cycles(runs: Sequence[CaseResult]) -> go.Figure:
    figure = _rows([run.name for run in runs], [f"{run.cycles:,}" for run in runs], "clock cycles")
    for name, cycles, colour in (
        ("measured", [run.cycles for run in runs], "var(--blue)"),
        ("contract", [run.contract_cycles for run in runs], "var(--grey)"),
    ):
        _add_bars(figure, cycles, colour, "%{x:,} cycles", name=name, offsetgroup=name)
    return figure


def _utilisation(runs: Sequence[CaseResult]) -> go.Figure:
    shares = [run.utilisation for run in runs]
    unit = "useful products / (lanes × cycles) (%)"
    figure = _rows([run.name for run in runs], [_percent(share, 2) for share in shares], unit)
    _add_bars(figure, [100 * share for share in shares], "var(--blue)", "%{x:.2f} %")
    figure.add_vline(
        x=100 * UTILISATION_GOAL,
        line={"color": "var(--orange)", "width": 2},
        annotation={"text": f"goal {100 * UTILISATION_GOAL:.0f} %", "xanchor": "right"},
    )
    figure.update_xaxes(range=[0, 101])
    return figure


def _decode_speed(systems: Sequence[Result]) -> go.Figure:
    speeds = [system.decode_tokens_per_s or 0.0 for system in systems]
    figure = _rows([s.label for s in systems], [f"{v:.1f}" for v in speeds], "tokens per second")
    _add_bars(figure, speeds, "var(--blue)", "%{x:.1f} tokens/s", name="estimate")
    measured = [(y, s) for y, s in enumerate(systems) if s.published_tokens_per_s is not None]
    line = {"color": "var(--card)", "width": 2}
    figure.add_scatter(
        name="published, measured",
        x=[system.published_tokens_per_s for _, system in measured],
        y=[y for y, _ in measured],
        customdata=[_wrapped(system.published_source) for _, system in measured],
        mode="markers",
        marker={"symbol": "diamond", "size": 13, "color": "var(--orange)", "line": line},
        hovertemplate="%{x:.1f} tokens/s<br>%{customdata}<extra></extra>",
    )
    return figure


def _time_breakdown(systems: Sequence[Result]) -> go.Figure:
    times = [f"{system.tpot_ms:.2f} ms" for system in systems]
    figure = _rows([system.label for system in systems], times, "milliseconds per token")
    for name, colour in _classes(systems).items():
        parts = [system.breakdown.get(name, 0.0) for system in systems]
        _add_bars(figure, parts, colour, "%{x:.3f} ms", name=_plain(name))
    return figure

"""`nandu simulate`: one workload on one system."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from golden import model_shapes
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.files import write_text
from sim import treat
from sim.catalogue import load_system
from sim.result import Result
from sim.simulate import simulate
from sim.system import Span, System
from sim.workload import Pass, Workload, prefill_passes

RANGED = ("ttft_ms", "tpot_ms")
"""Times that are also given as a range, where the spread of measured ones is known."""


def run(
    system: str,
    model: str,
    workload: dict[str, int],
    settings: Sequence[str],
    trace: Path | None,
    techniques: Sequence[str] = (),
) -> dict[str, Any]:
    """Simulate, write the trace if one is wanted, and return what the command prints.

    Raises:
        ConfigError: a name or a number is wrong, or the model does not fit.
        OutputError: the trace cannot be written.
    """
    shape = model_shapes.load(model)
    machine = machine_with(system, shape, settings, techniques)
    asked = Workload(**workload)
    result = simulate(machine, shape, asked)
    if trace is not None:
        write_text(trace, json.dumps({"traceEvents": events(machine, shape, asked)}))
    return record(result)


def machine_with(
    system: str, model: ModelShape, settings: Sequence[str], techniques: Sequence[str]
) -> System:
    """Return the system with its settings, and with techniques as a user writes them.

    Raises:
        ConfigError: a name or a number is wrong, or a technique makes no sense there.
    """
    machine = load_system(system, parse(settings))
    return treat.treat(machine, model, [treat.parse(one) for one in techniques])


def parse(settings: Sequence[str]) -> dict[str, Any]:
    """Return settings written as KEY=VALUE; a value is read as YAML.

    Raises:
        ConfigError: one has no "=", or its value is not YAML.
    """
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set is {setting!r}; a key and a value are needed, as devices=2")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set is {setting!r}; {value!r} is not a value") from None
    return found


def record(result: Result) -> dict[str, Any]:
    """Return a result as JSON, with the ranges in which measured times are expected."""
    fields = dataclasses.asdict(result)
    for name in RANGED:
        value, spread = fields[name], result.spread
        between = None
        if value is not None and spread is not None:
            between = [value / (1 + spread), value * (1 + spread)]
        fields[f"{name}_range"] = between
    return fields


# The trace


def events(system: System, model: ModelShape, workload: Workload) -> list[dict[str, object]]:
    """Return a trace for Perfetto: the first pass over the prompts, the first and last step.

    A track is a unit. Between the passes that are shown, time is left out.
    """
    shown = []
    if system.prefill(model, workload) is not None:
        shown.append(("prefill", next(prefill_passes(workload, system.chunk))))
    if workload.decode:
        last = workload.prefill + workload.decode - 1
        new = system.emission.verified
        shown += [
            (f"step at {context}", Pass(workload.batch, new, context + new - 1))
            for context in dict.fromkeys((workload.prefill, last))
        ]
    spans: list[Span] = []
    at = 0.0
    for name, job in shown:
        here = system.spans(model, job)
        end = max(span.start + span.seconds for span in here)
        spans.append(Span("passes", name, "", at, end))
        spans += [dataclasses.replace(span, start=span.start + at) for span in here]
        at += end
    return list(_traced(spans))


def _traced(spans: Sequence[Span]) -> Iterable[dict[str, object]]:
    units = list(dict.fromkeys(span.unit for span in spans))
    for track, unit in enumerate(units):
        yield {"ph": "M", "pid": 0, "tid": track, "name": "thread_name", "args": {"name": unit}}
    for span in spans:
        yield {
            **{"ph": "X", "pid": 0, "tid": units.index(span.unit), "name": span.name},
            **{"ts": span.start * 1e6, "dur": span.seconds * 1e6, "args": {"part": span.part}},
        }


# What a person reads


def lines(record: dict[str, Any]) -> Iterable[str]:
    """Yield a result in lines for a terminal."""
    yield (
        f"{record['model']} on {record['label']}: {record['batch']} x "
        f"{record['context']:,} tokens read, {record['decode']:,} written"
    )
    yield from _techniques(record)
    yield _row("first token", _ms(record, "ttft_ms"))
    yield _row("each further step", _ms(record, "tpot_ms"))
    yield _row("decode", _number(record["decode_tokens_per_s"], "tokens/s"))
    yield _row("end to end", _number(record["e2e_tokens_per_s"], "tokens/s"))
    yield _row("energy", _number(record["joules_per_token"], "J/token"))
    yield _row("cost", _number(record["usd_per_mtoken"], "USD per million tokens"))
    held = record["memory_gb"]["held"]
    yield _row("memory", f"{record['peak_memory_gb']:.2f} of {held:.2f} GB")
    yield _row(
        "bandwidth",
        f"{record['bandwidth_used']:.0%} of the peak, {record['bandwidth_streaming']:.0%} "
        "while memory is the limit",
    )
    what = "a token of each sequence takes" if record["tokens_per_pass"] > 1 else "a step takes"
    yield what if record["decode"] else "the first token takes"
    parts = record["breakdown"] or record["ttft_breakdown"]
    for name, value in parts.items():
        yield _row(name, f"{value:9.3f} ms")
    yield f"limited by {record['bottleneck']}; 10 % faster shortens first token and step by"
    for name, gains in record["why"].items():
        shown = [f"{gains[key]:7.2%}" if key in gains else "      –" for key in ("ttft", "tpot")]
        yield _row(name, "  ".join(shown))
    for sentence in record["assumptions"]:
        yield f"- {sentence}"


def _techniques(record: dict[str, Any]) -> Iterable[str]:
    for name, quality in zip(record["techniques"], record["quality"], strict=True):
        lost = f"{quality['lost']} ({quality['source']})" if quality else "not measured"
        yield f"  with {name}; lost: {lost}"
    if record["tokens_per_pass"] > 1:
        yield _row("tokens of a pass", f"{record['tokens_per_pass']:.3f}")
    for name, value in record["metrics"].items():
        yield _row(name, f"{value:.4g}")


def _row(name: str, value: str) -> str:
    return f"  {name:24}{value}"


def _number(value: float | None, unit: str) -> str:
    return "not modelled" if value is None else f"{value:,.4g} {unit}"


def _ms(record: dict[str, Any], name: str) -> str:
    value, between = record[name], record[f"{name}_range"]
    if value is None:
        return "not modelled"
    shown = f"{value:,.3f} ms"
    if between is None:
        return shown
    return f"{shown} (four of five measured ones: {between[0]:,.3f} to {between[1]:,.3f})"

"""A token's instructions on a time line, one track per unit, for Perfetto (https://ui.perfetto.dev).

The file is in Chrome's trace event format, which Perfetto opens. A microsecond there is a cycle.
"""

import json
from pathlib import Path

from golden.spec.files import write_text
from golden.spec.instruction import Instruction
from golden.spec.isa import Unit, Weights
from golden.spec.special_function_unit import Operation
from hls_gen.memory_map import Base
from hls_gen.model_run import TokenRun

LAYERS_TRACK = len(Unit)


def write_timeline(path: Path, run: TokenRun) -> None:
    """Write a token's time line.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, json.dumps({"traceEvents": [*_tracks(), *_instructions(run), *_layers(run)]}))


def _tracks() -> list[dict[str, object]]:
    names = [*(unit.name for unit in Unit), "layers"]
    return [
        {"ph": "M", "pid": 0, "tid": track, "name": "thread_name", "args": {"name": name}}
        for track, name in enumerate(names)
    ]


def _instructions(run: TokenRun) -> list[dict[str, object]]:
    at = dict(zip(run.program.counters, run.program.instructions, strict=True))
    begin, times = run.times.first_start, run.times
    events = []
    for unit in Unit:
        for pc, start, end in zip(times.pc[unit], times.start[unit], times.end[unit], strict=True):
            one = at[int(pc)]
            fields = zip(one.format.fields, one.values, strict=True)
            args = {field.name: value for field, value in fields if value != field.default}
            events.append(_event(_name(one), unit, start - begin, end - begin, args | {"pc": pc}))
    return events


def _layers(run: TokenRun) -> list[dict[str, object]]:
    events, at = [], 0
    for number, cycles in enumerate(run.layer_cycles):
        events.append(_event(f"layer {number}", LAYERS_TRACK, at, at + cycles, {}))
        at += cycles
    return events


def _event(name: str, track: int, start: int, end: int, args: dict[str, int]) -> dict[str, object]:
    return {
        **{"ph": "X", "pid": 0, "tid": int(track), "name": name},
        **{"ts": int(start), "dur": int(end - start)},
        "args": {key: int(value) for key, value in args.items()},
    }


def _name(one: Instruction) -> str:
    """Return what an instruction is called on its track."""
    match one.unit:
        case Unit.MISC:
            return f"{Operation(one['op']).name} {one['length']}"
        case Unit.MV:
            return _product_name(one)
        case Unit.MM:
            return f"{_product_name(one)} x {one['tokens']} tokens"
        case Unit.LD | Unit.ST:
            return Base(one["base"]).name.lower()
    return one.unit.name


def _product_name(one: Instruction) -> str:
    return f"{Weights(one['weights']).name} {one['strips']} strips x {one['columns']}"

"""The hardware blocks by name: what `generate`, `verify`, `synth` and `list` offer."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from golden.spec.errors import ConfigError
from golden.spec.files import write_text
from hw.emit import Design, emit
from hw.synth import TARGETS, Counts, check_target, synthesise
from nandu.block_table import BLOCKS, Block, Config

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnyConfig = TypeVar("AnyConfig", bound="DataclassInstance")
GENERIC = "generic"


def find(name: str) -> Block:
    """Return the block called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in BLOCKS:
        raise ConfigError(f"there is no block {name!r}; known are {', '.join(BLOCKS)}")
    return BLOCKS[name]


def configure(block: Block, settings: Sequence[str]) -> Config:
    """Return the block's configuration with settings like "m=8" applied; see `with_settings`."""
    defaults = [f"{name}={value}" for name, value in block.defaults.items()]
    config: Config = with_settings(block.config, [*defaults, *settings])
    block.check(config)
    return config


def with_settings(kind: type[AnyConfig], settings: Sequence[str]) -> AnyConfig:
    """Return a configuration with settings like "m=8" applied, of several for a field the last.

    Raises:
        ConfigError: a setting is not key=integer, or names no field, or is outside its range.
    """
    return kind(**settings_of(kind, settings))


def settings_of(kind: type[AnyConfig], settings: Sequence[str]) -> dict[str, int]:
    """Return the fields that settings like "m=8" give, of several for a field the last.

    Raises:
        ConfigError: a setting is not key=integer, or names no field.
    """
    fields = [field.name for field in dataclasses.fields(kind)]
    values: dict[str, int] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in fields:
            raise ConfigError(f"there is no setting {key!r}; known are {', '.join(fields)}")
        try:
            values[key] = int(value)
        except ValueError:
            raise ConfigError(f"{key} is {value!r}; an integer is needed, as in {key}=8") from None
    return values


@dataclass(frozen=True)
class Generated:
    """What `generate` wrote."""

    top: str
    files: list[str]
    modules: int
    config: dict[str, int]
    lanes: int
    elaboration_s: float


def generate(name: str, settings: Sequence[str], target: str, out: Path) -> Generated:
    """Write a block's Verilog, its description and its bench to the folder `out`.

    Raises:
        ConfigError: unknown block, setting or target. OutputError: the folder cannot be written.
    """
    block = find(name)
    config = configure(block, settings)
    check_emission_target(target)
    start = time.perf_counter()
    design = emit(block.component, config, target=target)
    elaboration_s = time.perf_counter() - start
    about = _describe(name, block, config, target, design)
    bench = _BENCH.format(
        top=design.top,
        name=name,
        config=block.config.__name__,
        home=block.config.__module__,
        cases=block.random_cases.__module__,
        run=block.run_cases.__module__,
    )
    files = {
        f"{design.top}.v": design.verilog,
        f"{design.top}.json": json.dumps(about, indent=2) + "\n",
        f"bench_{design.top}.py": bench,
    }
    for file, text in files.items():
        write_text(out / file, text)
    return Generated(
        design.top,
        [str(out / file) for file in files],
        len(design.modules),
        dataclasses.asdict(config),
        config.lanes,
        elaboration_s,
    )


def verify(
    name: str,
    settings: Sequence[str],
    target: str,
    cases: int | None,
    seed: int,
    **options: Any,
) -> tuple[list[Any], int, int]:
    """Run random cases of a block's bench; return their results, and how many crosses they hit.

    A cross is a combination of mode, pauses, pattern of blocks and so on that a case may have; the
    last number is that of all crosses.

    Args:
        cases: how many; None for as many as hit every cross.
        options: `waves`, `progress`, `design` of the block's `run_cases`.

    Raises:
        ConfigError: unknown block, setting or target, or no case. ToolError: a tool is missing.
    """
    block = find(name)
    config = configure(block, settings)
    check_emission_target(target)
    if cases is None:
        cases = len(block.crosses(config))
    if cases < 1:
        raise ConfigError(f"cases is {cases}; at least 1 is needed")
    chosen = block.random_cases(config, cases, seed)
    results = block.run_cases(chosen, target=target, seed=seed, **options)
    crosses = len(block.crosses(config))
    return results, round(block.coverage(chosen) * crosses), crosses


def synth(name: str, settings: Sequence[str], target: str) -> dict[str, Any]:
    """Return what a block takes of a target's resources.

    `scale_dsp` are the DSPs of scales and requantisation, which `dsp` leaves out. A large block has
    `parts`, with the same of each.

    Raises:
        ConfigError: unknown block, setting or target. ToolError: Yosys failed.
    """
    block = find(name)
    config = configure(block, settings)
    check_target(target)
    design = emit(block.component, config, target=target)
    found = synthesise(design, target, block.apart, block.parts)
    parts = {name: _counts(part) for name, part in found.parts.items()}
    return {
        **_counts(found),
        "soft_multipliers": found.soft_multipliers,
        "logic_depth": found.logic_depth,
        "longest_path": f"{found.path.begin} -> {found.path.end}",
        "lanes": config.lanes,
        "lut_per_dsp": found.lut_per_dsp,
        **({"parts": parts} if parts else {}),
    }


def _counts(counts: Counts) -> dict[str, Any]:
    """Return counts by their names, without the cells."""
    return {
        f.name: getattr(counts, f.name) for f in dataclasses.fields(Counts) if f.name != "cells"
    }


def check_emission_target(target: str) -> None:
    """Raise ConfigError unless Verilog can be written for `target`."""
    known = (GENERIC, *TARGETS)
    if target not in known:
        raise ConfigError(f"there is no target {target!r}; known are {', '.join(known)}")


def _describe(
    name: str, block: Block, config: Config, target: str, design: Design
) -> dict[str, Any]:
    """Return the sidecar of a design: what a bench or another tool needs to know of it."""
    return {
        "block": name,
        "top": design.top,
        "target": target,
        "config": dataclasses.asdict(config),
        "lanes": config.lanes,
        "modules": list(design.modules),
        "apart": list(design.apart),
        "ports": [dataclasses.asdict(port) for port in design.ports],
        "contract": block.contract(config),
        **block.about(config),
    }


_BENCH = '''"""Runs the bench of {top}.v, the file beside this one, against the golden model."""

import json
from pathlib import Path

from {home} import {config}
from hw.emit import Design, Port
from {cases} import random_cases
from {run} import run_cases

here = Path(__file__).parent
about = json.loads((here / "{top}.json").read_text())
design = Design(
    about["top"],
    (here / "{top}.v").read_text(),
    tuple(about["modules"]),
    tuple(Port(**port) for port in about["ports"]),
    tuple(about["apart"]),
)
results = run_cases(random_cases({config}(**about["config"]), 20, seed=0), design=design)
for result in results:
    print("pass" if result.passed else "FAIL", result)
raise SystemExit(0 if all(result.passed for result in results) else 1)
'''

"""The hardware blocks by name: what `generate`, `verify`, `synth` and `list` offer."""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import hw.engine_cases
import hw.sfu_cases
import hw.verify_chain
import hw.verify_engine
import hw.verify_special_functions
from golden.spec.errors import ConfigError
from golden.spec.files import write_text
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hw.emit import Design, emit
from hw.matrix_engine import MatrixEngine
from hw.sfu_timing import STAGES
from hw.sparse_chain import SparseChain
from hw.special_function_unit import SpecialFunctionUnit
from hw.synth import TARGETS, check_target, synthesise

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = SparseChainConfig | MatrixEngineConfig | SpecialFunctionUnitConfig
AnyConfig = TypeVar("AnyConfig", bound="DataclassInstance")
GENERIC = "generic"


@dataclass(frozen=True)
class Block:
    """A block that can be generated.

    Attributes:
        config: class of its configuration. component: class that is emitted.
        summary: one line for `nandu list`.
        contract: of a configuration: where its timing contract is, what it says, and its latency.
        crosses: of a configuration: all combinations of mode, pauses, ... that a case may have.
        random_cases: of a configuration, so many cases, from a seed.
        coverage: of cases: the part of the crosses that they hit, 0 to 1.
        run_cases: runs cases on the Verilog, and returns their results.
    """

    config: type[Any]
    component: type[Any]
    summary: str
    contract: Callable[[Any], dict[str, Any]]
    crosses: Callable[[Any], Sequence[Any]]
    random_cases: Callable[[Any, int, int], list[Any]]
    coverage: Callable[[Sequence[Any]], float]
    run_cases: Callable[..., list[Any]]


def _contract_of_chain(config: SparseChainConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.sparse_chain.SparseChain.cycles: beats of all passes + m + latency, where "
        "every column has at least m beats",
        "latency": SparseChain.latency(config),
        "cycles_of_one_block": {n: SparseChain.cycles(config, [n]) for n in config.keeps},
    }


def _contract_of_engine(config: MatrixEngineConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.engine_timing.engine_cycles, of the passes of its chains and the sweeps of "
        "its buffers",
        "latency": SparseChain.latency(config.chain),
    }


def _contract_of_functions(config: SpecialFunctionUnitConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.sfu_timing.schedule, of its jobs: a word per cycle, except where a scalar "
        "is waited for",
        "latency": STAGES,
    }


BLOCKS = {
    "sparse-chain": Block(
        SparseChainConfig,
        SparseChain,
        "a cascade of DSPs for N:M sparse and dense INT8 products, two per DSP",
        _contract_of_chain,
        hw.verify_chain.crosses,
        hw.verify_chain.random_cases,
        hw.verify_chain.coverage,
        hw.verify_chain.run_cases,
    ),
    "matrix-engine": Block(
        MatrixEngineConfig,
        MatrixEngine,
        "sparse chains with buffers, accumulators, group scales and requantisation",
        _contract_of_engine,
        hw.engine_cases.crosses,
        hw.engine_cases.random_cases,
        hw.engine_cases.coverage,
        hw.verify_engine.run_cases,
    ),
    "special-function-unit": Block(
        SpecialFunctionUnitConfig,
        SpecialFunctionUnit,
        "norms, softmax, activations, rotations and quantisation of vectors in streams",
        _contract_of_functions,
        hw.sfu_cases.crosses,
        hw.sfu_cases.random_cases,
        hw.sfu_cases.coverage,
        hw.verify_special_functions.run_cases,
    ),
}


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
    config: Config = with_settings(block.config, settings)
    return config


def with_settings(kind: type[AnyConfig], settings: Sequence[str]) -> AnyConfig:
    """Return a configuration with settings like "m=8" applied, of several for a field the last.

    Raises:
        ConfigError: a setting is not key=integer, or names no field, or is outside its range.
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
    return kind(**values)


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

    `scale_dsp` are the DSPs of scales and requantisation, which `dsp` leaves out.

    Raises:
        ConfigError: unknown block, setting or target. ToolError: Yosys failed.
    """
    block = find(name)
    config = configure(block, settings)
    check_target(target)
    found = synthesise(emit(block.component, config, target=target), target)
    return {
        "dsp": found.dsp,
        "scale_dsp": found.scale_dsp,
        "lut": found.lut,
        "lut_memory": found.lut_memory,
        "ff": found.ff,
        "bram": found.bram,
        "uram": found.uram,
        "soft_multipliers": found.soft_multipliers,
        "logic_depth": found.logic_depth,
        "lanes": config.lanes,
        "lut_per_dsp": found.lut_per_dsp,
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
        "ports": [dataclasses.asdict(port) for port in design.ports],
        "contract": block.contract(config),
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
)
results = run_cases(random_cases({config}(**about["config"]), 20, seed=0), design=design)
for result in results:
    print("pass" if result.passed else "FAIL", result)
raise SystemExit(0 if all(result.passed for result in results) else 1)
'''

"""The hardware blocks by name: what `generate`, `verify` and `list` offer."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hw.verify
from golden.spec.errors import ConfigError
from golden.spec.files import write_text
from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import Design, emit
from hw.sparse_chain import SparseChain
from hw.synth import check_target, synthesise


@dataclass(frozen=True)
class Block:
    """A block that can be generated: the classes of its configuration and its component."""

    config: type[SparseChainConfig]
    component: type[SparseChain]
    summary: str


BLOCKS = {
    "sparse-chain": Block(
        SparseChainConfig,
        SparseChain,
        "a cascade of multipliers for N:M sparse and dense integer matrix-vector products",
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


def configure(block: Block, settings: Sequence[str]) -> SparseChainConfig:
    """Return the block's configuration with settings like "m=8" applied.

    Raises:
        ConfigError: a setting is not key=integer, or names no field, or is outside its range.
    """
    fields = [field.name for field in dataclasses.fields(block.config)]
    values: dict[str, int] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in fields:
            raise ConfigError(f"there is no setting {key!r}; known are {', '.join(fields)}")
        try:
            values[key] = int(value)
        except ValueError:
            raise ConfigError(f"{key} is {value!r}; an integer is needed, as in {key}=8") from None
    return block.config(**values)


@dataclass(frozen=True)
class Generated:
    """What `generate` wrote."""

    top: str
    files: list[str]
    modules: int
    config: dict[str, int]
    lanes: int
    elaboration_s: float


def generate(name: str, settings: Sequence[str], out: Path) -> Generated:
    """Write a block's Verilog, its description and its bench to the folder `out`.

    Raises:
        ConfigError: unknown block or setting. OutputError: the folder cannot be written.
    """
    block = find(name)
    config = configure(block, settings)
    start = time.perf_counter()
    design = emit(block.component, config)
    elaboration_s = time.perf_counter() - start
    files = {
        f"{design.top}.v": design.verilog,
        f"{design.top}.json": json.dumps(_describe(name, config, design), indent=2) + "\n",
        f"bench_{design.top}.py": _BENCH.format(top=design.top),
    }
    for file, text in files.items():
        write_text(out / file, text)
    return Generated(
        design.top,
        [str(out / file) for file in files],
        len(design.modules),
        dataclasses.asdict(config),
        config.m,
        elaboration_s,
    )


def verify(
    name: str, settings: Sequence[str], cases: int, seed: int, **options: Any
) -> tuple[list[hw.verify.CaseResult], float]:
    """Run `cases` random cases of a block's bench; return their results and the coverage, 0 to 1.

    Args:
        options: `waves`, `progress`, `design` of `hw.verify.run_cases`.

    Raises:
        ConfigError: unknown block or setting, or no case. ToolError: a tool is missing.
    """
    if cases < 1:
        raise ConfigError(f"cases is {cases}; at least 1 is needed")
    config = configure(find(name), settings)
    chosen = hw.verify.random_cases(config, cases, seed)
    return hw.verify.run_cases(chosen, seed=seed, **options), hw.verify.coverage(chosen)


def synth(name: str, settings: Sequence[str], target: str) -> dict[str, int | float]:
    """Return what a block takes of a target's resources; `scale_dsp` are DSPs that only scale.

    Raises:
        ConfigError: unknown block, setting or target. ToolError: Yosys failed.
    """
    block = find(name)
    config = configure(block, settings)
    check_target(target)
    found = synthesise(emit(block.component, config), target)
    return {
        "dsp": found.dsp,
        "scale_dsp": 0,  # a chain gives plain sums
        "lut": found.lut,
        "ff": found.ff,
        "bram": found.bram,
        "uram": found.uram,
        "lanes": config.m,
        "lut_per_dsp": found.lut_per_dsp,
    }


def _describe(name: str, config: SparseChainConfig, design: Design) -> dict[str, Any]:
    """Return the sidecar of a design: what a bench or another tool needs to know of it."""
    one_block = {str(n): SparseChain.cycles(config, [n]) for n in config.keeps}
    return {
        "block": name,
        "top": design.top,
        "config": dataclasses.asdict(config),
        "lanes": config.m,
        "modules": list(design.modules),
        "ports": [dataclasses.asdict(port) for port in design.ports],
        "contract": {
            "cycles": "sum of N over the blocks + latency",
            "latency": SparseChain.cycles(config, []),
            "cycles_of_one_block": one_block,
        },
    }


_BENCH = '''"""Runs the bench of {top}.v, the file beside this one, against the golden model."""

import json
from pathlib import Path

from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import Design, Port
from hw.verify import random_cases, run_cases

here = Path(__file__).parent
about = json.loads((here / "{top}.json").read_text())
design = Design(
    about["top"],
    (here / "{top}.v").read_text(),
    tuple(about["modules"]),
    tuple(Port(**port) for port in about["ports"]),
)
results = run_cases(random_cases(SparseChainConfig(**about["config"]), 20, seed=0), design=design)
for result in results:
    print("pass" if result.passed else "FAIL", result)
raise SystemExit(0 if all(result.passed for result in results) else 1)
'''

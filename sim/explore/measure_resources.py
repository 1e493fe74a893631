"""Measures what our blocks take of an UltraScale+ device: writes `sim/data/block_resources.csv`.

`python -m sim.explore.measure_resources` maps every configuration below with Yosys, which takes 10
to 60 s each, and goes on where an interrupted run stopped.
"""

import csv
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hw.emit import emit
from hw.matrix_engine import MatrixEngine
from hw.special_function_unit import SpecialFunctionUnit
from hw.synth import synthesise

TABLE = Path(__file__).parents[1] / "data" / "block_resources.csv"
TARGET = "ultrascale+"

ENGINE, FUNCTIONS = "matrix-engine", "special-function-unit"
COUNTED = ("dsp", "lut", "ff", "bram", "uram")
SETTINGS = ("chains", "m", "chain_length", "products_per_dsp", "activation_depth", "lanes")
COLUMNS = ("block", "held_out", *SETTINGS, *COUNTED, "seconds")

FITTED: tuple[tuple[str, dict[str, int]], ...] = (
    (ENGINE, {"chains": 1}),
    (ENGINE, {"chains": 2}),
    (ENGINE, {"chains": 4}),
    (FUNCTIONS, {"lanes": 4}),
    (FUNCTIONS, {"lanes": 16}),
    (ENGINE, {"chains": 1, "chain_length": 8}),
    (ENGINE, {"chains": 1, "products_per_dsp": 1}),
    (ENGINE, {"chains": 1, "activation_depth": 8192}),
    (ENGINE, {"chains": 1, "m": 8}),
)
HELD_OUT: tuple[tuple[str, dict[str, int]], ...] = (
    (ENGINE, {"chains": 2, "chain_length": 8}),
    (FUNCTIONS, {"lanes": 8}),
)


def measure(block: str, settings: dict[str, int]) -> dict[str, Any]:
    """Return one row of the table: a block's settings, and what it takes."""
    begin = time.perf_counter()
    if block == ENGINE:
        engine = MatrixEngineConfig(**settings)
        all_settings = {name: getattr(engine, name, "") for name in SETTINGS[:-1]}
        found = synthesise(emit(MatrixEngine, engine, target=TARGET), TARGET)
    else:
        functions = SpecialFunctionUnitConfig(**settings)
        all_settings = {"lanes": functions.lanes}
        found = synthesise(emit(SpecialFunctionUnit, functions, target=TARGET), TARGET)
    counts = {name: getattr(found, name) for name in COUNTED} | {"dsp": found.dsp + found.scale_dsp}
    return {**all_settings, **counts, "seconds": round(time.perf_counter() - begin, 1)}


def _jobs() -> Iterable[tuple[str, dict[str, int], int]]:
    yield from ((block, settings, 0) for block, settings in FITTED)
    yield from ((block, settings, 1) for block, settings in HELD_OUT)


def main(table: Path = TABLE) -> None:
    """Measure what is not in the table yet."""
    done = 0
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            done = sum(1 for _ in csv.DictReader(file))
    for place, (block, settings, held_out) in enumerate(_jobs()):
        if place < done:
            continue
        row = {"block": block, "held_out": held_out, **measure(block, settings)}
        with table.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            if place == 0:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()

"""What a design takes of its board: a linear model, fitted on Yosys' counts of our own blocks.

`sim/data/block_resources.csv` holds the counts; `python -m sim.explore.measure_resources` makes it.
Rows that are `held_out` are not fitted; `python -m sim.explore.resources` prints how far off they
are. Counted are the matrix engines and the special functions of all cores: what loads, stores and
decodes beside them is left out, as is a platform's shell.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from hw.board import Board
from sim.fpga import FpgaSystem
from sim.system import System

TABLE = Path(__file__).parents[1] / "data" / "block_resources.csv"

RESOURCES = ("dsp", "lut", "ff", "bram", "uram")
"""DSP slices, look-up tables, flip-flops, block RAMs of 36 Kbit, UltraRAMs."""

ENGINE, FUNCTIONS = "matrix-engine", "special-function-unit"

Features = Callable[[Mapping[str, float]], list[float]]


def _of_engine(row: Mapping[str, float]) -> list[float]:
    """Return what an engine's counts are taken to be sums of."""
    chains, length = row["chains"], row["chain_length"]
    return [
        chains,
        chains * length,
        chains * length * row["products_per_dsp"],
        chains * row["m"] * row["activation_depth"] / 1024,
    ]


def _of_functions(row: Mapping[str, float]) -> list[float]:
    return [1.0, row["lanes"]]


FEATURES: dict[str, Features] = {ENGINE: _of_engine, FUNCTIONS: _of_functions}


def rows(held_out: bool) -> list[dict[str, str]]:
    """Return the measured rows that are held out, or those that are fitted."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["held_out"] == str(int(held_out))]


@cache
def _weights() -> dict[str, np.ndarray]:
    """Return each block's weights: one row for each feature, one column for each resource."""
    found = {}
    for block, features in FEATURES.items():
        measured = [row for row in rows(False) if row["block"] == block]
        left = np.array([features(_numbers(row)) for row in measured])
        right = np.array([[float(row[name]) for name in RESOURCES] for row in measured])
        found[block] = np.linalg.lstsq(left, right, rcond=None)[0]
    return found


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    skipped = ("block", "held_out", "seconds")
    return {key: float(value) for key, value in row.items() if value and key not in skipped}


def block(name: str, settings: Mapping[str, float]) -> dict[str, float]:
    """Return what a block with such settings takes, by resource."""
    counts = np.maximum(np.array(FEATURES[name](settings)) @ _weights()[name], 0)
    return dict(zip(RESOURCES, counts.tolist(), strict=True))


def taken(system: System) -> dict[str, float]:
    """Return what a system's blocks take of its board, by resource; nothing if it has no board.

    An engine has the chains and products that its widest mode uses, and buffers for the inputs of
    an instruction.
    """
    if not isinstance(system, FpgaSystem):
        return {}
    modes = (system.vector, system.matrix)
    engine = {
        "chains": max(mode.chains for mode in modes),
        "products_per_dsp": max(mode.products for mode in modes),
        "chain_length": system.chain.chain_length,
        "m": system.chain.m,
        "activation_depth": max(mode.inputs for mode in modes),
    }
    parts = [block(ENGINE, engine), block(FUNCTIONS, {"lanes": system.lanes})]
    return {name: system.cores * sum(part[name] for part in parts) for name in RESOURCES}


def shares(system: System) -> dict[str, float]:
    """Return the share of its board that a system's blocks take, by resource."""
    if not isinstance(system, FpgaSystem):
        return {}
    held = _held(system.board)
    return {name: count / held[name] for name, count in taken(system).items() if held[name]}


def _held(board: Board) -> dict[str, int]:
    counts = (board.dsps, board.luts, board.flip_flops, board.bram36, board.urams)
    return dict(zip(RESOURCES, counts, strict=True))


def errors(measured: Sequence[Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """Return the largest relative error in some rows, by block and resource."""
    found: dict[str, dict[str, float]] = {name: {} for name in FEATURES}
    for row in measured:
        predicted = block(row["block"], _numbers(row))
        for name in RESOURCES:
            if actual := float(row[name]):
                error = abs(predicted[name] / actual - 1)
                found[row["block"]][name] = max(found[row["block"]].get(name, 0.0), error)
    return found


if __name__ == "__main__":
    for held_out in (False, True):
        print("held out" if held_out else "fitted")
        for name, each in errors(rows(held_out)).items():
            shown = ", ".join(f"{key} {error:.1%}" for key, error in each.items())
            print(f"  {name}: {shown}")

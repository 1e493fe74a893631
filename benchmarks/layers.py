"""Useful work of the matrix engine over whole layers of real models, counted in Verilator.

Weights are random; how long the engine takes depends on their pattern alone. Run by `make bench`,
or alone with `python -m benchmarks.layers [small|large]`.
"""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from golden.matrix_engine import Mode
from golden.sparse_matrix import prune
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.emit import emit
from hw.matrix_engine import MatrixEngine
from hw.verify_engine import Case, CaseResult, run_cases


@dataclass(frozen=True)
class Layers:
    """Layers of one model, and the engine that runs them.

    Attributes:
        shapes: rows and inputs of each layer. group_size: inputs that share a scale.
        batches: of tokens in a matrix-matrix product.
    """

    model: str
    shapes: tuple[tuple[int, int], ...]
    group_size: int
    batches: int
    config: MatrixEngineConfig


LAYERS = {
    # 16 tokens on 64 lanes. A group of 192 inputs divides 576 and 1536.
    "small": Layers(
        "smollm2-135m", ((576, 576), (576, 1536), (1536, 576)), 192, 4, MatrixEngineConfig()
    ),
    # 64 tokens on 1,024 lanes.
    "large": Layers(
        "llama-2-7b",
        ((4096, 4096), (4096, 11008)),
        128,
        1,
        MatrixEngineConfig(chains=32, activation_depth=4096),
    ),
}


def measure(which: str) -> list[dict[str, float | str | int]]:
    """Return a row for each layer, mode and N: start-up and drain included."""
    layers = LAYERS[which]
    config = layers.config
    design = emit(MatrixEngine, config)
    rows: list[dict[str, float | str | int]] = []
    for shape in layers.shapes:
        for mode in Mode:
            # One at a time: the log of a large layer takes memory.
            results = {
                n: run_cases([random_layer(layers, shape, n, mode)], design=design)[0]
                for n in config.chain.keeps
            }
            rows += [
                {"model": layers.model, **_row(config, shape, mode, n, result, results[config.m])}
                for n, result in results.items()
            ]
    return rows


def random_layer(layers: Layers, shape: tuple[int, int], n: int, mode: Mode) -> Case:
    """Return a layer [rows, inputs] with random weights, and its tokens."""
    config = layers.config
    random = np.random.default_rng(0)
    rows, inputs = shape
    # The first N of a row's m inputs or any other N: the engine cannot tell.
    first = np.argsort(random.random((rows, inputs // config.m, config.m)), axis=2) < n
    mask = torch.from_numpy(first.reshape(rows, inputs))
    weights = torch.from_numpy(random.integers(-8, 8, shape, dtype=np.int8))
    keep = torch.full((rows // config.m, inputs // config.m), n)
    matrix = prune(weights, mask, keep, layers.group_size, bits=4, m=config.m)
    at_once = config.chains * config.products_per_dsp
    tokens = 1 if mode is Mode.MATRIX_VECTOR else layers.batches * at_once
    activations = torch.from_numpy(random.integers(-128, 128, (tokens, inputs)))
    scales = torch.from_numpy(random.integers(1, 4096, (rows, matrix.groups)))
    return Case("layer", config, matrix, activations, scales, torch.zeros_like(scales), mode)


def _row(
    config: MatrixEngineConfig,
    shape: tuple[int, int],
    mode: Mode,
    n: int,
    result: CaseResult,
    dense: CaseResult,
) -> dict[str, float | str | int]:
    assert result.passed, result
    dsp = config.chains * config.chain_length
    # In a sparse matrix-vector product each DSP has one product to do.
    products_per_dsp = 1 if mode is Mode.MATRIX_VECTOR and n < config.m else config.products_per_dsp
    macs_per_dsp = result.products / (dsp * result.cycles)
    ideal = config.m / n / (config.products_per_dsp / products_per_dsp)
    return {
        "layer": f"{shape[0]} x {shape[1]}",
        "lanes": config.lanes,
        "mode": mode.value,
        "n": n,
        "cycles": result.cycles,
        "macs_per_dsp": macs_per_dsp,
        "utilisation": macs_per_dsp / products_per_dsp,
        "speedup": dense.cycles / result.cycles,
        "speedup_over_ideal": dense.cycles / result.cycles / ideal,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows."""
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else f"{v}" for v in row.values()))
    Console().print(table)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or LAYERS:
        show(measure(chosen))

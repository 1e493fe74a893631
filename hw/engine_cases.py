"""Random cases for the matrix engine's bench, and how much of what can happen they cover."""

from collections.abc import Sequence

import numpy as np
import torch

from golden.matrix_engine import Mode
from golden.sddmm import BLOCK, keys_of, sddmm_jobs
from golden.sparse_matrix import SparseMatrix
from golden.spec.expansion import WEIGHT_WIDTHS
from golden.spec.matrix_engine import OPERAND_BITS, ZERO_BITS, MatrixEngineConfig
from hw.random_matrices import pattern_of, patterns, random_matrix, random_operands
from hw.verify_engine import Case

SDDMM = "sddmm"

Cross = tuple[str, int, bool, bool, str, int]
"""Mode, bits of a weight, idle sources, stalling sinks, pattern of blocks, N of a uniform one."""


def crosses(config: MatrixEngineConfig) -> list[Cross]:
    """Return every combination of mode, width, pauses and pattern of blocks.

    A mixed pattern has every N, so together they have every N in every mode, width and pause.
    """
    pauses = [(idle, stall) for idle in (False, True) for stall in (False, True)]
    found = [
        (mode.value, bits, idle, stall, pattern, n)
        for mode in Mode
        for bits in WEIGHT_WIDTHS
        for idle, stall in pauses
        for pattern, n in patterns(config.chain)
    ]
    return found + [(SDDMM, OPERAND_BITS, *pause, "uniform", config.m) for pause in pauses]


def random_cases(config: MatrixEngineConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; as many as `crosses` has hit every cross.

    A quarter of them begins with a try that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(np.array(crosses(config), dtype=object)).tolist()
    return [_case(config, random, number, chosen[number % len(chosen)]) for number in range(count)]


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    return len({_cross(case) for case in cases}) / len(crosses(cases[0].config))


def _case(
    config: MatrixEngineConfig, random: np.random.Generator, number: int, cross: Cross
) -> Case:
    kind, bits, idle, stall, pattern, n = cross
    mode = Mode.MATRIX_MATRIX if kind == SDDMM else Mode(kind)
    if kind == SDDMM:
        matrix, activations = _scores(config, random)
    else:
        most_in_group = min(config.activation_depth, config.max_group_inputs) // config.m
        matrix = random_matrix(config.chain, random, (pattern, n), bits, most_in_group)
        at_once = config.chains * config.products_per_dsp
        most = 3 if mode is Mode.MATRIX_VECTOR else 2 * at_once
        shape = (int(random.integers(1, most + 1)), matrix.inputs)
        activations = random_operands(random, shape, OPERAND_BITS)
    scales, zeros = _scales(config, random, (matrix.rows, matrix.groups))
    return Case(
        f"random {number}: {kind}, {bits} bits, {pattern} {n or ''}".rstrip(),
        config,
        matrix,
        activations,
        scales,
        zeros if matrix.is_dense and kind != SDDMM else zeros * 0,
        mode,
        idle,
        stall,
        reset_after=int(random.integers(1, 200)) if random.random() < 0.25 else 0,
        sddmm=kind == SDDMM,
    )


def _scores(
    config: MatrixEngineConfig, random: np.random.Generator
) -> tuple[SparseMatrix, torch.Tensor]:
    """Return the keys and queries of one job of block-sparse attention, some blocks masked."""
    queries, keys = (int(random.integers(1, BLOCK + 20)) for _ in range(2))
    # A job of scores has one scale group.
    most = min(config.activation_depth, config.max_group_inputs, 64)
    head_size = int(random.choice((config.m, 3 * config.m // 2, most // config.m * config.m)))
    head_size = min(head_size, most // config.m * config.m)
    mask = torch.from_numpy(random.random((-(-queries // BLOCK), -(-keys // BLOCK))) < 0.7)
    mask[-1, -1] = True
    job = sddmm_jobs(mask, queries, keys)[-1]
    all_keys = random_operands(random, (keys, head_size), OPERAND_BITS)
    all_queries = random_operands(random, (queries, head_size), OPERAND_BITS)
    return keys_of(job, all_keys, config), all_queries[job.queries.start : job.queries.stop]


def _scales(
    config: MatrixEngineConfig, random: np.random.Generator, shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scales of all magnitudes, so that some outputs saturate, and zero points."""
    bits = random.integers(0, config.scale_bits + 1)
    scales = random.integers(0, 2**bits, size=shape)
    return torch.from_numpy(scales), random_operands(random, shape, ZERO_BITS)


def _cross(case: Case) -> Cross:
    mode = SDDMM if case.sddmm else case.mode.value
    return mode, case.matrix.bits, case.idle, case.stall, *pattern_of(case.matrix)

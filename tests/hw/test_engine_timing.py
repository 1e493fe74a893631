"""The engine's timing contract by hand; that the hardware keeps it is tested with the engine."""

import pytest
import torch
from matrices import sparse

from golden.matrix_engine import Mode, Sweep, chain_passes, sweeps
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.accumulator_bank import AccumulatorBank
from hw.activation_buffer import JOB_CYCLES, OFFSET_CYCLES, READ_CYCLES
from hw.engine_timing import COLLECT_CYCLES, engine_cycles
from hw.group_scale import STAGES
from hw.sparse_chain import SparseChain

CONFIG = MatrixEngineConfig()
M = CONFIG.m
BEGIN = JOB_CYCLES + READ_CYCLES
"""Cycles until a chain takes its first activation."""

END = SparseChain.latency(CONFIG.chain) + AccumulatorBank.cycles() + COLLECT_CYCLES + STAGES
"""Cycles from the last beat to the last output, if the row does not wait for another one."""


def cycles(keep, *, group_columns=None, config=CONFIG, mode=Mode.MATRIX_MATRIX, batches=1):
    """The contract for whole blocks that keep so many weights."""
    keep = torch.as_tensor(keep)
    group_size = (group_columns or keep.shape[1]) * config.m
    shape = (keep.shape[0] * config.m, keep.shape[1] * config.m)
    matrix = sparse(config, keep, shape, group_size=group_size)
    chains = chain_passes(matrix, config, mode)
    return engine_cycles(config, chains, sweeps(chains[0], group_size, config), batches)


@pytest.mark.parametrize("n", CONFIG.chain.keeps)
def test_one_block(n):
    assert cycles([[n]]) == BEGIN + M + n + END


def test_where_weights_take_longest_every_beat_costs_a_cycle():
    few = cycles([[16, 4], [8, 16]])
    assert few == BEGIN + M + (16 + 8) + (4 + 16) + END
    assert cycles([[16, 4, 16], [8, 16, 16]]) == few + 32
    assert cycles([[16] * 64] * 8) == BEGIN + M + 16 * 8 * 64 + END


def test_where_activations_take_longest_every_input_costs_a_cycle():
    assert cycles([[2]]) == BEGIN + M + 2 + END
    assert cycles([[2] * 5]) == BEGIN + 5 * M + 2 + END


def test_a_column_is_loaded_when_the_one_before_the_last_is_done():
    # Column 1 is loaded beside the beats of column 0, column 2 only behind them.
    assert cycles([[16, 2, 2], [16, 16, 16]]) == BEGIN + M + 32 + 18 + 18 + END
    assert cycles([[16, 0, 2], [16, 2, 16]]) == BEGIN + M + 32 + M + 18 + END


def test_rows_wait_for_the_activations_of_their_group():
    # Two of three strips have no weights in the last column, and their rows are long there.
    offset = BEGIN + M + 40 + M - 1 + OFFSET_CYCLES
    rows = 3 * CONFIG.chain_length
    assert cycles([[16, 2, 2], [16, 0, 0], [8, 0, 0]]) == offset + rows + STAGES


def test_where_rows_take_longest_every_row_costs_a_cycle():
    # Every pass of two beats finishes 16 rows.
    one = cycles([[2]])
    for strips in (2, 5, 16):
        assert cycles([[2]] * strips) == one + (strips - 1) * CONFIG.chain_length
    groups = cycles([[2] * 10] * 16, group_columns=1)
    assert groups == one + (160 - 1) * CONFIG.chain_length


def test_a_pass_waits_for_room_behind_the_accumulators():
    config = MatrixEngineConfig(strips=2)
    # There is room for two strips' rows, so the third pass begins when the first one's are taken.
    taken = BEGIN + M + 2 + END - STAGES
    assert cycles([[2, 16]] * 2, group_columns=1, config=config) == taken + 2 * 16 + END
    assert cycles([[2, 16]] * 2, group_columns=1) < taken + 2 * 16 + END


def test_batches_follow_each_other_without_a_gap():
    keep = [[16] * 4] * 4
    once = cycles(keep)
    assert cycles(keep, batches=3) == once + 2 * 16 * 4 * 4


def test_the_slowest_chain_counts():
    keep = [[2], [16], [2], [2]]
    shared = cycles(keep, mode=Mode.MATRIX_VECTOR)
    # Strips of 16 and 2 beats are dealt to one chain, two of 2 to the other.
    assert shared == cycles([[16], [2]])


def test_later_sweeps_of_a_buffered_matrix_wait_for_no_input():
    matrix = sparse(CONFIG, 16, (CONFIG.tile_rows * 2, 64))
    passes = chain_passes(matrix, CONFIG)[:1]
    (whole,) = sweeps(passes[0], 64, CONFIG)
    assert whole == Sweep(0, 4, 2)
    kept = engine_cycles(CONFIG, passes, [whole])
    assert kept == BEGIN + M + 2 * 16 * 16 * 4 + END

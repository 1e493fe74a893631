"""The engine's timing contract by hand; that the hardware keeps it is tested with the engine."""

import numpy as np
import pytest
import torch
from matrices import sparse

from golden.matrix_engine import Mode, Sweep, chain_passes, sweeps
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.accumulator_bank import AccumulatorBank
from hw.activation_buffer import JOB_CYCLES, OFFSET_CYCLES, READ_CYCLES
from hw.chain_unit import unit_streams
from hw.engine_stalls import transfers
from hw.engine_timing import COLLECT_CYCLES, engine_cycles
from hw.fifo import Fifo
from hw.group_scale import STAGES
from hw.player import Trace
from hw.sparse_chain import SparseChain
from hw.weight_feed import LATENCY

CONFIG = MatrixEngineConfig()
ALONE = MatrixEngineConfig(chains=1)
M = CONFIG.m
BEGIN = JOB_CYCLES + READ_CYCLES
"""Cycles until a chain takes its first activation."""

END = SparseChain.latency(CONFIG.chain) + AccumulatorBank.cycles() + COLLECT_CYCLES + STAGES
"""Cycles from the last beat to the last output, if the row does not wait for another one."""


LOGGED = 20_000
"""Beats and cycles in a log: more than any of these jobs has."""


def log(config, waits, held):
    """Handshakes: `waits` before beats of inputs, by stream and beat; cycles of sinks not ready."""
    streams = [f"{name}__{c}" for name in unit_streams(config) for c in range(config.chains)]
    valid, ready = {}, {}
    for stream in ("i_sweep", *streams):
        before = waits.get(stream, {})
        where = np.repeat(list(before), list(before.values())).astype(int)
        valid[stream] = np.insert(np.ones(LOGGED, bool), where, False)
        ready[stream] = np.ones(len(valid[stream]), bool)
    for sink in (f"o__{c}" for c in range(config.chains)):
        ready[sink] = ~np.isin(np.arange(LOGGED), list(held.get(sink, ())))
    return Trace(valid, ready, {})


def cycles(
    keep,
    *,
    group_columns=None,
    config=CONFIG,
    mode=Mode.MATRIX_MATRIX,
    batches=1,
    bits=8,
    waits=None,
    held=None,
):
    """The contract for whole blocks that keep so many weights, for these waits or none."""
    keep = torch.as_tensor(keep)
    group_size = (group_columns or keep.shape[1]) * config.m
    shape = (keep.shape[0] * config.m, keep.shape[1] * config.m)
    matrix = sparse(config, keep, shape, group_size=group_size, bits=bits)
    chains = chain_passes(matrix, config, mode)
    jobs = sweeps(chains[0], group_size, config)
    passed = transfers(config, chains, jobs, batches, mode, log(config, waits or {}, held or {}))
    found = 1 + max(max(when) for stream, when in passed.items() if stream.startswith("o"))
    if not waits and not held:
        assert found == engine_cycles(config, chains, jobs, batches, mode)
    return found


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


def test_where_pairs_of_rows_take_longest_every_pair_costs_a_cycle():
    vector = {"config": ALONE, "mode": Mode.MATRIX_VECTOR}
    assert cycles([[2]], **vector) == BEGIN + M + 2 + END
    for strips in (2, 5, 16):
        pairs = (strips - 1) * CONFIG.chain_length // 2
        assert cycles([[2]] * strips, **vector) == cycles([[2]], **vector) + pairs
    # Rows of two strips lie side by side already; those of one bank cannot.
    dense = [[16], [16]]
    assert cycles(dense, **vector) == BEGIN + M + 16 + END
    bank = MatrixEngineConfig(chains=1, m=8, group_length=8, word_bits=128)
    assert cycles([[8], [0]], config=bank, mode=Mode.MATRIX_VECTOR) == cycles(
        [[8], [0]], config=bank
    )


def test_a_pass_waits_for_room_behind_the_accumulators():
    config = MatrixEngineConfig(strips=2)
    # There is room for two strips' rows, so the third pass begins when the first one's are taken.
    taken = BEGIN + M + 2 + END - STAGES - COLLECT_CYCLES
    assert cycles([[2, 16]] * 2, group_columns=1, config=config) == taken + 2 * 16 + END
    assert cycles([[2, 16]] * 2, group_columns=1) < taken + 2 * 16 + END


def test_strips_that_wait_for_their_group_have_their_places_in_the_queue():
    config = MatrixEngineConfig(strips=4)
    # The rows of the first group leave slowly. Then three strips end early; the third of them is
    # let in behind the third of the first group, and then the first strip has work for long.
    keep = [[0] * 4 + [2, 2] + [16] * 4] + [[0] * 4 + [2, 8] + [0] * 4] * 3
    third = cycles([row[:5] for row in keep[:3]], group_columns=5, config=config) - STAGES
    offset = third - COLLECT_CYCLES + 8 + 3 * 16 - 1 + OFFSET_CYCLES
    rows = 4 * config.chain_length
    assert cycles(keep, group_columns=5, config=config) == offset + rows + STAGES
    assert cycles(keep, group_columns=5) < offset + rows + STAGES


def test_batches_follow_each_other_without_a_gap():
    keep = [[16] * 4] * 4
    once = cycles(keep)
    assert cycles(keep, batches=3) == once + 2 * 16 * 4 * 4


def test_the_slowest_chain_counts():
    keep = [[2], [16], [2], [2]]
    shared = cycles(keep, mode=Mode.MATRIX_VECTOR)
    # Strips of 16 and 2 beats are dealt to one chain, two of 2 to the other.
    assert shared == cycles([[16], [2]], config=ALONE, mode=Mode.MATRIX_VECTOR)


def test_later_sweeps_of_a_buffered_matrix_wait_for_no_input():
    matrix = sparse(CONFIG, 16, (CONFIG.tile_rows * 2, 64))
    passes = chain_passes(matrix, CONFIG)[:1]
    (whole,) = sweeps(passes[0], 64, CONFIG)
    assert whole == Sweep(0, 4, 2)
    kept = engine_cycles(CONFIG, passes, [whole])
    assert kept == BEGIN + M + 2 * 16 * 16 * 4 + END


def test_activations_that_come_late_cost_their_wait():
    late = {"i_activation__1": {3: 5, M - 1: 2}}
    assert cycles([[16]], waits=late) == cycles([[16]]) + 7
    # Those of the second column come while the beats of the first one are done.
    late = {"i_activation__1": {M + 3: 8}}
    assert cycles([[16, 16], [8, 8]], waits=late) == cycles([[16, 16], [8, 8]])


@pytest.mark.parametrize(
    ("stream", "latency"),
    [("i_word__0", LATENCY), ("i_index__0", Fifo.cycles() + 1), ("i_pass__0", Fifo.cycles() + 1)],
)
def test_a_beat_whose_weights_come_late_begins_late(stream, latency):
    hidden = BEGIN + M - latency
    assert cycles([[8]], waits={stream: {0: hidden}}) == cycles([[8]])
    assert cycles([[8]], waits={stream: {0: hidden + 3}}) == cycles([[8]]) + 3


def test_a_gap_in_the_weights_is_not_made_up_for_while_they_wait():
    # The word before the gap waits for the column; behind it the pipeline stands still.
    for wait in (1, 2):
        assert cycles([[16]], waits={"i_word__0": {1: wait}}) == cycles([[16]]) + wait
    assert cycles([[16]], bits=4, waits={"i_word__0": {1: 1}}) == cycles([[16]])


def test_a_full_queue_takes_nothing():
    config = MatrixEngineConfig(pass_depth=2)
    keep = [[16]] * 8
    late = {"i_pass__0": {4: 100}}
    # The fourth pass enters when the last beat of the second one leaves for the chain.
    fourth = BEGIN + M + 2 * 16 - 1
    fifth = fourth + 1 + 100 + Fifo.cycles() + 1
    assert cycles(keep, config=config, waits=late) == fifth + 4 * 16 + END
    assert cycles(keep, config=config, waits={"i_pass__0": {4: 30}}) == cycles(keep)


def test_a_scale_that_comes_late_holds_up_its_row():
    whole = cycles([[8]])
    hidden = whole - STAGES - M
    late = {"i_scale__0": {0: hidden}}
    assert cycles([[8]], waits=late) == whole
    late = {"i_scale__0": {0: hidden + 2, 7: 3}}
    assert cycles([[8]], waits=late) == whole + 5


def test_a_sink_that_is_not_ready_costs_cycles_only_where_an_output_is_offered():
    whole = cycles([[8]])
    first = whole - M
    assert cycles([[8]], held={"o__1": range(first)}) == whole
    assert cycles([[8]], held={"o__1": range(first + 2)}) == whole + 2
    assert cycles([[8]], held={"o__1": [first, first + 7]}) == whole + 2


def test_units_that_share_their_weights_wait_for_the_slowest():
    keep = [[2] * 2] * 40
    # The sink of one unit waits until no more passes fit in: then the other one is held up too.
    passed = {}
    for mode in Mode:
        matrix = sparse(CONFIG, torch.tensor(keep), (640, 32))
        chains = chain_passes(matrix, CONFIG, mode)
        jobs = sweeps(chains[0], 32, CONFIG)
        trace = log(CONFIG, {}, {"o__0": range(3000)})
        passed[mode] = transfers(CONFIG, chains, jobs, 1, mode, trace)["o__1"][-1]
    assert passed[Mode.MATRIX_MATRIX] > 3000 > passed[Mode.MATRIX_VECTOR]


def test_beats_offered_before_the_sweep_are_waited_for_no_longer():
    early = log(CONFIG, {"i_sweep": {0: 9}}, {})
    matrix = sparse(CONFIG, 8, (16, 16))
    chains = chain_passes(matrix, CONFIG)
    jobs = sweeps(chains[0], 16, CONFIG)
    passed = transfers(CONFIG, chains, jobs, 1, Mode.MATRIX_MATRIX, early)
    assert (passed["i_sweep"][0], passed["i_word__0"][0], passed["i_activation__0"][0]) == (
        0,
        -9,
        1,
    )
    assert passed["o__0"][-1] + 1 == cycles([[8]])

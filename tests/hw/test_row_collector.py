"""The row collector in Verilator: rows in the order of the strip, a row per cycle."""

import itertools
from functools import partial

import numpy as np
import pytest
from mutation_trials import survivors, unexplained

from golden.bit_packing import pack_fields
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim
from hw.benches.streams import bursts
from hw.emit import emit
from hw.mutation import mutate
from hw.player import Case, play
from hw.row_collector import RowCollector

CONFIG = MatrixEngineConfig()
OTHERS = (
    MatrixEngineConfig(chain_length=8, group_length=8, products_per_dsp=1, accumulator_bits=22),
    MatrixEngineConfig(m=32, group_length=4, word_bits=512),
)


@pytest.fixture(scope="module")
def design():
    return emit(RowCollector, CONFIG)


def random_sums(config, strips, seed):
    """Return the bits of random sums, int64 [strips, groups, rows of a group, lanes]."""
    chain = config.chain
    shape = (strips, chain.groups, chain.group_length, config.products_per_dsp)
    random = np.random.default_rng(seed)
    return random.integers(0, 1 << config.accumulator_bits, size=shape)


def make_case(config, sums, *, pauses=(), seed=0, reset_after=0):
    """Return each bank's rows as its stream; the named streams pause at random."""
    lanes = config.products_per_dsp
    inputs = {
        f"i__{group}": pack_fields((sums[:, group].reshape(-1, lanes), config.accumulator_bits))
        for group in range(config.chain.groups)
    }
    cycles = 20 * sums[..., 0].size
    # A bank that pauses as often as others is seldom late: only each so many rows is its own.
    quiet = {
        name: np.fromiter(itertools.islice(bursts(f"{seed} {name}", share), cycles), bool, cycles)
        for name, share in zip(pauses, itertools.cycle((0.3, 0.9)), strict=False)
    }
    return Case(inputs, {"o": sums[..., 0].size}, quiet, reset_after=reset_after)


def wrong(config, sums, trace):
    """Return what differs from the rows in order or from the contract, or an empty text."""
    rows = sums.reshape(-1, config.products_per_dsp)
    numbers = np.arange(len(rows))[:, None] % config.chain_length
    row_bits = config.chain_length.bit_length() - 1
    expected = pack_fields((numbers, row_bits), (rows, config.accumulator_bits))
    if not np.array_equal(trace.outputs["o"], expected):
        return "other rows"
    # With every row that is taken, the next bank may be due; a bubble is a late bank's.
    stalled = trace.valid["o"] & ~trace.ready["o"]
    bank = np.tile(np.repeat(np.arange(config.chain.groups), config.group_length), len(sums))
    taken = 0
    for cycle in range(len(stalled) - 1):
        due = None if taken == len(bank) else f"i__{bank[taken]}"
        takes = due is not None and trace.valid[due][cycle] and not stalled[cycle]
        for group in range(config.chain.groups):
            name = f"i__{group}"
            if (trace.valid[name] & trace.ready[name])[cycle] != (takes and name == due):
                return f"cycle {cycle}: {name}"
        if trace.valid["o"][cycle + 1] != (takes or stalled[cycle]):
            return f"cycle {cycle + 1}: o"
        taken += takes
    return ""


@pytest.mark.parametrize("config", [CONFIG, *OTHERS], ids=["default", "one bank", "m 32"])
def test_every_row_in_its_order_and_cycle(config):
    streams = [*(f"i__{group}" for group in range(config.chain.groups)), "o"]
    choices = [(), streams, ["o"], streams[:1], streams[-2:], streams]
    jobs = [random_sums(config, 5, seed) for seed in range(len(choices))]
    cases = [
        make_case(config, sums, pauses=pauses, seed=seed, reset_after=7 * seed)
        for seed, (sums, pauses) in enumerate(zip(jobs, choices, strict=True))
    ]
    traces = play(emit(RowCollector, config), cases)
    assert [wrong(config, *each) for each in zip(jobs, traces, strict=True)] == [""] * len(jobs)
    rows = jobs[0][..., 0].size
    first, last = traces[0].transfers("i__0")[0], traces[0].transfers("o")[-1]
    assert last - first + 1 == RowCollector.cycles(rows)


def test_the_verilog_is_clean(design):
    assert cosim.lint(design) == []


EQUIVALENT = {
    r"const0 \$eq\$.* B\[1\]": "a constant 0 (bank 5, bit 1) that is stuck at 0",
}


def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent(design):
    mutants = mutate(design, 200, seed=1)
    streams = [*(f"i__{group}" for group in range(CONFIG.chain.groups)), "o"]
    trials = []
    for seed in range(6):
        sums = random_sums(CONFIG, 3, seed)
        pauses = streams if seed % 2 else ["o"]
        case = make_case(
            CONFIG, sums, pauses=pauses, seed=seed, reset_after=0 if seed < 2 else 9 + seed
        )
        trials.append((case, partial(wrong, CONFIG, sums)))
    assert unexplained(survivors(mutants, trials), EQUIVALENT) == []

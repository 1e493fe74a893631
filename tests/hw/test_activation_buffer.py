"""The activation buffer in Verilator: every input, sum and cycle as they must be."""

from functools import partial

import lockstep_cases
import numpy as np
import pytest
from lockstep_cases import add_a_cycle, assert_exact, complete, flip_a_bit
from mutation_trials import unexplained
from surviving import surviving

from golden.bit_packing import pack_fields
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim
from hw.activation_buffer import OFFSETS, ActivationBuffer
from hw.emit import emit
from hw.layouts import offset_layout, sweep_layout

BENCH = "hw.benches.activation_buffer"
CONFIG = MatrixEngineConfig(m=8, activation_depth=32, word_bits=128)
CONFIGS = [
    CONFIG,
    MatrixEngineConfig(m=16, products_per_dsp=1, activation_depth=48, word_bits=128),
    MatrixEngineConfig(m=32, chain_length=8, activation_depth=2048, word_bits=128),
]


@pytest.fixture(scope="module")
def designs():
    return {config: emit(ActivationBuffer, config) for config in CONFIGS}


def a_case(config, jobs, seed=0, **choices):
    """Return a case and its arrays; jobs are columns, sweeps and columns in a group."""
    random = np.random.default_rng(seed)
    lanes, m = config.products_per_dsp, config.m
    columns = sweep_layout(config)["more_columns"].width
    fields = np.array(jobs) - 1
    parts = [(fields[:, [k]], bits) for k, bits in ((0, columns), (1, 16), (2, columns))]
    inputs, outputs, offsets = [], [], []
    for number, sweeps, group in jobs:
        extremes = random.random() < 0.3
        shape = (number * m, lanes)
        job = random.choice([-128, 127], shape) if extremes else random.integers(-128, 128, shape)
        sums = [job[k : k + group * m].sum(0) for k in range(0, number * m, group * m)]
        inputs.append(job)
        outputs += [job] * sweeps
        offsets += sums * sweeps
    arrays = {
        "jobs": pack_fields(*parts),
        "inputs": pack_fields((np.concatenate(inputs), 8)),
        "outputs": pack_fields((np.concatenate(outputs), 8)),
        "offsets": pack_fields((np.stack(offsets), config.offset_bits)),
    }
    contract = ActivationBuffer.cycles(config, [(number, sweeps) for number, sweeps, _ in jobs])
    case = {"name": str(jobs)[:60], "m": m, "sweeps": jobs, "contract_cycles": contract}
    return complete(case, arrays, **choices)


def random_jobs(config, random, most_inputs):
    """A series of jobs, up to the largest that fit."""
    deepest = config.activation_depth // config.m
    jobs, inputs = [], 0
    while not jobs or (inputs < most_inputs and random.random() < 0.8):
        most = deepest if random.random() < 0.3 else min(deepest, 3)
        columns, sweeps = int(random.integers(1, most + 1)), int(random.integers(1, 5))
        jobs.append((columns, sweeps, int(random.integers(1, columns + 1))))
        inputs += columns * sweeps * config.m
    return jobs


def random_cases(config, count, seed, most_inputs=1500):
    draw = partial(random_jobs, config, most_inputs=most_inputs)
    return lockstep_cases.random_cases(partial(a_case, config), draw, count, seed)


def run(design, cases):
    return lockstep_cases.run(design, BENCH, cases)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_random_jobs_are_exact(designs, config):
    assert_exact(designs[config], BENCH, random_cases(config, 24, seed=1), seed=1)


def test_short_jobs_and_sweeps_lose_no_cycle(designs):
    jobs = [[(1, 1, 1)] * 40, [(2, 3, 1), (1, 1, 1)] * 10, [(4, 1, 4)] * 5, [(1, 7, 1)] * 9]
    cases = [a_case(CONFIG, series) for series in jobs]
    passed, results = run(designs[CONFIG], cases)
    assert passed
    assert [result["stall_cycles"] for result in results] == [0, 0, 0, 0]
    assert results[0]["cycles"] == 40 * 8 + 4


def test_the_most_sweeps_of_a_job(designs):
    passed, (result,) = run(designs[CONFIG], [a_case(CONFIG, [(1, 5000, 1), (4, 2, 3)])])
    assert passed
    assert result["stall_cycles"] == 0


def test_untaken_sums_hold_the_inputs_but_lose_nothing(designs):
    # So slow a taker of the sums that the queue is full most of the time.
    cases = [a_case(CONFIG, [(1, 3 * OFFSETS, 1), (3, 3 * OFFSETS, 1)], slow="o_offset")]
    passed, (result,) = run(designs[CONFIG], cases)
    assert passed
    assert result["stall_cycles"] > 1000


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_verilog_is_clean(designs, config):
    assert cosim.lint(designs[config]) == []


def test_the_contract():
    assert ActivationBuffer.cycles(CONFIG, [(1, 1)]) == 12
    assert ActivationBuffer.cycles(CONFIG, [(4, 3), (2, 1)]) == (12 + 2) * 8 + 4


def test_the_sums_never_overflow():
    assert offset_layout(CONFIG).size == 2 * CONFIG.offset_bits
    for value in (-128, 127):
        assert abs(value * CONFIG.max_group_inputs) < 2 ** (CONFIG.offset_bits - 1)


# What follows breaks something on purpose: each must be seen.


@pytest.mark.parametrize(
    "array",
    ["jobs", *(pytest.param(a, marks=pytest.mark.full) for a in ("inputs", "outputs", "offsets"))],
)
def test_a_flipped_bit_is_seen(designs, array):
    passed, _ = run(designs[CONFIG], [flip_a_bit(a_case(CONFIG, [(3, 2, 2), (2, 1, 1)]), array)])
    assert not passed


def test_a_contract_that_is_off_by_a_cycle_is_seen(designs, monkeypatch):
    add_a_cycle(monkeypatch, ActivationBuffer)
    _, (result,) = run(designs[CONFIG], [a_case(CONFIG, [(3, 2, 2)])])
    assert result["stall_cycles"] == -1


SURVIVORS = {
    # Bits 10 and up of a job's sweeps; 5,000 sweeps are counted by the whole design.
    r"\w+ (reader\.(sweep|\$1[45])|keeper\.job\.more_sweeps)\[1\d\] .*": "1,024 sweeps or more",
    # The rest is equivalent.
    r"cnot1 reader\.\$12\[1\] .*": "every column inverts it an even number of times",
    r"inv offsets\.\$[57]\[18\] .*": "a sum's top bit, which every group inverts so",
    r"const0 .*queue\.\$ne.* A\[2\]": "places are promised, so the queue is never full",
    r"cnot1 .*queue\.\$reduce_or.* A\[0\]": "an input of an OR, while another one is 1",
}


def mutant_cases(config):
    """Random jobs, all groups, a full queue of sums (reset, and not), and many sweeps."""
    groups = [(columns, 2, group) for columns in range(1, 5) for group in range(1, columns + 1)]
    return [
        a_case(config, groups, idle=True),
        a_case(config, [(1, 1, 1)] * 30, idle=True),
        a_case(config, [(2, 2, 1), (1, 1, 1)], slow="i", stall=True),
        *random_cases(config, 6, seed=3, most_inputs=300),
        # A reset while the second half is written; then its job comes late.
        *(
            a_case(config, [(1, 2, 1)] * 6, slow="i_job", reset_after=cycles)
            for cycles in (5, 14, 30)
        ),
        a_case(config, [(2, OFFSETS + 3, 1)], slow="o_offset", reset_after=600, stall=True),
        a_case(config, [(1, 3 * OFFSETS, 1), (2, 9, 1)], slow="o_offset"),
        a_case(config, [(1, 111, 1), (1, 512, 1)]),
    ]


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_200_that_is_not_listed(designs):
    survivors = surviving(designs[CONFIG], BENCH, mutant_cases(CONFIG))
    assert unexplained(survivors, SURVIVORS) == []
    assert len(survivors) <= 10

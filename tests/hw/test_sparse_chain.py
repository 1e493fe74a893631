"""The sparse chain in Verilator: golden's sums bit for bit, the contract's cycles exactly."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import hw.verify
from golden.numbers import signed_range
from golden.sparse_matrix import pack
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import emit
from hw.sparse_chain import SparseChain
from hw.verify import Case, coverage, random_case, random_cases, run_cases

CONFIG = SparseChainConfig()


@pytest.fixture(scope="module")
def design():
    return emit(SparseChain, CONFIG)


def uniform_case(name, n, weight, activations, config=CONFIG, group_size=None, **pauses):
    """Return a case that keeps the first N weights of every row of every block."""
    keep = uniform_keep(*weight.shape, n, config)
    order = -torch.arange(weight.shape[1], dtype=torch.float32).expand(weight.shape)
    mask = keep_mask(order, keep, config)
    matrix = pack(weight, mask, keep, group_size or weight.shape[1], config)
    return Case(name, matrix, activations, **pauses)


def random_uniform_case(n, rows=16, inputs=1024, **pauses):
    random = np.random.default_rng(n)
    weight = torch.from_numpy(random.integers(-128, 128, (rows, inputs)))
    activations = torch.from_numpy(random.integers(-128, 128, (1, inputs)))
    return uniform_case(f"{n}:16", n, weight, activations, **pauses)


def extreme_cases():
    """Yield jobs in which every operand is at an end of its range, or alternates between both."""
    ends = signed_range(8)
    alternating = torch.tensor(ends).repeat(16, 64)
    for n in CONFIG.keeps:
        for weight in ends:
            for activation in ends:
                yield uniform_case(
                    f"{n}:16 of {weight} x {activation}",
                    n,
                    torch.full((16, 128), weight),
                    torch.full((1, 128), activation),
                )
        yield uniform_case(f"{n}:16 alternating", n, alternating, alternating[:1].flip(1))


def test_random_jobs_are_exact_and_cover_every_n_and_pause(design):
    cases = random_cases(CONFIG, 60, seed=1)
    results = run_cases(cases, design=design, seed=1)
    assert [result for result in results if not result.passed] == []
    assert coverage(cases) == 1.0
    assert sum(result.stall_cycles for result in results) > 500
    assert any(case.reset_after for case in cases)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10, 14))
def test_many_random_jobs_are_exact(design, seed):
    results = run_cases(random_cases(CONFIG, 500, seed), design=design, seed=seed)
    assert [result for result in results if not result.passed] == []


def test_a_reset_in_any_cycle_leaves_nothing_behind(design):
    often = hw.verify.uniform_case(CONFIG, keep=2, blocks=24, group_size=16, seed=7)
    cases = [replace(often, reset_after=cycles) for cycles in range(1, 51)]
    results = run_cases(cases, design=design)
    assert [result for result in results if not result.passed] == []


def test_extremes_do_not_overflow(design):
    results = run_cases(list(extreme_cases()), design=design)
    assert [result for result in results if not result.passed] == []


@pytest.mark.parametrize(
    "config",
    [
        SparseChainConfig(m=4, activation_bits=2, weight_bits=2, accumulator_bits=12),
        SparseChainConfig(m=8, activation_bits=8, weight_bits=4, accumulator_bits=20),
        SparseChainConfig(m=16, activation_bits=5, weight_bits=3, accumulator_bits=48),
        SparseChainConfig(m=32, activation_bits=8, weight_bits=8, accumulator_bits=24),
    ],
    ids=str,
)
def test_every_width_and_length_is_exact(config):
    results = run_cases(random_cases(config, 16, seed=config.m), seed=2)
    assert [result for result in results if not result.passed] == []


@pytest.fixture(scope="module")
def steady(design):
    """Ten strips of K = 1,024 at every N, without stalls."""
    return run_cases([random_uniform_case(n, rows=160) for n in CONFIG.keeps], design=design)


def test_98_percent_of_the_multipliers_work_at_every_n(steady):
    for result in steady:
        assert result.stall_cycles == 0
        assert result.utilisation >= 0.98, result


def test_cycles_fall_with_n(steady):
    latency = SparseChain.cycles(CONFIG, [])
    beats = {result.name: result.cycles - latency for result in steady}
    assert beats == {"2:16": 1280, "4:16": 2560, "8:16": 5120, "16:16": 10240}


@pytest.mark.parametrize("pauses", [{"idle": True}, {"stall": True}], ids=str)
def test_every_stall_costs_one_cycle(design, pauses):
    # One block per group: sums come every N cycles, faster than a pausing sink takes them.
    cases = [random_uniform_case(n, rows=32, group_size=16, **pauses) for n in CONFIG.keeps]
    results = run_cases(cases, design=design)
    assert [result for result in results if not result.passed] == []
    assert results[0].stall_cycles > 50


# What follows breaks something on purpose: each must be seen.


def flip_a_bit(array):
    array[len(array) // 2, 0] ^= 1


@pytest.mark.parametrize(
    ("job", "array"),
    [
        ("a weight bit", "0_weights"),
        ("an activation bit", "0_blocks"),
        ("an expected bit", "0_expected"),
    ],
)
def test_a_flipped_bit_is_seen(design, monkeypatch, job, array):
    save = np.savez

    def save_flipped(path, **arrays):
        flip_a_bit(arrays[array])
        save(path, **arrays)

    monkeypatch.setattr(np, "savez", save_flipped)
    (result,) = run_cases([random_uniform_case(16, inputs=64)], design=design)
    assert result.mismatches > 0, job
    assert re.match(r"output \d+, row \d+: -?\d+ instead of -?\d+", result.first_mismatch)


@pytest.mark.parametrize("cycles", [-1, 1])
def test_a_contract_that_is_off_by_a_cycle_is_seen(design, monkeypatch, cycles):
    exact = SparseChain.cycles
    monkeypatch.setattr(
        SparseChain, "cycles", staticmethod(lambda *job: exact(*job) + cycles), raising=True
    )
    (result,) = run_cases([random_uniform_case(8, inputs=64)], design=design)
    assert result.mismatches == 0
    assert not result.passed


BREAKS = {
    "one lane's sparse index": (r"(\.index\()(i_weight__payload\[\d+:\d+\])", r"\1~\2"),
    "the activation mux": (r"(\.activations\()(i_block__payload\[127:0\])", r"\1~\2"),
    "one restart of the cascade": (r"(multiplier_8 \([^;]*\.restart\()", r"\g<1>1'b0 & "),
    "the accumulators' first block": (r"(first <= )control\[7\]", r"\g<1>1'b0"),
    "a full output that is ignored": (r"assign blocked = ", "assign blocked = 1'b0 & "),
}


@pytest.mark.parametrize("what", BREAKS)
def test_broken_hardware_is_seen(design, what):
    pattern, replacement = BREAKS[what]
    verilog, found = re.subn(pattern, replacement, design.verilog, count=1)
    assert found == 1
    broken = replace(design, verilog=verilog)
    random = np.random.default_rng(0)
    cases = [random_case(CONFIG, random, str(i), idle=False, stall=i > 6) for i in range(12)]
    results = run_cases(cases, design=broken)
    assert not all(result.passed for result in results)


def test_a_chain_that_never_answers_is_seen(design):
    stuck = design.verilog.replace("assign blocked = ", "assign blocked = 1'b1 | ")
    (result,) = run_cases(
        [random_uniform_case(2, inputs=64)], design=replace(design, verilog=stuck)
    )
    assert result.mismatches == 16
    assert result.first_mismatch == "the last 1 of 1 outputs did not come"

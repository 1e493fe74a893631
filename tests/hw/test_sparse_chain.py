"""The sparse chain in Verilator: golden's sums bit for bit, the contract's cycles exactly."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from matrices import checkered, integers, sparse

from golden.numbers import signed_range
from golden.passes import make_passes
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw import cosim, payloads, player, verify_chain
from hw.emit import emit
from hw.sparse_chain import SparseChain
from hw.verify_chain import Case, CaseResult, coverage, crosses, random_cases, run_cases

CONFIG = SparseChainConfig()
CONFIGS = [
    SparseChainConfig(m=4),
    SparseChainConfig(m=4, chain_length=2, strips=2),
    SparseChainConfig(m=8, chain_length=4, activation_bits=5, weight_bits=3, strips=4),
    SparseChainConfig(m=8, products_per_dsp=1, activation_bits=2, weight_bits=2),
    SparseChainConfig(m=8, group_length=4, weight_bits=6),
    SparseChainConfig(chain_length=2),
    SparseChainConfig(chain_length=4, group_length=4, products_per_dsp=1),
    SparseChainConfig(chain_length=8, group_length=8),
    SparseChainConfig(chain_length=8, strips=64),
    SparseChainConfig(group_length=4),
    SparseChainConfig(group_length=8, products_per_dsp=1),
    SparseChainConfig(m=32),
    SparseChainConfig(m=32, chain_length=16, group_length=8, activation_bits=7),
]
SHAPES = 14
"""Random shapes of matrices that each configuration gets."""


@pytest.fixture(scope="module")
def design():
    return emit(SparseChain, CONFIG)


def failed(results):
    return [result for result in results if not result.passed]


def a_case(name, matrix, activations, config=CONFIG, **options):
    return Case(name, config, matrix, activations, **options)


def extreme_cases(config):
    """Yield jobs whose operands are all at an end of the range, or at both in turn."""
    shape, lanes = (2 * config.m, 2 * config.m), config.products_per_dsp
    bits = {7: 6}.get(config.weight_bits, config.weight_bits)
    for n in config.keeps:
        for w in signed_range(bits):
            for a in signed_range(config.activation_bits):
                matrix = sparse(config, n, torch.full(shape, w), bits=bits)
                tokens = torch.full((lanes, shape[1]), a)
                yield a_case(f"N = {n}, {w} x {a}", matrix, tokens, config)
        matrix = sparse(config, n, checkered(shape, bits), bits=bits)
        tokens = checkered((lanes, shape[1]), config.activation_bits)
        yield a_case(f"N = {n}, ends in turn", matrix, tokens, config)
        opposite = checkered((lanes, shape[1]), config.activation_bits, first=1)
        yield a_case(f"N = {n}, the other way round", matrix, opposite, config)
    if lanes == 2:
        for case in list(extreme_cases(replace(config, products_per_dsp=1))):
            if case.matrix.is_dense:
                name, tokens = f"two rows, {case.name}", case.activations
                yield a_case(name, case.matrix, tokens, config, two_rows=True)


def edge_cases(config):
    """Yield jobs at the edges of what a matrix may be."""
    m, keeps = config.m, config.keeps
    bits = {7: 6}.get(config.weight_bits, config.weight_bits)

    def case(name, keep, shape, seed=0):
        matrix = sparse(config, keep, shape, bits=bits, seed=seed)
        tokens = integers((config.products_per_dsp, shape[1]), config.activation_bits, seed)
        return a_case(name, matrix, tokens, config)

    for n in (keeps[0], m):
        yield case(f"1 x 1, N = {n}", n, (1, 1))
        yield case(f"one row, N = {n}", n, (1, 5 * m + 1))
        yield case(f"one column, N = {n}", n, (3 * m + 1, m))
        yield case(f"a column of one input, N = {n}", n, (3 * m + 1, 1))
    # The one strip's same row comes again as early as it can.
    yield case("one strip", keeps[0], (config.chain_length, 20 * m))
    yield case(
        "one strip of rising and falling N", [[*keeps, *keeps[::-1]] * 2], (m, 4 * m * len(keeps))
    )
    rising = torch.tensor([*keeps, *keeps[::-1], keeps[0], m, keeps[0]])
    yield case("passes of rising and falling N", rising[:, None], (len(rising) * m, m))
    yield case("nothing at all", 0, (3 * m, 3 * m))
    absent = torch.full((3, 5), keeps[-2])
    absent[1], absent[:, 2], absent[:, 4] = 0, 0, 0
    yield case("strips and columns without weights", absent, (3 * m, 5 * m))
    lone = torch.zeros(3, 5, dtype=torch.int64)
    lone[2, 4] = m
    yield case("one block of fifteen", lone, (3 * m, 5 * m))


def all_cases(config):
    return [
        *random_cases(config, SHAPES, seed=config.chain_length),
        *extreme_cases(config),
        *edge_cases(config),
    ]


@pytest.mark.parametrize("target", ["generic", "ultrascale+", "ecp5"])
def test_random_jobs_of_every_cross_are_exact(target):
    cases = random_cases(CONFIG, 2 * len(crosses(CONFIG)), seed=1)
    assert coverage(cases) == 1.0
    assert any(case.reset_after for case in cases)
    results = run_cases(cases, target=target, seed=1)
    assert failed(results) == []
    assert sum(result.stall_cycles for result in results) > 500


@pytest.mark.parametrize("config", [CONFIG, *CONFIGS], ids=str)
def test_sums_and_cycles_are_exact_in_every_configuration(config):
    assert failed(run_cases(all_cases(config), seed=2)) == []


def test_that_is_over_200_configurations_and_shapes():
    shapes = {
        (config, *case.matrix.weights.shape, tuple(case.matrix.keep.flatten().tolist()))
        for config in CONFIGS
        for case in all_cases(config)
    }
    assert len(shapes) >= 200


@pytest.mark.parametrize("target", ["ultrascale+", "ecp5"])
def test_extremes_do_not_overflow_in_a_dsp(target):
    assert failed(run_cases(list(extreme_cases(CONFIG)), target=target)) == []


@pytest.mark.parametrize("seed", range(10, 14))
@pytest.mark.full
def test_many_random_jobs_are_exact(design, seed):
    assert failed(run_cases(random_cases(CONFIG, 500, seed), design=design, seed=seed)) == []


def test_a_reset_in_any_cycle_leaves_nothing_behind(design):
    keep = torch.tensor([[2, 16, 0], [8, 2, 4]])
    job = a_case("", sparse(CONFIG, keep, (32, 48)), integers((2, 48)))
    (whole,) = run_cases([job], design=design)
    cases = [replace(job, name=f"{k}", reset_after=k) for k in range(1, whole.cycles + 4)]
    results = run_cases(cases, design=design)
    assert failed(results) == []
    assert len(cases) >= 80


@pytest.fixture(scope="module")
def steady(design):
    """16 strips of K = 1,024 at every N, without stalls: the results, and what was logged."""
    traces = []
    with pytest.MonkeyPatch.context() as patch:
        play = player.play
        patch.setattr(player, "play", lambda *a, **k: traces.extend(play(*a, **k)) or traces)
        cases = [
            a_case(f"{n}", sparse(CONFIG, n, (256, 1024)), integers((2, 1024)))
            for n in CONFIG.keeps
        ]
        return list(zip(cases, run_cases(cases, design=design), traces, strict=True))


def test_98_percent_of_the_multipliers_work_at_every_n(steady):
    for _, result, _ in steady:
        assert result.stall_cycles == 0
        assert result.utilisation >= 0.98, result


def test_in_between_all_multipliers_work_in_every_cycle(steady):
    for case, _, trace in steady:
        taken = trace.transfers("i_weight")
        assert (np.diff(taken) == 1).all()
        passes = make_passes(case.matrix, CONFIG)
        assert (verify_chain.kept_weights(passes, case.matrix) == case.config.chain_length).all()


def test_cycles_fall_with_n(steady):
    latency = SparseChain.latency(CONFIG) + CONFIG.m
    beats = {int(result.name): result.cycles - latency for _, result, _ in steady}
    assert beats == {2: 2048, 4: 4096, 8: 8192, 16: 16384}


def test_the_contract_by_hand():
    cycles, latency = SparseChain.cycles, SparseChain.latency(CONFIG)
    assert cycles(CONFIG, [2]) == 16 + 2 + latency
    # Two columns fit, the third waits for the first one's end; a load takes longer than 2 beats.
    assert cycles(CONFIG, [2, 2, 2]) == 16 + 16 + 16 + 2 + latency
    assert cycles(CONFIG, [100, 2, 2]) == 16 + 100 + 2 + 14 + 2 + latency
    assert cycles(CONFIG, [20, 30, 40]) == 16 + 20 + 30 + 40 + latency
    stalled = cycles(CONFIG, [20, 2], activation_stalls=[3, 5], weight_stalls=[7, 1])
    assert stalled == (16 + 3) + (20 + 7) + (2 + 1) + latency
    assert cycles(CONFIG, [20, 2], activation_stalls=[0, 5]) == 16 + 5 + 16 + 2 + latency
    assert latency - SparseChain.latency(SparseChainConfig(chain_length=4)) == 12


@pytest.mark.parametrize("configs", [[], [CONFIG, CONFIGS[0]]])
def test_cases_of_one_configuration_are_needed(configs):
    cases = [case for config in configs for case in random_cases(config, 1, seed=0)]
    message = f"^the cases have {len(configs)} configurations; one is needed$"
    with pytest.raises(ConfigError, match=message):
        run_cases(cases)


def test_random_cases_repeat_with_their_seed_and_differ_without():
    first, again, other = (random_cases(CONFIG, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(first[3].matrix.weights, again[3].matrix.weights)
    assert [case.matrix.keep.shape for case in first] != [case.matrix.keep.shape for case in other]


def test_coverage_counts_what_the_cases_hit():
    cases = random_cases(CONFIG, 3, seed=0)
    assert coverage([*cases, *cases]) == 3 / len(crosses(CONFIG)) == 3 / 26


@pytest.mark.parametrize("config", [CONFIG, CONFIGS[0], CONFIGS[-1]], ids=str)
@pytest.mark.parametrize("target", ["generic", "ultrascale+", "ecp5"])
def test_the_verilog_is_clean(config, target):
    assert cosim.lint(emit(SparseChain, config, target=target)) == []


# What follows breaks something on purpose: each must be seen.


def test_a_case_passes_only_with_golden_sums_and_the_contracts_cycles():
    counted = {"cycles": 45, "contract_cycles": 41, "stall_cycles": 4, "unexplained": 0}
    right = CaseResult("", 720, 32, **counted, compared=16, mismatches=0)
    assert right.passed and right.utilisation == 0.5
    for wrong in ({"mismatches": 1}, {"stall_cycles": 3}, {"unexplained": 1}, {"cycles": 46}):
        assert not replace(right, **wrong).passed


@pytest.mark.parametrize("stream", ["weights", "activations", "row_sums", "passes"])
def test_a_flipped_bit_is_seen(design, monkeypatch, stream):
    exact = getattr(payloads, f"of_{stream}")

    def flipped(*arguments):
        array = exact(*arguments)
        array[len(array) // 2, 0] ^= 1
        return array

    monkeypatch.setattr(payloads, f"of_{stream}", flipped)
    case = a_case("", sparse(CONFIG, 16, (32, 64)), checkered((2, 64)))
    (result,) = run_cases([case], design=design)
    assert result.mismatches > 0
    assert re.match(r"^node \d+: \d+ of 16 rows differ$", result.first_mismatch)


@pytest.mark.parametrize("cycles", [-1, 1])
@pytest.mark.parametrize("idle", [False, True])
def test_a_contract_that_is_off_by_a_cycle_is_seen(design, monkeypatch, idle, cycles):
    exact = SparseChain.latency
    monkeypatch.setattr(SparseChain, "latency", staticmethod(lambda c: exact(c) + cycles))
    case = a_case("", sparse(CONFIG, 8, (32, 64)), integers((2, 64)), idle=idle)
    (result,) = run_cases([case], design=design)
    assert result.mismatches == 0
    assert not result.passed


BREAKS = {
    "a stuck bit of an index": (r"(\.second\()(select_3__second)\)", r"\1\2 | 1)"),
    "a stuck bit of a weight": (r"(\.value\()(select_9__value)\)", r"\1\2 & 8'hfe)"),
    "a restart of the cascade": (r"(\.restart\()(multiplier_8__restart)", r"\g<1>1'h0"),
    "a reduction node's group": (r"(\.group\()3'h5", r"\g<1>3'h4"),
    "a beat that is lost": (
        r"(\.weight_valid\()(i_weight__valid)",
        r"\1\2 & ~&i_pass__payload[1:0]",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_broken_hardware_is_seen(design, what):
    pattern, replacement = BREAKS[what]
    verilog, found = re.subn(pattern, replacement, design.verilog, count=1)
    assert found == 1
    cases = random_cases(CONFIG, 12, seed=0)
    results = run_cases(cases, design=replace(design, verilog=verilog))
    assert failed(results) != []

"""The special function unit in Verilator: golden's outputs bit for bit, the contract's cycles."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from mutation_trials import survivors, unexplained
from special_function_cases import (
    HIGH,
    LINEAR,
    carried_cases,
    dense_cases,
    edge_cases,
    every_argument,
    load,
    shown,
    wide,
)

from golden.spec.errors import ConfigError
from golden.spec.special_function_unit import (
    Byte,
    Job,
    Operation,
    Reduction,
    Second,
    SpecialFunctionUnitConfig,
)
from golden.special_functions import functions, scalars, sequences
from hw import cosim
from hw.emit import emit
from hw.mutation import mutate
from hw.scalar_unit import ScalarUnit
from hw.sfu_cases import coverage, crosses, random_cases
from hw.sfu_timing import STAGES, schedule
from hw.special_function_unit import SpecialFunctionUnit
from hw.synth import synthesise
from hw.verify_special_functions import Case, Play, run_cases

SMALL = SpecialFunctionUnitConfig(lanes=4)
TABULATED = (Operation.SILU, Operation.GELU, Operation.EXP)
TINY = SpecialFunctionUnitConfig(lanes=2, table_bits=5)
CONFIGS = [SMALL, TINY, SpecialFunctionUnitConfig(lanes=8, table_bits=10)]


@pytest.fixture(scope="module")
def design():
    return emit(SpecialFunctionUnit, SMALL)


def failed(results):
    return [result for result in results if not result.passed]


def test_random_jobs_of_every_cross_are_exact(design):
    cases = random_cases(SMALL, len(crosses(SMALL)), seed=1)
    assert coverage(cases) == 1.0
    results = run_cases(cases, design=design, seed=1)
    assert failed(results) == []
    assert sum(result.stall_cycles for result in results) > 2000
    assert any(case.reset_after for case in cases)


def test_the_edges(design):
    cases = [case for length in (1, 2, 4, 6) for case in edge_cases(SMALL, length)]
    cases += [*dense_cases(SMALL, seed=1), *carried_cases(SMALL)]
    assert failed(run_cases(cases, design=design)) == []


@pytest.mark.full
@pytest.mark.parametrize("operation", TABULATED)
def test_every_argument_of_a_table_is_exact(design, operation):
    assert failed(run_cases([every_argument(SMALL, operation)], design=design)) == []


@pytest.mark.full
@pytest.mark.parametrize("config", CONFIGS[1:], ids=lambda c: f"{c.lanes} lanes")
def test_other_configurations_are_exact(config):
    cases = random_cases(config, len(crosses(config)), seed=2)
    assert coverage(cases) == 1.0
    assert failed(run_cases([*cases, *edge_cases(config, 5)])) == []


@pytest.mark.full
@pytest.mark.parametrize("target", ["ultrascale+", "ecp5"])
def test_random_jobs_are_exact_in_a_vendors_cells(target):
    cases = [*random_cases(SMALL, 100, seed=3), *edge_cases(SMALL, 5)]
    assert failed(run_cases(cases, target=target)) == []


def sequence_case(name, config, setup, jobs, a, b=()):
    """A case of jobs behind some that set registers up, and a pass for each register's value."""
    jobs = (*setup, *jobs)
    assert sum(job.operation.is_pass for job in jobs) == len(a)
    return Case(name, config, jobs, tuple(a), tuple(b))


def outputs(case):
    """Golden's outputs of a case, which the unit was compared with, for each job."""
    from golden.special_functions.passes import SpecialFunctionUnit as Golden

    golden, a, b = Golden(), iter(case.a), iter(case.b)
    return [
        golden.run(
            job,
            next(a) if job.operation.is_pass else None,
            next(b) if job.takes_b else None,
        )
        for job in case.jobs
    ]


def vectors(count, n, bits=20, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**bits), 2**bits, (count, n), generator=random)


def magnitude_jobs(n):
    """A pass that leaves the magnitude of its vector in register 0."""
    return Job(LINEAR, n, wide=False, reduction=Reduction.MAGNITUDE, target=0)


def test_quantisation_is_the_function(design):
    (x,) = vectors(1, 37)
    jobs = (magnitude_jobs(37), *sequences.quantise_jobs(37, magnitude=0, work=1))
    case = sequence_case("quantise", SMALL, (), jobs, (x, x))
    assert failed(run_cases([case], design=design)) == []
    expected = functions.quantise(x, scalars.quantiser(functions.magnitude(x)))
    assert torch.equal(outputs(case)[-1].byte, expected)


def test_norms_are_the_functions(design):
    x, gamma, beta = vectors(3, 50, bits=17)
    x += 70000
    epsilon = 12345 << 7
    jobs = (magnitude_jobs(50), *sequences.rms_norm_jobs(50, 0, epsilon=5, work=1, shift=-20))
    setup = (load(5, 12345, 7),)
    rms = sequence_case("rms", SMALL, setup, jobs, (x, x, x), (gamma,))
    jobs = sequences.layer_norm_jobs(50, epsilon=5, work=1, shift=-20)
    centred = functions.centre(x, functions.mean(x))
    normal = functions.rms_norm(centred, gamma, functions.magnitude(centred), epsilon, -20)
    a = (x, x, centred, centred, normal)
    layer = sequence_case("layer", SMALL, setup, jobs, a, (gamma, beta))
    assert failed(run_cases([rms, layer], design=design)) == []
    expected = functions.rms_norm(x, gamma, functions.magnitude(x), epsilon, -20)
    assert torch.equal(outputs(rms)[-1].wide, expected)
    given = outputs(layer)
    assert torch.equal(given[3].wide, centred) and torch.equal(given[-2].wide, normal)
    assert torch.equal(given[-1].wide, functions.layer_norm(x, gamma, beta, epsilon, -20))


def test_softmax_is_the_function(design):
    (x,) = vectors(1, 41, bits=16)
    jobs = (
        sequences.maximum_job(41, target=0),
        sequences.softmax_job(41, 0, 1, 14, shift=13, byte=Byte.HIGH),
        Job(LINEAR, 41, wide=False, byte=Byte.LOW),
        Job(Operation.RECIPROCAL, scale=1, target=2),
        Job(LINEAR, 41, scaled=True, scale=2, shift=-14),
    )
    p, _ = functions.softmax_two_pass(x, 14, shift=13)
    case = sequence_case("softmax", SMALL, (), jobs, (x, x, p, p))
    assert failed(run_cases([case], design=design)) == []
    given = outputs(case)
    assert torch.equal(given[1].wide, p)
    assert torch.equal(given[1].byte * 128 + given[2].byte, p.clamp(max=2**14 - 1))
    true = torch.softmax(x.double() / 2**13, -1)
    assert ((given[-1].wide / 2**14 - true).abs() < 1e-4).all()


def test_an_online_softmax_is_the_function(design):
    first, second = vectors(2, 19, bits=15)
    second += 9000  # the maximum rises
    p, _, before = functions.softmax_chunk(first, None, 12, shift=12)
    q, correction, after = functions.softmax_chunk(second, before, 12, shift=12)
    assert int(correction.value) < 2**12
    jobs = (
        sequences.maximum_job(19, target=0),
        sequences.softmax_job(19, 0, 1, 12, shift=12),
        *sequences.softmax_chunk_jobs(19, 0, 1, 2, 12, shift=12),
    )
    old = before.maximum.value[None], before.total.value[None]
    a = (first, first, second, old[0], second, old[1])
    case = sequence_case("online softmax", SMALL, (), jobs, a)
    assert failed(run_cases([case], design=design)) == []
    given = outputs(case)
    assert torch.equal(given[1].wide, p) and torch.equal(given[-2].wide, q)
    assert given[-1].wide.tolist() == [int(after.total.value)]
    assert given[-3].wide.tolist() == [int(correction.value)]


def test_other_functions_are_one_job(design):
    a, b = vectors(2, 24, bits=19)
    table = functions.rope_table(torch.tensor([77]), 24)[0]
    jobs = {
        functions.add(a, b, 3, -5, 2): Job(LINEAR, 24, 3, -5, 2, source=Second.VECTOR),
        functions.multiply(a, b, 7, 3): Job(Operation.PRODUCT, 24, 7, shift=3),
        functions.rope(a, table): Job(Operation.ROTATE, 24, shift=16),
        functions.silu(a): Job(Operation.SILU, 24),
        functions.gelu(a): Job(Operation.GELU, 24),
        functions.static_quantise(a, 1, 13): Job(
            LINEAR, 24, shift=13, wide=False, byte=Byte.SATURATED
        ),
    }
    second = [table if job.operation is Operation.ROTATE else b for job in jobs.values()]
    both = tuple(v for job, v in zip(jobs.values(), second, strict=True) if job.takes_b)
    case = Case("one job", SMALL, tuple(jobs.values()), (a,) * len(jobs), both)
    assert failed(run_cases([case], design=design)) == []
    for expected, given in zip(jobs, outputs(case), strict=True):
        assert torch.equal(given.byte if given.wide is None else given.wide, expected)


@pytest.mark.parametrize("operation", [op for op in Operation if not op.is_pass])
def test_steps_on_extreme_scalars(design, operation):
    jobs, a = [], []
    for value, shift in ((0, 0), (1, 0), (-1, 31), (131071, 31), (32769, 11), (65535, 16)):
        jobs += [load(0, value, shift), load(1, 131071, 12)]
        if operation is Operation.LOAD:
            jobs.append(load(2, value, shift))
        else:
            jobs.append(Job(operation, shift=shift, scale=0, other=1, target=2))
        for job, vector in (
            shown(2),
            (Job(LINEAR, scaled=True, scale=2, shift=10), wide(HIGH)),
            (Job(LINEAR, scaled=True, scale=2, shift=-10), wide(1)),
        ):
            jobs.append(job)
            a.append(vector)
    case = Case(operation.name, SMALL, tuple(jobs), tuple(a))
    assert failed(run_cases([case], design=design)) == []


# The contract.


def test_passes_follow_each_other_without_a_gap(design):
    x = torch.arange(40)
    jobs = tuple(Job(LINEAR, n) for n in (40, 1, 1, 1, 1, 1, 8, 5))
    when = schedule(SMALL, jobs)
    assert when.begins == (3, 13, 14, 15, 16, 17, 18, 20)
    assert when.ends[-1] == 21 + STAGES == 21 + 19
    case = Case("dense", SMALL, jobs, tuple(x[: job.length] for job in jobs))
    (result,) = run_cases([case], design=design)
    assert result.passed and result.cycles == SpecialFunctionUnit.cycles(SMALL, jobs) == 41


def test_a_job_waits_for_its_register(design):
    jobs = (
        Job(LINEAR, 40, reduction=Reduction.SUM, target=1),
        Job(Operation.NORMALISE, scale=1, target=2),
        Job(LINEAR, 4, scaled=True, scale=2),
    )
    when = schedule(SMALL, jobs)
    # Three stages, ten words, the lanes, the tree.
    assert when.taken == (0, 3 + 9 + 23, 35 + ScalarUnit.cycles(Operation.NORMALISE))
    assert [ScalarUnit.cycles(op) for op in Operation if op >= Operation.LOAD] == [
        *(9, 10, 10, 28, 28, 51)
    ]
    case = Case("waits", SMALL, jobs, (torch.arange(40), torch.arange(4)))
    (result,) = run_cases([case], design=design)
    assert result.passed


def test_different_configurations_are_refused():
    cases = [random_cases(config, 1, seed=0)[0] for config in CONFIGS[:2]]
    with pytest.raises(ConfigError, match=r"^the cases have 2 configurations; one is needed$"):
        run_cases(cases)


def test_the_verilog_is_clean(design):
    assert cosim.lint(design) == []


@pytest.mark.full
@pytest.mark.parametrize("config", CONFIGS[1:], ids=lambda c: f"{c.lanes} lanes")
def test_the_verilog_of_other_configurations_is_clean(config):
    assert cosim.lint(emit(SpecialFunctionUnit, config)) == []


@pytest.mark.full
def test_four_slices_per_lane_and_no_other_multiplier():
    resources = synthesise(emit(SpecialFunctionUnit, SMALL, target="ultrascale+"), "ultrascale+")
    assert (resources.dsp, resources.soft_multipliers) == (16, 0)
    assert resources.bram == 2 and resources.lut < 6500 and resources.logic_depth <= 9


# What follows breaks something on purpose: each must be seen.


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        # A tie that does not go to the even one; lanes that count behind a vector's end.
        ("tie <= ", "tie <= 0 & "),
        ("reduction__used <= ", "reduction__used <= 3 | "),
    ],
)
def test_a_broken_unit_is_seen(right, wrong):
    whole = emit(SpecialFunctionUnit, TINY)
    broken = replace(whole, verilog=whole.verilog.replace(right, wrong, 1))
    assert broken != whole
    results = run_cases(random_cases(TINY, 60, seed=4), design=broken)
    assert failed(results) != []


def test_a_contract_that_is_off_by_a_cycle_is_seen(design, monkeypatch):
    monkeypatch.setattr("hw.sfu_timing.STAGES", STAGES + 1)
    monkeypatch.setattr("hw.verify_special_functions.STAGES", STAGES + 1)
    cases = [case for case in random_cases(SMALL, 20, seed=5) if not (case.idle or case.stall)]
    assert len(failed(run_cases(cases, design=design))) == len(cases)


EQUIVALENT = {
    r"cnot1 lane_\d\.line_slice\.p\[\d+\] A\[\d+\]": (
        "what is compared with 0, inverted where another bit of it is 1 anyway"
    ),
    r"cnot\d lane_\d\.\$26\[([5-9]|10)\] Y\[\d+\]": "of the power, 5 bits and the sign count",
    r"const0 \S+queue\.\$ternary\S+ B\[0\]": "the 0 that a register's mark becomes",
    r"inv queue\.\$32\[[0-7]\] Y\[[0-7]\]": "of this exponent only the sign counts",
    r"const1 \S+scalar_unit\.\$add\S+ B\[0\]": "a bit of a constant that is 1",
    r"const0 \S+scalar_unit\.\$reduce_or\S+ A\[([0-9]|1[0-4])\]": (
        "a mantissa has bit 15 or 16, or is 0"
    ),
}
"""Faults that change nothing, by the names that they have with this seed."""


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent():
    mutants = mutate(emit(SpecialFunctionUnit, TINY), 200, seed=1)
    random = np.random.default_rng(7)
    cases = [*dense_cases(TINY, seed=2), *carried_cases(TINY), *random_cases(TINY, 60, seed=6)]
    cases += [*edge_cases(TINY, 3), every_argument(TINY, Operation.SILU)]
    plays = [Play(case) for case in cases]

    def judge(play, trace):
        return "" if play.judge(trace).passed else "wrong"

    trials = [(play.streams(random), partial(judge, play)) for play in plays]
    assert unexplained(survivors(mutants, trials), EQUIVALENT) == []

import re
from dataclasses import replace

import pytest

from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import emit
from hw.mutation import mutate
from hw.sparse_chain import SparseChain
from hw.verify import random_cases, run_cases, uniform_case

CONFIG = SparseChainConfig(m=4, activation_bits=3, weight_bits=3, accumulator_bits=10)

EQUIVALENT = {
    # Yosys' equiv_induct proves it: what stands at the end of a block is 0 already.
    r"const0 .*sequencer\.\$ternary.* B\[0\]": "a constant 0 that is stuck at 0",
    # While the chain is blocked, the next beat to add is the first of its group, which loads.
    # Yosys' sat finds no difference within 20 cycles, whatever the inputs.
    r"const1 .*rows_0.*reduce_and.* A\[0\]": "adding again while blocked what loads anyway",
}


def jobs():
    """Random jobs, and resets in successive cycles while sums leave in every second one."""
    often = uniform_case(CONFIG, keep=2, blocks=16, group_size=CONFIG.m, seed=5)
    resets = [replace(often, reset_after=cycles) for cycles in (12, 13, 14, 15)]
    return [*random_cases(CONFIG, 12, seed=3), *resets]


@pytest.fixture(scope="module")
def chain():
    return emit(SparseChain, CONFIG)


def test_the_same_seed_gives_the_same_mutants(chain):
    first = mutate(chain, 20, seed=1)
    assert mutate(chain, 20, seed=1) == first
    assert mutate(chain, 20, seed=2).faults != first.faults
    assert len(set(first.faults)) == len(first.faults) == 20


def test_a_design_with_faults_built_in_is_whole_without_one(chain):
    mutants = mutate(chain, 20, seed=1)
    results = run_cases(jobs(), design=mutants.design)
    assert all(result.passed for result in results)


def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent(chain):
    mutants = mutate(chain, 200, seed=1)
    tried = jobs()
    cases = [replace(job, mutant=k) for k in range(1, 201) for job in tried]
    results = run_cases(cases, design=mutants.design)
    killed = {case.mutant for case, result in zip(cases, results, strict=True) if not result.passed}
    survivors = [fault for k, fault in enumerate(mutants.faults, 1) if k not in killed]
    unexplained = [
        fault
        for fault in survivors
        if not any(re.fullmatch(pattern, fault) for pattern in EQUIVALENT)
    ]
    assert unexplained == []
    assert len(survivors) <= len(EQUIVALENT)

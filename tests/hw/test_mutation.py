import re
from dataclasses import replace

import pytest

from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import emit
from hw.mutation import mutate
from hw.sparse_chain import SparseChain
from hw.verify import random_cases, run_cases

CONFIG = SparseChainConfig(m=4, activation_bits=3, weight_bits=3, accumulator_bits=10)
JOBS = 12

EQUIVALENT = {
    # Yosys proves it: what replaces this bit at the end of a block is 0 already.
    r"const0 .*sequencer\.\$ternary.* B\[0\]": "a constant 0 that is stuck at 0",
    # Its `valid` and `done` are reset, and nothing reads the other bits of a beat without them.
    r"const0 .*slice.* SRST\[0\]": "a bit of a beat that need not be reset",
    # While the chain is blocked, the next beat to add is the first of its group, which loads.
    r"const1 .*rows_0.*reduce_and.* A\[0\]": "adding again while blocked what loads anyway",
}


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
    results = run_cases(random_cases(CONFIG, JOBS, seed=3), design=mutants.design)
    assert all(result.passed for result in results)


def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent(chain):
    mutants = mutate(chain, 200, seed=1)
    jobs = random_cases(CONFIG, JOBS, seed=3)
    cases = [replace(job, mutant=k + 1) for k in range(200) for job in jobs]
    results = run_cases(cases, design=mutants.design)
    survivors = [
        fault
        for k, fault in enumerate(mutants.faults)
        if all(result.passed for result in results[JOBS * k : JOBS * (k + 1)])
    ]
    unexplained = [
        fault
        for fault in survivors
        if not any(re.fullmatch(pattern, fault) for pattern in EQUIVALENT)
    ]
    assert unexplained == []
    assert len(survivors) <= len(EQUIVALENT)

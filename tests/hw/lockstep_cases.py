"""Cases of the benches that run a block in lockstep with a model (`hw.benches.lockstep`).

A case is a pair: what JSON can hold of it, and its arrays by name.
"""

import numpy as np

from hw.jobs import pauses, run_job


def complete(case, arrays, **choices):
    """The case in which nothing pauses or is reset, unless `choices` says so."""
    return {"idle": False, "stall": False, "slow": "", "reset_after": 0, **case, **choices}, arrays


def random_cases(make_case, random_jobs, count, seed):
    """Cases of random jobs under all pauses; some are reset in mid-job.

    Args:
        make_case: makes a case of jobs, a seed, and what else is chosen.
        random_jobs: draws jobs from NumPy's random generator.
    """
    random = np.random.default_rng(seed)
    cases = []
    for number, choice in enumerate(pauses(count)):
        jobs = random_jobs(random)
        reset_after = int(random.integers(1, 60)) if random.random() < 0.3 else 0
        cases.append(make_case(jobs, seed + number, reset_after=reset_after, **choice))
    return cases


def run(design, bench, cases, seed=0):
    """The bench's verdict, and what it counted in each case."""
    return run_job(design, bench, *zip(*cases, strict=True), seed=seed)


def assert_exact(design, bench, cases, seed=0):
    """All is as the model says, and takes the contract's cycles where nothing pauses."""
    passed, results = run(design, bench, cases, seed)
    assert passed
    for (case, _), result in zip(cases, results, strict=True):
        waits = case["idle"] or case["stall"]
        assert waits or result["cycles"] == case["contract_cycles"]


def flip_a_bit(case, array):
    """The same case with a bit in the middle of one array flipped."""
    described, arrays = case
    flipped = arrays[array].copy()
    flipped[len(flipped) // 2, 0] ^= 1
    return described, {**arrays, array: flipped}


def add_a_cycle(monkeypatch, block):
    """Let the contract of a block promise a cycle more than it takes."""
    exact = block.cycles
    monkeypatch.setattr(block, "cycles", staticmethod(lambda *job: exact(*job) + 1))

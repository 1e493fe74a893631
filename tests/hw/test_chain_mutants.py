"""Small faults in the chain's blocks: its bench sees each of them, or it is none."""

import re
from dataclasses import replace

import pytest
import torch
from matrices import integers, shuffle_terms, sparse

from golden.passes import make_passes
from golden.spec.sparse_chain import SparseChainConfig
from hw import verify_chain
from hw.emit import emit
from hw.mutation import mutate
from hw.sparse_chain import SparseChain
from hw.verify_chain import Case, random_cases, run_cases

SMALL = SparseChainConfig(m=8, chain_length=4, activation_bits=3, weight_bits=3, strips=4)
LARGE = SparseChainConfig(chain_length=8, activation_bits=3, weight_bits=4, strips=4)
FAULTS = 200

CELLS = {"sequencer": "*sequencer.$*", "select": "*select_?.$*", "node": "*node_?.$*"}
"""The cells of ChainSequencer, of OperandSelect and of ReductionNode without its LaneSplitter."""

EQUIVALENT = {
    # Yosys' equiv_induct proves these.
    r"const0 .*sequencer\.\$3\[0\] [YA]\[0\]": "2 << code is even",
    r"const0 .*sequencer\.\$shl.* A\[0\]": "2 << code is even",
    r"const1 .*sequencer\.\$4\[0\] [YB]\[0\]": "(2 << code) - 1 is odd",
    r"const0 .*sequencer\.\$ternary.* B\[0\]": "a 0 that is stuck at 0",
    r"\w+ select_\d\.\$4\[\d\] Y\[\d\]": "a bit that Yosys has put into the register behind it",
}


def job(config, keep, shape, seed, **options):
    matrix = sparse(
        config, keep, shape, bits=config.weight_bits, group_size=2 * config.m, seed=seed
    )
    tokens = 1 if options.get("two_rows") else 2
    activations = integers((tokens, shape[1]), config.activation_bits, seed)
    return Case("", config, matrix, activations, **options)


def rounds(config):
    """Yield lists of jobs, each for the mutants that the lists before have left."""
    m = config.m
    keep = torch.tensor([[2, m, 0, m // 2], [4, 2, m, 2], [m // 2, 0, 2, 4]])
    first = job(config, keep, (3 * m, 4 * m), seed=1)
    # Both kinds in turn: a register without a clock keeps what the job before has left.
    yield [first, job(config, m, (m + 4, 2 * m), seed=2, two_rows=True)]
    yield [replace(job(config, keep.flip(0), (3 * m, 4 * m), seed=3), idle=True)]
    yield random_cases(config, 4, seed=3)
    yield [replace(first, reset_after=cycles) for cycles in range(25, 61, 5)]


def survivors(config, parts, monkeypatch):
    """Return the faults, of `FAULTS` in some parts of the chain, that no job sees."""
    mutants = mutate(emit(SparseChain, config), FAULTS, seed=1, within=[CELLS[p] for p in parts])
    left = list(range(FAULTS + 1))

    def remaining(jobs):
        cases = [replace(case, mutant=k) for k in left for case in jobs]
        results = run_cases(cases, design=mutants.design)
        killed = {c.mutant for c, r in zip(cases, results, strict=True) if not r.passed}
        assert 0 not in killed, "the chain without a fault fails"
        return [k for k in left if k not in killed]

    for jobs in rounds(config):
        left = remaining(jobs)
    # A term in any place of its row; and time for the next column but one to wait.
    monkeypatch.setattr(
        verify_chain, "make_passes", lambda *a, **k: shuffle_terms(make_passes(*a, **k))
    )
    shape = (4 * config.chain_length, 4 * config.m)
    left = remaining([job(config, config.m // 2, shape, seed=4)])
    return [mutants.faults[k - 1] for k in left[1:]]


def unexplained(faults):
    return [f for f in faults if not any(re.fullmatch(pattern, f) for pattern in EQUIVALENT)]


def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent(monkeypatch):
    found = survivors(SMALL, CELLS, monkeypatch)
    assert unexplained(found) == [], found
    assert len(found) <= 10


@pytest.mark.full
@pytest.mark.parametrize("config", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("part", CELLS)
def test_the_bench_kills_every_mutant_of_200_in_each_block(config, part, monkeypatch):
    found = survivors(config, [part], monkeypatch)
    assert unexplained(found) == [], found
    assert len(found) <= 10

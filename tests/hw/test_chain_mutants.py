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
    # Yosys' equiv_induct proves at least one fault of each of these; the others are judged by
    # reading, as like it.
    r"const0 (sequencer\.\$3\[0\]|.*sequencer\.\$shl.*) [YA]\[0\]": "2 << code is even",
    r"const1 sequencer\.\$4\[0\] [YB]\[0\]": "(2 << code) - 1 is odd",
    r"\w+ select_\d\.\$4\[\d\] Y\[\d\]": "a bit that Yosys has drawn into the register behind it",
    r"cnot1 .*(\$12|\$ne.*|\$reduce_or.*) A\[\d\]": "inverted only where the OR's other bit is 1",
    # Judged by reading only.
    r"const0 .*sequencer\.\$ternary.* B\[0\]": "a constant 0 that is stuck at 0",
    r"const1 .*node_3\.\$eq.* B\[\d\]": "a constant 1 that is stuck at 1",
    r"const1 node_0\.\$4 [YB]\[0\]|const0 .*node_\d\.\$(not|logic_not|eq).* A\[\d\]": (
        "a pass of 2 << code beats has no beat beyond, which no tool knows"
    ),
    r"inv .*select_\d\.\$auto\$proc_memwr.* CLK\[0\]": "written half a cycle early, not read then",
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


def survivors(config, part, monkeypatch):
    """Return the faults, of `FAULTS` in one kind of block, that no job sees."""
    mutants = mutate(emit(SparseChain, config), FAULTS, seed=1, within=[CELLS[part]])
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
    shape = (4 * config.chain_length, 12 * config.m)
    left = remaining([job(config, config.m // 2, shape, seed=4)])
    return [mutants.faults[k - 1] for k in left[1:]]


def unexplained(faults):
    return [f for f in faults if not any(re.fullmatch(pattern, f) for pattern in EQUIVALENT)]


@pytest.mark.full
@pytest.mark.parametrize("part", CELLS)
def test_the_bench_kills_every_mutant_of_200_in_each_block(part, monkeypatch):
    found = survivors(SMALL, part, monkeypatch)
    assert unexplained(found) == []
    assert len(found) <= 3


@pytest.mark.full
@pytest.mark.parametrize("part", CELLS)
def test_the_bench_kills_every_mutant_of_a_larger_chain(part, monkeypatch):
    found = survivors(LARGE, part, monkeypatch)
    assert unexplained(found) == []
    assert len(found) <= 8

"""The arg-top-k unit in Verilator: indices and handshakes are right; broken ones are seen."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.spec.arg_top_k import ArgTopKConfig
from hw import cosim
from hw.emit import emit
from hw.player import play
from storage_engine.arg_top_k import ArgTopK
from storage_engine.arg_top_k_bitmap import KeptBitmap
from storage_engine.arg_top_k_cases import VALUES, Case, Job, coverage, crosses, random_cases
from storage_engine.arg_top_k_timing import job_cycles
from storage_engine.verify_arg_top_k import CaseResult, Play, run_cases

SMALL = ArgTopKConfig(max_scores=128, max_k=8, score_bits=9)
LANES = ArgTopKConfig(max_scores=128, max_k=4, score_bits=9, lanes=4)
LARGE = ArgTopKConfig(max_scores=32768, max_k=1024, score_bits=31)

OTHERS = [
    ArgTopKConfig(max_scores=64, max_k=2, score_bits=2),
    ArgTopKConfig(max_scores=64, max_k=64, score_bits=16),
    ArgTopKConfig(max_scores=64, max_k=16, score_bits=48, lanes=2),
    ArgTopKConfig(max_scores=1024, max_k=8, score_bits=12, lanes=8),
    ArgTopKConfig(),
]


def job(scores, k):
    return Job(torch.as_tensor(scores), k)


def of(config, values, count, k, seed=0):
    return job(VALUES[values](config, np.random.default_rng(seed), count), k)


@pytest.mark.parametrize(
    "config",
    [SMALL, LANES, *(pytest.param(config, marks=pytest.mark.full) for config in OTHERS)],
    ids=str,
)
def test_random_jobs_are_golden_in_every_cross(config):
    cases = random_cases(config, len(crosses(config)), seed=1)
    results = run_cases(cases, seed=1)
    assert [result for result in results if not result.passed] == []
    assert coverage(cases) == 1.0
    assert any(case.reset_after for case in cases)
    smooth = [r for r, case in zip(results, cases, strict=True) if not case.idle | case.stall]
    assert [result.stall_cycles for result in smooth] == [0] * len(smooth)


def line_rate(config):
    """Check jobs of 32,768 scores of which 1,024 are kept: indices, cycles, and no beat waits."""
    jobs = [of(config, values, 32768, 1024) for values in ("any", "few", "ascending", "descending")]
    cases = [Case("one", config, (jobs[0],)), Case("all", config, tuple(jobs))]
    plays = [Play(case) for case in cases]
    random = np.random.default_rng(0)
    traces = play(emit(ArgTopK, config), [each.streams(random) for each in plays])
    for each, trace in zip(plays, traces, strict=True):
        np.testing.assert_array_equal(trace.outputs["o"], each.expected)
        taken = trace.transfers("i")
        assert len(taken) == len(each.case.jobs) * 32768 // config.lanes
        assert taken[-1] - taken[0] + 1 == len(taken)
    cycles = traces[0].transfers("o")[-1] + 1 - traces[0].transfers("i")[0]
    assert cycles == ArgTopK.cycles(config, jobs[0].scores, 1024)


def test_1024_of_32768_at_one_score_per_cycle():
    line_rate(LARGE)


@pytest.mark.full
@pytest.mark.parametrize("lanes", [2, 4])
def test_1024_of_32768_at_one_score_per_lane_and_cycle(lanes):
    line_rate(replace(LARGE, lanes=lanes))


@pytest.mark.parametrize("config", [SMALL, LANES, OTHERS[1]], ids=str)
def test_the_contract_in_closed_form(config):
    for number, case in enumerate(random_cases(config, 60, seed=2)):
        (first, *_) = case.jobs
        cycles = ArgTopK.cycles(config, first.scores, first.k)
        assert job_cycles(config, [first]) == cycles, number


def test_what_another_job_of_the_same_size_costs():
    """As much as its scores, unless its last run is short, or its marks are many beside them."""

    def period(count, k):
        jobs = [of(SMALL, "any", count, k, seed) for seed in range(12)]
        return (job_cycles(SMALL, jobs) - job_cycles(SMALL, jobs[:4])) / 8

    assert 64 <= period(64, 8) <= 65  # a full list takes one cycle of its own
    assert 24 <= period(24, 8) <= 25
    assert 15 <= period(9, 8) <= 17  # both runs take eight cycles
    assert 8 <= period(8, 8) <= 11  # eight marks, and at least as many cycles to give them


@pytest.mark.parametrize("config", [SMALL, LANES], ids=str)
def test_the_verilog_is_clean(config):
    assert cosim.lint(emit(ArgTopK, config)) == []


def test_a_case_passes_only_with_all_that_was_counted_right():
    result = CaseResult("", 8, 1, 10, 9, 4, mismatches=0, unexplained=0)
    assert result.passed
    assert (result.stall_cycles, result.utilisation) == (1, 0.8)
    assert not replace(result, mismatches=1).passed
    assert not replace(result, unexplained=1).passed


# What follows breaks something on purpose: each must be seen.


def test_a_contract_that_is_off_by_a_cycle_is_seen(monkeypatch):
    case = Case("one", SMALL, (of(SMALL, "any", 40, 5),))
    exact = KeptBitmap.cycles()
    monkeypatch.setattr(KeptBitmap, "cycles", staticmethod(lambda: exact + 1))
    (result,) = run_cases([case])
    assert (result.mismatches, result.unexplained, result.stall_cycles) == (0, 0, -1)


@pytest.mark.parametrize("broken", ["stage", "list"])
def test_ties_that_go_to_the_later_score_are_seen(broken):
    design = emit(ArgTopK, SMALL)
    module = {"stage": "merge_stage_1_", "list": "top_list_"}[broken]
    begin = design.verilog.index(f"module {module}")
    end = design.verilog.index("endmodule", begin)
    text = design.verilog[begin:end]
    text, found = re.subn(r"(assign .* = .*) < (?=.*signed)", r"\1 <= ", text)
    assert found == 1
    verilog = design.verilog[:begin] + text + design.verilog[end:]
    case = Case("ties", SMALL, (of(SMALL, "equal", 40, 5),))
    (result,) = run_cases([case], design=replace(design, verilog=verilog))
    assert result.mismatches > 0
    assert result.first_mismatch == "o differs"

"""The likelihood unit in Verilator: tokens and masses are golden's, each handshake in its cycle."""

import re
from dataclasses import replace

import numpy as np
import pytest

from golden.spec.drive_engine import DriveEngineConfig
from hw import cosim
from hw.emit import emit
from storage_engine.likelihood_cases import KINDS, Case, random_cases, random_job, random_scale
from storage_engine.likelihood_timing import job_cycles
from storage_engine.likelihood_unit import LikelihoodUnit
from storage_engine.verify_likelihood import run_cases

ONE = DriveEngineConfig(flash_channels=1, ratio=4, context_bits=10)
GROUP = DriveEngineConfig(
    flash_channels=3, queries=3, head_size=64, kv_bits=8, lanes=2, ratio=4, context_bits=10
)
OTHERS = [
    DriveEngineConfig(flash_channels=2, queries=2, lanes=8, kv_bits=8, context_bits=11),
    DriveEngineConfig(flash_channels=5, queries=4, lanes=1, head_size=64, context_bits=10),
]


def failed(results):
    return [result for result in results if not result.passed]


@pytest.mark.parametrize("config", [ONE, GROUP], ids=["one", "group"])
def test_random_jobs_are_golden_in_their_cycles(config):
    cases = random_cases(config, 18, seed=1, most=120)
    assert failed(run_cases(cases)) == []
    jobs = [job for case in cases for job in case.jobs]
    assert {job.ends for job in jobs} == {True, False}
    assert any(job.context == 1 for job in jobs)
    assert any(job.kept.all() and job.context > 30 for job in jobs)
    assert any(job.counts[1] > 1 for job in jobs)
    assert any((job.masses[:, 1] < job.masses[:, 0]).any() for job in jobs)
    assert any(case.reset_after for case in cases)
    assert any(case.idle and case.stall for case in cases)


@pytest.mark.full
@pytest.mark.parametrize("config", [ONE, GROUP, *OTHERS], ids=str)
def test_many_random_jobs(config):
    cases = random_cases(config, 72, seed=2)
    assert failed(run_cases(cases, seed=2)) == []


@pytest.mark.full
def test_the_default_engine_takes_a_token_per_cycle():
    config, random = DriveEngineConfig(), np.random.default_rng(3)
    cases = []
    for kind, context in zip(KINDS, (1, 1024, 5000, 24000), strict=False):
        job = random_job(config, random, random_scale(config, random), kind, context)
        cases.append(Case(kind, config, (replace(job, attention=config.attention),)))
    results = run_cases(cases)
    assert failed(results) == []
    assert [each.cycles for each in results] == [job_cycles(config, c.jobs[0]) for c in cases]
    assert [each.cycles for each in results] == [41, 1218, 6858, 27988]


def test_the_verilog_is_clean():
    assert cosim.lint(emit(LikelihoodUnit, GROUP)) == []


# What follows breaks something on purpose: each must be seen.

BROKEN = {
    "the newest are not forced": (ONE, r"others - newest", "others"),
    "only the last query's logit counts": (GROUP, r"so_far <= key", "so_far <= 1'h0"),
    "a bin too many": (ONE, r"(\$signed\(below\) < \$signed\()4'h4", r"\g<1>4'h5"),
    "masses of the job before": (ONE, r"(assign bins__clear = )[^;]*;", r"\g<1>1'h0;"),
    "a slice is not added": (GROUP, r"(assign \\?\S+\s+= \$signed\(score_0\)) \+", r"\1 &"),
}
QUICK = ("only the last query's logit counts",)


@pytest.mark.parametrize(
    "name",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.full) for each in BROKEN],
)
def test_a_broken_unit_is_seen(name):
    config, pattern, instead = BROKEN[name]
    design = emit(LikelihoodUnit, config)
    broken, count = re.subn(pattern, instead, design.verilog)
    assert count == 1
    cases = random_cases(config, 18, seed=1, most=120)
    results = run_cases(cases, design=replace(design, verilog=broken))
    assert sum(bool(result.mismatches) for result in results) > 1

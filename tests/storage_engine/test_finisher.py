"""The finisher in Verilator: every output golden's, every job in its cycles; errors are seen."""

import numpy as np
import pytest

from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import emit
from storage_engine.finisher import Finisher
from storage_engine.finisher_cases import Case, limit_job, random_cases, random_job
from storage_engine.verify_finisher import run_cases

# A row of two elements, an odd number of slices, and queries that follow each other.
SMALL = DriveEngineConfig(
    flash_channels=3, lanes=2, head_size=16, queries=3, context_bits=10, page_bytes=1024
)
OTHERS = [
    DriveEngineConfig(),
    DriveEngineConfig(flash_channels=1, lanes=4, head_size=64, queries=3, page_bytes=1024),
    DriveEngineConfig(flash_channels=5, lanes=1, head_size=16, kv_bits=8, page_bytes=1024),
    DriveEngineConfig(flash_channels=2, lanes=8, head_size=64, queries=2, kv_bits=8),
]


def failed(results):
    return [result for result in results if not result.passed]


@pytest.mark.parametrize(
    "config",
    [SMALL, *(pytest.param(config, marks=pytest.mark.full) for config in OTHERS)],
    ids=str,
)
def test_random_jobs_are_golden_in_their_cycles(config):
    cases = random_cases(config, 48, seed=1)
    results = run_cases(cases, seed=1)
    assert failed(results) == []
    assert any(case.reset_after for case in cases)
    assert sum(result.off is not None for result in results) >= 20
    assert any(result.stalls for result in results)
    assert {job.compensates for case in cases for job in case.jobs} == {True, False}


@pytest.mark.full
def test_a_job_of_the_default_engine_is_short():
    config, random = DriveEngineConfig(), np.random.default_rng(2)
    jobs = [random_job(config, random, spread=0.3, compensates=both) for both in (False, True)]
    cases = [Case(str(number), config, (job,)) for number, job in enumerate(jobs)]
    results = run_cases([*cases, Case("largest", config, (limit_job(config, random, "largest"),))])
    assert failed(results) == []
    assert results[1].cycles <= 6 * config.head_size // config.lanes + 300


def test_equal_configurations_have_equal_text():
    assert emit(Finisher, SMALL).verilog == emit(Finisher, SMALL).verilog

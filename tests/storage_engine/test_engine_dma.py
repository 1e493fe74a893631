"""The engine behind its DMA: jobs and answers in memory, whatever the memory does."""

import dataclasses
import re

import numpy as np
import pytest
from test_whole_engine import SMALL, Trials

from hw import cosim
from hw.emit import emit
from hw.memory_model import MemoryTiming
from storage_engine.attention_engine_trials import Case
from storage_engine.engine_dma import EngineDma
from storage_engine.engine_job_layouts import Status
from storage_engine.memory_engine import MemoryEngine
from storage_engine.verify_attention_engine import Play
from storage_engine.verify_engine_dma import bench, flash_model, job_memory, run_case

SLOW = MemoryTiming(latency=90, extra_latency=60, seed=3)


def jobs(config):
    """One after the other: dense and SparF ones, and all that goes wrong."""
    trials = Trials(config)
    job = trials.job
    infinite = job(90)
    infinite.queries[0, 5] = np.inf
    (first, *_, last) = job(700).table()
    every = (
        *(job(300), job(0), job(500, sparf=True), infinite, job(1)),
        *(job(64, sparf=True, k=64), job(64, absent=frozenset([first])), job(700)),
        *(job(256), job(400, sparf=True), job(33)),
    )
    faults = {last: [trials.wrong(last, 40)]}
    return Case("jobs in memory", config, every, faults)


@pytest.mark.parametrize(
    "timing", [SLOW, pytest.param(MemoryTiming(), marks=pytest.mark.full)], ids=["slow", "ideal"]
)
def test_answers_in_memory_are_golden_s(timing):
    result = run_case(jobs(SMALL), timing=timing)
    assert result.passed
    assert set(result.statuses) == set(Status)
    assert result.statuses.count(Status.OK) == 6


@pytest.mark.full
@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(SMALL, lanes=1, head_size=16, queries=1, kv_bits=8),
        dataclasses.replace(SMALL, lanes=8, head_size=64, kv_bits=8, channels_per_page=4),
    ],
    ids=["words of 16 bits", "words of 128 bits"],
)
def test_other_widths_of_memory(config):
    result = run_case(jobs(config), timing=SLOW)
    assert result.passed
    assert {Status.OK, Status.BAD_JOB, Status.MISSING} < set(result.statuses)


@pytest.mark.full
def test_an_error_of_the_memory_stops_the_jobs():
    """The memory ends before the completion of the ninth job."""
    case, capacity = jobs(SMALL), 4096
    memory = job_memory(Play(case))
    within = sum(address < capacity for address in memory.completions)
    assert 0 < within < len(case.jobs)
    assert run_case(case, capacity=capacity).statuses == run_case(case).statuses[:within]


@pytest.mark.parametrize("block", [EngineDma, MemoryEngine], ids=lambda b: b.__name__)
def test_the_verilog_is_clean(block):
    assert cosim.lint(emit(block, SMALL)) == []


# What follows breaks something on purpose: each must be seen.

BROKEN = {
    "a refused job's queries are read": (r"assign refused = .*;", "assign refused = 0;"),
    "the outputs go where the completion should": (
        r"(assign \\writer__i_job__payload\.address +=) .*;",
        r"\1 places__o__payload[79:40];",
    ),
    "outputs count as a job": (r"(assign o_completed__valid = ).*;", r"\1 writer__done;"),
}


@pytest.mark.full
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_dma_is_seen(what):
    case = jobs(SMALL)
    whole = bench(SMALL, flash_model(Play(case)))
    before, dma, behind = re.split(r"(?s)(module engine_dma_.*?endmodule)", whole.verilog)
    broken, found = re.subn(*BROKEN[what], dma)
    assert found == 1
    verilog = before + broken + behind
    assert not run_case(case, design=dataclasses.replace(whole, verilog=verilog)).passed

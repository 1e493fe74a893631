"""The slice in Verilator: every sum, score and handshake as it must be; broken ones are seen."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden import attention_engine as golden
from golden.attention_engine_formats import from_half, to_queries
from golden.attention_engine_sums import logits
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from hw import cosim
from hw.emit import emit
from hw.synth import synthesise
from storage_engine import slice_timing
from storage_engine.attention_slice import AttentionSlice, weight_cycles
from storage_engine.engine_layouts import ElementKind
from storage_engine.slice_cases import Case, Content, coverage, crosses, full_pages, random_cases
from storage_engine.slice_jobs import Job, JobStreams, Page
from storage_engine.verify_attention_slice import CaseResult, run_cases

SMALL = DriveEngineConfig(
    head_size=16, queries=3, page_bytes=1024, channels_per_page=8, context_bits=10
)
DEFAULT = DriveEngineConfig()
OTHERS = [
    replace(SMALL, queries=1),
    replace(SMALL, queries=4, kv_bits=8),
    replace(SMALL, head_size=24, queries=2),  # a group in two spans; rows that are no power of 2
    replace(SMALL, lanes=1, channels_per_page=2),
    replace(SMALL, lanes=2, queries=2, context_bits=12),
    replace(SMALL, head_size=64, lanes=8, kv_bits=8, queries=4),
    replace(SMALL, page_bytes=16384, kv_bits=8, channels_per_page=1, queries=1),  # one span
    replace(SMALL, head_size=256, queries=2),  # a page of one token
]


def failed(results):
    return [result for result in results if not result.passed]


def test_random_jobs_are_golden():
    cases = random_cases(SMALL, 60, seed=1)
    assert failed(run_cases(cases, seed=1)) == []
    assert any(case.reset_after for case in cases)
    assert any(len(case.jobs) > 1 for case in cases)


@pytest.mark.full
@pytest.mark.parametrize("config", [SMALL, *OTHERS], ids=str)
def test_random_jobs_are_golden_in_every_cross(config):
    cases = random_cases(config, len(crosses()), seed=2)
    assert failed(run_cases(cases, seed=2)) == []
    assert coverage(cases) == 1.0


def test_what_the_bench_expects_is_goldens_attention():
    config = SMALL
    attention = config.attention
    random = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 48, config.head_size, generator=random).half()
    q = 3 * torch.randn(config.queries, config.head_size, generator=random)
    queries, kv = to_queries(attention, q.half()), from_half(keys, values, 12, 12)
    contexts = torch.tensor(48)
    scale = golden.logit_scales(attention, queries, kv.key_fraction)
    chosen = golden.choose_channels(attention, queries)[0].numpy()
    pages = [
        Page(ElementKind.KEYS, 0, np.arange(16), kv.keys[k : k + 16], kv.values[k : k + 16])
        for k in (0, 16, 32)
    ]
    pages = [replace(p, keys=p.keys.numpy(), values=p.values.numpy()) for p in pages]
    whole = queries.values.numpy()
    streams = JobStreams(
        config, Job(whole, np.where(chosen, whole, 0), pages), scale, np.random.default_rng(0)
    )
    dense = golden.dense(attention, queries, kv, contexts).attention
    for mine, theirs in zip(streams.sums(), dense, strict=True):
        assert torch.equal(mine, theirs)

    factor = golden.temperature(
        attention, queries.values, torch.from_numpy(np.where(chosen, whole, 0))
    )
    approximate = torch.from_numpy(np.where(chosen, whole, 0)) @ kv.keys.T
    _, choice = golden.sparf(attention, queries, kv, contexts)
    assert torch.equal(
        logits(approximate, golden.logit_scales(attention, queries, kv.key_fraction, factor)),
        choice.logits,
    )


def sixteen_pages(config):
    return full_pages(config, [config.layout.group_tokens] * 16)


@pytest.mark.parametrize(
    "config",
    [DEFAULT, *(pytest.param(replace(DEFAULT, queries=n), marks=pytest.mark.full) for n in (2, 4))],
    ids=str,
)
def test_full_pages_are_never_held_up(config):
    """A slice's part of 1,024 tokens on 8 channels, at 8 bytes per cycle and as flash gives it."""
    case = sixteen_pages(config)
    results = run_cases([case, replace(case, bytes_per_cycle=4.9)])
    assert failed(results) == []
    assert [result.held for result in results] == [0, 0]
    assert results[0].stall_cycles == 0


def test_the_contract_in_closed_form():
    jobs = [], [16], [1, 1], [4, 0, 16, 3, 16]
    results = run_cases([full_pages(SMALL, pages) for pages in jobs])
    assert failed(results) == []
    assert all(result.contract_cycles > 0 for result in results)
    assert [result.stall_cycles for result in results] == [0] * len(jobs)


def test_what_a_page_of_few_tokens_waits():
    for tokens in range(1, 17):
        waits = AttentionSlice.page_cycles(SMALL, tokens) - 8 * tokens
        assert waits == max(weight_cycles(SMALL) - 4 * (tokens - 1) - 1, 0)
    assert AttentionSlice.page_cycles(SMALL, 0) == 0
    assert AttentionSlice.page_cycles(DEFAULT, DEFAULT.layout.group_tokens) == 512


@pytest.mark.parametrize(
    "config",
    [SMALL, *(pytest.param(config, marks=pytest.mark.full) for config in (DEFAULT, *OTHERS))],
    ids=str,
)
def test_the_verilog_is_clean(config):
    assert cosim.lint(emit(AttentionSlice, config)) == []


@pytest.mark.full
def test_a_slice_is_small():
    found = synthesise(emit(AttentionSlice, DEFAULT, target="ultrascale+"), "ultrascale+")
    assert (found.dsp, found.soft_multipliers) == (DEFAULT.lanes + 3, 0)
    assert found.lut <= 3000


def test_what_does_not_fit_is_refused():
    few = "queries is 5; a head of 4 beats allows 4 at most, take fewer lanes"
    with pytest.raises(ConfigError, match=f"^{re.escape(few)}$"):
        AttentionSlice(replace(SMALL, queries=5))
    large = (
        "page_bytes is 65536; a page of 2048 tokens is too large for a slice, which has room for "
        "1024"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(large)}$"):
        AttentionSlice(replace(SMALL, page_bytes=65536, kv_bits=8))


def test_a_case_passes_only_with_all_that_was_counted_right():
    result = CaseResult("", 8, 4, 10, 9, 0, 20, mismatches=0, unexplained=0)
    assert result.passed
    assert (result.stall_cycles, result.utilisation) == (1, 0.2)
    assert not replace(result, mismatches=1).passed
    assert not replace(result, unexplained=1).passed


def test_coverage_counts_crosses():
    cases = random_cases(SMALL, 4, seed=0)
    hit = {cross for case in cases for cross in case.hit}
    assert coverage(cases) == len(hit) / (6 * 5 * len(Content) * 4)
    assert isinstance(cases[0], Case)


# What follows breaks something on purpose: each must be seen.


@pytest.mark.parametrize("cycles", [-1, 1])
def test_a_contract_that_is_off_by_a_cycle_is_seen(monkeypatch, cycles):
    exact = weight_cycles(SMALL)
    design = emit(AttentionSlice, SMALL)
    monkeypatch.setattr(slice_timing, "weight_cycles", lambda config: exact + cycles)
    (result,) = run_cases([full_pages(SMALL, [1])], design=design)
    assert result.mismatches == 0
    assert result.unexplained > 0
    assert not result.passed


def test_a_wrong_expectation_is_seen():
    case = full_pages(SMALL, [2])
    (page,) = case.jobs[0].pages
    other = replace(page, values=page.values + (np.arange(SMALL.head_size) == 5))
    run = run_cases([case])
    assert failed(run) == []
    wrong = JobStreams(
        SMALL,
        replace(case.jobs[0], pages=(other,)),
        case.scale,
        np.random.default_rng(0),
    ).partial()
    right = JobStreams(SMALL, case.jobs[0], case.scale, np.random.default_rng(0)).partial()
    assert (wrong != right).any()

"""The attention engine in Verilator: outputs and completions are golden's, whatever goes wrong."""

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest

from golden.spec.drive_engine import DriveEngineConfig
from hw import cosim
from hw.emit import emit
from storage_engine.attention_engine import AttentionEngine
from storage_engine.attention_engine_cases import (
    Job,
    as_heads,
    random_queries,
    random_sequence,
)
from storage_engine.attention_engine_trials import Case, coverage, crosses, random_cases, wrong_bits
from storage_engine.channel_reader import ChannelReader
from storage_engine.engine_job_layouts import Status
from storage_engine.flash_channel_model import EngineWithFlash, FlashModelConfig
from storage_engine.kept_groups import KeptGroups
from storage_engine.page_scheduler import PageScheduler
from storage_engine.slice_sequencer import SliceSequencer
from storage_engine.verify_attention_engine import Play, run_cases

SMALL = DriveEngineConfig(
    flash_channels=2,
    head_size=32,
    queries=2,
    channels_per_page=8,
    context_bits=10,
    ratio=4,
    local=4,
    attempts=3,
)
"""32 tokens to a page; spans of 256 tokens, in four pages."""

BYTES = dataclasses.replace(SMALL, flash_channels=3, queries=1, kv_bits=8)
WIDE = dataclasses.replace(SMALL, lanes=2, head_size=64, queries=3, channels_per_page=4)
LATENCY = 60


class Trials:
    """A sequence in flash, and jobs and faults over it."""

    def __init__(self, config, tokens=700, seed=0):
        self.config = config
        self.random = np.random.default_rng(seed)
        self.sequence = random_sequence(config, self.random, tokens)

    def job(self, context, sparf=False, **more):
        return Job(self.sequence, random_queries(self.config, self.random), context, sparf, **more)

    def wrong(self, address, bits):
        """Return a page with so many wrong bits in one of its chunks."""
        return wrong_bits(self.sequence, self.random, address, bits)

    def faulty(self, addresses, share=0.3):
        """Return what some pages give: few wrong bits, too many at first, or too many always."""
        t, disturbed = self.config.t, {}
        for address in addresses:
            if self.random.random() < share:
                kind = self.random.integers(4)
                some = [self.wrong(address, int(self.random.integers(1, t + 1)))]
                many = [self.wrong(address, 40) for _ in range(self.config.attempts)]
                disturbed[address] = [some, many[:1] + some, many[:2] + some, many][kind]
        return disturbed


def mixed(config):
    """Cases of all kinds."""
    trials = Trials(config)
    job, mixed_jobs = trials.job, (300, 1, 700, 256, 33)
    dense = [job(context) for context in mixed_jobs]
    sparf = [job(context, sparf=True) for context in (700, 2, 512, 100)]
    table = dense[2].table()
    infinite = job(90)
    infinite.queries[0, 5] = np.inf
    wrong = [
        job(64, absent=frozenset(table[1:2])),
        job(0),
        infinite,
        job(600, sparf=True, absent=frozenset(sparf[0].reads()[:1])),
        job(64, sparf=True, k=64),
    ]
    every = [*dense[:2], *wrong[:3], *sparf[:2], *wrong[3:], *dense[3:]]
    faults = trials.faulty(sparf[0].table())
    return [
        Case("dense", config, tuple(dense)),
        Case("sparf", config, tuple(sparf)),
        Case("wrong", config, tuple(every), idle=True, stall=True),
        Case("faults", config, (*dense, *sparf), faults, stall=True),
        Case("reset", config, tuple(dense[:1] + sparf[:1]), faults, reset_after=9000),
    ]


@pytest.mark.parametrize(
    "config",
    [SMALL, *(pytest.param(each, marks=pytest.mark.full) for each in (BYTES, WIDE))],
    ids=["small", "INT8", "wide"],
)
def test_jobs_are_golden_s(config):
    cases = mixed(config)
    results = run_cases(cases, latency=LATENCY)
    assert [result for result in results if not result.passed] == []
    statuses = Counter(done.status for result in results for done in result.completions)
    assert set(statuses) == set(Status)
    for case, result in list(zip(cases, results, strict=True))[:2]:
        assert [done.reads for done in result.completions] == [len(j.reads()) for j in case.jobs]
    assert any(done.retries and done.corrected for done in results[3].completions)


@pytest.mark.full
def test_the_contract_of_dense_jobs():
    trials = Trials(SMALL)
    contexts = (1, 2, 5, 31, 32, 33, 64, 65, 70, 100, 128, 200, 512, 700)
    cases = [Case(str(context), SMALL, (trials.job(context),)) for context in contexts]
    assert all(case.has_contract for case in cases)
    for latency in (LATENCY, 200):
        results = run_cases(cases, latency=latency)
        assert [each.stall_cycles for each in results] == [0] * len(cases)


@pytest.mark.full
@pytest.mark.parametrize("config", [SMALL, DriveEngineConfig()], ids=["small", "default"])
def test_every_cross_is_golden_s(config):
    cases = random_cases(config, len(crosses()), seed=1)
    assert coverage(cases) == 1.0
    assert any(case.reset_after for case in cases)
    results = run_cases(cases, design=emit(AttentionEngine, config))
    assert [result for result in results if not result.passed] == []


@pytest.mark.full
def test_ten_thousand_pages_with_wrong_bits():
    """Half of the pages disturbed, one in eight for good: no wrong outputs, and all is reported.

    The first pages are never lost, so that half of the jobs see none that is.
    """
    trials = Trials(SMALL, seed=5)
    jobs = tuple(trials.job(700, sparf=bool(n % 4 == 3)) for n in range(480))
    first = jobs[0].table()[:4]
    faults = {
        address: images
        for address, images in trials.faulty(jobs[3].table(), share=0.5).items()
        if address not in first or len(images) < SMALL.attempts
    }
    lost = {address for address, images in faults.items() if len(images) == SMALL.attempts}
    assert lost
    few = min(jobs[0].table().index(address) for address in lost if address in jobs[0].table())
    tokens = few * SMALL.layout.group_tokens
    jobs = tuple(job if n % 2 else trials.job(max(tokens - n % 7, 1)) for n, job in enumerate(jobs))
    (result,) = run_cases([Case("faults", SMALL, jobs, faults)], latency=LATENCY)
    assert result.passed
    assert sum(done.reads for done in result.completions) >= 10_000
    statuses = Counter(done.status for done in result.completions)
    assert statuses[Status.LOST] > 100
    assert statuses[Status.OK] > 100


def run_at_flash_rate(heads, contexts):
    """Return what comes of a dense job for each head, at 4.9 bytes per cycle and channel."""
    config, random = heads[0].config, np.random.default_rng(0)
    cases = [
        Case(str(n), config, tuple(Job(head, random_queries(config, random), n) for head in heads))
        for n in contexts
    ]
    results = run_cases(cases, latency=300, bytes_per_cycle=4.9)
    assert all(result.passed for result in results)
    return [(r, r.bytes_read / (r.word_cycles * 4.9 * config.flash_channels)) for r in results]


@pytest.mark.full
def test_one_head_is_read_at_the_rate_of_the_channels_that_have_most_of_it():
    config = DriveEngineConfig(attempts=1)
    head = random_sequence(config, np.random.default_rng(0), 2048)
    for result, rate in run_at_flash_rate([head] * 4, (1024, 1100, 1500, 2048)):
        pages = result.completions[0].reads
        most = -(-pages // config.flash_channels) * config.flash_channels
        assert rate >= 0.998 * pages / most
        # Where not all channels have as many, one goes ahead until there is no room.
        assert result.held == 0 or pages < most


@pytest.mark.full
def test_heads_with_uneven_pages_are_read_at_99_percent():
    config = DriveEngineConfig(attempts=1)
    heads = as_heads(random_sequence(config, np.random.default_rng(0), 1500), 8)
    for result, rate in run_at_flash_rate(heads, (1024, 1100, 1500)):
        assert rate >= 0.99
        assert result.held == 0 or result.name == "1500"


@pytest.mark.parametrize(
    "block",
    [AttentionEngine, ChannelReader, PageScheduler, SliceSequencer, KeptGroups],
    ids=lambda b: b.__name__,
)
def test_the_verilog_is_clean(block):
    assert cosim.lint(emit(block, SMALL)) == []


# What follows breaks something on purpose: each must be seen.

BROKEN = {
    "the next job's pages are not held back": (r"assign discards = .*;", "assign discards = 0;"),
    "a page is never lost": (r"(assign \\o_event__payload\.lost  = ).*;", r"\1 0;"),
    "outputs of a job that failed leave": (r"assign all_well = .*;", "assign all_well = 1;"),
    "an entry that is not there is passed over": (r"assign missing = .*;", "assign missing = 0;"),
}


def breakable():
    """Return a case that sees all of these, and the design that it runs on."""
    trials = Trials(SMALL)
    absent = frozenset(trials.job(64).table()[1:2])
    jobs = [trials.job(context) for context in (64, 300, 64)] + [trials.job(64, absent=absent)]
    (first, *_, last) = jobs[1].table()
    stored = trials.sequence.pages[first][1]
    faults = {first: [trials.wrong(first, 40), stored], last: [trials.wrong(last, 40)]}
    case = Case("retries", SMALL, tuple(jobs), faults)
    pages = 1 << (Play(case).image.most_pages - 1).bit_length()
    return case, emit(EngineWithFlash, SMALL, FlashModelConfig(pages, 2, LATENCY))


@pytest.mark.full
def test_a_whole_engine_passes_what_broken_ones_do_not():
    case, design = breakable()
    (result,) = run_cases([case], latency=LATENCY, design=design)
    assert result.passed


@pytest.mark.full
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_engine_is_seen(name):
    case, design = breakable()
    broken, count = re.subn(*BROKEN[name], design.verilog)
    assert count
    (result,) = run_cases(
        [case], latency=LATENCY, design=dataclasses.replace(design, verilog=broken)
    )
    assert not result.passed

"""A channel's front end in Verilator: elements, verdicts and handshakes as they must be."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from hw import cosim
from hw.emit import emit
from storage_engine import page_buffer
from storage_engine.element_reader import ElementReader
from storage_engine.engine_layouts import RequestKind
from storage_engine.entry_filter import EntryFilter, page_steps
from storage_engine.flash_format import HEADER_BYTES
from storage_engine.page_front_end import PageFrontEnd
from storage_engine.page_front_end_cases import (
    Case,
    Content,
    Fault,
    Kept,
    Wanted,
    coverage,
    crosses,
    random_cases,
    random_page,
)
from storage_engine.page_front_end_timing import front_end_cycles
from storage_engine.verify_page_front_end import Play, run_cases

# With t = 2 a chunk beyond t is now and then corrected wrongly, and the search is small.
SMALL = DriveEngineConfig(t=2, field_bits=14)
# As in SMALL, but the decoder keeps up with chunks that all have errors.
FAST = DriveEngineConfig(t=2, field_bits=14, search_bits=64)

OTHERS = [
    (DriveEngineConfig(), 0.5),
    (FAST, 0.5),
    (DriveEngineConfig(kv_bits=8, head_size=64, page_bytes=8192, channels_per_page=4, t=2), 0.3),
    (DriveEngineConfig(kv_bits=8, head_size=72, lanes=8, channels_per_page=1, t=2), 0.5),
    (DriveEngineConfig(lanes=1, head_size=80, channels_per_page=8, t=2, word_bits=32), 0.3),
    (DriveEngineConfig(lanes=2, head_size=256, page_bytes=16384, t=1), 0.2),
    (
        DriveEngineConfig(
            *(1, 1, 16),
            kv_bits=8,
            context_bits=10,
            channels_per_page=8,
            t=1,
            word_bits=8,
            search_bits=8,
            buffer_pages=2,
        ),
        0.1,
    ),
]


@cache
def design(config):
    return emit(PageFrontEnd, config)


def failed(results):
    return [result for result in results if not result.passed]


def run_some(config, share):
    cases = random_cases(config, seed=1, share=share)
    assert coverage(cases) == pytest.approx(share, abs=0.01)
    results = run_cases(cases, design=design(config), seed=1)
    assert failed(results) == []
    assert any(case.reset_after for case in cases)
    assert 0.1 < sum(r.good for r in results) / sum(r.pages for r in results) < 0.5
    assert sum(result.beats for result in results) > 0


@pytest.mark.parametrize(
    "buffer_pages", [4, *(pytest.param(each, marks=pytest.mark.full) for each in (2, 16))]
)
def test_random_pages_are_golden(buffer_pages):
    run_some(replace(SMALL, buffer_pages=buffer_pages), 0.12)


@pytest.mark.full
def test_random_pages_are_golden_in_every_cross():
    run_some(SMALL, 1.0)


@pytest.mark.full
@pytest.mark.parametrize(("config", "share"), OTHERS, ids=str)
def test_random_pages_are_golden_in_other_configurations(config, share):
    run_some(config, share)


def whole_pages(config, count, fault, wanted=Wanted.PAIRS, seed=0, **about):
    """Return a case of pages of which all is wanted."""
    random = np.random.default_rng(seed)
    pages = []
    while len(pages) < count:
        page = random_page(config, random, wanted, Kept.ALL, fault, Content.MODEL)
        if page.request.tokens in (config.layout.group_tokens, config.layout.span_tokens):
            pages.append(page)
    return Case(f"{fault.value}, {wanted.value}", config, tuple(pages), **about)


LINE_RATE = 4.9
"""Bytes per cycle of a flash channel of 1.4 GB/s at an assumed clock of 285 MHz."""


def check_line_rate(config, cases):
    pages = cases[0].pages
    beats = len(pages) * config.page_bytes // (config.lanes * config.kv_format.stored_bytes)
    for case, result in zip(cases, run_cases(cases, design=design(cases[0].config)), strict=True):
        assert result.passed
        assert result.good == len(case.pages)
        assert result.beats == beats
        assert result.held == 0
        latency = result.cycles - result.bytes_read / LINE_RATE
        assert 0 < latency < 2 * config.code.chunk_words * config.code.searches + 1000


def test_a_channel_at_its_rate_is_never_held_up():
    kinds = (Wanted.PAIRS, Wanted.CHANNELS)
    check_line_rate(
        SMALL, [whole_pages(SMALL, 4, Fault.NONE, kind, bytes_per_cycle=4.9) for kind in kinds]
    )


@pytest.mark.full
@pytest.mark.parametrize("config", [FAST, DriveEngineConfig(search_bits=64)], ids=str)
def test_a_channel_at_its_rate_is_never_held_up_by_errors(config):
    faults = (Fault.NONE, Fault.FEW, Fault.MANY)
    check_line_rate(config, [whole_pages(config, 12, f, bytes_per_cycle=4.9) for f in faults])


def test_the_contract_in_closed_form():
    cases = [
        *(whole_pages(FAST, 3, fault) for fault in (Fault.NONE, Fault.FEW, Fault.BEYOND)),
        whole_pages(SMALL, 3, Fault.NONE, Wanted.CHANNELS),
    ]
    random = np.random.default_rng(3)
    for _ in range(3):
        chosen = [crosses()[k] for k in random.integers(len(crosses()), size=4)]
        cases.append(Case("", FAST, tuple(random_page(FAST, random, *c[:3]) for c in chosen)))
    for case in cases:
        pages = [page.timing for page in Play(case).expected]
        assert front_end_cycles(case.config, pages) == PageFrontEnd.cycles(case.config, pages)


@pytest.mark.full
def test_the_hardware_takes_the_contract_s_cycles():
    cases = [whole_pages(FAST, 5, fault) for fault in (Fault.NONE, Fault.MANY, Fault.BEYOND)]
    for case, result in zip(cases, run_cases(cases, design=design(cases[0].config)), strict=True):
        assert result.passed
        timings = [page.timing for page in Play(case).expected]
        assert result.stall_cycles == 0
        assert result.cycles == PageFrontEnd.cycles(FAST, timings)


def test_what_the_filter_takes_of_a_page():
    config = DriveEngineConfig()  # 8 tokens of 32 beats
    pairs, channels = RequestKind.PAIRS, RequestKind.KEY_CHANNELS
    token = [True] * 32
    assert page_steps(config, pairs, 0b11111111, 8) == 16 * token
    assert page_steps(config, pairs, 0b00001010, 8, keys_only=True) == [False, *token] * 2
    assert page_steps(config, pairs, 0b10000001, 7) == 2 * token
    assert page_steps(config, pairs, 0, 8) == []
    assert page_steps(config, channels, 0b10, 5) == [False, True, True]
    assert page_steps(config, channels, 0b11, 0) == []
    assert EntryFilter.cycles(config, [token, [], [False, *token]]) == 33 + 1 + 34


@pytest.mark.parametrize("page_bytes", [1024, 2048])
def test_a_page_without_room_for_its_header_is_refused(page_bytes):
    room = {1024: 4, 2048: 12}[page_bytes]
    message = (
        f"page_bytes is {page_bytes}; the tags of such a page have {room} bytes for its header, "
        f"which needs {HEADER_BYTES}: take larger pages"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        page_buffer.PageBuffer(DriveEngineConfig(head_size=64, page_bytes=page_bytes))


def test_the_verilog_is_clean():
    assert cosim.lint(design(SMALL)) == []


# What follows breaks something on purpose: each must be seen.


@pytest.mark.parametrize("stages", [4, 6])
def test_a_contract_that_is_off_by_a_cycle_is_seen(monkeypatch, stages):
    whole = design(SMALL)
    monkeypatch.setattr(ElementReader, "cycles", staticmethod(lambda config: stages))
    (result,) = run_cases([whole_pages(SMALL, 1, Fault.NONE)], design=whole)
    assert result.mismatches == 0
    assert result.unexplained > 0
    assert not result.passed


@pytest.mark.full
def test_a_front_end_that_looks_at_no_address_is_seen(monkeypatch):
    monkeypatch.setattr(page_buffer, "ADDRESS_BITS", 0)
    blind = emit(PageFrontEnd, SMALL)
    right, wrong = (whole_pages(SMALL, 1, fault) for fault in (Fault.NONE, Fault.ADDRESS))
    passes, fails = run_cases([right, wrong], design=blind)
    assert passes.passed
    assert fails.mismatches > 0
    assert not fails.passed

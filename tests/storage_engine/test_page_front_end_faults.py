"""A fault run: pages with wrong bits up to and beyond t. Nothing of a bad page may leave."""

from dataclasses import replace

import numpy as np
import pytest

from golden.page_crc import read_page
from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import emit
from hw.player import play
from storage_engine.page_front_end import PageFrontEnd
from storage_engine.page_front_end_cases import Case, Content, Fault, Kept, Wanted, random_page
from storage_engine.verify_page_front_end import Play

AT_ONCE = 50
WANTED = (Wanted.PAIRS, Wanted.PAIRS, Wanted.KEYS, Wanted.CHANNELS)


def spoiled(config, random, number):
    """Return a page with up to t wrong bits in each chunk; in one page of three, up to t + 4."""
    page = random_page(config, random, WANTED[number % 4], Kept.SOME, Fault.NONE, Content.MODEL)
    code = config.code
    stored = page.stored.copy()
    most = code.t + 4 if random.random() < 1 / 3 else code.t
    for chunk in stored.reshape(code.chunks, code.chunk_bytes):
        count = int(random.integers(most + 1))
        for bit in random.choice(code.message_bits + code.parity_bits, count, replace=False):
            chunk[bit // 8] ^= 1 << bit % 8
    return replace(page, stored=stored)


@pytest.mark.full
@pytest.mark.parametrize(
    # With t = 1 half of all chunks with two wrong bits are corrected wrongly.
    ("config", "count"),
    [(DriveEngineConfig(t=1, field_bits=14), 1500), (DriveEngineConfig(), 1000)],
    ids=str,
)
def test_nothing_of_a_bad_page_leaves(config, count):
    random = np.random.default_rng(6)
    pages = [spoiled(config, random, number) for number in range(count)]
    cases = [
        Case(f"from page {begin}", config, tuple(pages[begin : begin + AT_ONCE]))
        for begin in range(0, count, AT_ONCE)
    ]
    plays = [Play(case) for case in cases]
    traces = play(emit(PageFrontEnd, config), [each.streams(random) for each in plays])
    assert [r for r in map(Play.judge, plays, traces) if not r.passed] == []

    # What golden expects is not believed: what leaves was written so, and the rest is reported.
    verdicts = [page.verdict for each in plays for page in each.expected]
    read = read_page(config.code, np.stack([page.stored for page in pages]))
    as_written = (read.data == np.stack([page.written for page in pages])).all(axis=1)
    good = np.array([verdict.good for verdict in verdicts])
    assert as_written[good].all()
    assert not good[~as_written].any()
    bad = [verdict for verdict in verdicts if not verdict.good]
    assert count / 8 < len(bad) < count / 2
    caught = sum(verdict.crc_wrong and not verdict.uncorrectable for verdict in bad)
    assert caught > (30 if config.t == 1 else -1)
    assert sum(verdict.corrected for verdict in verdicts) > count

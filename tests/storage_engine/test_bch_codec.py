"""The codec in Verilator: every word, status and handshake as it must be; broken ones are seen."""

import re
from dataclasses import replace

import numpy as np
import pytest

from golden.bch import bch_code
from golden.spec.bch import BchConfig
from golden.spec.errors import ConfigError
from hw import cosim
from hw.emit import emit
from hw.player import Case as Streams
from hw.player import play
from storage_engine.bch_cases import CONTENTS, WRONG, Case, coverage, crosses, random_cases
from storage_engine.bch_chien import STAGES
from storage_engine.bch_codec import BchCodec
from storage_engine.bch_decoder import BchDecoder, ChunkTiming
from storage_engine.bch_encoder import BchEncoder
from storage_engine.bch_key_equation import BchKeyEquation
from storage_engine.bch_timing import read_cycles
from storage_engine.verify_bch import CaseResult, run_cases

# A word of it is searched in two cycles, and the key equation takes longer than a chunk.
SMALL = BchConfig(data_bytes=16, tag_bytes=4, t=3, word_bits=16, search_bits=8, chunks=2)
# The decoder keeps up with chunks that all have t errors.
FAST = BchConfig(data_bytes=64, tag_bytes=4, t=2, word_bits=16, chunks=3)

OTHERS = [
    BchConfig(data_bytes=8, tag_bytes=4, t=1, word_bits=8, chunks=2),
    BchConfig(data_bytes=64, tag_bytes=16, t=5, word_bits=128, search_bits=32, chunks=2),
    BchConfig(data_bytes=32, tag_bytes=4, t=12, word_bits=16, chunks=3),
    BchConfig(data_bytes=512, tag_bytes=8, t=4, chunks=1, field_bits=15),
    BchConfig(chunks=2),
]


def failed(results):
    return [result for result in results if not result.passed]


@pytest.mark.parametrize(
    "config",
    [SMALL, *(pytest.param(config, marks=pytest.mark.full) for config in (FAST, *OTHERS))],
    ids=str,
)
def test_random_pages_are_golden_in_every_cross(config):
    cases = random_cases(config, len(crosses(config)), seed=1)
    results = run_cases(cases, seed=1)
    assert failed(results) == []
    assert coverage(cases) == 1.0
    assert any(case.reset_after for case in cases)
    assert sum(result.corrected for result in results) > 100
    assert sum(result.uncorrectable for result in results) > 0
    assert sum(result.crc_wrong for result in results) > 0


def pages(config, wrong, count, seed=0):
    """Return a case of `count` pages of which each chunk has those wrong bits."""
    random = np.random.default_rng(seed)
    shape = (count, config.chunks, config.message_bytes)
    messages = random.integers(0, 256, shape, dtype=np.uint8)
    read = bch_code(config).encode(messages)
    for chunk in read.reshape(-1, config.chunk_bytes):
        for bit in random.choice(config.message_bits, wrong, replace=False):
            chunk[bit // 8] ^= 1 << bit % 8
    return Case(f"{wrong} errors", config, messages, read, ())


@pytest.mark.full
@pytest.mark.parametrize("config", [FAST, BchConfig()], ids=str)
def test_a_word_per_cycle_with_and_without_errors(config):
    assert BchDecoder.chunk_period(config) == config.chunk_words
    chunks = 4 * config.chunks
    cases = [pages(config, wrong, 4) for wrong in (0, 1, config.t, config.t + 1)]
    for case, result in zip(cases, run_cases(cases), strict=True):
        dirty = not case.name.startswith("0")
        last = BchKeyEquation.cycles(config, clean=not dirty) + config.chunk_words + STAGES
        assert result.passed
        assert result.stall_cycles == 0
        assert result.cycles == chunks * config.chunk_words + last


def test_the_contract_in_closed_form():
    random = np.random.default_rng(0)
    for config in (FAST, BchConfig(), BchConfig(data_bytes=512, t=4)):
        assert BchDecoder.chunk_period(config) == config.chunk_words
        for _ in range(3):
            chunks = [ChunkTiming(dirty, dirty) for dirty in random.random(9) < 0.6]
            assert read_cycles(config, chunks) == BchDecoder.cycles(config, chunks)
    assert BchEncoder.cycles(BchConfig(), 4) == 4 * 131 + 1


def test_the_period_of_chunks_with_errors():
    """Where the decoder cannot keep up: what each further chunk costs."""
    for config in (SMALL, BchConfig(t=40), BchConfig(search_bits=32), OTHERS[1], OTHERS[2]):
        period = BchDecoder.chunk_period(config)
        assert period > config.chunk_words
        dirty = [ChunkTiming(True, True)] * 30
        assert read_cycles(config, dirty) - read_cycles(config, dirty[:-8]) == 8 * period


@pytest.mark.parametrize("config", [SMALL, pytest.param(BchConfig(), marks=pytest.mark.full)])
def test_the_verilog_is_clean(config):
    assert cosim.lint(emit(BchCodec, config)) == []


def test_without_room_for_the_crc_there_is_no_codec():
    message = "tag_bytes is 0; a page's CRC needs 4 bytes or more"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        BchCodec(BchConfig(tag_bytes=0))


EXHAUSTIVE = BchConfig(data_bytes=1, tag_bytes=0, t=2, word_bits=8, chunks=1)


def decode_all(config, words):
    """Return what is wrong when the decoder in Verilator decodes words [chunks], as integers."""
    received = words[:, None].astype("<u4").view(np.uint8)[:, : config.chunk_bytes].copy()
    golden = bch_code(config).decode(received)
    streams = Streams({"i": received.reshape(-1, 1)}, {"o": len(words), "o_status": len(words)})
    (trace,) = play(emit(BchDecoder, config), [streams])
    status = trace.outputs["o_status"][:, 0]
    wrong = (trace.outputs["o"] != golden.message).any(axis=1)
    wrong |= (status & 3 != golden.corrected) | (status >> 2 != golden.uncorrectable)
    return int(wrong.sum())


def test_all_patterns_of_up_to_three_errors_in_a_small_code():
    bits = np.arange(18)
    ones = 1 << bits
    patterns = {0, *ones, *(a ^ b for a in ones for b in ones)}
    patterns |= {a ^ int(b) for a in patterns for b in ones}
    assert decode_all(EXHAUSTIVE, np.array(sorted(map(int, patterns)))) == 0


@pytest.mark.full
def test_all_words_of_a_small_code():
    """`test_bch.py` holds golden against brute force for all of these words."""
    assert decode_all(EXHAUSTIVE, np.arange(2**18)) == 0


def test_a_case_passes_only_with_all_that_was_counted_right():
    result = CaseResult("", 8, 1, 10, 9, 1, 0, 0, 20, mismatches=0, unexplained=0)
    assert result.passed
    assert (result.stall_cycles, result.utilisation) == (1, 0.8)
    assert not replace(result, mismatches=1).passed
    assert not replace(result, unexplained=1).passed


def test_coverage_counts_crosses():
    (case,) = random_cases(SMALL, 1, seed=0)
    assert coverage([case]) == len(set(case.hit)) / (len(WRONG) * len(CONTENTS) * 4)


# What follows breaks something on purpose: each must be seen.


@pytest.mark.parametrize("cycles", [-1, 1])
def test_a_contract_that_is_off_by_a_cycle_is_seen(monkeypatch, cycles):
    exact = BchKeyEquation.cycles
    monkeypatch.setattr(
        BchKeyEquation, "cycles", staticmethod(lambda c, *, clean: exact(c, clean=clean) + cycles)
    )
    (result,) = run_cases([pages(SMALL, 2, 1)], design=emit(BchCodec, SMALL))
    assert result.mismatches == 0
    assert result.unexplained > 0
    assert not result.passed


@pytest.mark.full
def test_a_decoder_that_corrects_nothing_is_seen():
    design = emit(BchCodec, SMALL)
    pattern = r"(buffer__o__payload) \^ chien__o__payload\[15:0\];"
    verilog, found = re.subn(pattern, r"\1;", design.verilog)
    assert found == 1
    (result,) = run_cases([pages(SMALL, 2, 1)], design=replace(design, verilog=verilog))
    assert result.mismatches > 0
    assert result.first_mismatch == "o_page differs"

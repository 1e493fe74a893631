"""The bit-width expansion unit in Verilator: every weight and every cycle as they must be."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator

from golden.numbers import signed_range
from golden.spec.expansion import WEIGHT_WIDTHS, ExpansionConfig
from hw import cosim
from hw.emit import emit
from hw.expansion import BitWidthExpansion
from hw.verify_expansion import (
    Case,
    CaseResult,
    Segment,
    _job_beats,
    _words,
    coverage,
    random_case,
    random_cases,
    random_segment,
    run_cases,
    transition_coverage,
)

CONFIG = ExpansionConfig()  # a chunk per word
WIDE = ExpansionConfig(word_bits=512)  # four


@pytest.fixture(scope="module")
def designs():
    return {config: emit(BitWidthExpansion, config) for config in (CONFIG, WIDE)}


def a_segment(bits, beats, config=CONFIG):
    return random_segment(config, np.random.default_rng((bits, beats)), bits, beats)


def a_case(jobs, config=CONFIG, **pauses):
    segments = tuple(a_segment(bits, beats, config) for bits, beats in jobs)
    return Case(str(jobs)[:60], config, segments, **pauses)


def failed(results):
    return [result for result in results if not result.passed]


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=str)
def test_random_jobs_are_exact_and_cover_every_width_and_pause(designs, config):
    cases = random_cases(config, 80, seed=1)
    results = run_cases(cases, design=designs[config], seed=1)
    assert failed(results) == []
    assert coverage(cases) == transition_coverage(cases) == 1.0
    assert sum(result.stall_cycles for result in results) > 500
    assert any(case.reset_after for case in cases)


@pytest.mark.parametrize(
    "config",
    [
        ExpansionConfig(word_bits=8, lanes=1, beat_bits=1),
        ExpansionConfig(word_bits=192, lanes=8, beat_bits=4),
        ExpansionConfig(word_bits=1024, lanes=64),
    ],
    ids=str,
)
def test_other_configurations_are_exact(config):
    longest = Segment(3, torch.ones(min(config.max_beats, 16), config.lanes, dtype=torch.int8))
    cases = [*random_cases(config, 16, seed=2), Case("longest", config, (longest, longest))]
    assert failed(run_cases(cases, seed=2)) == []


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=str)
def test_extremes(designs, config):
    cases = []
    for bits in WEIGHT_WIDTHS:
        ends = torch.tensor(signed_range(bits))
        shape = (9, config.lanes)
        patterns = [end.expand(shape) for end in (*ends, torch.tensor(-1), torch.tensor(0))]
        patterns.append(ends.repeat(9, config.lanes // 2))
        segments = tuple(Segment(bits, pattern) for pattern in patterns)
        cases.append(Case(f"{bits} bits", config, segments))
    assert failed(run_cases(cases, design=designs[config])) == []


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=str)
def test_short_segments_of_every_pair_of_widths_lose_no_cycle(designs, config):
    pairs = list(itertools.product(WEIGHT_WIDTHS, repeat=2))
    lengths = (1, 2, 5)
    cases = [a_case([(bits, n) for pair in pairs for bits in pair], config) for n in lengths]
    assert all(transition_coverage([case]) == 1.0 for case in cases)
    results = run_cases(cases, design=designs[config])
    assert failed(results) == []
    assert [result.stall_cycles for result in results] == [0, 0, 0]
    assert [result.cycles for result in results] == [72 * n + 3 for n in lengths]


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=str)
def test_segments_around_the_end_of_a_word(designs, config):
    cases = []
    for bits in WEIGHT_WIDTHS:
        # So many beats fill `bits` words, the fewest that end with a beat.
        full = config.word_bits // config.lanes
        jobs = [(bits, full * n + more) for n in (1, 2) for more in (-1, 0, 1, 2)]
        cases.append(a_case([(b, n) for job in jobs for (b, n) in (job, (8, 1))], config))
    results = run_cases(cases, design=designs[config])
    assert failed(results) == []
    assert all(result.stall_cycles == 0 for result in results)


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=str)
def test_a_beat_per_cycle_at_every_width(designs, config):
    cases = [a_case([(bits, 1000)], config) for bits in WEIGHT_WIDTHS]
    for case, result in zip(cases, run_cases(cases, design=designs[config]), strict=True):
        assert result.passed
        assert result.stall_cycles == 0
        assert result.beats_per_cycle >= 0.98
        assert result.words == -(-1000 * config.lanes * case.jobs[0][0] // config.word_bits)


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=str)
def test_a_word_is_needed_no_earlier_than_its_first_weight(designs, config):
    # A chunk of narrow weights lasts for several beats; meanwhile no word need be offered.
    gaps = {2: 3, 3: 1, 4: 1}
    cases = [a_case([(bits, 150)], config, word_gap=gap) for bits, gap in gaps.items()]
    results = run_cases(cases, design=designs[config])
    assert failed(results) == []
    assert [result.stall_cycles for result in results] == [0, 0, 0]
    late = [replace(case, word_gap=case.word_gap + 4) for case in cases]
    results = run_cases(late, design=designs[config])
    assert failed(results) == []
    assert all(result.stall_cycles > 20 for result in results)


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=str)
def test_the_verilog_is_clean(designs, config):
    assert cosim.lint(designs[config]) == []


def test_the_contract():
    assert BitWidthExpansion.cycles(CONFIG, [(3, 1)]) == 4
    assert BitWidthExpansion.cycles(CONFIG, [(3, 100), (8, 7), (5, 1)]) == 111


def test_the_unit_is_golden_under_amaranths_simulator():
    config = ExpansionConfig(word_bits=64, lanes=4)
    case = random_case(config, np.random.default_rng(3), "", idle=False, stall=False)
    unit = BitWidthExpansion(config)
    expected = torch.cat([segment.weights for segment in case.segments]).tolist()
    got = []

    def feed(stream, payloads):
        async def bench(ctx):
            for payload in payloads:
                bits = int.from_bytes(payload.tobytes(), "little")
                ctx.set(stream.payload, stream.payload.shape().from_bits(bits))
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)

        return bench

    async def take(ctx):
        ctx.set(unit.o.ready, 1)
        for _ in expected:
            (payload,) = await ctx.tick().sample(unit.o.payload).until(unit.o.valid)
            got.append([payload[lane] for lane in range(config.lanes)])

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed(unit.i_job, _job_beats(case)))
    simulator.add_testbench(feed(unit.i, _words(case, np.random.default_rng(0))))
    simulator.add_testbench(take)
    simulator.run()
    assert got == expected


def test_a_case_passes_only_with_all_that_was_counted_right():
    counted = {"cycles": 17, "stall_cycles": 4, "words": 3, "mismatches": 0}
    result = CaseResult("", 10, contract_cycles=13, contract_words=3, compared=160, **counted)
    assert result.passed
    assert result.beats_per_cycle == 10 / 17
    for field, value in counted.items():
        assert not replace(result, **{field: value + 1}).passed


def test_coverage_counts_crosses_and_transitions():
    cases = [a_case([(2, 1), (3, 1), (2, 1)]), a_case([(2, 1)], idle=True)]
    assert coverage(cases) == 3 / 24
    assert transition_coverage(cases) == 2 / 36


# What follows breaks something on purpose: each must be seen.


@pytest.mark.parametrize("array", ["0_words", "0_jobs", "0_expected"])
def test_a_flipped_bit_is_seen(designs, monkeypatch, array):
    save = np.savez

    def save_flipped(path, **arrays):
        arrays[array][len(arrays[array]) // 2, 0] ^= 1
        save(path, **arrays)

    monkeypatch.setattr(np, "savez", save_flipped)
    (result,) = run_cases([a_case([(4, 10), (5, 10)])], design=designs[CONFIG])
    assert result.mismatches > 0
    assert re.match(r"output \d+, lane \d+: -?\d+ instead of -?\d+", result.first_mismatch)


@pytest.mark.parametrize("cycles", [-1, 1])
def test_a_contract_that_is_off_by_a_cycle_is_seen(designs, monkeypatch, cycles):
    exact = BitWidthExpansion.cycles
    monkeypatch.setattr(
        BitWidthExpansion, "cycles", staticmethod(lambda *job: exact(*job) + cycles)
    )
    (result,) = run_cases([a_case([(3, 20)])], design=designs[CONFIG])
    assert result.mismatches == 0
    assert not result.passed


BREAKS = {
    "one sign": (r"(width_code\[0\] \? slots\[5:0\] : \{ )slots\[4\]", r"\g<1>slots[3]"),
    "one place of one slot": (
        r"newest\[79:64\] : newest\[63:48\]",
        "newest[95:80] : newest[63:48]",
    ),
    "the chunk before": (r"\\before  <= newest\[127:64\]", r"\\before  <= newest[63:0]"),
    "the rest of a word": (r"(\$\d+  = last_beat & \\\$\d+) ;", r"\1 & 1'b0;"),
    "a word that is taken too early": (r"(last_chunk = chunk == 2'h)3", r"\g<1>2"),
    "the slots read, at a segment's end": (r"last_beat \? 4'h0", "last_beat ? 4'h1"),
    "a chunk that is missed": (r"> 4'h8", "> 4'h9"),
    "a chunk too many": (r"> 4'h8", ">= 4'h8"),
    "a missing word that is ignored": (r"word_valid \|", "1'b1 |"),
    "a missing job that is ignored": (r"advance & i_job__valid", "advance & 1'b1"),
    "a full output that is ignored": (r"\|( o__ready;)", r"| 1'b1 |\1"),
    "a bubble between segments": (
        r"(assign \\begin  = )",
        r"reg gap = 0; always @(posedge clk) gap <= i_job__ready; \1!gap & ",
    ),
}


QUICK, *OTHERS = BREAKS


@pytest.mark.parametrize(
    "what", [QUICK, *(pytest.param(w, marks=pytest.mark.full) for w in OTHERS)]
)
def test_broken_hardware_is_seen(designs, what):
    pattern, replacement = BREAKS[what]
    verilog, found = re.subn(pattern, replacement, designs[WIDE].verilog, count=1)
    assert found == 1
    random = np.random.default_rng(0)
    cases = [random_case(WIDE, random, str(i), idle=i > 2, stall=i > 4) for i in range(8)]
    results = run_cases(cases, design=replace(designs[WIDE], verilog=verilog))
    assert failed(results)


def test_a_unit_that_never_answers_is_seen(designs):
    stuck = re.sub("assign advance = .*;", "assign advance = 1'b0;", designs[CONFIG].verilog)
    (result,) = run_cases([a_case([(2, 3)])], design=replace(designs[CONFIG], verilog=stuck))
    assert result.mismatches == 3 * CONFIG.lanes
    assert result.first_mismatch == "the last 3 of 3 outputs did not come"

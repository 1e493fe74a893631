"""The AXI4 writer in Verilator, in front of a RAM of cocotbext-axi: every byte and every cycle."""

import re
from dataclasses import replace

import numpy as np
import pytest
from axi_trials import (
    judge,
    make_case,
    random_cases,
    random_memory,
    run,
    survivors,
    written,
    wrong,
)
from mutation_trials import unexplained

from golden.spec.axi import AxiConfig
from hw import cosim
from hw.axi import AxiError
from hw.axi_writer import AxiWriter, BurstPacker
from hw.emit import emit
from hw.mutation import mutate

CONFIG = AxiConfig(
    data_bits=64, address_bits=14, burst_beats=8, outstanding=4, buffer_words=20, length_bits=8
)
CONFIGS = [
    AxiConfig(),
    AxiConfig(data_bits=128, burst_beats=256, outstanding=2, buffer_words=512),
    AxiConfig(data_bits=16, address_bits=14, burst_beats=2, outstanding=3, buffer_words=4),
]
SIZE = 1 << 14


def cases(count, seed, config=CONFIG, **options):
    return list(random_cases(config, AxiWriter, SIZE, count, seed, **options))


def test_every_byte_reaches_its_place_in_its_cycle():
    assert wrong(CONFIG, AxiWriter, emit(AxiWriter, CONFIG), cases(8, seed=1)) == [""] * 8


@pytest.mark.full
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_byte_reaches_its_place_in_other_configurations(config):
    mine = cases(8, seed=2, config=config)
    assert wrong(config, AxiWriter, emit(AxiWriter, config), mine) == [""] * 8


def test_heads_and_tails_at_every_lane():
    """As an append to a KV cache does: 1 to 3 words' bytes from any byte on."""
    jobs = [(0xFF0 + 32 * shift + shift, count) for shift in range(8) for count in range(1, 26)]
    case = make_case(CONFIG, AxiWriter, jobs, random_memory(SIZE))
    assert wrong(CONFIG, AxiWriter, emit(AxiWriter, CONFIG), [case]) == [""]


def test_the_longest_job_and_the_highest_address():
    jobs = [(0, 2048), (SIZE - 2048, 2048), (SIZE - 1, 1), (3, 2048), (0, 1)]
    case = make_case(CONFIG, AxiWriter, jobs, random_memory(SIZE))
    assert wrong(CONFIG, AxiWriter, emit(AxiWriter, CONFIG), [case]) == [""]


def test_no_beat_is_stale_after_a_reset():
    """The memory is reset with the writer, or `stop` lets its bursts come to their ends."""
    mine = []
    for cycles in (5, 9, 14, 30, 77):
        mine += cases(2, seed=cycles, jobs=8, reset_after=cycles)
        mine += cases(2, seed=cycles, jobs=8, stop_after=cycles)
    assert wrong(CONFIG, AxiWriter, emit(AxiWriter, CONFIG), mine) == [""] * 20


def test_errors_stop_the_writer_anywhere():
    mine = cases(16, seed=3, jobs=10, errors=True)
    results, _ = run(emit(AxiWriter, CONFIG), mine)
    judged = [judge(CONFIG, AxiWriter, *m, r) for m, r in zip(mine, results, strict=True)]
    assert judged == [""] * 16
    codes = [int(result.log["error"].split()[-1], 16) & 3 for result in results]
    assert codes.count(AxiError.SLAVE) > 8


def test_an_error_is_told_with_its_burst_and_jobs_in_front_of_it_are_done():
    jobs = [(0x40, 64), (0x83, 300), (0x800, 5)]
    memory = random_memory(SIZE)
    case = make_case(CONFIG, AxiWriter, jobs, memory, slow_memory=True, bad=[[0xD0, 0xD8]])
    (result,), _ = run(emit(AxiWriter, CONFIG), [case])
    assert judge(CONFIG, AxiWriter, *case, result) == ""
    assert int(result.log["error"].split()[-1], 16) == AxiError.SLAVE | 0xC0 << 2
    assert result.log["done"].count("1") == 1
    assert result.log["busy"].split()[-1] == "0"
    inputs = case[1]["i"]
    right = written(CONFIG, jobs, inputs, memory)
    assert np.array_equal(result.memory[:0xC0], right[:0xC0])
    assert np.array_equal(result.memory[0xD0:0xD8], memory[0xD0:0xD8])


def test_with_room_for_the_latency_a_word_goes_in_every_cycle():
    config = AxiConfig()
    for latency in (1, 50, 150):
        # The queue takes a burst, and its response comes a latency behind its last word.
        assert AxiWriter.cycles(config, [(0, 32 * 4096)], latency) == 4096 + 16 + latency + 4
    assert AxiWriter.cycles(config, [(0, 32 * 4096)], 300) > 4900


def test_the_verilog_is_clean():
    assert cosim.lint(emit(AxiWriter, AxiConfig())) == []
    assert cosim.lint(emit(AxiWriter, CONFIG)) == []
    assert cosim.lint(emit(BurstPacker, CONFIG)) == []


# What follows breaks something on purpose: each must be seen.

BREAKS = {
    "no reset": (r"if \(rst\)", "if (1'b0)"),
    "errors that are overlooked": (r"m_axi_bresp\[1\]", "1'b0"),
    "all lanes are written": (r"assign m_axi_wstrb = [^;]+;", "assign m_axi_wstrb = 8'hff;"),
}


@pytest.mark.full
@pytest.mark.parametrize("what", BREAKS)
def test_broken_hardware_is_seen(what):
    design = emit(AxiWriter, CONFIG)
    verilog, found = re.subn(*BREAKS[what], design.verilog)
    assert found
    mine = cases(2, seed=9, jobs=8, reset_after=20) + cases(2, seed=9, jobs=8, bad=[[0, SIZE // 2]])
    assert any(wrong(CONFIG, AxiWriter, replace(design, verilog=verilog), mine))


EQUIVALENT = {
    r"const1 \\\$27 A\[0\]": "a word leaves the queue only when it must be there",
    r"const1 \S*\$shl.* A\[[1-8]\]": "a constant 1 that is stuck at 1",
    r"const0 \S*\$ternary.* B\[\d\]": "a constant 0 that is stuck at 0",
    r"const1 busy A\[0\]": "a response that comes without a burst in flight",
    r"cnot1 \S*\$reduce_or.* A\[\d\]": "an input of an OR that matters only if another one is 0",
    r"const0 \S*(words|bursts|flying)\.\$ne.* A\[\d\]": "a level above the depth",
    r"const1 \S*words\.\$reduce_or\S* A\[0\]": "a word leaves the queue only when it must be there",
    r"const0 error A\[0\]": "bit 1 is set in both codes of an error",
    r"cnot0 packer\.\$17\[4\] B\[4\]": "inverted if lane 0 is behind the last byte: never",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_that_is_not_equivalent():
    mutants = mutate(emit(AxiWriter, CONFIG), 200, seed=1)
    mine = cases(8, seed=5, jobs=12) + cases(8, seed=6, jobs=12, errors=True)
    mine += cases(4, seed=7, jobs=12, reset_after=17)
    mine += cases(1, seed=8, stop_after=40)
    mine.append(
        make_case(CONFIG, AxiWriter, [(27, 740), (SIZE // 2 + 3, 2048)], random_memory(SIZE))
    )
    assert unexplained(survivors(mutants, CONFIG, AxiWriter, mine), EQUIVALENT) == []

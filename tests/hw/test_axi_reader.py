"""The AXI4 reader in Verilator, in front of a RAM of cocotbext-axi: every word and every cycle."""

import re
from dataclasses import replace

import numpy as np
import pytest
from axi_trials import (
    judge,
    make_case,
    random_cases,
    random_memory,
    read_words,
    run,
    survivors,
    wrong,
)
from mutation_trials import unexplained

from golden.spec.axi import AxiConfig
from golden.spec.errors import ConfigError
from hw import cosim
from hw.axi import AxiError
from hw.axi_reader import AxiReader
from hw.benches import axi_models
from hw.emit import emit
from hw.mutation import mutate

CONFIG = AxiConfig(
    data_bits=64, address_bits=14, burst_beats=8, outstanding=4, buffer_words=24, length_bits=8
)
CONFIGS = [
    CONFIG,
    AxiConfig(),
    AxiConfig(data_bits=128, burst_beats=256, outstanding=2, buffer_words=512),
    AxiConfig(data_bits=16, address_bits=14, burst_beats=2, outstanding=3, buffer_words=5),
]
SIZE = 1 << 14


def cases(count, seed, config=CONFIG, **options):
    return list(random_cases(config, AxiReader, SIZE, count, seed, **options))


def test_every_word_comes_in_its_order_and_cycle():
    assert wrong(CONFIG, AxiReader, emit(AxiReader, CONFIG), cases(8, seed=1)) == [""] * 8


@pytest.mark.full
@pytest.mark.parametrize("config", CONFIGS[1:], ids=str)
def test_every_word_comes_in_other_configurations(config):
    mine = cases(8, seed=2, config=config)
    assert wrong(config, AxiReader, emit(AxiReader, config), mine) == [""] * 8


def test_no_beat_is_stale_after_a_reset():
    """The memory is reset with the reader, or `stop` lets its bursts come to their ends."""
    mine = []
    for cycles in (5, 9, 14, 30, 77):
        mine += cases(2, seed=cycles, jobs=8, reset_after=cycles, stall=True)
        mine += cases(2, seed=cycles, jobs=8, stop_after=cycles)
    assert wrong(CONFIG, AxiReader, emit(AxiReader, CONFIG), mine) == [""] * 20


def test_errors_stop_the_reader_anywhere():
    mine = cases(24, seed=3, jobs=10, errors=True)
    results, _ = run(emit(AxiReader, CONFIG), mine)
    codes = [int(result.log["error"].split()[-1], 16) & 3 for result in results]
    assert min(codes.count(code) for code in (AxiError.UNALIGNED, AxiError.SLAVE)) > 5
    judged = [judge(CONFIG, AxiReader, *m, r) for m, r in zip(mine, results, strict=True)]
    assert judged == [""] * 24


def run_failing(jobs, **options):
    memory = random_memory(SIZE)
    case = make_case(CONFIG, AxiReader, jobs, memory, slow_memory=True, **options)
    (result,), _ = run(emit(AxiReader, CONFIG), [case])
    assert axi_models.compare(AxiReader, CONFIG, jobs, result.log) == ""
    return result, int(result.log["error"].split()[-1], 16)


def test_an_error_response_stops_the_reader():
    # The third word of the second burst fails.
    result, error = run_failing([(0x40, 8), (0x80, 100), (0x800, 5)], bad=[[0xD0, 0xD8]])
    assert error == AxiError.SLAVE | 0xC0 << 2
    assert result.taken == read_words(CONFIG, [(0x40, 8), (0x80, 100)], random_memory(SIZE))[:18]
    asked = [burst.split(":")[0] for burst in result.log["bursts"].split()]
    assert len(asked) < 10
    # What was asked for has come, and nothing is in flight.
    beats = sum(int(burst.split(":")[1]) for burst in result.log["bursts"].split())
    assert result.log["m_axi_r"].count("3") == beats
    assert result.log["busy"].split()[-1] == "0"


def test_an_unaligned_job_stops_the_reader():
    result, error = run_failing([(0x100, 20), (0x203, 5), (0x300, 5)])
    assert error == AxiError.UNALIGNED | 0x203 << 2
    assert result.taken == read_words(CONFIG, [(0x100, 20)], random_memory(SIZE))


def test_the_longest_job_and_the_highest_address():
    jobs = [(0, 256), (SIZE - 256 * 8, 256), (SIZE - 8, 1), (0, 1)]
    case = make_case(CONFIG, AxiReader, jobs, random_memory(SIZE))
    assert wrong(CONFIG, AxiReader, emit(AxiReader, CONFIG), [case]) == [""]


def test_bursts_end_at_multiples_of_the_longest_one():
    config = AxiConfig()
    assert config.bursts(0, 16) == [16]
    assert config.bursts(32 * 3, 40) == [13, 16, 11]
    assert config.bursts(32 * 15, 1) == [1]
    assert config.bursts(32 * 15, 2) == [1, 1]
    random = np.random.default_rng(0)
    for first, words in random.integers(1, 2000, (200, 2)):
        beats = config.bursts(32 * int(first), int(words))
        starts = first + np.cumsum([0, *beats[:-1]])
        assert sum(beats) == words
        assert (starts // 128 == (starts + beats - 1) // 128).all()


def test_with_room_for_the_latency_a_word_comes_in_every_cycle():
    config = AxiConfig()
    for latency in (1, 50, 100):
        assert AxiReader.cycles(config, [(96, 5000), (1 << 20, 77)], latency) == 5077 + latency + 3
    assert AxiReader.cycles(config, [(96, 5000)], 150) > 5500


def test_the_verilog_is_clean():
    assert cosim.lint(emit(AxiReader, AxiConfig())) == []
    assert cosim.lint(emit(AxiReader, CONFIG)) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data_bits", 8, "data_bits is 8; allowed are 16, 32, 64, 128, 256, 512 and 1024"),
        (
            "burst_beats",
            256,
            "burst_beats is 256; words of 256 bits allow 2, 4, 8, 16, 32, 64 and 128",
        ),
        ("burst_beats", 1, "burst_beats is 1; words of 256 bits allow 2, 4, 8, 16, 32, 64 and 128"),
        ("address_bits", 65, "address_bits is 65; allowed are 13 to 64"),
        ("outstanding", 1, "outstanding is 1; allowed are 2 to 256"),
        ("buffer_words", 31, "buffer_words is 31; allowed are 32 to 1024"),
        ("length_bits", 0, "length_bits is 0; allowed are 1 to 32"),
        ("id_bits", 33, "id_bits is 33; allowed are 1 to 32"),
    ],
)
def test_other_configurations_are_refused(field, value, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        AxiConfig(**{field: value})


# What follows breaks something on purpose: each must be seen.

BREAKS = {
    "no reset": (r"if \(rst\)", "if (1'b0)"),
    "errors that are overlooked": (r"m_axi_rresp\[1\]", "1'b0"),
    "no word that is dropped": (r"error\[1\]", "1'b0"),
    "the flag in every burst": (r"m_axi_rlast & [^;]+;", "m_axi_rlast;"),
}


@pytest.mark.full
@pytest.mark.parametrize("what", BREAKS)
def test_broken_hardware_is_seen(what):
    design = emit(AxiReader, CONFIG)
    verilog, found = re.subn(*BREAKS[what], design.verilog)
    assert found
    mine = cases(2, seed=9, jobs=8, reset_after=20) + cases(2, seed=9, jobs=8, bad=[[0, SIZE // 2]])
    assert any(wrong(CONFIG, AxiReader, replace(design, verilog=verilog), mine))


EQUIVALENT = {
    r"const0 m_axi_rresp B\[0\]": "the RAM never responds DECERR; the memory model does",
    r"\w+ \\\$10\[[0-2]\] [AY]\[[0-2]\]": "low bits of a sum that is only compared with 24",
    r"const0 \S*\$ternary.* [AB]\[\d\]": "a constant 0 that is stuck at 0",
    r"cnot1 \S*\$reduce_or.* A\[\d\]": "an input of an OR that matters only if another one is 0",
    r"\w+ \S*words\.\$ne.*": "the queue of words is never full, for there is room for all",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_that_is_not_equivalent():
    mutants = mutate(emit(AxiReader, CONFIG), 200, seed=1)
    mine = cases(8, seed=5, jobs=12) + cases(8, seed=6, jobs=12, errors=True)
    mine += cases(4, seed=7, jobs=12, reset_after=17, stall=True)
    mine += cases(1, seed=8, stop_after=40)
    mine.append(make_case(CONFIG, AxiReader, [(24, 92), (SIZE // 2, 256)], random_memory(SIZE)))
    assert unexplained(survivors(mutants, CONFIG, AxiReader, mine), EQUIVALENT) == []

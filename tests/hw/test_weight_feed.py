"""The weight feed in Verilator: every weight, index, pass and cycle as they must be."""

from functools import partial

import lockstep_cases
import numpy as np
import pytest
import torch
from lockstep_cases import add_a_cycle, assert_exact, complete, flip_a_bit
from mutation_trials import unexplained
from surviving import surviving

from golden.bit_packing import pack_bits, pack_fields
from golden.spec.expansion import WEIGHT_WIDTHS
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim
from hw.emit import emit
from hw.layouts import pass_layout, second_bits
from hw.weight_feed import WeightFeed

BENCH = "hw.benches.weight_feed"
CONFIG = MatrixEngineConfig(
    m=8, word_bits=128, weight_depth=4, index_depth=8, pass_depth=3, strips=4
)
CONFIGS = [
    CONFIG,
    MatrixEngineConfig(),
    MatrixEngineConfig(products_per_dsp=1, word_bits=256, weight_depth=2, pass_depth=2),
    MatrixEngineConfig(m=32, chain_length=8, group_length=4, word_bits=512),
]


@pytest.fixture(scope="module")
def designs():
    return {config: emit(WeightFeed, config) for config in CONFIGS}


class Streams:
    """What goes in and out for one segment of weights, as integers [payloads, fields]."""

    def __init__(self, config, random, bits, passes):
        chain, length = config.chain, config.chain_length
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        fields = pass_layout(chain).members
        self.passes, self.indices, self.weights, packed = [], [], [], []
        for beats, dense, two_rows in passes:
            header = {name: int(random.integers(1 << f.width)) for name, f in fields.items()}
            header |= {"code": (beats // config.group_length).bit_length() - 1}
            header |= {"dense": int(dense), "two_rows": int(two_rows)}
            self.passes.append([header[name] for name in fields])
            values = random.integers(low, high + 1, (beats, length))
            if dense:
                second = np.zeros((beats, length), np.int64)
            else:
                second = random.integers(0, config.m, (beats, length))
                self.indices.append(second)
            if two_rows:
                other = random.integers(low, high + 1, (beats, length))
                packed.append(np.hstack([values, other]).flatten())
                second = other & 0xFF
            else:
                packed.append(values.flatten())
            self.weights.append(np.hstack([values, second]))
        row = torch.from_numpy(np.concatenate(packed))
        self.words = (
            pack_bits(row, bits, config.word_bits).numpy().reshape(-1, config.word_bits // 8)
        )
        self.job = [bits - 1, len(row) // chain.lanes - 1]


def a_case(config, segments, seed=0, **choices):
    """Return a case and its arrays; segments are bits and (beats, dense, two_rows) of each pass."""
    random = np.random.default_rng(seed)
    streams = [Streams(config, random, *segment) for segment in segments]
    chain, length = config.chain, config.chain_length
    jobs = np.array([s.job for s in streams])
    headers = np.array([row for s in streams for row in s.passes])
    weights = np.concatenate([w for s in streams for w in s.weights])
    none = np.zeros((0, length), np.int64)
    indices = np.concatenate([none, *(i for s in streams for i in s.indices)])
    fields = pass_layout(chain).members.values()
    header = pack_fields(*((headers[:, [k]], field.width) for k, field in enumerate(fields)))
    values, second = weights[:, :length], weights[:, length:]
    arrays = {
        "i_job": pack_fields((jobs[:, :1], 3), (jobs[:, 1:], config.expansion.beat_bits)),
        "i_word": np.concatenate([s.words for s in streams]),
        "i_index": pack_fields((indices, chain.index_bits)),
        "i_pass": header,
        "o_weight": pack_fields((values, 8), (second, second_bits(chain))),
        "o_pass": header.copy(),
    }
    case = {
        "name": str(segments)[:60],
        "segments": segments,
        "products": config.products_per_dsp,
        "chunks": config.expansion.chunks,
        "depths": (config.weight_depth, config.index_depth, config.pass_depth),
        "contract_cycles": WeightFeed.cycles(n for _, passes in segments for n, *_ in passes),
    }
    return complete(case, arrays, **choices)


def random_segments(config, random, most_beats):
    """Segments of random passes."""
    segments, beats = [], 0
    while not segments or beats < most_beats:
        passes = [a_pass(config, random) for _ in range(random.integers(1, 8))]
        beats += sum(n for n, *_ in passes)
        segments.append((int(random.choice(WEIGHT_WIDTHS)), passes))
    return segments


def a_pass(config, random):
    dense = bool(random.random() < 0.4)
    two_rows = dense and config.products_per_dsp == 2 and bool(random.random() < 0.5)
    return int(random.choice(config.chain.beats_of_pass)), dense, two_rows


def random_cases(config, count, seed, most_beats=250):
    draw = partial(random_segments, config, most_beats=most_beats)
    return lockstep_cases.random_cases(partial(a_case, config), draw, count, seed)


def run(design, cases):
    return lockstep_cases.run(design, BENCH, cases)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_random_passes_are_exact(designs, config):
    assert_exact(designs[config], BENCH, random_cases(config, 24, seed=1), seed=1)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_beat_per_cycle_at_every_width_and_in_every_kind_of_pass(designs, config):
    kinds = [(False, False), (True, False)]
    kinds += [(True, True)] if config.products_per_dsp == 2 else []
    cases = []
    for bits in WEIGHT_WIDTHS:
        passes = [(n, *kind) for n in config.chain.beats_of_pass for kind in kinds] * 3
        cases.append(a_case(config, [(bits, passes), (bits, passes[:1])]))
    passed, results = run(designs[config], cases)
    assert passed
    assert [result["stall_cycles"] for result in results] == [0] * len(cases)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_verilog_is_clean(designs, config):
    assert cosim.lint(designs[config]) == []


def test_the_contract():
    assert WeightFeed.cycles([2]) == 7
    assert WeightFeed.cycles([2, 4, 8]) == 19


# What follows breaks something on purpose: each must be seen.


@pytest.mark.parametrize("array", ["i_job", "i_word", "i_index", "i_pass", "o_weight", "o_pass"])
def test_a_flipped_bit_is_seen(designs, array):
    case = a_case(CONFIG, [(4, [(8, False, False)] * 9)])
    passed, _ = run(designs[CONFIG], [flip_a_bit(case, array)])
    assert not passed


def test_a_contract_that_is_off_by_a_cycle_is_seen(designs, monkeypatch):
    add_a_cycle(monkeypatch, WeightFeed)
    _, (result,) = run(designs[CONFIG], [a_case(CONFIG, [(4, [(8, False, False)])])])
    assert result["stall_cycles"] == -1


SURVIVORS = {
    r"\w+ expansion\.sequencer\.(beat|\$17)\[1\d\] .*": "needs a segment of 1,024 beats or more",
    # A pass of code c ends with beat (2 << c) - 1, which is odd.
    r"const1 gear\.\$6\[0\] Y\[0\]": "equivalent: a 1 that is stuck at 1",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_200_that_is_not_listed(designs):
    cases = random_cases(CONFIG, 8, seed=3, most_beats=120)
    survivors = surviving(designs[CONFIG], BENCH, cases)
    assert unexplained(survivors, SURVIVORS) == []
    assert len(survivors) <= 3

"""The dense job in Verilator: what a chain takes beside plain words, as golden makes it."""

import numpy as np
import pytest
import torch
from proofs import broken

from golden.matrix_engine import Mode
from golden.passes import make_passes
from golden.sparse_matrix import prune
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim, payloads
from hw.dense_job import DenseJob, dense_job_layout
from hw.emit import emit
from hw.player import Case, count_mismatches, play, random_pauses

CONFIGS = {
    "default": MatrixEngineConfig(),
    "one product": MatrixEngineConfig(m=8, products_per_dsp=1, strips=4),
    "two segments": MatrixEngineConfig(chain_length=8, strips=2),
}


def golden_passes(config, columns, strips):
    """Return the passes of a dense matrix of so many columns and addresses of strips."""
    two_rows = config.products_per_dsp == 2
    rows = strips * config.chain_length * (2 if two_rows else 1)
    inputs = columns * config.m
    keep = torch.full((-(-rows // config.m), columns), config.m)
    weights = torch.ones(rows, inputs, dtype=torch.int8)
    matrix = prune(weights, weights != 0, keep, inputs, 8, config.m)
    return make_passes(matrix, config.chain, two_rows=two_rows)


def make_case(config, random, *, pauses, reset_after=0):
    """Return a case of three jobs, and what must come out."""
    expected = {"o_segment": [], "o_pass": [], "o_scale": [], "o_destination": []}
    jobs = []
    for _ in range(3):
        columns, strips = int(random.integers(1, 9)), int(random.integers(1, config.strips + 1))
        scale, first, step = (int(x) for x in random.integers(0, (2**16, 2**15, 64)))
        passes = golden_passes(config, columns, strips)
        scales = torch.full((passes.strips.size * config.chain_length, 1), scale)
        expected["o_segment"].append(payloads.of_segments(passes, config))
        expected["o_pass"].append(payloads.of_passes(passes))
        expected["o_scale"].append(
            payloads.of_scales(passes, scales, scales * 0, config, Mode.MATRIX_VECTOR)
        )
        numbers = first + step * np.arange(strips)[:, None] + np.arange(config.products_per_dsp)
        expected["o_destination"].append(numbers.astype("<u2").view(np.uint8))
        beats = columns * strips * config.m
        jobs.append((columns - 1, strips - 1, beats - 1, scale, first, step))
    names = dense_job_layout(config).members
    fields = dict(zip(names, np.array(jobs).T, strict=True))
    case = Case(
        {"i": payloads.of_struct(dense_job_layout(config), **fields)},
        {name: sum(map(len, parts)) for name, parts in expected.items()},
        random_pauses(random, {"i": 100, **dict.fromkeys(expected, 500)}) if pauses else {},
        reset_after=reset_after,
    )
    return case, {name: np.concatenate(parts) for name, parts in expected.items()}


def wrong(trace, expected):
    return {name: count_mismatches(trace.outputs[name], expected[name]) for name in expected}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_comes_out_is_what_golden_makes(config):
    random = np.random.default_rng(7)
    trials = [
        make_case(config, random, pauses=number % 2 == 1, reset_after=17 * (number > 3))
        for number in range(6)
    ]
    traces = play(emit(DenseJob, config), [case for case, _ in trials])
    for (_, expected), trace in zip(trials, traces, strict=True):
        assert wrong(trace, expected) == dict.fromkeys(expected, 0)


def test_a_job_takes_the_cycles_of_the_contract():
    config = CONFIGS["two segments"]
    layout = dense_job_layout(config)
    fields = dict.fromkeys(layout.members, np.zeros(1, int))
    fields |= {"more_columns": np.array([4]), "more_strips": np.array([1])}
    outputs = {"o_segment": 1, "o_pass": 20, "o_scale": 16, "o_destination": 2}
    (trace,) = play(
        emit(DenseJob, config), [Case({"i": payloads.of_struct(layout, **fields)}, outputs)]
    )
    cycles = trace.transfers("o_pass")[-1] + 1 - trace.transfers("i")[0]
    assert cycles == DenseJob.cycles(config, 5, 2)


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ("header.last & last_strip", "header.last"),
        pytest.param("(column == 0) & (segment == 0)", "column == 0", marks=pytest.mark.full),
        pytest.param("strip + last_row", "strip + 1", marks=pytest.mark.full),
        pytest.param("number + job.step", "number + 1", marks=pytest.mark.full),
    ],
)
def test_a_broken_job_is_seen(right, other):
    config, random = CONFIGS["two segments"], np.random.default_rng(7)
    trials = [make_case(config, random, pauses=False) for _ in range(3)]
    traces = play(emit(broken(DenseJob, right, other), config), [case for case, _ in trials])
    found = [wrong(trace, want) for (_, want), trace in zip(trials, traces, strict=True)]
    assert any(any(each.values()) for each in found)


def test_the_verilog_is_clean():
    for config in CONFIGS.values():
        assert cosim.lint(emit(DenseJob, config)) == []

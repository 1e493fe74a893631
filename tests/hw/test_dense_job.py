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


def golden_passes(config, columns, in_group, strips):
    """Return the passes of a dense matrix of so many columns and addresses of strips.

    Args:
        in_group: columns of a scale group.
    """
    two_rows = config.products_per_dsp == 2
    rows = strips * config.chain_length * (2 if two_rows else 1)
    inputs = columns * config.m
    keep = torch.full((-(-rows // config.m), columns), config.m)
    weights = torch.ones(rows, inputs, dtype=torch.int8)
    matrix = prune(weights, weights != 0, keep, in_group * config.m, 8, config.m)
    return make_passes(matrix, config.chain, two_rows=two_rows)


def make_case(config, random, *, pauses, reset_after=0):
    """Return a case of four jobs, and what must come out."""
    expected = {"o_segment": [], "o_pass": [], "o_scale": [], "o_destination": []}
    jobs = []
    for number in range(4):
        columns, strips = int(random.integers(1, 9)), int(random.integers(1, config.strips + 1))
        # One group, or several, of which the last one may be shorter.
        in_group = columns if number == 0 else int(random.integers(1, columns + 1))
        scale, first, step = (int(x) for x in random.integers(0, (2**16, 2**15, 64)))
        passes = golden_passes(config, columns, in_group, strips)
        scales = torch.full((passes.strips.size * config.chain_length, passes.groups), scale)
        expected["o_segment"].append(payloads.of_segments(passes, config))
        expected["o_pass"].append(payloads.of_passes(passes))
        expected["o_scale"].append(
            payloads.of_scales(passes, scales, scales * 0, config, Mode.MATRIX_VECTOR)
        )
        numbers = first + step * np.arange(strips)[:, None] + np.arange(config.products_per_dsp)
        expected["o_destination"].append(numbers.astype("<u2").view(np.uint8))
        beats = columns * strips * config.m
        jobs.append((columns - 1, in_group - 1, strips - 1, beats - 1, scale, first, step))
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
    more = {"more_columns": 4, "more_in_group": 1, "more_strips": 1}  # groups of 2, 2 and 1
    fields |= {name: np.array([value]) for name, value in more.items()}
    outputs = {"o_segment": 1, "o_pass": 20, "o_scale": 48, "o_destination": 2}
    (trace,) = play(
        emit(DenseJob, config), [Case({"i": payloads.of_struct(layout, **fields)}, outputs)]
    )
    cycles = trace.transfers("o_pass")[-1] + 1 - trace.transfers("i")[0]
    assert cycles == DenseJob.cycles(config, 5, 2)


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ("header.last & last_strip", "header.last"),
        ("last_column | (in_group == job.more_in_group)", "last_column"),
        pytest.param("last_column | (in_group", "(in_group", marks=pytest.mark.full),
        pytest.param("left <= job.more_in_group", "left == 0", marks=pytest.mark.full),
        pytest.param("left - job.more_in_group - 1", "left - 1", marks=pytest.mark.full),
        pytest.param("first.eq(0), left", "left", marks=pytest.mark.full),
        pytest.param("(in_group == 0) & (segment == 0)", "in_group == 0", marks=pytest.mark.full),
        pytest.param("strip + last_row)", "strip + 1)", marks=pytest.mark.full),
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

"""The output gatherer in Verilator: rows in, whole strips out."""

from dataclasses import replace

import numpy as np
import pytest
from proofs import broken

from golden.bit_packing import pack_fields
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim, payloads
from hw.emit import emit
from hw.output_gatherer import OutputGatherer, strip_layout
from hw.player import Case, count_mismatches, play, random_pauses

CONFIGS = {
    "default": MatrixEngineConfig(output_bits=27),
    "one product": MatrixEngineConfig(m=8, products_per_dsp=1),
}


def make_case(config, random, *, paired, strips, pauses, reset_after=0):
    """Return a case of so many strips per lane, and the words that must come out."""
    lanes, length, bits = config.products_per_dsp, config.chain_length, config.output_bits
    half = 2 ** (bits - 1)
    beats = length // 2 if paired else length
    rows = random.integers(-half, half, (strips, beats, lanes))
    numbers = random.integers(0, 2**16, (strips, lanes))
    if paired:
        words = rows.transpose(0, 2, 1).reshape(strips, length)
        expected = {"strip": numbers[:, 0], "lane": np.zeros(strips, int), "rows": words}
    else:
        words = rows.transpose(0, 2, 1).reshape(-1, length)
        lane = np.tile(np.arange(lanes), strips)
        expected = {"strip": numbers.reshape(-1), "lane": lane, "rows": words}
    inputs = {
        "i": pack_fields((rows.reshape(-1, lanes), bits)),
        "i_destination": pack_fields((numbers, 16)),
    }
    outputs = {"o": len(words)}
    waits = {}
    if pauses:
        waits = random_pauses(random, {"i": len(rows) * beats, "i_destination": strips})
        # So slow that all words of a strip still wait when the next one is whole.
        waits |= random_pauses(random, {"o": len(rows) * beats}, share=0.65)
    case = Case(inputs, outputs, waits, {"paired": int(paired)}, reset_after)
    return case, payloads.of_struct(strip_layout(config), **expected)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_strip_is_whole(config):
    random = np.random.default_rng(2)
    modes = (False, True) if config.products_per_dsp == 2 else (False,)
    trials = [
        make_case(config, random, paired=paired, strips=9, pauses=pauses, reset_after=reset)
        for paired in modes
        for pauses in (False, True, True)
        for reset in (0, 13)
    ]
    traces = play(emit(OutputGatherer, config), [case for case, _ in trials])
    for (case, expected), trace in zip(trials, traces, strict=True):
        assert count_mismatches(trace.outputs["o"], expected) == 0
        if not case.pauses:
            taken, given = trace.transfers("i"), trace.transfers("o")
            words_of_last_strip = 1 if case.levels["paired"] else config.products_per_dsp
            cycles = given[-words_of_last_strip] - taken[0] + 1
            assert cycles == OutputGatherer.cycles(len(taken))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("waits - 1", "waits - 2", marks=pytest.mark.full),
        pytest.param("following[1][half:]", "following[1][half + 1 :]", marks=pytest.mark.full),
        ("| (free &", "| (1 &"),
    ],
)
def test_a_broken_gatherer_is_seen(right, wrong):
    config, random = CONFIGS["default"], np.random.default_rng(2)
    trials = [
        make_case(config, random, paired=paired, strips=9, pauses=pauses)
        for paired in (False, True)
        for pauses in (False, True, True)
    ]
    design = emit(broken(OutputGatherer, right, wrong), config)
    traces = play(design, [case for case, _ in trials])
    found = [count_mismatches(t.outputs["o"], e) for (_, e), t in zip(trials, traces, strict=True)]
    assert any(found)


def test_the_verilog_is_clean():
    for config in CONFIGS.values():
        assert cosim.lint(emit(OutputGatherer, config)) == []
        assert cosim.lint(emit(OutputGatherer, replace(config, output_bits=8))) == []

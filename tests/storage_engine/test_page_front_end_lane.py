"""FP16 to fixed point in Verilator: every number is golden's."""

import numpy as np
import pytest
import torch
from seen_lane import SeenLane

from golden.attention_engine_formats import to_fixed
from golden.bit_packing import pack_fields
from hw import cosim
from hw.emit import emit
from hw.player import Case, count_mismatches, play, random_pauses
from storage_engine.half_to_fixed import HalfToFixed

HALVES = np.arange(1 << 16)


def mismatches(halves, fractions, pauses=None):
    """Return how many numbers are not golden's, and the cycles from the first to the last."""
    inputs = pack_fields((halves[:, None], 16), (fractions[:, None], 7))
    case = Case({"i": inputs}, {"o": len(halves)}, pauses or {})
    (trace,) = play(emit(SeenLane), [case])
    numbers = torch.from_numpy(halves.astype(np.uint16).view(np.float16))
    fixed = to_fixed(numbers, torch.from_numpy(fractions), 16).numpy()
    cycles = trace.transfers("o")[-1] - trace.transfers("i")[0] + 1
    return count_mismatches(trace.outputs["o"], pack_fields((fixed[:, None], 16))), cycles


def test_every_half_with_fraction_bits_of_a_model():
    random = np.random.default_rng(0)
    fractions = np.concatenate([random.permuted(HALVES) % 128 - 64, HALVES // 17 % 36 - 10])
    wrong, cycles = mismatches(np.concatenate([HALVES, HALVES]), fractions)
    assert wrong == 0
    assert cycles == len(fractions) + HalfToFixed.cycles()


@pytest.mark.full
@pytest.mark.parametrize("first", range(-64, 64, 16))
def test_every_half_with_all_fraction_bits(first):
    halves, fractions = np.meshgrid(HALVES, np.arange(first, first + 16))
    wrong, _ = mismatches(halves.ravel(), fractions.ravel())
    assert wrong == 0


@pytest.mark.full
def test_pauses_change_nothing():
    random = np.random.default_rng(1)
    pauses = random_pauses(random, {"i": 1 << 16, "o": 1 << 16})
    wrong, _ = mismatches(HALVES, random.integers(-20, 30, len(HALVES)), pauses)
    assert wrong == 0


def test_the_verilog_is_clean():
    assert cosim.lint(emit(HalfToFixed)) == []

"""150 small faults in each leaf block of the codec: each is seen, or is none.

The bench is the codec's own: every word, every status, and every handshake in its cycle.
"""

from functools import partial

import numpy as np
import pytest

from golden.spec.bch import BchConfig
from hw.emit import emit
from hw.mutation import mutate
from storage_engine.bch_cases import random_cases
from storage_engine.bch_codec import BchCodec
from storage_engine.verify_bch import Play
from tests.hw.mutation_trials import survivors, unexplained

# With padding, words that are searched in two cycles, and steps of an odd number of coefficients.
CONFIG = BchConfig(16, 4, t=4, word_bits=16, search_bits=8, chunks=2, field_bits=9)
FAULTS = 150
CASES = 40


def wrong(play, trace):
    result = play.judge(trace)
    return "" if result.passed else result.first_mismatch


def trials():
    random = np.random.default_rng(0)
    for case in random_cases(CONFIG, CASES, seed=0):
        play = Play(case)
        yield play.streams(random), partial(wrong, play)


EQUIVALENT = {}


@pytest.mark.full
@pytest.mark.parametrize(
    "leaf", ["writer", "encoder", "syndromes", "key", "chien", "buffer", "checker"]
)
def test_the_bench_kills_every_mutant_that_is_not_equivalent(leaf):
    mutants = mutate(emit(BchCodec, CONFIG), FAULTS, seed=1, within=[f"*{leaf}.*"])
    assert len(mutants.faults) == FAULTS
    assert unexplained(survivors(mutants, trials()), EQUIVALENT.get(leaf, {})) == []

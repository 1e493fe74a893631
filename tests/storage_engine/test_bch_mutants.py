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


_ORDER = "a count that goes through as many states in another order"
_CONSTANT = "a constant that is stuck at its value"
EQUIVALENT = {
    "writer": {r"cnot1 writer\.\$\d+\[\d\] A\[\d\]": _ORDER},
    "encoder": {r"const1 .*\$ge\$.* B\[[13]\]": _CONSTANT + " (10)"},
    "syndromes": {
        r"cnot0 .*\$ge\$.* A\[0\]": "a bit on which it does not depend whether a count is below 10"
    },
    "key": {
        r"const0 .* B\[\d\]": _CONSTANT,
        r"const0 .*key\.\$procmux\$\d+_Y\[2\] A\[2\]": "the number of a step behind the last one",
        r"cnot1 .*key\.\$\d+\[1\] Y\[1\]": "the address of a syndrome behind the last one",
    },
    "chien": {
        r"cnot1 .*sums_\d\[\d+\] A\[\d+\]": "a sum of two values that are both compared with 0",
        r"const0 .*chien\.\$\d+\[1\] A\[1\]": _CONSTANT,
    },
    "buffer": {
        r"\w+ .*\$ne\$.* A\[\d\]": "a level beyond the depth, which is never reached",
        r"cnot1 .*\$reduce_or\$.* A\[\d\]": "a bit of an OR, inverted by another of its bits",
        r"const0 .*\$or\$.* B\[0\]": "an offer that stays, where none is looked at",
        r"inv \S*buffer\.\$auto\$proc_memwr\.cc:\d+:\S+ CLK\[0\]": (
            "a word that is written half a cycle earlier"
        ),
        r"const0 .*\$memrd\$.* CLK\[0\]": "the clock of a port that has none",
    },
    "checker": {
        r"(inv|cnot1) checker\.\$\d+\[\d\] [AY]\[\d\]": _ORDER,
        r"cnot1 .*\$eq\$.* A\[\d\]": "a count beyond the last one, which is never reached",
    },
}
"""By the leaf, patterns of faults that change nothing, and why."""

SEEDS = {"key": 2}
"""With seed 1 Yosys puts a fault into a port of a memory that it cannot write."""


@pytest.mark.full
@pytest.mark.parametrize(
    "leaf", ["writer", "encoder", "syndromes", "key", "chien", "buffer", "checker"]
)
def test_the_bench_kills_every_mutant_that_is_not_equivalent(leaf):
    mutants = mutate(emit(BchCodec, CONFIG), FAULTS, SEEDS.get(leaf, 1), within=[f"*{leaf}.*"])
    assert len(mutants.faults) == FAULTS
    assert unexplained(survivors(mutants, trials()), EQUIVALENT.get(leaf, {})) == []

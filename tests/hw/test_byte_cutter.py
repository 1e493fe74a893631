"""The byte cutter in Verilator: every byte of every run, at a word per cycle."""

import re

import numpy as np
import pytest
from payload_rows import to_bytes
from proofs import broken

from golden.spec.errors import ConfigError
from hw import cosim
from hw.byte_cutter import ByteCutter, cut_layout
from hw.emit import emit
from hw.player import Case, play, random_pauses

SIZE = 16
"""Bytes of a word."""

LONGEST = (1 << 20) - 1


class Job:
    """Runs, given as lists of lengths that each end with a `last` one, and the words to them."""

    def __init__(self, groups, random, share=0.0, size=SIZE, **options):
        self.size, self.lengths = size, [length for group in groups for length in group]
        runs, words, self.expected = [], [], []
        for group in groups:
            whole = -(-sum(group) // size) * size
            content = random.integers(0, 256, whole, np.uint8)
            words.append(content.reshape(-1, size))
            for number, length in enumerate(group):
                runs.append({"length": length, "last": number == len(group) - 1})
                self.expected.append(content[:length])
                content = content[length:]
        inputs = {"i": np.concatenate(words), "i_run": to_bytes(cut_layout(), runs)}
        counts = {name: len(rows) for name, rows in inputs.items()}
        counts["o"] = sum(-(-length // size) for length in self.lengths)
        pauses = random_pauses(random, counts, share) if share else {}
        self.case = Case(inputs, {"o": counts["o"]}, pauses, **options)

    def wrong(self, trace):
        """Return how many runs have other bytes, are missing, or are too many."""
        given = trace.outputs["o"]
        count, at = 0, 0
        for expected in self.expected:
            words = -(-len(expected) // self.size)
            found = given[at : at + words].reshape(-1)[: len(expected)]
            count += not np.array_equal(found, expected)
            at += words
        return count + abs(len(given) - at)

    def cycles(self, trace):
        """Return the cycles from the first run offered to the last word given."""
        return trace.transfers("o")[-1] - np.flatnonzero(trace.valid["i_run"])[0] + 1


def random_groups(random, count, most=80):
    """Return runs of all kinds: of few bytes, of whole words, and of any length."""
    groups = []
    for _ in range(count):
        kind = int(random.integers(4))
        number = int(random.integers(1, 12))
        lengths = [
            random.integers(1, 3, number),
            SIZE * random.integers(1, 4, number),
            SIZE * random.integers(1, 4, number) + random.integers(-1, 2, number),
            random.integers(1, most, number),
        ]
        groups.append([int(length) for length in lengths[kind]])
    return groups


@pytest.fixture(scope="module")
def design():
    return emit(ByteCutter, SIZE)


def wrongs(design, jobs):
    traces = play(design, [job.case for job in jobs])
    return [job.wrong(trace) for job, trace in zip(jobs, traces, strict=True)], traces


def random_jobs():
    random = np.random.default_rng(0)
    return [
        Job(random_groups(random, 25), random, (0.0, 0.3, 0.6)[k % 3], reset_after=60 * (k % 2))
        for k in range(12)
    ]


def test_random_runs_with_random_pauses(design):
    jobs = random_jobs()
    assert wrongs(design, jobs)[0] == [0] * len(jobs)


def test_every_length_behind_every_part_of_a_word(design):
    groups = [
        [used, length, SIZE + 1] for used in range(1, SIZE + 1) for length in range(1, 3 * SIZE + 1)
    ]
    job = Job(groups, np.random.default_rng(1))
    assert wrongs(design, [job])[0] == [0]


@pytest.mark.parametrize(
    "groups",
    [[[1] * 100], [[SIZE] * 100], [[3, 1600, 5, 700, 1]], [[5, 17], [1], [40, 31], [16], [15]]],
    ids=["bytes", "words", "long ones", "groups"],
)
def test_a_word_leaves_in_every_cycle(design, groups):
    job = Job(groups, np.random.default_rng(2))
    found, (trace,) = wrongs(design, [job])
    assert found == [0]
    assert job.cycles(trace) == ByteCutter.cycles(SIZE, job.lengths)


def test_a_word_is_made_while_the_one_who_takes_it_waits(design):
    job = Job([[1, 40]], np.random.default_rng(4))
    held = Case(job.case.inputs, job.case.outputs, {"o": np.ones(50, bool)})
    (trace,) = play(design, [held])
    assert job.wrong(trace) == 0
    begin = np.flatnonzero(trace.valid["i_run"])[0]
    assert np.flatnonzero(trace.valid["o"])[0] == begin + ByteCutter.cycles(SIZE, [1]) - 1
    assert (np.diff(trace.transfers("o")) == 1).all()


def test_the_longest_run(design):
    job = Job([[1, LONGEST, 2]], np.random.default_rng(3))
    found, (trace,) = wrongs(design, [job])
    assert found == [0]
    assert job.cycles(trace) == ByteCutter.cycles(SIZE, job.lengths) == (1 << 16) + 2 + 2


@pytest.mark.full
@pytest.mark.parametrize("size", [2, 128])
def test_other_words(size):
    random = np.random.default_rng(size)
    jobs = [
        Job(random_groups(random, 25, most=5 * size), random, share, size) for share in (0.0, 0.4)
    ]
    assert wrongs(emit(ByteCutter, size), jobs)[0] == [0, 0]


# What follows breaks something on purpose: each must be seen.

FAULTS = [
    ("ends & last, 0, taken", "ends, 0, taken"),
    ("ends & last, 0, taken", "last, 0, taken"),
    ("(used == 0) | (taken > size)", "(used == 0) | (taken >= size)"),
    ("(used == 0) | (taken > size)", "taken > size"),
    ("(used == 0) | (taken > size)", "(used == 0) | ends | (taken > size)"),
    ("ends.eq(left <= size)", "ends.eq(left < size)"),
    ("any_left & (used <= lane)", "(used <= lane)"),
    ("(~self.o.valid | self.o.ready) & ", ""),
    ("Mux(ends, left[: len(used) + 1], size)", "left[: len(used)]"),
    ("self.i_run.ready.eq(~active | (steps & ends))", "self.i_run.ready.eq(~active | ends)"),
]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [FAULTS[0], *(pytest.param(*fault, marks=pytest.mark.full) for fault in FAULTS[1:])],
)
def test_a_broken_cutter_is_seen(right, wrong):
    jobs = random_jobs()
    assert any(wrongs(emit(broken(ByteCutter, right, wrong), SIZE), jobs)[0])


def test_the_verilog_is_clean(design):
    assert cosim.lint(design) == []


@pytest.mark.parametrize("size", [0, 1, 24, 256])
def test_other_widths_are_refused(size):
    message = f"word_bytes is {size}; a power of two from 2 to 128 is needed"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        ByteCutter(size)

"""The accumulator bank in Verilator: sums of passes added up, and every output in its cycle."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from mutation_trials import survivors, unexplained

from golden.bit_packing import pack_fields
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim
from hw.accumulator_bank import AccumulatorBank
from hw.emit import emit
from hw.mutation import mutate
from hw.player import Case, play
from hw.synth import synthesise

CONFIG = MatrixEngineConfig(strips=4)
OTHERS = (
    MatrixEngineConfig(group_length=8, products_per_dsp=1, strips=2, accumulator_bits=21),
    MatrixEngineConfig(m=8, group_length=4, word_bits=128, strips=8),
)
SOURCE_CYCLES, SINK_CYCLES = 2, 1
"""A pause acts so many cycles later; so the first payload is always offered in cycle 1."""


@dataclass(frozen=True)
class Job:
    """Rows in the order in which a reduction node gives them.

    Attributes:
        rows: int64 [rows, 4]: row in its group, strip, first, last. sums: int64 [rows, lanes].
        expected: int64 [rows with `last`, lanes].
    """

    config: MatrixEngineConfig
    rows: np.ndarray
    sums: np.ndarray
    expected: np.ndarray

    @property
    def last(self):
        return self.rows[:, 3] == 1


def random_job(config, random, passes):
    """Return passes of random strips; the same strip often comes again at once."""
    group, lanes = config.group_length, config.products_per_dsp
    largest = config.chain.largest_sum
    open_passes = {}  # sums so far, by strip
    rows, sums, expected = [], [], []
    strip = 0
    for number in range(passes):
        if random.random() < 0.5:
            strip = int(random.integers(config.strips))
        first = strip not in open_passes
        last = random.random() < 0.4 or number == passes - 1
        extreme = random.random() < 0.3
        new = random.integers(-largest, largest, size=(group, lanes), endpoint=True)
        if extreme:
            new = np.full((group, lanes), random.choice([-largest, largest]))
        before = open_passes.pop(strip, np.zeros_like(new))
        if abs(before + new).max() >= 1 << (config.accumulator_bits - 1):
            new = np.clip(-before, -largest, largest)
        rows += [(row, strip, first, last) for row in range(group)]
        sums.append(new)
        if last:
            expected.append(before + new)
        else:
            open_passes[strip] = before + new
    return Job(config, np.array(rows, np.int64), np.concatenate(sums), np.concatenate(expected))


def schedule(job, offers, takes):
    """Return the cycles in which each row enters and each output leaves, as the contract has them.

    Args:
        offers: bool [cycles], whether the node has a row; it keeps one with `last` back while as
            many outputs are unread as the bank has rows. takes: bool [cycles], of the sink.
    """
    enters, leaves, due = [], [], []
    room = job.config.strips * job.config.group_length
    for cycle in range(len(takes)):
        if len(leaves) < len(due) and due[len(leaves)] <= cycle and takes[cycle]:
            leaves.append(cycle)
        at = len(enters)
        if at == len(job.rows) or not offers[cycle]:
            continue
        # What leaves in this cycle is still in the queue.
        unread = len(due) - sum(left < cycle for left in leaves[-1:]) - len(leaves[:-1])
        if job.last[at] and unread >= room:
            continue
        enters.append(cycle)
        if job.last[at]:
            due.append(cycle + AccumulatorBank.cycles())
    assert len(enters) == len(job.rows) and len(leaves) == len(job.expected)
    return enters, leaves


def make_case(job, random, *, gaps=0.0, stall=0.0, hold=0, reset_after=0):
    """Return the case and the cycles that its rows and outputs must have.

    Args:
        gaps: share of cycles without a row; stall: share in which the sink takes nothing; hold:
            cycles at the start in which it takes nothing.
    """
    config, chain = job.config, job.config.chain
    cycles = 20 * len(job.rows) + hold + 200
    takes = (random.random(cycles) >= stall) & (np.arange(cycles) >= max(hold, SINK_CYCLES))
    offers = random.random(cycles) >= gaps
    offers[:SOURCE_CYCLES] = (False, True)
    enters, leaves = schedule(job, offers, takes)
    pauses = np.ones(cycles, bool)
    pauses[np.array(enters[1:], int) - SOURCE_CYCLES] = False
    fields = [
        *((job.rows[:, [0]], (config.group_length - 1).bit_length()),),
        *((job.rows[:, [1]], (config.strips - 1).bit_length()), (job.rows[:, 2:], 1)),
    ]
    rows = pack_fields(*fields, (job.sums, chain.sum_bits))
    quiet = {"i": pauses, "o": ~takes[SINK_CYCLES:]}
    return Case({"i": rows}, {"o": len(leaves)}, quiet, reset_after=reset_after), enters, leaves


def wrong(job, enters, leaves, trace):
    """Return what differs from golden or from the contract, or an empty text."""
    expected = pack_fields((job.expected, job.config.accumulator_bits))
    if not np.array_equal(trace.outputs["o"], expected):
        return "other sums"
    assert trace.transfers("i").tolist() == enters
    if trace.transfers("o").tolist() != leaves:
        return "other cycles"
    offered = np.zeros(len(trace.valid["o"]), bool)
    for due, before, left in zip(
        np.array(enters)[job.last] + AccumulatorBank.cycles(), [-1, *leaves], leaves, strict=False
    ):
        offered[max(due, before + 1) : left + 1] = True
    return "" if np.array_equal(offered, trace.valid["o"]) else "valid in other cycles"


def trials(config, seed):
    """Return jobs with and without gaps, stalls, resets, and a queue that is filled to the brim."""
    random = np.random.default_rng(seed)
    full = config.strips * config.group_length
    choices = [
        {},
        {"stall": 0.5},
        {"gaps": 0.3, "stall": 0.3},
        {"gaps": 0.8},
        {"hold": 30 * full},
        {"hold": 20 * full, "stall": 0.2, "gaps": 0.1, "reset_after": 12 * full},
        *({"stall": 0.5, "reset_after": 20 + k} for k in range(3)),
    ]
    for choice in choices:
        job = random_job(config, random, passes=20 * config.strips)
        case, *cycles = make_case(job, random, **choice)
        yield case, partial(wrong, job, *cycles)


@pytest.mark.parametrize("config", [CONFIG, *OTHERS], ids=["default", "one lane", "m 8"])
def test_every_sum_in_its_cycle(config):
    cases, judges = zip(*trials(config, seed=1), strict=True)
    traces = play(emit(AccumulatorBank, config), cases)
    assert [judge(trace) for judge, trace in zip(judges, traces, strict=True)] == [""] * len(cases)


@pytest.mark.parametrize("distance", [2, 1])
def test_how_soon_a_row_may_come_again(distance):
    # Group after group of two passes of one strip; of its rows only the last `distance` come.
    passes, lanes = 6, CONFIG.products_per_dsp
    flags = [(k % 2 == 0, k % 2) for k in range(passes)]
    rows = [(row, 1, *flags[k]) for k in range(passes) for row in range(2 - distance, 2)]
    sums = np.arange(1, len(rows) * lanes + 1).reshape(passes, distance, lanes)
    expected = (sums[::2] + sums[1::2]).reshape(-1, lanes)
    job = Job(CONFIG, np.array(rows, np.int64), sums.reshape(-1, lanes), expected)
    case, *cycles = make_case(job, np.random.default_rng(0))
    (trace,) = play(emit(AccumulatorBank, CONFIG), [case])
    assert wrong(job, *cycles, trace) == ("" if distance == 2 else "other sums")


def test_an_output_comes_so_many_cycles_later():
    rows = np.array([(0, 0, 1, 1)], np.int64)
    sums = np.array([[-5, 7]])
    case, (enters,), (leaves,) = make_case(Job(CONFIG, rows, sums, sums), np.random.default_rng(0))
    (trace,) = play(emit(AccumulatorBank, CONFIG), [case])
    assert trace.transfers("o") - trace.transfers("i") == leaves - enters == 2
    assert AccumulatorBank.cycles() == 2


def test_the_verilog_is_clean():
    assert cosim.lint(emit(AccumulatorBank, CONFIG)) == []


def test_it_is_small():
    resources = synthesise(
        emit(AccumulatorBank, MatrixEngineConfig(), target="ultrascale+"), "ultrascale+"
    )
    assert (resources.dsp, resources.bram, resources.soft_multipliers) == (0, 0, 0)
    assert resources.lut <= 140


EQUIVALENT = {
    # Whoever starts a strip's last pass leaves room; so nothing comes while the queue is full.
    r".*queue\.\$ne.* A\[\d\]": "when the queue says that it is full",
    r"const1 \\\$4 [BY]\[0\]": "whether the queue is ready, always high",
    # Where the other bit is high the queue is not empty anyway.
    r"cnot1 .*queue\.\$reduce_or.* A\[\d\]": "another bit of what is not 0",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent():
    mutants = mutate(emit(AccumulatorBank, CONFIG), 200, seed=1)
    assert unexplained(survivors(mutants, trials(CONFIG, seed=2)), EQUIVALENT) == []

"""The row collector in Verilator: rows in the order of the strip, a row or a pair per cycle."""

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from mutation_trials import survivors, unexplained

from golden.bit_packing import pack_fields
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim
from hw.benches.streams import bursts
from hw.emit import emit
from hw.mutation import mutate
from hw.player import Case, play
from hw.row_collector import RowCollector

CONFIG = MatrixEngineConfig()
CONFIGS = {
    "default": CONFIG,
    "one bank": MatrixEngineConfig(
        chain_length=8, group_length=8, products_per_dsp=1, accumulator_bits=22
    ),
    "two banks": MatrixEngineConfig(chain_length=8, group_length=4, strips=2),
    "m 32": MatrixEngineConfig(m=32, group_length=4, word_bits=512),
}


@pytest.fixture(scope="module")
def design():
    return emit(RowCollector, CONFIG)


@dataclass(frozen=True)
class Job:
    """The rows of some strips.

    Attributes:
        sums: bits of the sums, int64 [strips, groups, rows of a group, lanes].
        tags: int64 [strips, fields]: address, paired, end_group.
    """

    config: MatrixEngineConfig
    sums: np.ndarray
    tags: np.ndarray

    def beats(self):
        """Yield what leaves, as (row, strip, end_group, *sums) and the banks that it is from."""
        length, group_length = self.config.chain_length, self.config.group_length
        for rows, (strip, paired, end_group) in zip(self.sums, self.tags.tolist(), strict=True):
            count = length // 2 if paired else length
            for first in range(count):
                # The row in each lane.
                lanes = np.array([first, first + paired * count])[: rows.shape[2]]
                bank, row = lanes // group_length, lanes % group_length
                values = rows[bank, row, np.arange(len(lanes))]
                yield (lanes[-1], strip, end_group and first == count - 1, *values), {*bank}


def random_job(config, strips, seed):
    random = np.random.default_rng(seed)
    chain = config.chain
    shape = (strips, chain.groups, chain.group_length, config.products_per_dsp)
    sums = random.integers(0, 1 << config.accumulator_bits, size=shape)
    limits = (config.strips, 1 + config.pairs_rows, 2)
    tags = np.stack([random.integers(0, limit, size=strips) for limit in limits], axis=1)
    return Job(config, sums, tags)


def make_case(job, *, pauses=(), seed=0, reset_after=0):
    """Return each bank's rows as its stream; the named streams pause at random."""
    config, lanes = job.config, job.config.products_per_dsp
    inputs = {
        f"i__{group}": pack_fields((job.sums[:, group].reshape(-1, lanes), config.accumulator_bits))
        for group in range(config.chain.groups)
    }
    strip_bits = (config.strips - 1).bit_length()
    inputs["i_tag"] = pack_fields((job.tags[:, :1], strip_bits), (job.tags[:, 1:], 1))
    cycles = 20 * job.sums[..., 0].size
    # A bank that pauses as often as others is seldom late: only each so many rows is its own.
    quiet = {
        name: np.fromiter(itertools.islice(bursts(f"{seed} {name}", share), cycles), bool, cycles)
        for name, share in zip(pauses, itertools.cycle((0.3, 0.9)), strict=False)
    }
    return Case(inputs, {"o": len(list(job.beats()))}, quiet, reset_after=reset_after)


def wrong(job, trace):
    """Return what differs from the rows in order or from the contract, or an empty text."""
    config = job.config
    beats, banks = zip(*job.beats(), strict=True)
    row_bits, strip_bits = config.chain_length.bit_length() - 1, (config.strips - 1).bit_length()
    fields = np.split(np.array(beats, np.int64), [1, 2, 3], axis=1)
    widths = (row_bits, strip_bits, 1, config.accumulator_bits)
    if not np.array_equal(trace.outputs["o"], pack_fields(*zip(fields, widths, strict=True))):
        return "other rows"
    # Each beat needs its banks and its strip's tag, which goes with the strip's last beat.
    ends = [beat[0] == config.chain_length - 1 for beat in beats]
    stalled = trace.valid["o"] & ~trace.ready["o"]
    inputs = ["i_tag", *(f"i__{group}" for group in range(config.chain.groups))]
    taken = 0
    for cycle in range(len(stalled) - 1):
        takes, due = False, set()
        if taken < len(beats):
            due = {f"i__{bank}" for bank in banks[taken]} | {"i_tag"}
            takes = all(trace.valid[name][cycle] for name in due) and not stalled[cycle]
            due -= set() if ends[taken] else {"i_tag"}
        for name in inputs:
            if (trace.valid[name] & trace.ready[name])[cycle] != (takes and name in due):
                return f"cycle {cycle}: {name}"
        if trace.valid["o"][cycle + 1] != (takes or stalled[cycle]):
            return f"cycle {cycle + 1}: o"
        taken += takes
    return ""


def streams(config):
    return [*(f"i__{group}" for group in range(config.chain.groups)), "i_tag", "o"]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_row_in_its_order_and_cycle(config):
    every = streams(config)
    choices = [(), every, ["o"], every[:1], every[-3:-2], ["i_tag"], every, every]
    jobs = [random_job(config, 6, seed) for seed in range(len(choices))]
    cases = [
        make_case(job, pauses=pauses, seed=seed, reset_after=7 * seed)
        for seed, (job, pauses) in enumerate(zip(jobs, choices, strict=True))
    ]
    traces = play(emit(RowCollector, config), cases)
    assert [wrong(*each) for each in zip(jobs, traces, strict=True)] == [""] * len(jobs)
    # Strips of both kinds follow each other.
    paired = np.concatenate([job.tags[:, 1] for job in jobs])
    assert set(paired.tolist()) == {0, int(config.pairs_rows)}
    first, last = traces[0].transfers("i__0")[0], traces[0].transfers("o")[-1]
    assert last - first + 1 == RowCollector.cycles(len(list(jobs[0].beats())))


def test_a_paired_strip_takes_half_the_cycles():
    job = random_job(CONFIG, 2, seed=0)
    for paired, count in ((0, 32), (1, 16)):
        job.tags[:, 1] = paired
        assert len(list(job.beats())) == count
    (row, *_, low, high), banks = list(job.beats())[3]
    assert (row, banks) == (8 + 3, {1, 5})
    assert (low, high) == (job.sums[0, 1, 1, 0], job.sums[0, 5, 1, 1])


def test_the_verilog_is_clean(design):
    assert cosim.lint(design) == []


EQUIVALENT = {
    r"const1 \$eq\$.* B\[[12]\]": "a constant 1 (bank 2, bit 1; bank 6, bit 2) that is stuck at 1",
    r"cnot1 \$eq\$.* A\[0\]": "inverted only where another bit says that it is not bank 5",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent(design):
    mutants = mutate(design, 200, seed=1)
    trials = []
    for seed in range(8):
        job = random_job(CONFIG, 5, seed)
        pauses = streams(CONFIG) if seed % 2 else ["o"]
        case = make_case(job, pauses=pauses, seed=seed, reset_after=0 if seed < 2 else 9 + seed)
        trials.append((case, partial(wrong, job)))
    assert unexplained(survivors(mutants, trials), EQUIVALENT) == []

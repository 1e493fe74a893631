"""The group scale in Verilator: every output as golden gives it, every cycle as the contract."""

import itertools
import math
import sys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from mutation_trials import survivors, unexplained
from proofs import broken

from golden.bit_packing import pack_fields
from golden.group_scale import scale_groups
from golden.numbers import signed_range
from golden.spec.dsp48e2 import D_BITS
from golden.spec.matrix_engine import ZERO_BITS, MatrixEngineConfig
from hw import cosim
from hw.benches.streams import bursts
from hw.emit import emit
from hw.group_scale import MIN_DISTANCE, STAGES, GroupScale, ScaleLane
from hw.mutation import mutate
from hw.player import Case, play
from hw.synth import synthesise

CONFIG = MatrixEngineConfig(strips=4)
SMALL = MatrixEngineConfig(
    m=8, strips=2, word_bits=128, accumulator_bits=22, scale_bits=5, scale_shift=3, output_bits=4
)
ONE_LANE = MatrixEngineConfig(products_per_dsp=1, strips=2, scale_bits=17, output_bits=32)
EIGHTHS = MatrixEngineConfig(
    m=8, strips=2, word_bits=128, scale_shift=17, output_bits=27, zero_fraction_bits=3
)
CONFIGS = {"default": CONFIG, "small": SMALL, "one lane": ONE_LANE, "eighths": EIGHTHS}
SOURCES = ("i_row", "i_offset", "i_scale")


@dataclass(frozen=True)
class Job:
    """The rows of some tiles, as the group scale takes them.

    Attributes:
        rows: int64 [beats, fields]: row in its strip, strip, end_group, first, last.
        sums, scales, zeros, offsets: int64 [beats, lanes].
        expected: int64 [outputs, lanes].
    """

    config: MatrixEngineConfig
    rows: np.ndarray
    sums: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    offsets: np.ndarray
    expected: np.ndarray

    def field(self, name):
        fields = ("row", "strip", "end_group", "first", "last")
        return self.rows[:, [fields.index(name)]]


def random_integers(random, low, high, shape):
    """Return integers of a random share of the range; in some tiles, many are its ends."""
    shift = int(random.integers(0, max(high, 1).bit_length()))
    low, high = low >> shift, high >> shift
    values = random.integers(low, high, size=shape, endpoint=True)
    ends = random.random(shape) < random.choice([0, 0.5])
    return np.where(ends, random.choice([low, high], size=shape), values)


def random_tile(config, random, *, strips=None, groups=None, rows=None):
    """Return the beats of one tile: for each group, for each strip, its rows."""
    lanes = config.products_per_dsp
    strips = strips or int(random.integers(1, config.strips + 1))
    groups = groups or int(random.choice([1, 2, 5]))
    rows = range(config.chain_length) if rows is None else rows
    shape = (len(rows), strips, lanes, groups)
    largest = config.max_group_inputs << 7
    sum_bits = min(config.accumulator_bits, D_BITS - config.zero_fraction_bits)
    return make_tile(
        config,
        places=random.permutation(config.strips)[:strips],
        rows=rows,
        sums=random_integers(random, *signed_range(sum_bits), shape),
        scales=random_integers(random, 0, 2**config.scale_bits - 1, shape),
        zeros=random_integers(random, *signed_range(ZERO_BITS), shape),
        offsets=random_integers(random, -largest, largest, (lanes, groups)),
    )


def make_tile(config, places, rows, sums, scales, zeros, offsets):
    """Return the job of one tile.

    Args:
        places: of its strips in the buffer. rows: the rows of a strip that come.
        sums, scales, zeros: [rows, strips, lanes, groups]; a zero point that would make a value too
            wide becomes 0.
        offsets: [lanes, groups].
    """
    shape = sums.shape
    low, high = signed_range(D_BITS)
    values = (sums << config.zero_fraction_bits) - zeros * offsets
    zeros = np.where((values < low) | (values > high), 0, zeros)
    outputs = scale_groups(*map(torch.from_numpy, (sums, scales, zeros, offsets)), config).numpy()
    beats = []
    for group, strip, row in itertools.product(range(shape[3]), range(shape[1]), range(shape[0])):
        end_group = (row, strip) == (shape[0] - 1, shape[1] - 1)
        beats.append((rows[row], places[strip], end_group, group == 0, group == shape[3] - 1))

    def in_order(values):
        return np.broadcast_to(values, shape).transpose(3, 1, 0, 2).reshape(-1, shape[2])

    beats = np.array(beats, np.int64)
    expected = outputs.transpose(1, 0, 2).reshape(-1, shape[2])
    return Job(config, beats, *map(in_order, (sums, scales, zeros, offsets)), expected)


def join(*jobs):
    fields = ("rows", "sums", "scales", "zeros", "offsets", "expected")
    joined = (np.concatenate([getattr(job, field) for job in jobs]) for field in fields)
    return Job(jobs[0].config, *joined)


def random_job(config, random):
    return join(*(random_tile(config, random) for _ in range(int(random.integers(1, 4)))))


def paused(seed, share, count):
    return np.fromiter(itertools.islice(bursts(seed, share), count), bool, count)


def make_case(job, *, pauses=(), seed=0, reset_after=0):
    """Return the streams of a job; the named ones pause at random."""
    config, row = job.config, job.config.chain_length.bit_length() - 1
    strip = (config.strips - 1).bit_length()
    end_group = job.field("end_group")
    place = [(job.field("row"), row), (job.field("strip"), strip), (end_group, 1)]
    flags = [(job.field(f), 1) for f in ("first", "last")]
    inputs = {
        "i_row": pack_fields(*place, (job.sums, config.accumulator_bits)),
        "i_offset": pack_fields((job.offsets[end_group[:, 0] == 1], config.offset_bits)),
        "i_scale": pack_fields((job.scales, config.scale_bits), (job.zeros, ZERO_BITS), *flags),
    }
    cycles = 4 * len(job.rows) + 100
    return Case(
        inputs,
        {"o": len(job.expected)},
        {name: paused(f"{seed} {name}", 0.3, cycles) for name in pauses},
        reset_after=reset_after,
    )


def wrong(job, trace):
    """Return what differs from golden or from the contract, or an empty text."""
    config = job.config
    bits = np.unpackbits(trace.outputs["o"], axis=1, bitorder="little")
    bits = bits[:, : config.products_per_dsp * config.output_bits]
    fields = bits.reshape(len(bits), config.products_per_dsp, config.output_bits).astype(np.int64)
    weights = 1 << np.arange(config.output_bits, dtype=np.int64)
    weights[-1] *= -1
    got = fields @ weights
    if got.shape != job.expected.shape:
        return f"{len(got)} outputs instead of {len(job.expected)}"
    if (got != job.expected).any():
        at, lane = np.argwhere(got != job.expected)[0]
        return f"output {at}, lane {lane}: {got[at, lane]} instead of {job.expected[at, lane]}"
    return wrong_cycle(job, trace)


def wrong_cycle(job, trace):
    """Return which handshake came in another cycle than the contract says, or an empty text."""
    stalled = trace.valid["o"] & ~trace.ready["o"]
    if (stalled[:-1] & ~trace.valid["o"][1:]).any():
        return "an output was withdrawn"
    begins = ~stalled & np.all([trace.valid[name] for name in SOURCES], axis=0)
    taken = np.flatnonzero(begins)
    ends = {"i_row": slice(None), "i_scale": slice(None)}
    ends["i_offset"] = job.field("end_group")[:, 0] == 1
    if len(taken) != len(job.rows):
        return f"{len(taken)} rows could be taken instead of {len(job.rows)}"
    for name, which in ends.items():
        if not np.array_equal(trace.transfers(name), taken[which]):
            return f"{name} was not taken with its rows"
    offered = np.flatnonzero(trace.valid["o"] & ~np.concatenate([[False], stalled[:-1]]))
    moves = np.concatenate([[0], np.cumsum(~stalled)])
    latency = moves[offered] - moves[taken[job.field("last")[:, 0] == 1]]
    return "" if (latency == STAGES).all() else f"latencies are {np.unique(latency)}"


@pytest.fixture(scope="module")
def designs():
    return {config: emit(GroupScale, config) for config in CONFIGS.values()}


def faults(design, jobs, **options):
    cases = [make_case(job, seed=n, **options) for n, job in enumerate(jobs)]
    results = map(wrong, jobs, play(design, cases))
    return [text for text in results if text]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_random_tiles_are_exact_in_value_and_cycle(designs, config):
    random = np.random.default_rng(1)
    jobs, cases = [], []
    streams = (*SOURCES, "o")
    for number in range(64):
        jobs.append(random_job(config, random))
        pauses = [name for k, name in enumerate(streams) if number >> k & 1]
        reset_after = int(random.integers(1, 80)) if random.random() < 0.3 else 0
        cases.append(make_case(jobs[-1], pauses=pauses, seed=number, reset_after=reset_after))
    traces = play(designs[config], cases)
    assert [wrong(job, trace) for job, trace in zip(jobs, traces, strict=True)] == [""] * len(jobs)
    outputs = np.concatenate([job.expected.flatten() for job in jobs])
    assert config.output_bits > 8 or len(set(outputs.tolist())) > 0.8 * 2**config.output_bits


@pytest.mark.parametrize("target", ["ultrascale+", "ecp5"])
def test_every_target_is_exact(target):
    random = np.random.default_rng(4)
    jobs = [random_job(CONFIG, random) for _ in range(20)]
    design = emit(GroupScale, CONFIG, target=target)
    assert faults(design, jobs, pauses=("i_row", "i_scale", "o"), reset_after=40) == []


def test_the_contract(designs):
    job = random_tile(CONFIG, np.random.default_rng(2), strips=4, groups=3)
    (trace,) = play(designs[CONFIG], [make_case(job)])
    cycles = trace.transfers("o")[-1] - trace.transfers("i_row")[0] + 1
    assert cycles == GroupScale.cycles(len(job.rows)) == 4 * 3 * 16 + 9


@pytest.mark.parametrize("distance", [MIN_DISTANCE, MIN_DISTANCE - 1])
def test_how_soon_a_row_may_come_again(designs, distance):
    # The shortest strip has 8 rows, which may leave in pairs.
    assert MIN_DISTANCE == 4 == 8 // 2
    rows = range(CONFIG.chain_length - distance, CONFIG.chain_length)
    job = random_tile(CONFIG, np.random.default_rng(3), strips=1, groups=5, rows=rows)
    assert bool(faults(designs[CONFIG], [job])) == (distance < MIN_DISTANCE)
    assert faults(designs[CONFIG], [job], pauses=["o"]) != [] or distance == MIN_DISTANCE


@pytest.mark.parametrize("config", [CONFIG, SMALL], ids=["default", "small"])
def test_ties_go_to_the_even_output(designs, config):
    # A scale times a sum is an odd multiple of half an output's step.
    exponent = min(config.scale_bits, config.scale_shift) - 1
    beyond = 2**config.output_bits + 3  # twice the outputs, so also saturated ones
    halves = np.arange(-beyond, beyond, 2)
    shape = (config.chain_length, config.strips, config.products_per_dsp, 1)
    sums = np.resize(halves, (-(-len(halves) // math.prod(shape)), *shape))
    none = np.zeros(shape, np.int64)
    jobs = [
        make_tile(
            config,
            places=range(config.strips),
            rows=range(config.chain_length),
            sums=tile << (config.scale_shift - 1 - exponent),
            scales=none + (1 << exponent),
            zeros=none,
            offsets=none[0, 0],
        )
        for tile in sums
    ]
    low, high = signed_range(config.output_bits)
    outputs = {int(output) for job in jobs for output in job.expected.flatten()}
    assert outputs == {*range(low, high, 2), high}
    assert faults(designs[config], jobs) == []


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_extremes(designs, config):
    shape = (config.chain_length, 1, config.products_per_dsp, 4)
    low, high = signed_range(min(config.accumulator_bits, D_BITS - config.zero_fraction_bits))
    largest = config.max_group_inputs << 7
    jobs = []
    for sums, zeros, offsets in (
        *((end, 0, 0) for end in (low, high, -1, 0, 1)),
        # All operands at their minimum, and zero points that double the sum or take it away.
        *((largest << 7, zero, -largest) for zero in (-128, 0, 127)),
        *((-(largest << 7), zero, -largest) for zero in (-128, 0, 127)),
    ):
        for scale in (1, 2**config.scale_bits - 1):
            whole = np.zeros(shape, np.int64)
            job = make_tile(
                config,
                places=[0],
                rows=range(config.chain_length),
                sums=whole + sums,
                scales=whole + scale,
                zeros=whole + zeros,
                offsets=whole[0, 0] + offsets,
            )
            jobs.append(job)
    assert faults(designs[config], jobs) == []


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_verilog_is_clean(designs, config):
    assert cosim.lint(designs[config]) == []


def test_two_slices_per_lane_and_no_other_multiplier():
    resources = synthesise(emit(GroupScale, CONFIG, target="ultrascale+"), "ultrascale+")
    assert (resources.dsp + resources.scale_dsp, resources.soft_multipliers) == (4, 0)
    assert resources.bram <= 1.5
    on_ecp5 = synthesise(emit(GroupScale, CONFIG, target="ecp5"), "ecp5")
    assert (on_ecp5.dsp + on_ecp5.scale_dsp, on_ecp5.soft_multipliers) == (8, 0)


# What follows breaks something on purpose: each must be seen.


def test_a_flipped_bit_of_any_field_is_seen(designs):
    job = random_tile(CONFIG, np.random.default_rng(5), strips=2, groups=2)
    case = make_case(job)
    bits = {"i_row": (3, 4, 6, 33, 60), "i_offset": (12, 31), "i_scale": (15, 31, 39, 47, 48, 49)}
    flipped = []
    for stream, places in bits.items():
        for bit in places:
            payloads = case.inputs[stream].copy()
            # Of the first group only: numbers that change in both are as good as the right ones.
            payloads[: len(payloads) // 2, bit // 8] ^= 1 << bit % 8
            flipped.append(replace(case, inputs={**case.inputs, stream: payloads}))
    results = [wrong(job, trace) for trace in play(designs[CONFIG], flipped)]
    assert [number for number, result in enumerate(results) if not result] == []


def test_groups_of_the_largest_operands_come_close_to_the_widest_value():
    largest = EIGHTHS.max_group_inputs * (-128 * 8 - 127) * -128
    assert 0.99 * 2 ** (D_BITS - 1) < largest < 2 ** (D_BITS - 1)


def test_fraction_bits_that_are_forgotten_are_seen():
    design = emit(
        broken(GroupScale, ".shift_left(self.config.zero_fraction_bits)", "", ScaleLane), EIGHTHS
    )
    job = random_tile(EIGHTHS, np.random.default_rng(8), strips=2, groups=2)
    assert faults(design, [job]) != []


@pytest.mark.parametrize("cycles", [-1, 1])
def test_a_contract_that_is_off_by_a_cycle_is_seen(designs, monkeypatch, cycles):
    monkeypatch.setattr(sys.modules[__name__], "STAGES", STAGES + cycles)
    job = random_tile(CONFIG, np.random.default_rng(6))
    assert faults(designs[CONFIG], [job]) == ["latencies are [9]"]


MUTANT_CONFIG = replace(SMALL, scale_shift=6, accumulator_bits=20)

EQUIVALENT = {
    # Up to the read port a row's address may be any other one, if each row has its own; what is
    # inverted by another bit of it, or always, gives such a one. The write port's is the same.
    r"(inv|cnot[01]) (address_[123]_later|.*addr)\[\d\] [DQ]\[\d\]": "other places for the rows",
    r"cnot1 .*rounding_\d\.\$reduce_or\$.* A\[\d+\]": "no bit less, where another one is high",
    r"const1 .*rounding_\d\.\$ne\$.* B\[0\]": "a constant 1 (the highest output) stuck at 1",
}


def every_total(config, random):
    """Return a job whose totals, of two groups, are all integers around the unsaturated ones."""
    shape = (config.chain_length, config.strips, config.products_per_dsp, 2)
    beyond = (2 ** (config.output_bits - 1) + 1) << config.scale_shift
    totals = np.repeat(np.arange(-beyond, beyond), config.products_per_dsp)  # each in every lane
    totals = np.resize(totals, (-(-2 * totals.size // math.prod(shape)), *shape[:3]))
    first = random.integers(-(2**15), 2**15, totals.shape)
    places, rows, ones = range(config.strips), range(config.chain_length), np.ones(shape, np.int64)
    tiles = []
    for values in np.stack([first, totals - first], axis=-1):
        zeros, offsets = random.integers(-8, 8, shape), random.integers(-99, 99, shape[2:])
        sums = values + zeros * offsets
        tiles.append(make_tile(config, places, rows, sums, ones, zeros, offsets))
    return join(*tiles)


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent():
    mutants = mutate(emit(GroupScale, MUTANT_CONFIG), 200, seed=1)
    random = np.random.default_rng(7)
    every = (*SOURCES, "o")
    jobs = [random_job(MUTANT_CONFIG, random) for _ in range(13)]
    jobs[2] = every_total(MUTANT_CONFIG, random)
    # A row's last group gives outputs, which stall, when the next row's first group is begun.
    jobs[3] = join(*(random_tile(MUTANT_CONFIG, random, strips=1, groups=2) for _ in range(20)))
    trials = []
    for number, job in enumerate(jobs):
        pauses = ((), every, ("o",))[min(number, 2) if number < 3 else 1]
        reset_after = 25 + number if number >= 5 else 0
        case = make_case(job, pauses=pauses, seed=number, reset_after=reset_after)
        trials.append((case, partial(wrong, job)))
    assert unexplained(survivors(mutants, trials), EQUIVALENT) == []

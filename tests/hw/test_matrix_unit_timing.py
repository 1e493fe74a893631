"""The matrix unit's timing contract, against the hardware's handshakes and by hand."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from matrices import sparse
from proofs import broken
from test_matrix_unit import (
    CONFIG,
    UnitWithMemory,
    dense_matrix,
    make_case,
    plain_job,
    random_jobs,
    streamed_job,
)

from golden.matrix_engine import Mode, chain_passes, sweeps
from golden.spec.core import CoreConfig
from golden.spec.errors import ShapeError
from golden.spec.instruction import instruction
from golden.spec.isa import Unit, Weights
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import matrix_job_timing
from hw.activation_buffer import JOB_CYCLES
from hw.activation_reader import ActivationReader
from hw.chain_feed import ChainFeed
from hw.emit import emit
from hw.engine_timing import engine_cycles
from hw.matrix_unit import MatrixUnit
from hw.matrix_unit_timing import transfers
from hw.matrix_unit_work import packed_product, raw_product
from hw.output_gatherer import OutputGatherer
from hw.player import play, random_pauses
from hw.product_unit import ProductUnit
from hw.stream_merge import StreamMerge
from hw.weight_stream import Kind, equally_long, weight_stream

ALONE = MatrixEngineConfig(chains=1)
WORDS = [f"i__{chain}" for chain in range(CONFIG.chains)]


@cache
def design(unit=MatrixUnit):
    """The unit that is tested with golden; what its activations are takes no time."""
    _, stored = random_jobs(CONFIG, np.random.default_rng(0))
    return emit(UnitWithMemory, CONFIG, stored, unit)


def directed_jobs(random):
    """Return jobs that fill the queues of passes, indices and scales, and others between them.

    In one all strips have most weights in the first column, so the next two could be loaded then.
    """
    jobs = []
    for block_rows, n, bits, in_group in (
        (24, 2, 4, 4),
        (60, 4, 2, 2),
        (24, 2, 2, 1),
        (6, 8, 8, 2),
        (9, (8, 2, 2, 4), 4, 2),
    ):
        keep = torch.tensor(n).expand(block_rows, 4)
        shape = (block_rows * CONFIG.m, 4 * CONFIG.m)
        matrix = sparse(CONFIG, keep, shape, group_size=in_group * CONFIG.m, bits=bits)
        inputs = torch.zeros(1, matrix.inputs, dtype=torch.int64)
        jobs.append(streamed_job(CONFIG, random, matrix, inputs, 0))
        inputs = torch.zeros(1, 3 * CONFIG.m, dtype=torch.int64)
        jobs.append(plain_job(CONFIG, random, 3, 2, inputs, 0))
    return jobs


@cache
def jobs_and_cases():
    """Return jobs with their cases: directed and random ones, each with pauses and without."""
    pairs = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        jobs = random_jobs(CONFIG, random)[0] if seed else directed_jobs(random)
        jobs = [jobs[number] for number in random.permutation(len(jobs))]
        case, free = (make_case(CONFIG, jobs, random, pauses=pauses) for pauses in (True, False))
        pauses = case.pauses | random_pauses(random, {"o": 2000})
        if not seed:  # words wait for strips, but strips not for words
            pauses = {"o": np.resize(np.repeat([True, False], [150, 15]), 6000)}
        pairs += [(jobs, replace(case, pauses=pauses)), (jobs, free)]
    return pairs


def product_of(job):
    """Return what a job of the bench is for the contract."""
    sweep, plan = job.fields["activations"]["sweep"], job.fields["feed"]["plan"]
    columns, in_group = sweep["more_columns"] + 1, sweep["more_in_group"] + 1
    if not job.fields["feed"]["dense"]:
        return packed_product(CONFIG, np.stack(job.words), columns, in_group)
    active = np.array([job.fields["active"] >> c & 1 for c in range(CONFIG.chains)], bool)
    return raw_product(CONFIG, columns, in_group, plan["more_strips"] + 1, active)


def offered(trace, stream):
    """Return when each payload was offered, if it did not wait for the one before."""
    cycles = np.flatnonzero(trace.valid[stream])
    behind = np.append(0, trace.transfers(stream)[:-1] + 1)
    return cycles[np.searchsorted(cycles, behind)]


def expected(products, trace, config=CONFIG):
    """Return what the contract says, from the waits in which the unit has no part."""
    return transfers(
        config,
        products,
        offered=offered(trace, "i_job"),
        arrivals=[offered(trace, stream) for stream in WORDS],
        ready=trace.ready["o"],
    )


def wrong(passed, trace):
    """Return how many payloads pass in another cycle."""
    return sum(
        len(passed[stream]) != len(found := trace.transfers(stream))
        or int((found != passed[stream]).sum())
        for stream in ("i_job", *WORDS, "o")
    )


@cache
def played(unit=MatrixUnit):
    """Return jobs with what happened."""
    pairs = jobs_and_cases()
    traces = play(design(unit), [case for _, case in pairs])
    return [
        ([product_of(job) for job in jobs], trace)
        for (jobs, _), trace in zip(pairs, traces, strict=True)
    ]


def test_every_handshake_follows_from_the_waits_of_words_jobs_and_strips():
    for products, trace in played():
        assert wrong(expected(products, trace), trace) == 0


def test_the_contract_is_exact_where_nothing_waits():
    for products, trace in played()[1::2]:
        cycles = MatrixUnit.cycles(CONFIG, products)
        taken = trace.transfers("i_job")
        assert cycles[:-1] == np.diff(taken).tolist()
        if products[-1].counts.all():
            assert cycles[-1] == trace.transfers("o")[-1] - taken[-1] + 1


def is_seen(config=CONFIG):
    """Tell whether the log shows that the contract is of something else."""
    return any(wrong(expected(*each, config), each[1]) for each in played())


@pytest.mark.parametrize("field", ["weight_depth", "pass_depth", "index_depth", "strips"])
def test_the_depth_of_every_queue_is_seen(field):
    assert is_seen(replace(CONFIG, **{field: 2 * getattr(CONFIG, field)}))


@pytest.mark.parametrize("name", ["SCALE_DEPTH", "COLUMNS"])
def test_other_sizes_are_seen(name, monkeypatch):
    monkeypatch.setattr(matrix_job_timing, name, getattr(matrix_job_timing, name) + 1)
    assert is_seen()


@pytest.mark.full
def test_a_unit_that_only_loses_cycles_is_seen():
    # A job ends a cycle behind its last strip: golden sees nothing of it.
    late = broken(MatrixUnit, "(gone == left + 1)", "left.all()")
    assert any(wrong(expected(products, trace), trace) for products, trace in played(late))


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("addresses", [1, 3])
def test_one_chain_of_plain_words_is_the_engine_and_what_is_around_it(columns, addresses):
    rows = addresses * 2 * ALONE.m
    matrix = dense_matrix(torch.ones(rows, columns * ALONE.m), ALONE, columns * ALONE.m)
    passes = chain_passes(matrix, ALONE, Mode.MATRIX_VECTOR)
    jobs = sweeps(passes[0], matrix.group_size, ALONE)
    engine = engine_cycles(ALONE, passes, jobs, mode=Mode.MATRIX_VECTOR)
    product = raw_product(ALONE, columns, columns, addresses, np.ones(1, bool))
    before = ActivationReader.cycles(ALONE, 0) - JOB_CYCLES
    behind = OutputGatherer.cycles(0) + StreamMerge.cycles(2) - 1
    assert MatrixUnit.cycles(ALONE, [product]) == [before + engine + behind]


def test_words_that_come_late_cost_their_cycles():
    columns, every = 6, np.ones(1, bool)
    product = raw_product(ALONE, columns, columns, 1, every)
    (least,) = MatrixUnit.cycles(ALONE, [product])
    words = columns * ALONE.m
    slow = transfers(ALONE, [product], arrivals=[3 * np.arange(words)])
    assert slow["i__0"] == np.maximum(1, 3 * np.arange(words)).tolist()
    assert slow["complete"][0] - least > 2 * (words - ALONE.weight_depth)
    # Those that come while the first column is loaded cost nothing.
    early = np.minimum(np.arange(words) + ALONE.m - 1, words)
    assert transfers(ALONE, [product], arrivals=[early])["complete"] == [least - 1]


def small_matrix():
    """Return a matrix of two blocks with the words of its weight stream, [1, words, bytes]."""
    matrix = sparse(ALONE, torch.tensor([[4, 8]]), (16, 32), group_size=32)
    ones = torch.ones(matrix.rows, 1, dtype=torch.int64)
    (passes,) = chain_passes(matrix, ALONE, Mode.MATRIX_VECTOR)
    return equally_long([weight_stream(passes, ones, 0 * ones, ALONE)])


def test_a_feed_whose_sinks_do_not_wait_takes_a_word_per_cycle_and_kind():
    product = packed_product(ALONE, small_matrix(), 2, 2)
    words = product.chains[0].words
    kinds = list(zip(words["kind"].tolist(), words["payloads"].tolist(), strict=True))
    # The second of two words of indices waits for the first one's four.
    assert ChainFeed.cycles(ALONE, kinds) == transfers(ALONE, [product])["i__0"][-1] + 1
    plain = raw_product(ALONE, 1, 1, 1, np.ones(1, bool))
    assert ChainFeed.cycles(ALONE, [(Kind.WEIGHTS, 0)] * 16) == 17
    assert transfers(ALONE, [plain])["i__0"] == list(range(1, 17))


def test_words_in_an_order_that_stops_the_chain_are_refused():
    product = packed_product(ALONE, small_matrix(), 2, 2)
    (work,) = product.chains
    last = np.argsort(work.words["kind"] == Kind.PASSES, kind="stable")
    kinds = {name: values[last] for name, values in work.words.items()}
    kinds["payloads"] = np.where(kinds["kind"] == Kind.SCALES, 64, kinds["payloads"])
    stops = replace(product, chains=[replace(work, words=kinds)])
    with pytest.raises(ShapeError, match=r"^the job stops with 1 of its 1 strips to come; words"):
        transfers(ALONE, [stops])


def test_a_weight_stream_for_each_chain_is_needed():
    with pytest.raises(ShapeError, match=r"^there are 1 weight streams; 3 are needed$"):
        packed_product(CONFIG, small_matrix(), 2, 2)


def test_instructions_take_what_their_jobs_take():
    core = CoreConfig(chains=1)
    raw = instruction(
        Unit.MV,
        weights=Weights.RAW,
        words=2 * 3 * 16,
        strips=6,
        columns=2,
        group=2,
        sweeps=1,
        addresses=3,
    )
    packed = instruction(
        Unit.MV, paired=1, words=1, strips=1, columns=2, group=2, sweeps=1, addresses=1
    )
    words = small_matrix()
    jobs = [
        raw_product(core.engine, 2, 2, 3, np.ones(1, bool)),
        packed_product(core.engine, words, 2, 2),
    ]
    cycles = ProductUnit.cycles(core, [raw, packed], [words, words])
    assert cycles == MatrixUnit.cycles(core.engine, jobs)
    assert cycles[0] != cycles[1]

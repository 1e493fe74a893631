"""The store unit in Verilator, in front of memories: every byte, every burst and every cycle."""

from fractions import Fraction

import numpy as np
import pytest
from axi_trials import quick
from payload_rows import to_bytes
from proofs import broken
from store_trials import (
    CAPACITY,
    CONFIG,
    EVENT,
    WORD,
    Job,
    activation_content,
    apply,
    build,
    initial_memories,
    random_store,
    run,
    wrongs,
)

from golden.spec.core import CoreConfig
from golden.spec.isa import ErrorCode, Memory
from hw import cosim
from hw.emit import emit
from hw.memory_model import MemoryTiming
from hw.store_unit import StoreUnit

SLOW = MemoryTiming(latency=3, extra_latency=30, words_per_cycle=Fraction(3, 7), seed=5)
M = CONFIG.m


@pytest.fixture(scope="module")
def design():
    return build(CONFIG)


def fixed(**fields):
    """Return what makes these fields."""
    return lambda random: {"address": 0, **fields}


def random_jobs(seed, count=6, config=CONFIG, **options):
    random = np.random.default_rng(seed)
    return [
        Job(config, [random_store(config)] * 15, random, 0.3 * (k % 2), **options)
        for k in range(count)
    ]


def no_error(design, jobs, timing=None, config=CONFIG):
    traces, memories = run(design, config, jobs, timing)
    assert wrongs(config, jobs, traces, memories) == [""] * (len(jobs) + 1)
    return traces, memories


@pytest.mark.parametrize(
    "timing",
    quick(
        [
            MemoryTiming(9, words_per_cycle=Fraction(3, 7)),
            MemoryTiming(9),
            MemoryTiming(),
            MemoryTiming(80),
            MemoryTiming(1, words_per_cycle=Fraction(1, 2)),
            MemoryTiming(30, words_per_cycle=Fraction(1, 9)),
        ]
    ),
    ids=str,
)
def test_random_stores_take_the_cycles_of_their_contract(design, timing):
    jobs = random_jobs(timing.latency)
    traces, _ = no_error(design, jobs, timing)
    for job, trace in zip(jobs, traces, strict=True):
        assert job.cycles(trace) == job.contract(timing)


def test_random_stores_into_a_slow_memory(design):
    no_error(design, random_jobs(1, hold=1), SLOW)


def test_a_reset_breaks_a_store_off(design):
    random = np.random.default_rng(2)
    jobs = [
        Job(CONFIG, [random_store(CONFIG, most=2)] * 4, random, reset_after=cycles)
        for cycles in range(3, 120, 13)
    ]
    no_error(design, jobs, MemoryTiming(latency=20))


def test_one_byte_to_every_lane_of_every_port(design):
    random = np.random.default_rng(3)
    jobs = [
        Job(
            CONFIG,
            [
                fixed(memory=memory, token=lane, channels=channels, start=lane, address=100 + lane)
                for lane in range(WORD)
                for channels in (0, 1, 2, 4, 7)
            ],
            random,
        )
        for memory in Memory
    ]
    no_error(design, jobs)


def test_the_longest_loops(design):
    makers = [
        fixed(
            memory=memory,
            address=address,
            channels=2,
            **{f"count_{level}": 1023, f"stride_{level}": stride},
        )
        for memory, address, stride in (
            (Memory.VECTOR, CAPACITY - 1, -63),
            (Memory.ACTIVATION, 5, 17),
        )
        for level in (1, 2, 3)
    ]
    job = Job(CONFIG, makers, np.random.default_rng(4))
    (trace,), _ = no_error(design, [job])
    assert job.cycles(trace) == job.contract()


def test_a_word_of_memory_per_cycle_or_every_other_one(design):
    """Reading goes on at the memories' begin, again and again."""
    words = 2000
    length = words * WORD
    makers = [
        fixed(memory=Memory.VECTOR, length=length, address=5, start=7),
        fixed(memory=Memory.VECTOR, length=WORD, count_1=500, count_2=4, stride_1=3 * WORD),
        fixed(memory=Memory.ACTIVATION, length=length, address=5, start=7),
    ]
    job = Job(CONFIG, makers, np.random.default_rng(5))
    (trace,), _ = no_error(design, [job])
    found = job.cycles(trace)
    assert found == job.contract()
    assert words < found[0] < words + 30
    assert words < found[1] < words + 30
    anew = 2 * words // CONFIG.activation_depth
    assert 2 * words < found[2] < 2 * words + anew + 30


def test_a_run_of_a_byte_per_cycle(design):
    makers = [
        fixed(memory=memory, count_1=800, stride_1=-WORD, address=CAPACITY - 1) for memory in Memory
    ]
    job = Job(CONFIG, makers, np.random.default_rng(6))
    (trace,), _ = no_error(design, [job])
    assert job.cycles(trace) == job.contract()
    # Each is a burst of its own, of which few are in flight.
    assert max(job.cycles(trace)) < 800 * 5 / CONFIG.outstanding + 30


# Appends to a KV cache: where the bytes lie is said here by their indices alone.

HEAD = 64


def key_address(token, channel):
    """Return (chain, byte) of a key's element."""
    pair, rest = divmod(token, 2 * M)
    chain, index = pair % CONFIG.chains, pair // CONFIG.chains
    row, half = rest % M, rest // M
    column = channel // M
    return chain, ((index * (HEAD // M) + column) * M + row) * 2 * M + M * half + channel % M


def value_address(token, channel):
    """Return (chain, byte) of a value's element."""
    pair, rest = divmod(channel, 2 * M)
    addresses = -(-(HEAD // (2 * M)) // CONFIG.chains)
    row, half = rest % M, rest // M
    column = token // M
    place = (column * addresses + pair // CONFIG.chains) * M + row
    return pair % CONFIG.chains, place * 2 * M + M * half + token % M


def key_stores(token, start):
    """Return the stores that append a key: one run of m bytes for each of its columns."""
    chain, address = key_address(token, 0)
    yield fixed(
        memory=Memory.ACTIVATION,
        start=start,
        channels=1 << chain,
        address=address,
        length=M,
        count_1=HEAD // M,
        stride_1=2 * M * M,
    )


def value_stores(token, start):
    """Return the stores that append a value, byte by byte: one for each address of the chains."""
    pairs = HEAD // (2 * M)
    for first in range(0, pairs, CONFIG.chains):
        chains = min(CONFIG.chains, pairs - first)
        yield fixed(
            memory=Memory.ACTIVATION,
            start=start + 2 * first,
            channels=(1 << chains) - 1,
            address=value_address(token, 2 * M * first)[1],
            count_1=M,
            stride_1=2 * M,
            count_2=2,
            stride_2=M,
        )


@pytest.mark.parametrize(
    ("stores", "address"), [(key_stores, key_address), (value_stores, value_address)]
)
def test_appends_to_a_kv_cache(design, stores, address):
    """Two heads lie in the activation memory; the second one's elements are appended."""
    start, tokens = HEAD // M, [0, 1, M - 1, M, 2 * M - 1, 2 * M, 6 * M + 5, 47]
    makers = [store for token in tokens for store in stores(token, start)]
    _, memories = no_error(design, [Job(CONFIG, makers, np.random.default_rng(7))])
    head = activation_content(CONFIG)[start : start + HEAD // M, 0].reshape(-1).view(np.uint8)
    for token in tokens:
        for channel in range(HEAD):
            chain, at = address(token, channel)
            assert memories[chain][at] == head[channel]


def test_a_burst_that_is_refused_stops_the_unit(design):
    random = np.random.default_rng(8)
    whole = 5  # runs in front of the memory's end
    jobs = []
    for channels in (0, 1, 2, 4):
        begin = CAPACITY - whole * WORD
        far = fixed(channels=channels, length=WORD, count_1=40, stride_1=WORD, address=begin)
        makers = [random_store(CONFIG, most=2), fixed(length=99), far, fixed(), fixed(channels=7)]
        jobs.append(Job(CONFIG, makers, random, outputs={"o": 2, "o_error": 1, "o_burst": 0}))
    traces, found = run(design, CONFIG, jobs, MemoryTiming(latency=30))
    memories = initial_memories(CONFIG)
    for job, trace in zip(jobs, traces, strict=True):
        assert (len(trace.transfers("i")), len(trace.transfers("o"))) == (3, 2)
        event = {"error": {"code": ErrorCode.WRITE_ERROR, "pc": job.stores[2].pc}, "rule": 0}
        assert np.array_equal(trace.outputs["o_error"], to_bytes(EVENT, [event]))
        # All that may be in flight is, and nothing more is begun.
        seen = len(job.bursts[0]) + len(job.bursts[1]) + whole + CONFIG.outstanding
        assert np.array_equal(trace.outputs["o_burst"], np.concatenate(job.bursts)[:seen])
        assert trace.transfers("o_burst")[-1] <= trace.transfers("o_error")[0]
        for store, runs in zip(job.stores, (None, None, whole), strict=False):
            apply(CONFIG, store, memories, runs)
    assert all(map(np.array_equal, found, memories))


def test_every_bit_of_an_address_counts(design):
    """Behind the memories' ends all bursts are refused, but their addresses are seen."""
    random = np.random.default_rng(12)
    jobs = []
    for channels in (0, 1, 2, 4) * 4:
        strides = {f"stride_{level}": int(random.integers(-(1 << 33), 1 << 33)) for level in (1, 2)}
        wide = fixed(
            channels=channels,
            count_1=2,
            count_2=2,
            **strides,
            address=int(random.integers(CAPACITY, 1 << 34)),
        )
        jobs.append(Job(CONFIG, [wide], random, outputs={"o": 0, "o_error": 1, "o_burst": 4}))
    traces, _ = run(design, CONFIG, jobs, MemoryTiming(latency=30))
    for job, trace in zip(jobs, traces, strict=True):
        assert np.array_equal(trace.outputs["o_burst"], job.bursts[0])
        assert len(trace.outputs["o_error"]) == 1


def test_nothing_begins_while_it_is_stopped(design):
    random = np.random.default_rng(9)
    jobs = [
        Job(
            CONFIG,
            [fixed(channels=7, length=5000)],
            random,
            stop_after=after,
            outputs={"o": 0, "o_burst": after},
        )
        for after in (1, 17)
    ]
    traces, _ = run(design, CONFIG, jobs, MemoryTiming(latency=10))
    for job, trace, after in zip(jobs, traces, (1, 17), strict=True):
        seen = trace.outputs["o_burst"]
        assert after <= len(seen) <= after + 2
        assert np.array_equal(seen, np.concatenate(job.bursts)[: len(seen)])
        assert not trace.valid["o"].any()
        assert not trace.valid["o_error"].any()


@pytest.mark.full
@pytest.mark.parametrize(
    "config",
    [
        CoreConfig(chains=2, vector_depth=64, activation_depth=16),
        CoreConfig(chains=1, m=8, vector_depth=16, activation_depth=32, outstanding=2),
    ],
    ids=["m=16", "one chain"],
)
def test_other_configurations(config):
    other = build(config)
    jobs = random_jobs(10, config=config)
    traces, _ = no_error(other, jobs, MemoryTiming(5), config)
    for job, trace in zip(jobs, traces, strict=True):
        assert job.cycles(trace) == job.contract(MemoryTiming(5))
    no_error(other, jobs, SLOW, config)
    assert cosim.lint(emit(StoreUnit, config)) == []


def test_the_verilog_is_clean():
    assert cosim.lint(emit(StoreUnit, CONFIG)) == []


# What follows breaks something on purpose: each must be seen.

FAULTS = [
    ("runs.valid & ~waits", "runs.valid"),
    ("waits & (undone == 0)", "waits & writer.done"),
    ("ends & (others == 0)", "ends"),
    ("runs.o.payload.last & (unexpanded == 0)", "runs.o.payload.last"),
    ("runs.o.payload.last & (unexpanded == 0)", "0"),
    ("ours.eq(theirs & at if is_valid else theirs)", "ours.eq(theirs)"),
    ("[job.token[0]]", "[0]"),
    ("(half ^ moves) & ~self.complete", "half ^ moves"),
    (", reset=self.complete", ""),
    ("slots[k].eq(element)", "slots[k].eq(element.as_unsigned())"),
    ("with m.If(~half):", "with m.If(narrow.valid):"),
    ("targets & ~others", "targets"),
    ("jobs.i.valid.eq(runs.o.valid & cutter.i_run.ready)", "jobs.i.valid.eq(runs.o.valid)"),
    ("2 * config.outstanding + 4", "config.outstanding"),
    ("~named.any()", "1"),
]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [FAULTS[0], *(pytest.param(*fault, marks=pytest.mark.full) for fault in FAULTS[1:])],
)
def test_a_broken_unit_is_seen(right, wrong):
    copy = build(CONFIG, broken(StoreUnit, right, wrong))
    jobs = random_jobs(11, count=2)
    assert any(wrongs(CONFIG, jobs, *run(copy, CONFIG, jobs, MemoryTiming(latency=15))))

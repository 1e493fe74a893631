"""What holds for any flash and any requests."""

from collections import Counter

import pytest
import simpy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.flash_backend import FlashBackend
from sim.flash_work import READ_PARTS, Counts
from tests.sim.flash_cases import check_trace, flash, flashes, pages_sent

PAGES = 256
BLOCKS = 64


def numbers(count):
    """Return pages here and there, or a range of them."""
    some = st.lists(st.integers(0, count - 1), min_size=1, max_size=20)
    ranges = st.builds(
        lambda first, length: range(first, min(first + length, count)),
        st.integers(0, count - 1),
        st.integers(1, count),
    )
    return st.one_of(some, ranges)


def requests():
    kinds = st.one_of(
        st.tuples(st.just("read"), numbers(PAGES)),
        st.tuples(st.just("program"), numbers(PAGES)),
        st.tuples(st.just("erase"), numbers(BLOCKS)),
    )
    return st.lists(st.tuples(st.integers(0, 400), kinds), min_size=1, max_size=6)


def run(some, plan, *, again=1, tick=None, **options):
    """Run requests submitted at their times, and again as often as `again` says when they are done.

    With `tick` that is beside a process that does nothing, so often that nothing runs ahead.
    """
    env = simpy.Environment()
    backend = FlashBackend(env, some, **options)
    done = []

    def submit(at, kind, which):
        yield env.timeout(at * 1e-6)
        for _ in range(again):
            done.append(request := getattr(backend, kind)(which))
            yield request
            assert env.now * 1e12 == pytest.approx(request.finished, abs=1)

    def ticks():
        while True:
            yield env.timeout(tick * 1e-6)

    processes = [env.process(submit(at, *what)) for at, what in plan]
    if tick:
        env.process(ticks())
    env.run(env.all_of(processes))
    return backend, [(r.kind, r.submitted, r.finished) for r in done]


def totals(backend):
    counts = Counts()
    for channel in backend.channels:
        counts.add(channel.counts.values())
    return counts


@given(flashes(), requests())
def test_every_page_is_read_once_and_nothing_does_two_things_at_a_time(some, plan):
    backend, done = run(some, plan, trace=True)
    check_trace(backend)
    assert all(finished >= submitted for _, submitted, finished in done)
    wanted = Counter()
    for _, (kind, which) in plan:
        if kind == "read":
            wanted.update(which)
    repetitions = backend._repetitions
    for page, times in wanted.items():
        wanted[page] += times * repetitions.of([page]).get(page, 0)
    assert pages_sent(backend) == dict(wanted)
    counts = totals(backend)
    of = {
        kind: sum(len(w) for _, (k, w) in plan if k == kind)
        for kind in ("read", "program", "erase")
    }
    assert (counts.read, counts.programmed, counts.erased) == tuple(of.values())
    assert counts.read + counts.repeated == sum(wanted.values())


@settings(max_examples=30)
@given(flashes(), requests())
def test_no_channel_carries_more_than_its_rate_in_any_window(some, plan):
    backend, _ = run(some, plan, trace=True)
    for channel in range(some.geometry.channels):
        spans = [s for s in backend.spans if s.channel == channel and s.what == "transfer"]
        spans.sort(key=lambda span: span.start)
        for first in range(0, len(spans), 7):
            for last in range(first, len(spans), 5):
                window = spans[last].end - spans[first].start
                carried = sum(s.end - s.start for s in spans[first : last + 1]) / some.page_ps
                assert carried * some.page_ps <= window


READS = st.lists(
    st.tuples(st.sampled_from([0, 5, 40]), st.integers(0, 23)), min_size=1, max_size=30
)


@given(flashes(), READS)
def test_the_parts_of_a_pages_time_add_up(some, reads):
    backend, done = run(some, [(at, ("read", [page])) for at, page in reads])
    counts = totals(backend)
    parts = sum(getattr(counts, part) for part in READ_PARTS)
    assert parts == sum(finished - submitted for _, submitted, finished in done)


@given(flashes(), st.integers(0, 100), st.integers(1, PAGES - 100))
def test_an_extent_is_its_pages_one_by_one(some, first, length):
    extent, [(_, _, end)] = run(some, [(0, ("read", range(first, first + length)))])
    pages, ends = run(some, [(0, ("read", [n])) for n in range(first, first + length)])
    listed, [(_, _, end_listed)] = run(some, [(0, ("read", list(range(first, first + length))))])
    assert end == end_listed == max(finished for _, _, finished in ends)
    assert totals(extent) == totals(listed) == totals(pages)


# A die's pages are partly sent when the first die begins a row.
PARTLY_SENT = flash(
    dies_per_channel=2,
    planes_per_die=4,
    page_bytes=6000,
    read_us=8,
    command_us=0.3,
    cache_busy_us=1.5,
    plane_reads="together",
    cache_read=True,
)


@settings(max_examples=60)
@example(PARTLY_SENT, 1, 1500, [])
@given(flashes(), st.integers(0, 100), st.integers(200, 1500), requests())
def test_skipping_periods_changes_nothing(some, first, length, others):
    some = some.model_copy(
        update={"geometry": some.geometry.model_copy(update={"blocks_per_plane": 1000})}
    )
    plan = [(0, ("read", range(first, first + length))), *others]
    with_it, done = run(some, plan)
    without, done_without = run(some, plan, skip=False)
    assert done == done_without
    assert [c.counts for c in with_it.channels] == [c.counts for c in without.channels]


@pytest.mark.parametrize("seed", range(4))
def test_a_repetition_is_no_part_of_a_rhythm(seed):
    # A page fails and is repeated while the die reads one row of its eight planes.
    retry = {"shares": (0.01,), "seed": seed}
    some = flash(planes_per_die=8, blocks_per_plane=1000, retry=retry)
    runs = [run(some, [(0, ("read", range(8000)))], skip=skip) for skip in (True, False)]
    assert runs[0][1] == runs[1][1]
    assert totals(runs[0][0]) == totals(runs[1][0])


@settings(max_examples=40)
@given(flashes(), requests(), st.sampled_from([0.3, 7, 50]))
def test_running_ahead_changes_nothing(some, plan, tick):
    _, done = run(some, plan, again=3)
    _, done_beside = run(some, plan, again=3, tick=tick)
    assert done == done_beside

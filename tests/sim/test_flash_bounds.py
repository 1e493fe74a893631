"""The event model against closed forms."""

from itertools import product
from random import Random

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.flash_backend import FlashBackend
from sim.flash_layout import Stripe
from sim.flash_load import arrivals, closed_loop, stream
from sim.nand_bounds import (
    closed_loop_pages_per_us,
    page_latency_us,
    planes_to_fill_channels,
    program_gb_per_s,
    queued_latency_us,
    random_reads,
    streaming,
)
from tests.sim.flash_cases import flash

MODES = [
    {"plane_reads": reads, "cache_read": cache}
    for reads, cache in product(("single", "together", "independent"), (False, True))
]
GEOMETRIES = [
    # channels, dies, planes, page bytes
    (1, 1, 1, 4096),
    (2, 2, 2, 16384),
    (4, 4, 4, 4096),
    (8, 4, 2, 16384),
    (3, 7, 4, 8192),
]
REALISTIC = {
    "read_us": 40,
    "channel_mb_per_s": 1400,
    "command_us": 0.2,
    "data_out_us": 0.1,
    "cache_busy_us": 3,
    "blocks_per_plane": 4096,
    "pages_per_block": 256,
}


def build(geometry, **changes):
    channels, dies, planes, page_bytes = geometry
    return flash(
        channels=channels,
        dies_per_channel=dies,
        planes_per_die=planes,
        page_bytes=page_bytes,
        **changes,
    )


def seconds(some, pages):
    env = simpy.Environment()
    request = FlashBackend(env, some).read(range(pages))
    env.run(request)
    return request.latency_us * 1e-6


def agrees(results, some, bound):
    """Assert that a run is at its bound: 1 % below it at most.

    Where cache read is at its crossover it may be 21 %: commands of few dies wait for pages on the
    bus, and no other die sends while one copies.
    """
    dies = some.geometry.dies_per_channel / bound.crossover_dies
    least = 0.79 if some.cache_read and 0.85 < dies < 1.6 else 0.99
    assert bound.gb_per_s * least <= results.gb_per_s <= bound.gb_per_s * 1.001


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("mode", MODES)
def test_streams_reach_the_bound(geometry, mode):
    some = build(geometry, **REALISTIC, **mode)
    results = stream(some, 2000 * some.geometry.planes)
    agrees(results, some, streaming(some))
    assert results.gb_per_s == pytest.approx(streaming(some).gb_per_s, rel=0.06)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("mode", MODES)
def test_without_commands_a_streams_rhythm_is_the_bound_to_the_picosecond(geometry, mode):
    some = build(geometry, **REALISTIC | {"command_us": 0}, **mode)
    width = some.geometry.planes
    more = seconds(some, 3000 * width) - seconds(some, 1000 * width)
    exact = 2000 * width * some.geometry.page_bytes / streaming(some).gb_per_s / 1e9
    assert more == pytest.approx(exact, abs=2e-12 * 2000 * width)  # page times are whole ps


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("mode", [MODES[0], MODES[1], MODES[4], MODES[5]])
def test_random_pages_reach_the_bound_while_every_die_has_work(geometry, mode):
    some = build(geometry, **REALISTIC, **mode)
    units = some.units_per_channel * some.geometry.channels
    bound = random_reads(some)
    env = simpy.Environment()
    backend = FlashBackend(env, some)
    backend.read(list(_spread(some, 200)))
    rates = []
    for share in (0.2, 0.8):  # between the first pages and those when dies run empty
        env.run(until=share * 200 * units * some.geometry.page_bytes / bound.gb_per_s / 1e9)
        rates.append((backend.results().pages_read, env.now))
    (pages, begin), (more, end) = rates
    measured = (more - pages) * some.geometry.page_bytes / (end - begin) / 1e9
    near = some.cache_read and 0.85 < some.geometry.dies_per_channel / bound.crossover_dies < 1.6
    assert measured == pytest.approx(bound.gb_per_s, rel=0.06 if near else 0.02)


def _spread(some, pages):
    """Yield random rows, as many for each unit."""
    stripe, draw = Stripe(some), Random(1)
    rows = some.geometry.blocks_per_plane * some.geometry.pages_per_block
    for _ in range(pages):
        for unit in range(some.units_per_channel):
            for channel in range(some.geometry.channels):
                plane = unit % some.geometry.planes_per_die if some.planes_per_unit == 1 else 0
                yield stripe.number(channel, unit, plane, draw.randrange(rows))


def test_more_dies_move_the_limit_from_array_to_channel():
    rates, limits = [], []
    for dies in range(1, 9):
        some = build((2, dies, 1, 8192), **REALISTIC)
        bound = streaming(some)
        rates.append(stream(some, 4000 * dies).gb_per_s)
        limits.append(bound.limited_by)
        assert rates[-1] == pytest.approx(bound.gb_per_s, rel=0.01)
        assert (dies < bound.crossover_dies) == (bound.limited_by == "array")
    assert limits == ["array"] * 7 + ["channel"]
    assert rates[:7] == [pytest.approx(rates[0] * dies, rel=0.01) for dies in range(1, 8)]


def test_longer_pages_move_the_limit_too():
    shorter, longer = (build((2, 4, 1, size), **REALISTIC) for size in (8192, 32768))
    assert (streaming(shorter).limited_by, streaming(longer).limited_by) == ("array", "channel")
    for some in (shorter, longer):
        assert stream(some, 8000).gb_per_s == pytest.approx(streaming(some).gb_per_s, rel=0.01)


def test_as_many_planes_as_littles_law_asks_for_fill_a_channel():
    needed = planes_to_fill_channels(flash(read_us=40))
    assert needed == 40
    for dies, limit in ((needed, "array"), (needed + 2, "channel")):  # one more sends
        assert streaming(flash(read_us=40, dies_per_channel=dies)).limited_by == limit


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("mode", MODES)
def test_a_page_on_an_idle_drive(geometry, mode):
    ecc = {"latency_us": 2, "mb_per_s": 900}
    some = build(geometry, **REALISTIC, **mode, ecc=ecc)
    assert closed_loop(some, 50, depth=1).latency.max_us == pytest.approx(page_latency_us(some))


def test_one_operation_of_all_planes_on_an_idle_drive():
    some = build((1, 1, 4, 4096), **REALISTIC, plane_reads="together", ecc={"mb_per_s": 900})
    assert seconds(some, 4) * 1e6 == pytest.approx(page_latency_us(some, pages=4))


@pytest.mark.parametrize("mode", MODES)
def test_slow_ecc_is_the_limit(mode):
    some = build((2, 4, 4, 8192), **REALISTIC, **mode, ecc={"mb_per_s": 300, "latency_us": 5})
    assert streaming(some).limited_by == "ecc"
    assert stream(some, 20_000).gb_per_s == pytest.approx(streaming(some).gb_per_s, rel=0.01)


@pytest.mark.parametrize("shares", [(0.003,), (0.05, 0.02, 0.01)])
@pytest.mark.parametrize("dies", [2, 16])
def test_repetitions_cost_what_they_take(shares, dies):
    retry = {"shares": shares, "setup_us": 5}
    some = build((2, dies, 1, 4096), **REALISTIC, retry=retry)
    results = stream(some, 30_000)
    assert results.pages_repeated / 30_000 == pytest.approx(some.retry.mean, rel=0.1)
    assert results.gb_per_s == pytest.approx(streaming(some).gb_per_s, rel=0.05)


def test_data_first_loses_what_the_closed_form_says():
    for dies, planes, read_us in product((2, 4, 8), (1, 2), (40, 75)):
        some = build(
            (2, dies, planes, 16384),
            **REALISTIC | {"read_us": read_us},
            plane_reads="together",
            commands_first=False,
        )
        results = stream(some, 2000 * some.geometry.planes)
        assert results.gb_per_s == pytest.approx(streaming(some).gb_per_s, rel=0.02)


@pytest.mark.parametrize("geometry", [(2, 2, 2, 16384), (4, 8, 1, 4096)])
def test_programs_reach_the_bound(geometry):
    some = build(geometry, **REALISTIC, plane_reads="together")
    env = simpy.Environment()
    backend = FlashBackend(env, some)
    env.run(backend.program(range(500 * some.geometry.planes)))
    rate = backend.results().program_gb_per_s
    assert rate == pytest.approx(program_gb_per_s(some), rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_a_die_with_arrivals_is_a_queue_with_constant_service(load):
    some = flash(read_us=10, channel_mb_per_s=1e6, dies_per_channel=4, page_bytes=1000)
    service = page_latency_us(some)
    results = arrivals(some, 20_000, pages_per_us=4 * load / service)
    assert results.latency.mean_us == pytest.approx(queued_latency_us(service, load), rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_a_channel_with_arrivals_is_a_queue_with_constant_service(load):
    many = flash(read_us=0.001, dies_per_channel=500, blocks_per_plane=4)
    results = arrivals(many, 20_000, pages_per_us=load)
    assert results.latency.mean_us == pytest.approx(queued_latency_us(1, load), rel=0.05)


@pytest.mark.parametrize("depth", [1, 4, 16, 64])
def test_readers_that_wait_stay_between_the_bounds(depth):
    some = flash(channels=4, dies_per_channel=4, channel_mb_per_s=1e5, blocks_per_plane=4096)
    low, high = closed_loop_pages_per_us(some, depth)
    rate = closed_loop(some, 20_000, depth).gb_per_s  # 1,000 bytes a page: pages per ns
    assert low * 0.98 <= rate * 1e3 / 1000 <= high * 1.001


@settings(max_examples=30)
@given(
    st.tuples(
        st.integers(1, 4), st.integers(1, 8), st.sampled_from([1, 2, 4]), st.integers(512, 20_000)
    ),
    st.sampled_from(MODES),
    st.floats(5, 100),
    st.integers(100, 3000),
)
def test_streams_of_any_flash_reach_the_bound(geometry, mode, read_us, rate):
    some = build(geometry, **REALISTIC | {"read_us": read_us, "channel_mb_per_s": rate}, **mode)
    agrees(stream(some, 1500 * some.geometry.planes), some, streaming(some))

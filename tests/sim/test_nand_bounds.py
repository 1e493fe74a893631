from math import ceil, floor

import pytest

from sim.nand import load_drive
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


def test_one_die():
    bounds = streaming(flash())
    assert bounds.array_gb_per_s == pytest.approx(1000 / 11e3)  # 1,000 bytes in 10 + 1 us
    assert bounds.channel_gb_per_s == pytest.approx(1)
    assert bounds.gb_per_s == bounds.array_gb_per_s
    assert bounds.limited_by == "array"
    assert bounds.latency_us == 11
    assert bounds.crossover_dies == pytest.approx(11)


def test_planes_together_share_a_sense_but_not_the_bus():
    bounds = streaming(flash(planes_per_die=4, plane_reads="together"))
    assert bounds.array_gb_per_s == pytest.approx(4000 / 14e3)
    assert bounds.channel_gb_per_s == pytest.approx(1)
    assert random_reads(flash(planes_per_die=4, plane_reads="together")).gb_per_s == (
        pytest.approx(1000 / 11e3)
    )


def test_planes_alone_are_dies():
    assert streaming(flash(planes_per_die=4, plane_reads="independent")).gb_per_s == (
        pytest.approx(streaming(flash(dies_per_channel=4)).gb_per_s)
    )


def test_cache_read_hides_the_shorter_of_sense_and_transfers():
    assert streaming(flash(cache_read=True, cache_busy_us=2)).array_gb_per_s == (
        pytest.approx(1000 / 12e3)
    )
    long_page = flash(cache_read=True, cache_busy_us=2, page_bytes=30_000)
    assert streaming(long_page).array_gb_per_s == pytest.approx(30_000 / 32e3)


def test_commands_and_parity_cost_channel_time():
    bounds = streaming(flash(dies_per_channel=99, command_us=0.25, spare_bytes=250))
    assert bounds.limited_by == "channel"
    assert bounds.gb_per_s == pytest.approx(1000 / 1500)


def test_the_kinds_of_page_are_averaged():
    mixed = flash(read_us=(5, 10, 15))
    assert streaming(mixed).gb_per_s == pytest.approx(streaming(flash()).gb_per_s)
    assert page_latency_us(mixed, kind=2) == 16


def test_slow_ecc_limits_and_delays():
    slow = flash(dies_per_channel=99, ecc={"mb_per_s": 500, "latency_us": 3})
    assert streaming(slow).limited_by == "ecc"
    assert streaming(slow).gb_per_s == pytest.approx(0.5)
    assert page_latency_us(slow) == 10 + 2 + 3


def test_repetitions_take_a_sense_and_a_transfer():
    bounds = streaming(flash(retry={"shares": (0.1, 0.2), "setup_us": 4}))
    assert bounds.array_gb_per_s == pytest.approx(1000 / (11e3 + 0.5 * 15e3))
    assert bounds.channel_gb_per_s == pytest.approx(1 / 1.5)


def test_data_first_makes_dies_wait_for_each_other():
    assert streaming(flash(dies_per_channel=8, commands_first=False)).gb_per_s == (
        pytest.approx(8000 / 18e3)
    )


def test_from_the_crossover_on_the_channel_limits():
    crossover = streaming(flash(channel_mb_per_s=730)).crossover_dies
    for dies, limit in ((floor(crossover), "array"), (ceil(crossover), "channel")):
        assert streaming(flash(channel_mb_per_s=730, dies_per_channel=dies)).limited_by == limit


def test_the_evaluated_drive_needs_110_planes_and_fills_its_channels():
    drive = load_drive("instcsd").flash
    assert planes_to_fill_channels(drive) == ceil(11.2e9 * 40e-6 / 4096) == 110
    assert drive.geometry.planes == 128
    for bounds in (streaming(drive), random_reads(drive)):
        assert bounds.limited_by == "channel"
        assert bounds.gb_per_s == pytest.approx(11.2)


def test_the_real_board_is_limited_by_its_channels():
    bounds = streaming(load_drive("daisyplus").flash)
    assert bounds.limited_by == "channel"
    assert bounds.gb_per_s == pytest.approx(0.469, abs=1e-3)


def test_programming():
    assert program_gb_per_s(flash(dies_per_channel=4)) == pytest.approx(4000 / 101e3)
    assert program_gb_per_s(flash(dies_per_channel=400)) == pytest.approx(1)


def test_readers_that_wait():
    dies = flash(channels=10, dies_per_channel=10)
    assert closed_loop_pages_per_us(dies, 1)[1] == pytest.approx(1 / 11)
    low, high = closed_loop_pages_per_us(dies, 100)
    assert high == pytest.approx(100 / 11)
    assert low == pytest.approx(high * 100 / 199)


def test_queued_latency():
    assert queued_latency_us(10, 0) == 10
    assert queued_latency_us(10, 0.5) == 15


# MQSim (7ec40e3b) on 8 channels of exactly 1.4 GB/s with 4 chips each, as run for the facts.
MQSIM = [
    # page bytes, tR us, planes per sense, GB/s
    (4096, 40, 1, 2.51),
    (4096, 75, 1, 1.51),
    (16384, 40, 1, 5.97),
    (16384, 75, 1, 4.28),
    (16384, 40, 2, 7.80),
]


@pytest.mark.parametrize(("page_bytes", "read_us", "planes", "measured"), MQSIM)
def test_mqsim_is_what_data_first_gives(page_bytes, read_us, planes, measured):
    like_it = flash(
        channels=8,
        dies_per_channel=4,
        planes_per_die=planes,
        plane_reads="together",
        page_bytes=page_bytes,
        read_us=read_us,
        channel_mb_per_s=1400,
        commands_first=False,
    )
    assert streaming(like_it).gb_per_s == pytest.approx(measured, rel=0.015)

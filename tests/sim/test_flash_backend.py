"""Timelines by hand: a page of 1 us on the bus, 10 us of sense, 100 of program, 500 of erase."""

import re

import pytest
import simpy

from golden.spec.errors import ConfigError
from sim.flash_backend import FlashBackend
from sim.flash_work import READ_PARTS
from tests.sim.flash_cases import check_trace, flash


def run(some, *requests):
    """Return when each request finished, in us; a request is a kind, numbers and maybe a time."""
    env = simpy.Environment()
    backend = FlashBackend(env, some, trace=True)
    done = []

    def submit(kind, numbers, at=0):
        yield env.timeout(at * 1e-6)
        done.append(getattr(backend, kind)(numbers))

    for request in requests:
        env.process(submit(*request))
    env.run()
    check_trace(backend)
    assert not backend.active
    return [request.finished / 1e6 for request in done]


def test_one_page():
    some = flash(command_us=0.25, data_out_us=0.5, spare_bytes=100, ecc={"latency_us": 2})
    assert run(some, ("read", [7])) == [0.25 + 10 + 0.5 + 1.1 + 2]


def test_a_die_reads_one_page_after_another():
    assert run(flash(), ("read", range(3))) == [33]


def test_dies_sense_at_once_and_share_the_bus():
    assert run(flash(dies_per_channel=4), ("read", range(4))) == [14]
    # The first die's second page is sensed from 11 to 21, when the bus is free again.
    assert run(flash(dies_per_channel=4), ("read", range(8))) == [25]


def test_data_first_keeps_a_free_die_waiting_for_the_bus():
    assert run(flash(dies_per_channel=4, commands_first=False), ("read", range(8))) == [28]


def test_a_command_waits_for_the_page_on_the_bus_and_goes_before_the_next():
    # Senses end at 10.5, 11, 11.5 and 12; the first die's next command goes at 11.5, before data.
    some = flash(dies_per_channel=4, command_us=0.5)
    assert run(some, ("read", range(5))) == [11.5 + 0.5 + 10 + 1]
    some = some.model_copy(update={"commands_first": False})
    assert run(some, ("read", range(5))) == [10.5 + 4 + 0.5 + 10 + 1]


def test_the_pages_of_a_die_leave_one_after_another():
    some = flash(dies_per_channel=2, planes_per_die=2, plane_reads="together", command_us=0.5)
    assert run(some, ("read", [0, 1]), ("read", [2, 3])) == [12.5, 14.5]


def test_channels_do_not_share():
    assert run(flash(channels=4), ("read", range(4))) == [11]


def test_planes_together_sense_the_same_row():
    some = flash(planes_per_die=4, plane_reads="together")
    assert run(some, ("read", range(8))) == [28]
    # Rows 0, 1 and 1 in planes 1, 0 and 2: two senses.
    assert run(some, ("read", [1, 4, 6])) == [11 + 12]
    assert run(some, ("read", [1, 5, 6])) == [11 + 12]  # the order is kept
    assert run(some, ("read", [1, 1])) == [22]  # a plane has one page at a time


def test_requests_of_the_same_row_share_a_sense():
    some = flash(planes_per_die=4, plane_reads="together")
    assert run(some, ("read", [0, 1]), ("read", [3])) == [12, 13]


def test_planes_one_at_a_time_and_independent():
    assert run(flash(planes_per_die=4), ("read", range(4))) == [44]
    assert run(flash(planes_per_die=4, plane_reads="independent"), ("read", range(4))) == [14]


def test_cache_read_senses_the_next_page_beside_the_transfer():
    some = flash(cache_read=True, cache_busy_us=2)
    assert run(some, ("read", [0])) == [11]  # nothing to run beside
    assert run(some, ("read", range(3))) == [10 + 2 + 10 + 2 + 10 + 1]


def test_cache_read_of_long_pages_waits_for_the_cache_register():
    some = flash(cache_read=True, cache_busy_us=2, page_bytes=30_000)
    assert run(some, ("read", range(3))) == [10 + 2 + 30 + 2 + 30 + 30]


def test_the_kinds_of_page_of_a_block():
    some = flash(read_us=(10, 20, 40), pages_per_block=4)
    assert run(some, ("read", range(4))) == [11 + 21 + 41 + 11]
    assert run(some, ("read", [6])) == [41]


def test_ecc_works_while_pages_arrive():
    some = flash(dies_per_channel=3, ecc={"mb_per_s": 500, "latency_us": 3})
    # The bus carries pages from 10 to 13, ECC takes 2 us each from 10 on.
    assert run(some, ("read", range(3))) == [10 + 6 + 3]
    fast = flash(dies_per_channel=3, ecc={"mb_per_s": 5000, "latency_us": 3})
    assert run(fast, ("read", range(3))) == [13 + 3]


def test_a_repetition_goes_before_all_that_waits():
    always = flash(retry={"shares": (0, 1), "setup_us": 4}, ecc={"latency_us": 2})
    # Read until 11. The next read has begun when ECC fails at 13; it fails in turn at 24. Each of
    # the four repetitions takes 15, and a page's second one queues behind the other's first.
    assert run(always, ("read", [0])) == [11 + 2 + 2 * (15 + 2)]
    assert run(always, ("read", [0]), ("read", [1])) == [22 + 15 + 15 + 15 + 2, 22 + 60 + 2]


def test_pages_wait_for_repetitions_of_those_before():
    once = flash(retry={"shares": (1,), "setup_us": 4})
    # Pages 0 and 1 until 22, then their repetitions, then page 2 and its own.
    reads = (("read", [page]) for page in range(3))
    assert run(once, *reads) == [22 + 15, 22 + 30, 22 + 30 + 11 + 15]


def test_programs_and_reads_keep_their_order():
    assert run(flash(), ("program", [0]), ("read", [1])) == [101, 112]
    assert run(flash(), ("read", [1]), ("program", [0])) == [11, 112]
    together = flash(planes_per_die=2, plane_reads="together")
    assert run(together, ("program", range(4))) == [2 * 102]


def test_data_of_programs_take_turns_on_the_bus():
    assert run(flash(dies_per_channel=2), ("program", range(2))) == [102]


def test_erasing_waits_until_a_die_has_nothing_else_to_do():
    late = ("read", [0], 300)
    assert run(flash(), ("erase", [3]), ("read", [0, 1]), late) == [522, 22, 533]
    assert run(flash(dies_per_channel=2), ("erase", [1]), ("read", [0, 2])) == [500, 22]


def test_nothing_is_done_at_once():
    assert run(flash(), ("read", [], 5)) == [5]


def test_bad_numbers():
    backend = FlashBackend(simpy.Environment(), flash())
    for kind, what, count in (
        ("read", "page", 1024),
        ("program", "page", 1024),
        ("erase", "block", 64),
    ):
        message = f"{what}s 0 to {count} are asked for; the drive has {what}s 0 to {count - 1}"
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            getattr(backend, kind)(range(count + 1))
    assert not backend.active


def test_results():
    env = simpy.Environment()
    backend = FlashBackend(env, flash(channels=2, dies_per_channel=2, spare_bytes=250))
    env.run(until=1e-3)  # a drive may stand idle before
    done = [backend.read(range(7)), backend.program([7]), backend.erase([3])]
    env.run()
    results = backend.results()
    assert (results.pages_read, results.pages_programmed, results.blocks_erased) == (7, 1, 1)
    assert (results.senses, results.pages_repeated) == (7, 0)
    us = max(request.latency_us for request in done)
    assert results.seconds == pytest.approx(us * 1e-6)
    assert results.gb_per_s == pytest.approx(7 / us)
    assert results.program_gb_per_s == pytest.approx(1 / us)
    assert results.channel_use == (pytest.approx(5 / us), pytest.approx(5 / us))
    assert results.plane_use == pytest.approx((7 * 10 + 100 + 500) / 4 / us)
    assert results.latency.max_us == results.latency.p50_us == done[0].latency_us
    assert tuple(results.read_us) == READ_PARTS
    assert results.read_us["sense"] == 10
    assert results.read_us["transfer"] == 1.25


@pytest.mark.parametrize("command_us", [0, 0.25])
def test_pages_that_share_a_sense_wait_for_each_other_on_the_bus(command_us):
    env = simpy.Environment()
    some = flash(planes_per_die=4, plane_reads="together", command_us=command_us)
    backend = FlashBackend(env, some)
    done = [backend.read([page]) for page in range(4)]
    env.run()
    assert [request.latency_us for request in done] == [command_us + us for us in (11, 12, 13, 14)]
    parts = backend.results().read_us
    assert (parts["bus_wait"], parts["transfer"]) == (1.5, 1)
    assert sum(parts.values()) == command_us + 12.5


def test_a_drive_that_did_nothing():
    results = FlashBackend(simpy.Environment(), flash()).results()
    assert (results.seconds, results.gb_per_s, results.latency.max_us) == (0, 0, 0)


def test_a_process_waits_for_its_pages_and_reads_on():
    env = simpy.Environment()
    backend = FlashBackend(env, flash())
    times = []

    def reader():
        for page in range(3):
            request = yield backend.read([page])
            times.append((request.latency_us, env.now * 1e6))
            yield env.timeout(4e-6)

    env.run(env.process(reader()))
    assert times == [(11, pytest.approx(11 + 15 * page)) for page in range(3)]


def test_nothing_runs_ahead_of_what_a_system_may_do():
    env = simpy.Environment()
    backend = FlashBackend(env, flash())
    backend.read(range(900))
    env.run(until=105e-6)
    assert env.now == 105e-6
    assert backend.results().pages_read == 9
    late = backend.read([900])
    env.run(late)
    assert late.latency_us == pytest.approx(901 * 11 - 105)
    assert backend.channels[0].counts.read == 901


def test_results_of_a_run_that_is_not_over_count_until_now():
    env = simpy.Environment()
    backend = FlashBackend(env, flash())
    backend.read(range(900))
    env.run(until=110e-6)
    assert backend.results().seconds == pytest.approx(110e-6)
    assert backend.results().gb_per_s == pytest.approx(9 / 110)


@pytest.mark.parametrize("skip", [True, False])
def test_who_waits_for_another_request_sees_what_is_done_by_then(skip):
    env = simpy.Environment()
    backend = FlashBackend(env, flash(channels=2), skip=skip)
    short = backend.read([1, 3, 5])  # on one channel, before the long one
    backend.read(range(2000))
    env.run(short)
    assert env.now == pytest.approx(33e-6)
    # The other channel has read three pages by then, or is about to finish the third.
    assert backend.results().pages_read in (5, 6)

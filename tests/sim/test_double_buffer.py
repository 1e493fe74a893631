import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.double_buffer import Stage, Tile, duration, run

SECONDS = st.floats(0, 100)
TILES = st.lists(st.builds(Tile, st.integers(0, 9), SECONDS, SECONDS, SECONDS), max_size=5)
CORES = st.lists(TILES.map(tuple), min_size=1, max_size=3).filter(any).map(tuple)
STAGES = st.lists(
    st.builds(Stage, st.just("x"), st.just("y"), CORES, SECONDS, SECONDS), min_size=1, max_size=4
)


@given(STAGES)
def test_the_recurrence_equals_the_event_simulation(stages):
    last = Stage("last", "y", ((Tile(compute=1.0),),))
    ends = [one.end for one in run([*stages, last]) if one.stage == len(stages)]
    assert ends == [pytest.approx(sum(map(duration, stages)) + 1.0)]


@given(STAGES)
def test_nothing_passes_a_barrier(stages):
    found = run(stages)
    before = 0.0
    for number, stage in enumerate(stages):
        mine = [one for one in found if one.stage == number]
        assert all(one.begin >= before - 1e-9 for one in mine)
        before += duration(stage)
        assert all(one.end <= before + 1e-9 for one in mine)


def stage(*tiles, **fields):
    return Stage("x", "y", (tiles,), **fields)


def test_memory_limits_or_compute_does():
    assert duration(stage(*[Tile(1, 10.0, 1.0)] * 4)) == 41.0
    assert duration(stage(*[Tile(1, 1.0, 10.0)] * 4)) == 41.0
    assert duration(stage(*[Tile(1, 1.0, 1.0, 10.0)] * 4)) == 42.0


def test_there_are_two_halves():
    # The third load waits until the first tile is computed.
    tiles = [Tile(1, 1.0, 10.0), Tile(1, 1.0, 1.0), Tile(1, 5.0, 1.0)]
    assert duration(stage(*tiles)) == 1 + 10 + 5 + 1


def test_latency_is_that_of_the_first_byte():
    assert duration(stage(Tile(1, 2.0), Tile(1, 2.0), latency=3.0, barrier=0.5)) == 7.5
    assert duration(stage(Tile(finish=2.0), latency=3.0)) == 2.0


def test_the_slowest_core_holds_up_all():
    slow, quick = (Tile(1, 5.0),), (Tile(1, 1.0),)
    assert duration(Stage("x", "y", (quick, slow, ()))) == 5.0

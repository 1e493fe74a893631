import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.double_buffer import Tile, durations, run

TILES = st.lists(st.builds(Tile, st.integers(0, 100), st.floats(0, 100)), min_size=1, max_size=5)
STEPS = st.lists(TILES, min_size=1, max_size=5)


@given(STEPS, st.floats(0.5, 2))
def test_the_recurrence_equals_the_event_simulation(step, bytes_per_s):
    stretches = run(step, bytes_per_s)
    ends = [stretch.compute[1] for stretch in stretches]
    so_far = 0.0
    for seconds, end in zip(durations(step, bytes_per_s), ends, strict=True):
        so_far += seconds
        assert so_far == pytest.approx(end)


@given(STEPS, st.floats(0.5, 2))
def test_a_tile_is_computed_after_its_load_and_the_memory_is_two_tiles_ahead(step, bytes_per_s):
    for stretch, tiles in zip(run(step, bytes_per_s), step, strict=True):
        loading = sum(tile.bytes for tile in tiles) / bytes_per_s
        assert stretch.load[1] - stretch.load[0] >= loading - 1e-9
        assert stretch.compute[1] >= stretch.load[1] + tiles[-1].seconds - 1e-9
        assert stretch.compute[0] >= stretch.load[0] - 1e-9


def test_memory_limits_or_compute_does():
    slow_memory = [[Tile(10, 1.0)] * 4]
    assert durations(slow_memory, 1) == [41.0]
    slow_compute = [[Tile(1, 10.0)] * 4]
    assert durations(slow_compute, 1) == [41.0]

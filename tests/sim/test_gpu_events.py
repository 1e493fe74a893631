import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.gpu_events import finish, run
from sim.gpu_kernels import Kernel


def kernel(seconds, launches=1, **limits):
    fields = {"memory": 0.0, "compute": 0.0, "bytes": 0.0, "ops": 0.0} | limits
    return Kernel("k", "part", seconds, launches=launches, **fields)


KERNELS = st.lists(st.builds(kernel, st.floats(0, 10), st.integers(1, 4)), min_size=1, max_size=5)


@given(KERNELS, st.integers(1, 6), KERNELS, st.floats(0, 5))
def test_layers_that_repeat_end_when_the_event_simulation_does(layer, layers, tail, host_s):
    spans = run([*layer * layers, *tail], host_s, 0.0)
    end = max(span.start + span.seconds for span in spans)
    assert finish(layer, layers, tail, host_s) == pytest.approx(end)


def test_a_host_that_is_ahead_costs_nothing_but_the_first_launch():
    layer, tail = [kernel(10.0)], [kernel(10.0)]
    assert finish(layer, 3, tail, 0.0) == 40.0
    assert finish(layer, 3, tail, 1.0) == 41.0


def test_a_host_that_is_behind_sets_the_pace():
    layer, tail = [kernel(1.0, launches=5)], [kernel(1.0)]
    assert finish(layer, 3, tail, 10.0) == 3 * 50 + 10 + 1


def test_spans_show_what_is_busy():
    one = kernel(5.0, memory=3.0, compute=1.0)
    spans = run([one, one], 1.0, 2.0)
    by_unit = {
        unit: [(span.start, span.seconds) for span in spans if span.unit == unit]
        for unit in ("host", "device", "memory", "compute")
    }
    assert by_unit["host"] == [(0.0, 1.0), (1.0, 1.0), (11.0, 2.0)]
    assert by_unit["device"] == [(1.0, 5.0), (6.0, 5.0)]
    assert by_unit["memory"] == [(1.0, 3.0), (6.0, 3.0)]
    assert by_unit["compute"] == [(1.0, 1.0), (6.0, 1.0)]

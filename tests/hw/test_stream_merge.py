"""The stream merge in Verilator: nothing lost, nothing twice, everyone in its turn."""

import numpy as np
import pytest
from proofs import broken

from golden.spec.errors import ConfigError
from hw import cosim
from hw.emit import emit
from hw.player import Case, play, random_pauses
from hw.stream_merge import StreamMerge


def make_case(count, random, *, pauses, each=40):
    """Return a case in which each stream counts up, with its number on top."""
    inputs = {
        f"i__{k}": (np.arange(each) | k << 8).astype("<u2")[:, None].view(np.uint8)
        for k in range(count)
    }
    waits = random_pauses(random, {**dict.fromkeys(inputs, each), "o": count * each})
    return Case(inputs, {"o": count * each}, waits if pauses else {})


def wrong(case, trace):
    """Return what is wrong, or an empty text."""
    count = len(case.inputs)
    given = np.ascontiguousarray(trace.outputs["o"]).view("<u2")[:, 0]
    for k in range(count):
        if not np.array_equal(given[given >> 8 == k] & 255, np.arange(len(case.inputs[f"i__{k}"]))):
            return f"stream {k}"
    for k in range(count):
        waits = np.flatnonzero(trace.valid[f"i__{k}"] & ~trace.ready[f"i__{k}"])
        taken = {j: set(trace.transfers(f"i__{j}").tolist()) for j in range(count)}
        for start in waits[np.diff(waits, prepend=-2) > 1].tolist():
            end = next((c for c in sorted(taken[k]) if c > start), None)
            for j in range(count):
                if end and sum(start <= c < end for c in taken[j]) > 2:
                    return f"{k} waits for {j}"
    return ""


@pytest.mark.parametrize("count", [1, 2, 5, 32])
def test_every_stream_comes_through_in_its_turn(count):
    random = np.random.default_rng(count)
    cases = [make_case(count, random, pauses=pauses) for pauses in (False, True, True)]
    traces = play(emit(StreamMerge, count, 16), cases)
    assert [wrong(*each) for each in zip(cases, traces, strict=True)] == [""] * 3
    given = traces[0].transfers("o")
    first = min(traces[0].transfers(f"i__{k}")[0] for k in range(count))
    assert given[-1] + 1 - first == StreamMerge.cycles(40 * count)


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ("& ~chosen)", "& ~0)"),
        pytest.param("Mux(due.any(), due, offers)", "offers", marks=pytest.mark.full),
        pytest.param("advance & chosen", "chosen", marks=pytest.mark.full),
    ],
)
def test_a_broken_merge_is_seen(right, other):
    random = np.random.default_rng(0)
    cases = [make_case(5, random, pauses=pauses) for pauses in (False, True)]
    traces = play(emit(broken(StreamMerge, right, other), 5, 16), cases)
    assert any(wrong(*each) for each in zip(cases, traces, strict=True))


@pytest.mark.parametrize(("count", "width"), [(0, 8), (2, 0)])
def test_no_streams_and_no_bits_are_refused(count, width):
    with pytest.raises(ConfigError, match="is 0"):
        StreamMerge(count, width)


def test_the_verilog_is_clean():
    for count in (1, 2, 5):
        assert cosim.lint(emit(StreamMerge, count, 16)) == []

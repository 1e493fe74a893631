"""The stream fork in Verilator: every beat and every handshake as they must be."""

import re
from dataclasses import replace

import numpy as np
import pytest
from mutation_trials import unexplained
from surviving import surviving

from golden.spec.errors import ConfigError
from hw import cosim
from hw.emit import emit
from hw.jobs import pauses, run_job
from hw.stream_fork import StreamFork

BENCH = "hw.benches.stream_fork"
COUNT, BEATS = 3, 40


@pytest.fixture(scope="module")
def fork():
    return emit(StreamFork, COUNT, 16)


def cases(count=COUNT, beats=BEATS, width=16):
    """Both modes in turn under all pauses, and resets while some outputs lag behind."""
    random = np.random.default_rng(count)
    described = [
        {**choice, "modes": (False, True, False), "reset_after": 0} for choice in pauses(4)
    ]
    stalls = {"idle": False, "stall": True, "modes": (True,)}
    described += [{**stalls, "reset_after": cycles} for cycles in range(6, 16)]
    for number, case in enumerate(described):
        contract = StreamFork.cycles(beats) * len(case["modes"])
        case |= {"name": f"case {number}", "count": count, "contract_cycles": contract}
    shape = (beats, width // 8)
    arrays = [
        {f"i_{k}": random.integers(0, 256, shape, np.uint8) for k in range(count)}
        for _ in described
    ]
    return described, arrays


@pytest.mark.parametrize("count", [1, 2, COUNT, 8])
def test_every_beat_reaches_its_outputs(count):
    described, arrays = cases(count)
    passed, results = run_job(emit(StreamFork, count, 16), BENCH, described, arrays, seed=1)
    assert passed
    for case, result in zip(described, results, strict=True):
        if not (case["idle"] or case["stall"]):
            assert result["cycles"] == 3 * BEATS
        else:
            assert result["stall_cycles"] > 0


def test_the_verilog_is_clean(fork):
    assert cosim.lint(fork) == []


@pytest.mark.parametrize(("count", "width"), [(0, 8), (2, 0)])
def test_a_fork_without_outputs_or_bits_is_refused(count, width):
    with pytest.raises(ConfigError, match=r"is 0; a .* has 1 .* or more"):
        StreamFork(count, width)


BREAKS = {
    "a beat that is given twice": (r"assign (\S+ ) = ~ taken\[1\];", r"assign \1 = 1'h1;"),
    "a slow output that is forgotten": (r"complete = & ", "complete = | "),
    "another input's payload": (r"i__0__payload : i__1__payload", "i__0__payload : i__2__payload"),
    "no reset": (r"if \(rst\)", "if (1'b0)"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_broken_hardware_is_seen(fork, what):
    verilog, found = re.subn(*BREAKS[what], fork.verilog, count=1)
    assert found == 1
    passed, _ = run_job(replace(fork, verilog=verilog), BENCH, *cases(), seed=1)
    assert not passed


EQUIVALENT = {
    r"const0 \$ternary.* B\[0\]": "a constant 0 that is stuck at 0",
    # It inverts output 0's or 2's part while output 1's is 0, and so the whole.
    r"cnot0 \\\$1\[[02]\] Y\[[02]\]": "another input of an AND that is 0 anyway",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_200_that_is_not_equivalent():
    described, arrays = cases(width=8)
    survivors = surviving(emit(StreamFork, COUNT, 8), BENCH, zip(described, arrays, strict=True))
    assert unexplained(survivors, EQUIVALENT) == []
    assert len(survivors) <= 4

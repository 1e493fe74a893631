"""Several cores: random programs with strips and barriers, against the golden accelerator."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from proofs import broken

from golden.spec.control import Status
from golden.spec.instruction import instruction
from golden.spec.isa import SystemOperation, Unit
from hw import cosim
from hw.accelerator import Accelerator
from hw.accelerator_cases import (
    PAIR,
    core_images,
    golden_accelerator,
    random_programs,
    run_golden_cores,
)
from hw.core_ports import port_names
from hw.core_simulation import ProgramRun, mismatches, run_accelerator
from hw.emit import emit
from hw.memory_model import MemoryTiming

SLOW = MemoryTiming(latency=30, extra_latency=20, words_per_cycle=Fraction(1, 2), seed=7)
SLOWER = MemoryTiming(latency=60, extra_latency=90, words_per_cycle=Fraction(1, 3), seed=9)
DONE = Status.DONE | Status.INTERRUPT


def check(seed, programs, count, timing=(None, None), accelerator=Accelerator, config=PAIR):
    """Run random programs; return what differs from golden.

    Args:
        timing: of all memories of each core.
    """
    memories, matrices = core_images(config, seed)
    runs = random_programs(config, matrices, seed, programs, count)
    golden = golden_accelerator(config, memories)
    effects = run_golden_cores(golden, runs)
    timings = [dict.fromkeys(port_names(config), one) if one else {} for one in timing]
    results = run_accelerator(
        config, runs, memories, timing=timings, accelerator=accelerator, most_cycles=100_000
    )
    found = []
    for number, (core, mine, given) in enumerate(zip(golden.cores, effects, results, strict=True)):
        found += [f"core {number}: {each}" for each in mismatches(given.log, mine)]
        found += [
            f"core {number}: memory {name}"
            for name, memory in core.memories.items()
            if not np.array_equal(memory, given.memories[name])
        ]
        wrong = [state["STATUS"] for state in given.states if state["STATUS"] != DONE]
        found += [f"core {number}: status {status}" for status in wrong]
    return found


@pytest.mark.parametrize(
    "timing", [(None, None), (SLOW, SLOWER), (SLOWER, None)], ids=["ideal", "slow", "uneven"]
)
def test_random_programs_do_what_golden_does(timing):
    assert check(0, 3, 40, timing) == []


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 13))
def test_more_random_programs(seed):
    pace = [(None, None), (SLOW, SLOWER), (None, SLOWER), (SLOW, None)][seed % 4]
    assert check(seed, 8, 80, pace) == []


@pytest.mark.full
def test_three_cores():
    three = replace(PAIR, chains=1, cores=3)
    assert check(0, 3, 40, (None, SLOW, SLOWER), config=three) == []


def test_a_host_breaks_off_a_core_that_waits_for_one_that_has_stopped():
    memories, matrices = core_images(PAIR, 1)
    end = instruction(Unit.SYS, op=SystemOperation.END, interrupt=1)
    barrier = instruction(Unit.SYS, op=SystemOperation.BARRIER)
    stops, waits = (
        [ProgramRun([word for one in (first, end) for word in one.encode()])]
        for first in (instruction(Unit.MM, columns=1023), barrier)
    )
    good = random_programs(PAIR, matrices, 1, 1, 10)
    effects = run_golden_cores(golden_accelerator(PAIR, memories), good)
    runs = [stops + good[0], waits + good[1]]
    results = run_accelerator(PAIR, runs, memories, most_cycles=10_000)
    states = [[state["STATUS"] for state in result.states] for result in results]
    assert states == [[Status.ERROR | Status.INTERRUPT, DONE], [0, DONE]]
    assert [
        mismatches(*each) for each in zip((one.log for one in results), effects, strict=True)
    ] == [[], []]


@pytest.mark.full
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("core.released.eq(barrier.released[number])", "core.released.eq(1)"),
        (
            "connect(m, core.o_strips[way], path.i)",
            "m.d.comb += core.o_strips[way].ready.eq(1)",
        ),
    ],
    ids=["a barrier that does not wait", "strips that are not shared"],
)
def test_a_broken_accelerator_is_seen(right, wrong):
    assert check(0, 3, 40, (None, SLOWER), broken(Accelerator, right, wrong)) != []


def test_the_verilog_is_clean():
    assert cosim.lint(emit(Accelerator, PAIR)) == []

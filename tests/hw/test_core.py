"""The core: random programs against the golden interpreter, errors, and broken cores."""

from fractions import Fraction

import numpy as np
import pytest
from proofs import broken

from golden.spec.control import Status
from golden.spec.instruction import instruction, mask_of
from golden.spec.isa import ErrorCode, SystemOperation, Unit
from golden.spec.special_function_unit import Byte
from hw.core import Core
from hw.core_cases import BASES, CONFIG, golden_core, images, random_runs, run_golden
from hw.core_ports import port_names
from hw.core_simulation import LEAST_CAPACITY, ProgramRun, mismatches, run_programs
from hw.memory_model import MemoryTiming
from hw.wrong_programs import END, golden_stop, overload, plain_product, words_of, wrong_programs

SLOW = MemoryTiming(latency=30, extra_latency=20, words_per_cycle=Fraction(1, 2), seed=7)
DONE = Status.DONE | Status.INTERRUPT
FAILED = Status.ERROR | Status.INTERRUPT

OVERLOAD = overload(CONFIG)
BAD = wrong_programs(CONFIG)


def check(config, seed, programs, count, timing=None, core=Core, most_cycles=100_000):
    """Run random programs; return what differs from golden."""
    memories, matrices = images(config, seed)
    runs = random_runs(config, matrices, seed, programs, count)
    golden = golden_core(config, memories)
    effects = run_golden(golden, runs)
    timings = dict.fromkeys(port_names(config), timing) if timing else None
    result = run_programs(
        config, runs, memories, timing=timings, core=core, most_cycles=most_cycles
    )
    found = mismatches(result.log, effects)
    found += [
        f"memory {name}"
        for name, memory in golden.memories.items()
        if not np.array_equal(memory, result.memories[name])
    ]
    found += [f"program {k}: {s}" for k, s in enumerate(result.states) if s["STATUS"] != DONE]
    return found


@pytest.mark.parametrize("timing", [None, SLOW], ids=["ideal", "slow"])
def test_random_programs_do_what_golden_does(timing):
    assert check(CONFIG, 0, 4, 60, timing) == []


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 21))
def test_more_random_programs(seed):
    assert check(CONFIG, seed, 10, 100, SLOW if seed % 2 else None) == []


def check_errors(core=Core):
    """Run wrong programs, behind each one with all kinds of instructions; return what differs."""
    memories, matrices = images(CONFIG, 1)
    good = random_runs(CONFIG, matrices, 1, 3, 10)
    runs, expected = [], []
    for number, (name, words) in enumerate(BAD.items()):
        runs += [ProgramRun(words, BASES), good[number % len(good)]]
        expected.append(golden_stop(CONFIG, name, words, memories))
    golden = golden_core(CONFIG, memories)
    effects = run_golden(golden, runs[1::2])
    result = run_programs(CONFIG, runs, memories, core=core, most_cycles=5000)
    stopped = [(s["ERROR_CODE"], s["ERROR_PC"]) for s in result.states[::2]]
    found = [
        f"{name}: {mine} instead of {theirs}"
        for name, mine, theirs in zip(BAD, stopped, expected, strict=True)
        if mine != theirs
    ]
    bad, behind = ({s["STATUS"] for s in result.states[k::2]} for k in range(2))
    found += [f"status {status} behind an error" for status in bad - {FAILED}]
    found += [f"status {status} behind a good program" for status in behind - {DONE}]
    return found + mismatches(result.log, effects)


def test_errors_stop_a_core_which_then_runs_the_next_program():
    assert check_errors() == []


@pytest.mark.full
def test_a_core_that_is_not_reset_behind_a_program_is_seen():
    assert check_errors(broken(Core, "reset=resets", "reset=0")) != []


@pytest.mark.full
def test_a_core_without_base_registers_is_seen():
    core = broken(Core, "units.bases.eq(host.bases)", "units.bases.eq(0)")
    assert check(CONFIG, 0, 1, 30, core=core, most_cycles=20_000) != []


def test_passes_as_long_as_the_memories():
    """One goes through the whole vector buffer, one through the whole activation memory."""
    memories, _ = images(CONFIG, 1)
    wide, narrow = (depth * CONFIG.m for depth in (CONFIG.vector_depth, CONFIG.activation_depth))
    ld, misc = (mask_of(Unit.MISC, [Unit.LD]), mask_of(Unit.SYS, [Unit.MISC]))
    words = words_of(
        instruction(
            Unit.LD, length=wide * 4 // CONFIG.word_bytes, release=mask_of(Unit.LD, [Unit.MISC])
        ),
        instruction(Unit.MISC, wait=ld, length=wide, a=7, out=7, wide=1, first=3, shift=2),
        instruction(
            Unit.MISC,
            length=narrow,
            a=9,
            out_byte=5,
            byte=Byte.LOW,
            release=mask_of(Unit.MISC, [Unit.SYS]),
        ),
        instruction(Unit.SYS, op=SystemOperation.END, wait=misc),
    )
    result = run_programs(CONFIG, [ProgramRun(words)], memories, most_cycles=10_000)
    effects = golden_core(CONFIG, memories).run(words)
    assert mismatches(result.log, effects) == []
    assert len(result.log.vectors[Unit.MISC].address) == CONFIG.vector_depth
    assert len(result.log.columns.address) == CONFIG.activation_depth


def test_a_host_breaks_off_a_program_that_waits_for_ever():
    memories, matrices = images(CONFIG, 1)
    (good,) = random_runs(CONFIG, matrices, 2, 1, 20)
    stuck = words_of(OVERLOAD, instruction(Unit.MV, wait=1, **plain_product(CONFIG)), END)
    overload = words_of(OVERLOAD, END)
    runs = [ProgramRun(stuck, BASES), good, ProgramRun(overload, BASES), good]
    effects = run_golden(golden_core(CONFIG, memories), [good, good])
    result = run_programs(CONFIG, runs, memories, most_cycles=3000)
    assert [s["STATUS"] for s in result.states] == [0, DONE, DONE, DONE]
    assert mismatches(result.log, effects) == []


def test_a_program_that_cannot_be_fetched():
    """The program's memory ends within the program: what is there is executed, and no more."""
    memories, _ = images(CONFIG, 1)
    there = LEAST_CAPACITY // 4
    run = ProgramRun(words_of(instruction(Unit.SYS)) * there, BASES, length=there + 1)
    result = run_programs(CONFIG, [run], memories, most_cycles=100_000)
    (state,) = result.states
    assert (state["STATUS"], state["ERROR_CODE"]) == (FAILED, ErrorCode.READ_ERROR)
    assert state["ERROR_PC"] == there

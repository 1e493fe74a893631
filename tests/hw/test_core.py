"""The core: random programs against the golden interpreter, errors, and broken cores."""

from fractions import Fraction

import numpy as np
import pytest
from proofs import broken
from random_core_programs import BASES, CONFIG, SIZE, golden_core, images, random_runs, run_golden

from golden.core_effects import CoreStopped
from golden.scoreboard import MAX_TOKENS
from golden.spec.control import Status
from golden.spec.instruction import instruction, mask_of
from golden.spec.isa import ErrorCode, SystemOperation, Unit, Weights
from hw.core import Core
from hw.core_ports import port_names
from hw.core_simulation import LEAST_CAPACITY, ProgramRun, mismatches, run_programs
from hw.memory_model import MemoryTiming

SLOW = MemoryTiming(latency=30, extra_latency=20, words_per_cycle=Fraction(1, 2), seed=7)
DONE = Status.DONE | Status.INTERRUPT
FAILED = Status.ERROR | Status.INTERRUPT

END = instruction(Unit.SYS, op=SystemOperation.END, interrupt=1)
OVERLOAD = instruction(Unit.LD, channels=7, length=10, count_1=3, stride_1=16)
"""Words that no product takes: the next program must not find them."""

PRODUCT = {
    "weights": Weights.RAW,
    "columns": 2,
    "group": 2,
    "words": 16,
    "strips": 6,
    "scale": 1,
}


def words_of(*instructions):
    return [word for one in instructions for word in one.encode()]


BAD = {
    "opcode": [*words_of(OVERLOAD), 7 << 28, *words_of(END)],
    "rest": [*words_of(OVERLOAD), (15 << 28) + 1, *words_of(END)],
    "field": [*words_of(OVERLOAD), words_of(END)[0] | 1, *words_of(END)],
    "no end": words_of(OVERLOAD),
    "half an instruction": words_of(OVERLOAD, OVERLOAD)[:-1],
    "tokens": words_of(OVERLOAD, *[instruction(Unit.SYS, release=2)] * (MAX_TOKENS + 1), END),
    "unaligned": words_of(OVERLOAD, instruction(Unit.LD, offset=8), END),
    "unaligned channel": words_of(OVERLOAD, instruction(Unit.LD, channels=4, offset=1), END),
    "read": words_of(OVERLOAD, instruction(Unit.LD, offset=SIZE - 16, length=2), END),
    "read channel": words_of(
        instruction(Unit.SYS),
        instruction(Unit.LD, channels=2, offset=SIZE, length=16),
        instruction(Unit.MV, channels=2, release=mask_of(Unit.MV, [Unit.SYS]), **PRODUCT),
        instruction(Unit.SYS, op=SystemOperation.END, wait=mask_of(Unit.SYS, [Unit.MV])),
    ),
    "write": words_of(OVERLOAD, instruction(Unit.ST, offset=SIZE - 1, length=2), END),
    "write channel": words_of(OVERLOAD, instruction(Unit.ST, offset=SIZE, channels=6), END),
    "MM": words_of(OVERLOAD, instruction(Unit.MM), END),
    **{
        f"MV {name}": words_of(OVERLOAD, instruction(Unit.MV, **PRODUCT | {name: value}), END)
        for name, value in (
            ("columns", 1023),
            ("group", 3),
            ("words", 17),
            ("strips", 5),
            ("sweeps", 2),
            ("paired", 1),
            ("addresses", 5),
        )
    },
    "MV channels": words_of(OVERLOAD, instruction(Unit.MV, channels=1), END),
}


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


def stopped_at(name, words, memories):
    """Return the error with which golden stops, and where; it does not count tokens."""
    if name == "tokens":
        return ErrorCode.TOKEN_OVERFLOW, OVERLOAD.format.words + MAX_TOKENS
    with pytest.raises(CoreStopped) as stop:
        golden_core(CONFIG, memories).run(words)
    return stop.value.code, stop.value.pc


def check_errors(core=Core):
    """Run wrong programs, and behind each of them one with all kinds of instructions."""
    memories, matrices = images(CONFIG, 1)
    good = random_runs(CONFIG, matrices, 1, 3, 10)
    runs, expected = [], []
    for number, (name, words) in enumerate(BAD.items()):
        runs += [ProgramRun(words, BASES), good[number % len(good)]]
        expected.append(stopped_at(name, words, memories))
    golden = golden_core(CONFIG, memories)
    effects = run_golden(golden, runs[1::2])
    result = run_programs(CONFIG, runs, memories, core=core, most_cycles=5000)
    stopped = [(s["ERROR_CODE"], s["ERROR_PC"]) for s in result.states[::2]]
    assert dict(zip(BAD, stopped, strict=True)) == dict(zip(BAD, expected, strict=True))
    assert {s["STATUS"] for s in result.states[::2]} == {FAILED}
    return mismatches(result.log, effects), {s["STATUS"] for s in result.states[1::2]}


def test_errors_stop_a_core_which_then_runs_the_next_program():
    assert check_errors() == ([], {DONE})


@pytest.mark.full
def test_a_core_that_is_not_reset_behind_a_program_is_seen():
    assert check_errors(broken(Core, "reset=resets", "reset=0")) != ([], {DONE})


@pytest.mark.full
def test_a_core_without_base_registers_is_seen():
    core = broken(Core, "units.bases.eq(host.bases)", "units.bases.eq(0)")
    assert check(CONFIG, 0, 1, 30, core=core, most_cycles=20_000) != []


def test_a_host_breaks_off_a_program_that_waits_for_ever():
    memories, matrices = images(CONFIG, 1)
    (good,) = random_runs(CONFIG, matrices, 2, 1, 20)
    stuck = words_of(OVERLOAD, instruction(Unit.MV, wait=1, **PRODUCT), END)
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

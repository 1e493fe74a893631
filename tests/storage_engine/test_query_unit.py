"""The query unit in Verilator: rows, channels and scales are golden's; broken ones are seen."""

import re
from dataclasses import replace

import numpy as np
import pytest

from golden.spec.drive_engine import DriveEngineConfig
from hw import cosim
from hw.emit import emit
from storage_engine.query_unit import QueryUnit
from storage_engine.verify_query_unit import Case, Job, WatchedQueryUnit, run_cases

ONE = DriveEngineConfig()
GROUP = DriveEngineConfig(head_size=64, queries=3, ratio=4, kv_bits=8)
OTHERS = [
    DriveEngineConfig(head_size=64, queries=2, r=64),
    DriveEngineConfig(head_size=32, queries=4, r=1, lanes=2),
]


def queries(config, kind, seed):
    random = np.random.default_rng(seed)
    shape = config.queries, config.head_size
    if kind == "any":
        bits = random.integers(0, 1 << 16, shape, dtype=np.uint16)
        return np.where(bits >> 10 & 31 == 31, bits ^ 1 << 14, bits).astype(np.uint16).view("<f2")
    if kind == "ties":
        return random.choice(np.array([1, -1, 2, 0.5], np.float16), shape)
    if kind == "subnormal":
        return random.integers(0, 1 << 10, shape).astype(np.uint16).view("<f2")
    if kind == "least":
        return random.choice(np.array([0, 1], np.uint16), shape).view("<f2")
    if kind == "largest":
        return random.choice(np.array([65504, -65504], np.float16), shape)
    if kind == "infinite":
        made = random.normal(0, 1, shape).astype(np.float16)
        made[0, random.integers(config.head_size)] = random.choice(np.array([np.inf, -np.nan]))
        return made
    if kind == "zeros":
        return np.zeros(shape, np.float16)
    return random.normal(0, 2.0 ** random.integers(-8, 8), shape).astype(np.float16)


KINDS = ("model", "any", "ties", "subnormal", "least", "largest", "infinite", "zeros")


def cases(config, seed=0):
    random = np.random.default_rng(seed)
    found = []
    for number, kind in enumerate(KINDS):
        jobs = tuple(
            Job(queries(config, each, seed + number), sparf, int(random.integers(-64, 64)))
            for each, sparf in ((kind, True), (kind, False), ("model", True))
        )
        found.append(Case(kind, config, jobs[:2]))
        found.append(
            Case(
                f"{kind}, pauses",
                config,
                jobs,
                idle=bool(number & 1) or kind == "model",
                stall=True,
                reset_after=int(random.integers(0, 2) * random.integers(1, 900)),
            )
        )
    return found


@pytest.mark.parametrize(
    "config",
    [ONE, GROUP, *(pytest.param(each, marks=pytest.mark.full) for each in OTHERS)],
    ids=["one", "group", "all channels", "one channel"],
)
def test_rows_channels_and_scales_are_golden(config):
    results = run_cases(cases(config))
    assert [result for result in results if not result.passed] == []
    smooth = [result for result in results if "pauses" not in result.name]
    assert [each.cycles for each in smooth] == [each.contract_cycles for each in smooth]


def test_the_contract_of_the_default():
    assert QueryUnit.cycles(ONE, sparf=False) == 100
    assert QueryUnit.cycles(ONE, sparf=True) == 815


def test_the_verilog_is_clean():
    assert cosim.lint(emit(QueryUnit, GROUP)) == []


# What follows breaks something on purpose: each must be seen.

BROKEN = {
    "an exponent": (r"(\d+)'(s?)h0*1d\b", r"\1'\2h1c"),
    "a tie that takes no room": (r"(room_0 \} = room )-", r"\1+"),
    "the least chosen one is counted": (r"least \+ 1'h1", r"least + 1'h0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_unit_is_seen(name):
    pattern, instead = BROKEN[name]
    design = emit(WatchedQueryUnit, ONE)
    broken, count = re.subn(pattern, instead, design.verilog)
    assert count
    results = run_cases(cases(ONE)[4:6], design=replace(design, verilog=broken))
    assert not all(result.passed for result in results)

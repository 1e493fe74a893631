"""The control registers in Verilator, behind an AXI4-Lite master: every output in every cycle."""

from itertools import pairwise

import pytest
from axi_trials import quick
from control_model import Model, compare
from control_trials import offset, random_cases, run, survivors, wrong
from mutation_trials import unexplained
from proofs import broken

from golden.spec.control import (
    COUNTER_BITS,
    COUNTERS,
    IDENTITY,
    REGISTERS,
    Access,
    Status,
    start_sequence,
)
from golden.spec.core import CoreConfig
from hw import cosim
from hw.axi_lite import AxiLitePort
from hw.benches.control import COLUMNS
from hw.control_registers import ControlRegisters, program_layout
from hw.emit import emit
from hw.instruction_fetch import program_layout as fetched_layout
from hw.mutation import mutate

ALL = {
    *("start", "longest program", "stop", "no stop", "start while busy", "start and stop"),
    *("start of nothing", "start of too much", "setting while busy", "a second failure"),
    *("read of nothing", "write of nothing", "write of what is only read"),
    *("DONE beside a write", "ERROR beside a write"),
}


@pytest.fixture(scope="module")
def registers():
    return emit(ControlRegisters)


def test_every_output_is_right_in_every_cycle(registers):
    judged, seen = wrong(registers, random_cases(8, seed=1))
    assert judged == [""] * 8
    assert seen == ALL


def test_nothing_is_stale_after_a_reset(registers):
    cases = []
    for cycles in (7, 20, 51, 120):
        cases += random_cases(4, seed=cycles, accesses=40, reset_after=cycles)
    assert wrong(registers, cases)[0] == [""] * 16


NEAR = (1 << COUNTER_BITS) - 6
"""What a start sets the counters to, for tests of their high halves: all bits will change."""


def counting_from_near(registers):
    registers._count = broken(ControlRegisters, "counter.eq(0)", f"counter.eq({NEAR})")._count
    return registers


@pytest.mark.full
@pytest.mark.parametrize(
    "replacement", ["port.read & ~is_high", "~is_high", "port.read", "port.read & is_high"]
)
def test_a_high_half_stays_as_it_was_with_the_low_one(replacement):
    right = "port.read & ~is_high"
    design = emit(counting_from_near(broken(ControlRegisters, right, replacement)))
    judged, _ = wrong(design, random_cases(4, seed=3), zero=NEAR)
    assert any(judged) == (replacement != right)


def test_every_register_keeps_the_bits_that_it_has(registers):
    (found,) = run(registers, [patterns()])
    assert compare(found["rows"], Model()) == ""
    expected = []
    for name in settings():
        ones = (1 << REGISTERS[name].bits) - 1
        for value in (ones, 0, ones & 0xAAAA_AAAA):
            expected += ["", value.to_bytes(4, "little").hex()]
    assert [read for _, read in found["answers"]] == expected
    assert {response for response, _ in found["answers"]} == {0}


def settings():
    kinds = Access.WRITE, Access.SETTING
    return [name for name, register in REGISTERS.items() if register.access in kinds]


def patterns():
    """Return a case that writes ones, zeros and both to every register, and reads them back."""
    script = []
    for name in settings():
        for byte in ("ff", "00", "aa"):
            script += [("write", offset(name), 4 * byte), ("read", offset(name), 4)]
    return {"seed": 1, "idle": False, "stall": False, "script": script}


def column(rows, name):
    return [row[COLUMNS.index(name)] for row in rows]


def transfers(rows, channel):
    """Return the cycles in which something passes."""
    pins = (column(rows, f"s_axi_{channel}{pin}") for pin in ("valid", "ready"))
    return [cycle for cycle, both in enumerate(zip(*pins, strict=True)) if all(both)]


def test_an_access_takes_the_cycles_of_the_contract(registers):
    (found,) = run(registers, random_cases(1, seed=4))  # without a pause
    rows = found["rows"]
    for requests, answers in ((("aw", "w"), "b"), (("ar",), "r")):
        taken = [max(both) for both in zip(*(transfers(rows, r) for r in requests), strict=True)]
        given = transfers(rows, answers)
        assert given == [cycle + AxiLitePort.cycles() for cycle in taken]
        assert {after - before for before, after in pairwise(given)} == {2}


@pytest.mark.parametrize("interrupt", quick([True, False]))
def test_a_host_runs_programs(registers, interrupt):
    """By the steps of docs/control.md, each access after the other one's response."""
    setting = start_sequence(0x3_0000_0040, 38, {1: 0x10_0000, 7: (1 << 34) - 32})
    setting[1] = (offset("INTERRUPT_ENABLE"), int(interrupt))
    program = [("write", at, value.to_bytes(4, "little").hex()) for at, value in setting]
    ended = int(Status.DONE | Status.ERROR)
    program += [
        ("until", offset("STATUS"), ended),
        *(("read", offset(f"{name}_LOW"), 8) for name in COUNTERS),
        ("read", offset("ERROR_CODE"), 8),  # and ERROR_PC
        ("write", offset("STATUS"), "ff"),
        ("read", offset("STATUS"), 4),
        ("read", offset("BASE_7_LOW"), 8),
    ]
    script = [("read", offset("IDENTITY"), 4), *program * 6]
    (found,) = run(registers, [{"seed": 5, "idle": False, "stall": False, "script": script}])
    rows, answers = found["rows"], found["answers"]
    model = Model()
    assert compare(rows, model) == ""
    assert {response for response, _ in answers} == {0}
    values = [int.from_bytes(bytes.fromhex(read), "little") for _, read in answers]
    assert values[0] == IDENTITY
    outcomes = set()
    for number in range(6):
        mine = values[1 + number * len(program) :][: len(program)][len(setting) :]
        status, counters = mine[0], dict(zip(COUNTERS, mine[1:], strict=False))
        error, cleared, base = mine[1 + len(COUNTERS)], *mine[-2:]
        assert 0 < counters["CYCLES"] <= 60 and base == (1 << 34) - 32
        assert cleared & ended == 0 and bool(status & Status.ERROR) == bool(error % 8)
        outcomes.add(status & ended)
    assert outcomes == {Status.DONE, Status.ERROR}
    assert any(column(rows, "irq")) == interrupt


def test_a_core_finds_its_program_as_it_fetches_it():
    assert program_layout() == fetched_layout(CoreConfig().general_axi)


def test_the_verilog_is_clean(registers):
    assert cosim.lint(registers) == []


# What follows breaks something on purpose: each must be seen.

BREAKS = [
    ("with m.Elif(self.busy & events[name])", "with m.Elif(events[name])"),
    ("self.start | self.clear", "self.start"),
    ("counter.eq(0)", "counter.eq(1)"),
    ("starts & cannot_start", "starts & self.busy"),
    ("self.busy | stops", "self.busy"),
    ("(words == 0) |", ""),
    ("& (error.code == ErrorCode.NONE)", ""),
    ("with m.If(self.interrupt_request):", "with m.If(1):"),
    ("(Status.ERROR, Status.INTERRUPT)", "(Status.ERROR,)"),
    ("& port.write_strobe[0] & port.write_data[place]", "& port.write_data[place]"),
    ("status[Status.INTERRUPT] & enable", "status[Status.INTERRUPT]"),
    ("more_words.eq(words - 1)", "more_words.eq(words)"),
    ("m.d.sync += error.eq(0)", "pass"),
    ("m.d.comb += port.write_refused.eq(1)", "m.d.comb += port.write_refused.eq(0)"),
]


@pytest.mark.parametrize(("right", "replacement"), quick(BREAKS))
def test_broken_registers_are_seen(right, replacement):
    design = emit(broken(ControlRegisters, right, replacement))
    assert any(wrong(design, random_cases(4, seed=6))[0])


EQUIVALENT = {
    r"cnot1 \$eq\S* A\[\d+\]": "a bit of an address that is 1 where the register's address has 0",
    r"const0 \$eq\S* B\[\d+\]": "a constant 0 that is stuck at 0",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_that_is_not_equivalent():
    copy = counting_from_near(broken(ControlRegisters, "m = Module()", "m = Module()"))
    cases = [
        *random_cases(8, seed=7, accesses=100),
        *random_cases(4, seed=8, accesses=30, reset_after=33),
        *random_cases(2, seed=9, accesses=1200),
        patterns(),
    ]
    left = survivors(mutate(emit(copy), 100, seed=1), cases, zero=NEAR)
    assert unexplained(left, EQUIVALENT) == []

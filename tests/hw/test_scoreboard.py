"""The scoreboard in Verilator: each start and end in the cycle that golden says; no deadlock."""

import re
from dataclasses import replace

import numpy as np
import pytest
from payload_rows import to_bytes
from proofs import broken
from scoreboard_units import DURATION_BITS, Units

from golden.scoreboard import run, token_givers
from golden.spec.errors import ConfigError
from golden.spec.instruction import instruction, mask_of
from golden.spec.isa import TOKEN_BITS, ErrorCode, SystemOperation, Unit
from hw import cosim
from hw.emit import emit
from hw.isa import error_layout, instruction_layout, port_name, word_layout
from hw.player import Case, count_mismatches, play, random_pauses
from hw.random_programs import random_program
from hw.scoreboard import Scoreboard, TokenCounters

SHAPE = 2, 3


class Job:
    """Programs one behind the other, with a duration for each instruction."""

    def __init__(self, programs, durations, share=0.0, seed=0, **options):
        self.programs, self.durations = programs, durations
        words = []
        for program in programs:
            mine = [word for one in program for word in one.encode()]
            words += [{"word": w, "last": k == len(mine) - 1} for k, w in enumerate(mine)]
        self.rows, inputs, counts = {}, {"i": to_bytes(word_layout(), words)}, {}
        for unit in Unit:
            self.rows[unit] = self.payloads(unit)
            mine = [d for one, d in self.all() if one.unit is unit]
            inputs[port_name("i_duration", unit)] = np.array(mine, "<u2").view(np.uint8)
            inputs[port_name("i_duration", unit)].shape = (len(mine), 2)
            for what in ("arrive", "start", "end"):
                counts[port_name(f"o_{what}", unit)] = len(mine)
        pauses = random_pauses(
            np.random.default_rng(seed), dict.fromkeys(inputs, len(words)), share
        )
        counts |= {"o_error": 0, "o_waiting": 0}
        self.case = Case(inputs, counts, pauses if share else {}, **options)

    def all(self):
        """Return each instruction and its duration, program by program."""
        every = [one for program in self.programs for one in program]
        return list(zip(every, self.durations, strict=True))

    def payloads(self, unit):
        rows = []
        for program in self.programs:
            pc = 0
            for one in program:
                if one.unit is unit:
                    fields = zip((f.name for f in one.format.fields), one.values, strict=True)
                    rows.append({**dict(fields), "pc": pc})
                pc += one.format.words
        return to_bytes(instruction_layout(unit), rows)

    def wrong(self, trace, in_flight):
        """Return what is wrong in a trace, or an empty text."""
        times = {what: {} for what in ("arrive", "start", "end")}
        for what, of_unit in times.items():
            for unit in Unit:
                port = port_name(f"o_{what}", unit)
                if what != "end" and count_mismatches(trace.outputs[port], self.rows[unit]):
                    return f"other payloads at {port}"
                of_unit[unit] = iter(trace.transfers(port).tolist())
        if len(trace.outputs["o_error"]):
            return "an error"
        ready = {unit: iter(offered(trace, port_name("i_duration", unit))) for unit in Unit}
        waits, place = dict.fromkeys(Unit, 0), 0
        for program in self.programs:
            seen = {
                what: [next(of_unit[one.unit], None) for one in program]
                for what, of_unit in times.items()
            }
            if None in seen["end"]:
                return "it does not end"
            expected = run(
                program,
                self.durations[place : place + len(program)],
                arrivals=seen["arrive"],
                ready=[next(ready[one.unit]) for one in program],
                in_flight=in_flight,
            )
            place += len(program)
            if (expected.start, expected.end) != (seen["start"], seen["end"]):
                return "it starts or ends in other cycles"
            for unit, cycles in waiting(program, seen["arrive"], expected).items():
                waits[unit] += cycles
        seen_waits = np.unpackbits(trace.outputs["o_waiting"], axis=1, bitorder="little")
        counted = dict(zip(Unit, seen_waits.sum(axis=0).tolist(), strict=False))
        return "" if counted == waits else "other cycles of waiting"


def offered(trace, name):
    """Return the cycle in which each payload of an input is offered first."""
    valid = np.flatnonzero(trace.valid[name])
    after = [0, *(trace.transfers(name)[:-1] + 1)]
    return valid[np.searchsorted(valid, after)].tolist() if len(valid) else []


def waiting(program, arrivals, schedule):
    """Return the cycles in which the first instruction in each unit's queue waits for a token."""
    counts, free = dict.fromkeys(Unit, 0), dict.fromkeys(Unit, 0)
    for number, (one, givers) in enumerate(zip(program, token_givers(program), strict=True)):
        first = max(arrivals[number] + 1, free[one.unit])
        given = max((schedule.end[giver] + 1 for giver in givers), default=0)
        counts[one.unit] += max(0, given - first)
        free[one.unit] = schedule.start[number] + 1
    return counts


def random_job(random, programs, most_instructions, **options):
    """Return a job of random programs, with durations of a cycle up to some hundred."""
    made = [
        random_program(random, int(random.integers(1, most_instructions)), 8)
        for _ in range(programs)
    ]
    slow = random.choice([1, 10, 300])
    durations = random.geometric(1 / slow, sum(map(len, made))).clip(1, (1 << DURATION_BITS) - 1)
    return Job(made, durations.tolist(), seed=int(random.integers(99)), **options)


@pytest.fixture(scope="module")
def design():
    return emit(Units, *SHAPE)


def judge(design, jobs, in_flight=SHAPE[1]):
    traces = play(design, [job.case for job in jobs])
    return [job.wrong(trace, in_flight) for job, trace in zip(jobs, traces, strict=True)]


def random_jobs(count):
    random = np.random.default_rng(0)
    return [
        random_job(random, 4, 150, share=(0, 0.3, 0.6)[k % 3], reset_after=(k % 2) * 200)
        for k in range(count)
    ]


def test_legal_programs_end_and_every_start_is_in_its_cycle(design):
    assert judge(design, random_jobs(9)) == [""] * 9


@pytest.mark.full
@pytest.mark.parametrize("shape", [(2, 2), (8, 4)], ids=str)
def test_queues_of_other_sizes(shape):
    assert judge(emit(Units, *shape), random_jobs(60), shape[1]) == [""] * 60


def one(unit, wait=(), release=(), **fields):
    return instruction(unit, wait=mask_of(unit, wait), release=mask_of(unit, release), **fields)


END = one(Unit.SYS, op=SystemOperation.END)


def test_every_pair_has_a_counter_of_its_own(design):
    """Each taker waits for the giver alone, which gives its tokens last of all."""
    jobs = []
    for giver in Unit:
        before = [one(unit) for unit in giver.others]
        takers = [one(taker, wait=[giver]) for taker in giver.others]
        program = [*before, one(giver, release=giver.others), *takers, END]
        jobs.append(Job([program], [1] * len(before) + [40] + [1] * len(takers) + [1]))
    assert judge(design, jobs) == [""] * len(jobs)


def test_a_token_more_than_a_counter_holds_is_an_error(design):
    """The token that is too many comes before, with or behind the first one that is taken."""
    full = 1 << TOKEN_BITS
    gives, takes = one(Unit.LD, release=[Unit.MV]), one(Unit.MV, wait=[Unit.LD])
    program = [*[gives] * full, *[takes] * full, END]
    error = {"code": ErrorCode.TOKEN_OVERFLOW, "pc": (full - 1) * gives.format.words}
    jobs = []
    for last in range(1, 13):
        durations = [1] * len(program)
        durations[full - 1] = last
        jobs.append(Job([program], durations))
    seen = []
    traces = play(design, [job.case for job in jobs])
    for job, trace in zip(jobs, traces, strict=True):
        arrivals = [trace.transfers(port_name("o_arrive", unit)) for unit in (Unit.LD, Unit.MV)]
        begun = [*arrivals[0].tolist(), arrivals[1][0]]
        expected = run(program[: full + 1], job.durations[: full + 1], arrivals=begun)
        token, taken = expected.end[full - 1], expected.start[full]
        seen.append(int(np.sign(taken - token)))
        if token >= taken:
            assert job.wrong(trace, SHAPE[1]) == ""
            continue
        errors = to_bytes(error_layout(), [error])
        assert count_mismatches(trace.outputs["o_error"], errors) == 0
        assert trace.transfers("o_error").tolist() == [token + 1]
        for unit in Unit:
            assert (trace.transfers(port_name("o_start", unit)) <= token).all()
    assert set(seen) == {-1, 0, 1}


def test_the_first_error_stays(design):
    """Two units give a token too many to a third; in the same cycle, the first unit counts."""
    full = 1 << TOKEN_BITS
    program = [*[one(Unit.LD, release=[Unit.MV]), one(Unit.ST, release=[Unit.MV])] * full, END]
    jobs = []
    for last in range(1, 17):
        durations = [1] * len(program)
        durations[2 * full - 2] = last
        jobs.append(Job([program], durations))
    seen = []
    for job, trace in zip(jobs, play(design, [job.case for job in jobs]), strict=True):
        arrivals = {u: trace.transfers(port_name("o_arrive", u)).tolist() for u in Unit}
        begun = [arrivals[one.unit].pop(0) for one in program[:-1]]
        ends = run(program[:-1], job.durations[:-1], arrivals=begun).end[-2:]
        pc = (full - 1) * 17 + (8 if ends[1] < ends[0] else 0)
        errors = to_bytes(error_layout(), [{"code": ErrorCode.TOKEN_OVERFLOW, "pc": pc}])
        assert count_mismatches(trace.outputs["o_error"], errors) == 0
        assert trace.transfers("o_error").tolist() == [min(ends) + 1]
        seen.append(int(np.sign(ends[1] - ends[0])))
    assert set(seen) == {-1, 0, 1}


@pytest.mark.full
@pytest.mark.parametrize(
    ("right", "wrong", "part", "seen"),
    [
        ("queue.o.valid & ~there", "~there", None, "other cycles of waiting"),
        ("queue.o.valid | running.o.valid", "queue.o.valid", None, "it starts or ends"),
        ("with m.If(self.clear)", "with m.If(0)", TokenCounters, "it starts or ends"),
        ("(tokens == 0)", "(tokens[0] == 0)", TokenCounters, "other payloads"),
        ("running.i.valid.eq(starts)", "running.i.valid.eq(o.valid)", None, "other payloads"),
    ],
)
def test_a_broken_scoreboard_is_seen(monkeypatch, right, wrong, part, seen):
    monkeypatch.setattr("scoreboard_units.Scoreboard", broken(Scoreboard, right, wrong, part))
    found = judge(emit(Units, *SHAPE), random_jobs(9))
    assert any(one.startswith(seen) for one in found)


def test_nothing_starts_while_it_is_stopped(design):
    job = random_job(np.random.default_rng(1), 1, 50)
    (trace,) = play(design, [replace(job.case, levels={"stop": 1})])
    for unit in Unit:
        assert not trace.valid[port_name("o_start", unit)].any()
    assert any(trace.valid[port_name("o_arrive", unit)].any() for unit in Unit)


def test_the_verilog_is_clean():
    assert cosim.lint(emit(Scoreboard)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "queue_depth is 1; allowed are 2 to 1024"),
        ((8, 1025), "in_flight is 1025; allowed are 2 to 1024"),
        ((8, 4, 17), "token_bits is 17; allowed are 1 to 16"),
    ],
)
def test_other_sizes_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Scoreboard(*arguments)

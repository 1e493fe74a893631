"""The vector unit in Verilator takes and completes each job in the cycle that its contract says."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from golden.bit_packing import pack_fields
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hw.emit import add, emit
from hw.player import Case, play, random_pauses
from hw.sfu_cases import random_cases
from hw.sfu_layouts import job_layout
from hw.vector_timing import VectorTiming, schedule
from hw.vector_unit import VectorUnit

DEPTH = 256
CONFIGS = [SpecialFunctionUnitConfig(lanes, table_bits=5) for lanes in (4, 16)]


class UnitOnZeros(wiring.Component):
    """The unit at a vector buffer of zeros; `o_end` has a payload for each completion."""

    def __init__(self, config):
        self.config = config
        self.module_name = f"unit_on_zeros_{config.lanes}"
        members = dict(VectorUnit(config, DEPTH, DEPTH).signature.members)
        given = {name: members[name] for name in ("i", "o", "o_byte")}
        super().__init__({**given, "o_end": Out(stream.Signature(1))})

    def elaborate(self, platform):
        m = Module()
        streams = {"i": self.i, "o": self.o, "o_byte": self.o_byte}
        unit = add(m, platform, "unit", VectorUnit, self.config, DEPTH, DEPTH, **streams)
        m.d.comb += self.o_end.valid.eq(unit.complete)
        return m


def payload(job):
    values = {"more_elements": job.length - 1}
    fields = [
        (np.array([[values.get(name, getattr(job, name, 0))]]), field.width)
        for name, field in job_layout()
    ]
    return pack_fields(*fields, *((np.array([[0]]), 8) for _ in range(4)))


def make_trials(config, count, seed=3):
    """Return sequences of jobs, and cases that play them; of four, one has pauses at either side.

    Half of the sequences are two random ones together: so their jobs follow many others.
    """
    random = np.random.default_rng(seed)
    parts = [case.jobs for case in random_cases(config, 2 * count, seed)]
    trials = []
    for number in range(count):
        jobs = parts[2 * number] + parts[2 * number + 1] * (number % 2)
        words = [config.words(job.length) for job in jobs]
        counts = {
            "o": sum(n for n, job in zip(words, jobs, strict=True) if job.gives and job.wide),
            "o_byte": sum(n for n, job in zip(words, jobs, strict=True) if job.gives and job.byte),
            "o_end": len(jobs),
        }
        pauses = {}
        if number % 4 == 1:
            pauses = random_pauses(random, {"i": 30 * len(jobs)}, 0.6)
        elif number % 4 == 3:
            pauses = random_pauses(random, dict.fromkeys(("o", "o_byte"), 30 * len(jobs)), 0.6)
        inputs = {"i": np.concatenate([payload(job) for job in jobs])}
        trials.append((jobs, Case(inputs, counts, pauses)))
    return trials


def offers(trace):
    """Return the cycle from which each job is offered."""
    valid = np.flatnonzero(trace.valid["i"])
    behind = np.append(0, trace.transfers("i")[:-1] + 1)
    return valid[np.searchsorted(valid, behind)].tolist()


def waits(trace):
    """Return the cycles in which a word waits."""
    streams = ("o", "o_byte")
    return np.flatnonzero(sum(trace.valid[name] & ~trace.ready[name] for name in streams))


def contract(config, jobs, trace):
    """Return when jobs are taken and complete, with the waits that the trace has."""
    timing, waiting = VectorTiming(config), waits(trace).tolist()
    taken, complete = [], [-1]
    for job, offered in zip(jobs, offers(trace), strict=True):
        taken.append(max(offered, complete[-1] + 1, timing.ready(job)))
        complete.append(timing.take(job, taken[-1]).complete)
        while waiting and waiting[0] < complete[-1]:
            timing.wait(1)
            complete[-1] += 1
            waiting.pop(0)
    assert not waiting
    return taken, complete[1:]


def offered_words(config, jobs, taken):
    """Return when wide words are offered that do not wait."""
    timing = VectorTiming(config)
    works = [timing.take(job, cycle) for job, cycle in zip(jobs, taken, strict=True)]
    return [work.offered + k for work in works for k in range(work.wide)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.lanes} lanes")
def test_jobs_are_taken_and_complete_in_the_cycles_of_the_contract(config):
    trials = make_trials(config, 60)
    waited = 0
    traces = play(emit(UnitOnZeros, config), [case for _, case in trials])
    for (jobs, case), trace in zip(trials, traces, strict=True):
        found = trace.transfers("i").tolist(), trace.transfers("o_end").tolist()
        assert found == contract(config, jobs, trace)
        waited += len(waits(trace))
        if not {"o", "o_byte"} & set(case.pauses):
            known = schedule(config, jobs, offers(trace))
            assert found == (list(known.taken), list(known.complete))
            assert trace.transfers("o").tolist() == offered_words(config, jobs, found[0])
    assert waited > 300

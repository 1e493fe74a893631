"""The bench of cores: cases pass, every kind of fault is seen and blamed on its case, coverage."""

from dataclasses import replace

import numpy as np
import pytest
from proofs import broken

from golden.spec.control import Status
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import Unit
from hw import cosim, verify_core
from hw.accelerator import Accelerator
from hw.accelerator_cases import PAIR
from hw.core import Core
from hw.core_cases import BASES, CONFIG, STORED
from hw.core_contract import jobs_of, schedules
from hw.core_coverage import coverage, crosses, random_cases
from hw.core_simulation import run_accelerator
from hw.emit import emit
from hw.verify_core import Batch, Pace, run_cases


def failed(results):
    return [number for number, result in enumerate(results) if not result.passed]


def cases_at(pace, config, count, seed, wrong=False):
    """Return cases with memories of one kind."""
    cases = random_cases(config, len(crosses(config)), seed)
    return [case for case in cases if (case.pace, bool(case.wrong)) == (pace, wrong)][:count]


@pytest.mark.parametrize("config", [CONFIG, PAIR], ids=["core", "two cores"])
def test_cases_of_all_kinds_pass(config):
    cases = [*cases_at(Pace.SLOW, config, 3, 0), *cases_at(Pace.IRREGULAR, config, 3, 0)]
    cases += cases_at(Pace.IDEAL, config, 4, 0, wrong=True)
    results = run_cases(cases)
    assert failed(results) == []
    for case, result in zip(cases, results, strict=True):
        assert result.name == case.name
        assert result.compared > 0
        assert 0 <= result.utilisation < 1
        if case.pace is Pace.SLOW:
            assert (result.stall_cycles, result.cycles) == (0, result.contract_cycles)
        if case.pace is Pace.IRREGULAR:
            assert result.stall_cycles > 0
    assert sum(result.products for result in results) > 0


def other(values, place, change):
    """Return a copy with something else at a place."""
    copy = values.copy()
    copy[place] += change
    return copy


def with_log(result, **changes):
    return replace(result, log=replace(result.log, **changes))


def with_word(result, unit, place):
    """Return the result with one element more at a word that a unit writes on the chip."""
    writes = result.log.vectors[unit]
    wrong = replace(writes, elements=other(writes.elements, (place, 1), 1))
    return with_log(result, vectors={**result.log.vectors, unit: wrong})


def with_byte(result, port, place):
    memory = other(result.memories[port], place, np.uint8(1))
    return replace(result, memories={**result.memories, port: memory})


def with_state(result, number, **changes):
    states = list(result.states)
    states[number] = {**states[number], **changes}
    return replace(result, states=states)


def with_time(result, unit, place):
    """Return the result with a start that is a cycle later."""
    events = result.log.starts[unit]
    late = replace(events, cycle=other(events.cycle, place, 1))
    return with_log(result, starts={**result.log.starts, unit: late})


def contract(batch):
    """Return when the instructions of ideal memories start and end, on one core."""
    about = (batch.config, batch.programs, BASES, batch.memories, batch.timing)
    return schedules(batch.config, jobs_of(*about), [0])


def count(effects, unit):
    """Return how many words of the vector buffer a unit writes."""
    return sum(len(e.vector.addresses) for e in effects if e.vector and e.unit is unit)


def test_every_fault_is_seen_in_its_case(monkeypatch):
    cases = cases_at(Pace.IDEAL, CONFIG, 3, 1)
    batch = Batch(CONFIG, cases)
    (result,) = run_accelerator(CONFIG, batch.runs, cases[0].memories, timing=batch.timing)
    (first,), (second,) = batch.effects[0], batch.effects[1]
    # The contract is the same for all that follows.
    once = contract(batch)
    monkeypatch.setattr(verify_core, "schedules", lambda *_: once)
    results = batch.judge([result])
    assert failed(results) == []
    assert sum(each.products for each in results) > 0

    def blamed(wrong):
        return failed(batch.judge([wrong]))

    # The last word of a unit in the first case, and the first word in the second one.
    for unit in (Unit.LD, Unit.MV, Unit.MM, Unit.MISC):
        words = count(first, unit)
        assert words and count(second, unit), unit
        assert blamed(with_word(result, unit, words - 1)) == [0], unit
        assert blamed(with_word(result, unit, words)) == [1], unit
    columns = result.log.columns
    lane = replace(columns, lane=1 - columns.lane)
    assert blamed(with_log(result, columns=lane)) == [0, 1, 2]
    more = {name: np.concatenate([v, v[-1:]]) for name, v in vars(columns).items()}
    assert blamed(with_log(result, columns=replace(columns, **more))) == [2]
    owners = {
        (run.port, run.address + k): number
        for number, (effects,) in enumerate(batch.effects)
        for effect in effects
        for run in effect.memory
        for k in range(len(run.data))
    }
    assert len(set(owners.values())) > 1
    for owner in set(owners.values()):
        place = next(place for place, number in owners.items() if number == owner)
        assert blamed(with_byte(result, *place)) == [owner]
    assert blamed(with_byte(result, "general", STORED - 1)) == [2]
    assert blamed(with_state(result, 1, STATUS=int(Status.ERROR))) == [1]
    assert blamed(with_state(result, 0, CYCLES=result.states[0]["CYCLES"] + 1)) == [0]
    starts = sum(one.unit is Unit.MISC for one in batch.programs[0][0])
    late = batch.judge([with_time(result, Unit.MISC, starts)])
    assert [each.unexplained for each in late] == [0, 1, 0]


def test_a_wrong_stop_is_seen():
    cases = cases_at(Pace.IDEAL, CONFIG, 1, 2, wrong=True)
    batch = Batch(CONFIG, cases)
    (result,) = run_accelerator(CONFIG, batch.runs, cases[0].memories, timing=batch.timing)
    assert failed(batch.judge([result])) == []
    pc = result.states[0]["ERROR_PC"]
    (wrong,) = batch.judge([with_state(result, 0, ERROR_PC=pc + 1)])
    assert wrong.first_mismatch.startswith(f"{cases[0].wrong}: it stops with (<ErrorCode.")


@pytest.mark.parametrize("config", [CONFIG, PAIR], ids=["core", "two cores"])
def test_as_many_cases_as_crosses_hit_them_all(config):
    every = crosses(config)
    assert len(set(every)) == len(every)
    cases = random_cases(config, len(every), 0)
    assert coverage(cases) == 1.0
    assert 0 < coverage(cases[:1]) < 0.5
    same = random_cases(config, 2, 0)
    assert [case.programs for case in same] == [case.programs for case in cases[:2]]


def test_a_small_vector_buffer_is_refused():
    config = CoreConfig(chains=16, m=8, vector_depth=16)
    message = "vector_depth is 16; the random programs of 16 chains need 32 or more"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        random_cases(config, 1, 0)


@pytest.mark.full
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("units.bases.eq(host.bases)", "units.bases.eq(0)"),
        ("reset=resets", "reset=0"),
    ],
    ids=["bases", "no reset"],
)
def test_a_broken_core_is_seen(right, wrong):
    design = emit(broken(Core, right, wrong), CONFIG)
    cases = cases_at(Pace.IDEAL, CONFIG, 3, 0) + cases_at(Pace.IDEAL, CONFIG, 5, 0, wrong=True)
    assert failed(run_cases(cases, design=design)) != []


@pytest.mark.full
@pytest.mark.parametrize("config", [CoreConfig(), CoreConfig(cores=2)], ids=["core", "two cores"])
def test_all_crosses_of_the_default_configurations(config):
    cases = random_cases(config, len(crosses(config)), 0)
    assert coverage(cases) == 1.0
    assert failed(run_cases(cases)) == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("block", "config"),
    [
        (Core, CoreConfig(chains=1, m=8, vector_depth=16, activation_depth=16, strips=2)),
        (Core, CoreConfig()),
        (Core, CoreConfig(chains=5, burst_beats=4, buffer_words=32, zero_fraction_bits=0)),
        (Accelerator, CoreConfig(chains=1, cores=3, replay_words=16)),
    ],
    ids=["small", "default", "odd", "three cores"],
)
def test_the_verilog_of_other_configurations_is_clean(block, config):
    assert cosim.lint(emit(block, config)) == []

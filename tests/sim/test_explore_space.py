import math

import pytest

from golden.spec.errors import ConfigError
from sim.catalogue import load_system
from sim.explore import expressions
from sim.explore.point import Outcome, asked, evaluate, fits_board, machine
from sim.explore.search import make_search
from sim.explore.space import load_space, make_space, parameter, size
from tests.sim.explore_cases import FPGA, space


def points(some, seed=0):
    return make_search(some, seed).ask()


# Expressions


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cores * clock_mhz < 800", True),
        ("(cores + 1) // 2 - 7 % 4", -1),
        ("1 < cores <= 3 and not cores == 2", True),
        ("system in ['a', 'b'] or cores > 5", True),
        ("vector.chains / 2", 16.0),
        ("-cores", -3),
        ("missing > 1", None),
        (True, None),
    ],
)
def test_expressions(text, value):
    values = {"cores": 3, "clock_mhz": 200, "system": "a", "vector.chains": 32}
    if text is True:
        assert expressions.read(text).value({}) is True
    else:
        assert expressions.read(text).value(values) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "1 +", "f(1)", "a[0]", "().__class__", "lambda: 1", "[x for x in y]", "a := 1"),
        *("f'{a}'", "2 ** 9", "a if b else c", "b'1'", "{1: 2}", "1 << 99", "(" * 400 + "1"),
    ],
)
def test_an_expression_does_nothing_else(text):
    with pytest.raises(ConfigError, match="expression"):
        expressions.read(text)


@pytest.mark.parametrize("text", ["cores + 'a' > 1", "cores / 0 > 1", "'a' * 9 == 'b'"])
def test_what_cannot_be_reckoned_is_one_sentence(text):
    with pytest.raises(ConfigError, match="cannot be computed"):
        expressions.read(text).value({"cores": 1})


# Parameters


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (3, (3,)),
        ("text", ("text",)),
        ([1, 2], (1, 2)),
        ({"choices": [1, 2]}, (1, 2)),
        ({"from": 1, "to": 4}, (1, 2, 3, 4)),
        ({"from": 150, "to": 225, "step": 25}, (150, 175, 200, 225)),
        ({"from": 0.1, "to": 0.4, "step": 0.1}, (0.1, 0.2, 0.3, 0.4)),
        ({"from": 0.5, "to": 1.5}, ()),
    ],
)
def test_parameters(fields, values):
    found = parameter("p", fields).values
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "choices"),
        ({"choises": [1]}, "the nearest are choices"),
        ({"from": 1}, "to is missing"),
        ({"from": 3, "to": 1}, "no number is between"),
        ({"from": 0, "to": 1, "log": True}, "begins above 0"),
        ({"from": 0, "to": 1, "step": 1e-9}, "1,000,000 are allowed"),
        ({"from": 0, "to": 1, "step": 0}, "step is 0"),
        ({"choices": [1], "only_if": "a +"}, "not an expression"),
    ],
)
def test_wrong_parameters(fields, message):
    with pytest.raises(ConfigError, match=message):
        parameter("p", fields)


# Spaces


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"clok_mhz": 1}}, "the nearest are clock_mhz"),
        ({"objectives": {"decode_tokens_per_sec": "max"}}, "the nearest are decode_tokens_per_s"),
        ({"objectives": {"ttft_ms": "most"}}, "ttft_ms is 'most'"),
        ({"objectives": {}}, "objectives"),
        ({"where": ["corse < 2"]}, "the nearest are cores"),
        ({"constraints": ["ttft < 2"]}, "the nearest are ttft_ms"),
        ({"limits": {"luts": 0.5}}, "the nearest are lut"),
        ({"limits": {"lut": -1}}, "limits.lut is -1"),
        ({"search": "anneal"}, "search is 'anneal'"),
        ({"parameter": {}}, "the nearest are parameters"),
        ({"parameters": {"techniques.quant.bits": 2}}, "there is no technique"),
        ({"parameters": {"lanes": {"choices": [4], "only_if": "later > 1"}}}, "unknown"),
    ],
)
def test_wrong_spaces(changes, message):
    with pytest.raises(ConfigError, match=message) as found:
        space(FPGA, **changes)
    assert str(found.value).startswith("made.yaml: ")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "mapping"), ("- 1", "mapping"), ("a: [", "YAML"), ("title: x", "parameters is missing")],
)
def test_files_that_are_no_space(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_space(path)


def test_a_space_without_system():
    with pytest.raises(ConfigError, match="parameters has no model"):
        make_space({"parameters": {"system": "flightllm-u280"}}, "made.yaml")


# What is proposed


def test_a_grid_has_all_points_in_order():
    found = points(space())
    assert len(found) == size(space()) == 12
    assert [(p["prefill"], p["decode"], p["batch"]) for p in found[:3]] == [
        (32, 0, 1),
        (32, 0, 4),
        (32, 8, 1),
    ]


def test_conditions():
    found = points(
        space(
            FPGA,
            where=["cores * clock_mhz < 500", "prefill == 16"],
            parameters={"lanes": {"choices": [8, 16], "only_if": "cores == 1"}},
        )
    )
    assert {one["cores"] * one["clock_mhz"] < 500 for one in found} == {True}
    assert {"lanes" in one for one in found if one["cores"] == 1} == {True}
    assert not any("lanes" in one for one in found if one["cores"] > 1)
    # Of three clocks one core has all, two have two and three have one; with two kinds of chains.
    assert len(found) == (3 * 2 + 2 + 1) * 2


@pytest.mark.parametrize("search", ["random", "nsga2", "nsga3", "tpe"])
def test_searches_are_told_the_same_and_propose_the_same(search):
    some = space(search=search, parameters={"prefill": {"from": 16, "to": 256}})
    runs = []
    for seed in (1, 1, 2):
        one, seen = make_search(some, seed), []
        for _ in range(2):
            batch = one.ask()
            seen += batch
            records = [{"ttft_ms": p["prefill"], "peak_memory_gb": 1} for p in batch]
            one.tell([Outcome(record, None, True) for record in records])
        runs.append(seen)
    assert runs[0] == runs[1] != runs[2]
    keys = [tuple(point.items()) for point in runs[0]]
    assert len(set(keys)) == len(keys) >= 64


@pytest.mark.parametrize("search", ["random", "nsga2"])
def test_a_search_ends_when_all_is_known(search):
    assert len(points(space(search=search))) == 12


def test_optuna_finds_better_points_than_chance():
    fields = {"prefill": {"from": 1, "to": 2000}, "batch": 1, "decode": 0}

    def mean(search):
        """Return the mean prompt of 64 proposals, where short ones are the better ones."""
        some = space(search=search, parameters=fields, objectives={"ttft_ms": "min"})
        one, found = make_search(some, 3), []
        for _ in range(2):
            batch = one.ask()[:32]
            one.tell([Outcome({"ttft_ms": p["prefill"]}, None, True) for p in batch])
            found += [point["prefill"] for point in batch]
        return sum(found) / len(found)

    assert mean("tpe") < 0.8 * mean("random")


def test_a_range_without_steps():
    some = {"clock_mhz": {"from": 150.5, "to": 300.0, "log": True}}
    drawn = points(space(FPGA, search="random", parameters=some))
    assert all(150.5 <= one["clock_mhz"] <= 300 for one in drawn)
    assert len({one["clock_mhz"] for one in drawn}) == len(drawn)
    middle = sorted(one["clock_mhz"] for one in drawn)[len(drawn) // 2]
    assert middle == pytest.approx(math.sqrt(150.5 * 300), rel=0.05)
    with pytest.raises(ConfigError, match="a grid needs a step"):
        make_search(space(FPGA, parameters=some), 0)


# Points


def test_limits_leave_out_what_does_not_fit():
    some = space(FPGA, limits={"dsp": 0.5})
    left = points(some)
    assert left == [point for point in points(space(FPGA)) if fits_board(some, point)]
    assert 0 < len(left) < 18
    assert max(one["cores"] * one["vector.chains"] for one in left) < 3 * 64


def test_a_machine_is_what_settings_make():
    point = points(space(FPGA, parameters={"weights.bits": 3}))[-1]
    wanted = asked(point)
    assert wanted.settings["vector"]["chains"] == 64
    assert wanted.settings["weights"] == {"bits": 3, "group_size": 128, "scale_bits": 16}
    assert machine(wanted) == load_system(wanted.system, wanted.settings)


def test_errors_are_outcomes():
    some = space(parameters={"model": ["llama-2-7c", "llama-3.1-405b"]})
    first, *_, last = points(some)
    assert "there is no model 'llama-2-7c'" in evaluate(some, first).error
    assert "too few" in evaluate(some, last).error


def test_constraints():
    some = space(constraints=["prefill * batch < 200 and ttft_ms > 0"])
    found = [evaluate(some, point).feasible for point in points(some)]
    assert any(found)
    assert not all(found)


def test_a_bug_is_an_outcome(monkeypatch):
    monkeypatch.setattr("sim.explore.point.simulate", lambda *_: 1 / 0)
    assert evaluate(space(), points(space())[0]).error == "ZeroDivisionError: division by zero"

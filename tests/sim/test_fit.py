import copy
import math

import pytest
import yaml

from sim.fit import (
    DEVICE_START,
    SOFTWARE_START,
    Constant,
    as_constants,
    descend,
    error,
    fit_points,
    others,
    start,
    usable,
    written,
)
from sim.gpu_constants import FITTED, Constants, read_constants
from sim.predict import predict
from sim.published import read_points
from sim.software import software_names


def test_descent_finds_the_lowest_place():
    tree = {"software": {"x": {"kernel_us": 1.0, "step_us": 100.0}}}
    constants = [
        Constant(("software", "x", "kernel_us"), 1.0),
        Constant(("software", "x", "step_us"), 100.0),
    ]

    def loss(constant, tree):
        now = tree["software"]["x"]
        return abs(math.log(now["kernel_us"] / 7)) + abs(math.log(now["step_us"] / 30))

    descend(tree, constants, loss, 20)
    assert tree["software"]["x"]["kernel_us"] == pytest.approx(7, rel=0.02)
    assert tree["software"]["x"]["step_us"] == pytest.approx(30, rel=0.02)


def test_shares_stay_shares():
    assert Constant(("software", "x", "read"), 0.9).allowed(1.7) == 1.0
    assert Constant(("devices", "x", "stream"), 0.9).allowed(1.7) == 0.95
    assert Constant(("software", "x", "kernel_us"), 3.0).allowed(1.7) == 1.7


def test_a_fit_explains_times_that_the_model_itself_made():
    """Points of one program are replaced by what other constants give; the fit finds those."""
    from dataclasses import replace

    points = [point for point in read_points() if point.group == "GPF"][::3]
    tree = start(usable(points))
    truth = copy.deepcopy(tree)
    truth["software"]["gpt-fast"] |= {"kernel_us": 8.0, "reduce_us": 40.0, "read_packed": 0.5}
    made = [
        replace(case, point=replace(case.point, value=predict(case)))
        for case in (case.with_constants(as_constants(truth)) for case in usable(points))
    ]
    before = sum(error(case, as_constants(tree)) for case in made) / len(made)
    fit_points(tree, made, sweeps=4)
    after = sum(error(case, as_constants(tree)) for case in made) / len(made)
    assert before > 0.15 > 0.05 > after
    assert tree["software"]["gpt-fast"]["points"] == len(made)


def test_the_constants_file_holds_every_program_and_says_how_it_was_made():
    assert FITTED.read_text(encoding="utf-8").startswith("# Constants of the GPU model, made by")
    constants = read_constants()
    assert set(constants.software) == set(software_names())
    assert constants.software["vllm"].points > 50
    assert constants.devices["other"].points == 0
    assert set(DEVICE_START) < set(type(constants.devices["other"]).model_fields)
    assert set(SOFTWARE_START) < set(type(constants.software["vllm"]).model_fields)


def test_written_constants_are_read_back():
    tree = yaml.safe_load(FITTED.read_text(encoding="utf-8"))
    assert Constants(**yaml.safe_load(written(tree))) == read_constants()


def test_the_spreads_in_the_file_are_those_of_this_model():
    """Fails when the model is changed and `python -m sim.fit` is not run again."""
    tree = yaml.safe_load(FITTED.read_text(encoding="utf-8"))
    again = copy.deepcopy(tree)
    others(again, usable(read_points()))
    for name, own in tree["devices"].items():
        assert again["devices"][name]["spread"] == pytest.approx(own["spread"], rel=0.01), name

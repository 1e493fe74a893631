from dataclasses import replace

import pytest

from sim.cases import NotModelledError, prepare
from sim.gpu_constants import constants
from sim.predict import predict
from sim.published import read_points
from sim.validate import by_class, compare, errors, grade_a, is_speed, reasons

SHORT_OF_THE_GOAL = {"AWQ prefill_tps", "MLE1 e2e_out_tps", "OFF e2e_out_tps"}
"""Classes whose points held out are missed by more than 20 %; docs/validation.md says why."""

POINTS = {point.id: point for point in read_points()}


@pytest.fixture(scope="module")
def compared():
    return compare(list(POINTS.values()))


def test_every_point_on_gpus_is_modelled(compared):
    fpgas = ("U280", "U55C", "U250", "U200", "U50", "VHK158", "VCK190", "KV260", "ZCU", "VCU128")
    for one in compared:
        if one.predicted is None and not one.point.hardware.startswith(fpgas):
            assert "not published" in one.reason or "Petals" in one.reason
    assert sum(one.predicted is None for one in compared) == sum(reasons(compared).values())


def test_the_goals_for_gpus(compared):
    """Medians of the points that no constant was fitted on."""
    for metric, found in grade_a(compared).items():
        # LMDeploy's saturated serving gives no lengths.
        assert found.modelled >= 0.9 * found.points, metric
        assert found.held_out <= 0.10, metric
    large = {kind: one for kind, one in by_class(compared).items() if one.points >= 10}
    modelled = {kind for kind, one in large.items() if one.modelled >= 0.8 * one.points}
    assert {kind for kind in large if not kind.startswith("FPG")} <= modelled
    assert {kind for kind in modelled if large[kind].held_out > 0.20} <= SHORT_OF_THE_GOAL
    assert max(large[kind].held_out for kind in SHORT_OF_THE_GOAL) < 0.30


def test_a_plain_roofline_is_far_worse(compared):
    speed = [one for one in compared if is_speed(one.point) and one.point.grade_a]
    found = errors(speed)
    assert found.roofline > 3 * found.held_out


def test_nothing_that_was_held_out_was_fitted(compared):
    assert not any(one.fitted and one.point.held_out for one in compared)
    assert sum(one.fitted for one in compared) > 400


def test_a_point_that_is_not_the_projects_was_never_fitted():
    fitted = next(point for point in POINTS.values() if not point.held_out)
    assert compare([fitted])[0].fitted
    assert not compare([replace(fitted, value=2 * fitted.value)])[0].fitted


def test_an_error_is_the_share_that_is_too_much():
    (one,) = compare([replace(POINTS["GPF-001"], value=50.0)])
    assert one.error == pytest.approx(one.predicted / 50 - 1)
    assert one.kind == "GPF decode_tps"


def test_a_wrong_constant_shows():
    points = [point for point in POINTS.values() if point.group == "FT"]
    good = errors(compare(points)).held_out
    now = constants()
    program = now.software["faster-transformer"].model_copy(update={"kernel_us": 40.0})
    wrong = now.model_copy(update={"software": now.software | {"faster-transformer": program}})
    cases = [prepare(point).with_constants(wrong) for point in points]
    bad = sorted(abs(predict(case) / case.point.value - 1) for case in cases)[len(cases) // 2]
    assert bad > 2 * good


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hardware": "Abacus"}, "no model of the hardware Abacus yet"),
        ({"software": "MyEngine"}, "no model of the software MyEngine yet"),
        ({"model": "Mamba2-2.7B"}, "no shape of the model Mamba2-2.7B"),
        ({"software": "Petals"}, "no model of the software Petals yet"),
        (
            {"hardware": "RTX-4090", "model": "Llama-2-70B"},
            "its weights take 128 GiB of 24; where the rest lay is not published",
        ),
    ],
)
def test_why_a_point_is_not_modelled(changes, reason):
    with pytest.raises(NotModelledError) as why:
        prepare(replace(POINTS["GPF-001"], **changes))
    assert str(why.value) == reason


def test_what_is_assumed_is_said():
    (one,) = compare([POINTS["EXL-001"]])
    assert one.reason == "assumed: prompts of 16 tokens, outputs of 128 tokens"
    (one,) = compare([POINTS["LMD-004"]])
    assert one.reason == "assumed: the hardware is a100-sxm-80gb"


def test_a_chat_prompt_is_a_constant():
    case = prepare(POINTS["MLE-029"])
    assert case.prompt == constants().common.chat_prompt

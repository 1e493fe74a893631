import re

import pytest

from golden.compression_plan import CompressionPlan, LinearFormat, read_plan
from golden.recipe import Recipe
from golden.spec.errors import ConfigError

SIZES = {
    "model.layers.0.self_attn.q_proj": 100,
    "model.layers.0.mlp.down_proj": 300,
    "model.layers.1.self_attn.q_proj": 100,
    "model.layers.1.mlp.down_proj": 300,
}
TEXT = """\
model: tiny
budget: {average_bits: 5, kept_fraction: 0.75}
default: {bits: 4, group_size: 64, kept: 0.75}
layers:
  "*.down_proj": {bits: 5}
  model.layers.1.mlp.down_proj: {sparsity: 8:16}
  model.layers.1.self_attn.q_proj: {bits: 8, kept: 1.0}
"""


def written(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_exceptions_change_the_default_in_their_order(tmp_path):
    plan = read_plan(written(tmp_path, TEXT))
    formats = [plan.format_of(path) for path in SIZES]
    assert formats == [
        LinearFormat(bits=4, group_size=64, kept=0.75),
        LinearFormat(bits=5, group_size=64, kept=0.75),
        LinearFormat(bits=8, group_size=64, kept=1.0),
        LinearFormat(bits=5, group_size=64, sparsity="8:16"),  # YAML reads 8:16 as 496
    ]
    assert plan.format_of("lm_head") == LinearFormat(bits=8, group_size=192)
    assert plan.average_bits(SIZES) == pytest.approx((4 + 3 * 5 + 8 + 3 * 5) / 8)
    assert plan.kept_fraction(SIZES) == pytest.approx((0.75 + 3 * 0.75 + 1 + 3 * 0.5) / 8)
    assert Recipe(plan=plan).format_of("model.layers.0.mlp.down_proj").bits == 5


def test_a_written_plan_is_read_again(tmp_path):
    plan = read_plan(written(tmp_path, TEXT))
    plan = CompressionPlan(**(plan.model_dump() | {"sensitivity": {"a": {"bits 2": 0.25}}}))
    path = tmp_path / "again.yaml"
    plan.write(path)
    assert read_plan(path) == plan
    assert read_plan(path).text() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bits: 8", "bits: 7", "{q}: bits is 7; allowed are 2, 3, 4, 5, 6, 8"),
        ("{bits: 4,", "{bits: 9,", "default: bits is 9; allowed are 2, 3, 4, 5, 6, 8"),
        ("kept: 1.0", "kept: 1.5", "{q}: the kept fraction is 1.5; allowed is more than 0, up to"),
        ("8:16", "3:16", "model.layers.1.mlp.down_proj: sparsity is '3:16'; this chain runs 2:16"),
        ("64", "100", "default: group_size is 100; a multiple of 16 is needed, up to 448"),
        ("bits: 8,", "bit: 8,", "{q}: bit is 8; extra inputs are not permitted"),
        (
            "kept: 1.0",
            'kept: 1.0, sparsity: "8:16"',
            "{q}: sparsity and kept exclude each other; give one of them",
        ),
        ("model: tiny", "", "model is missing"),
        (
            "average_bits: 5",
            "average_bits: 0",
            "budget: average_bits is 0; input should be greater",
        ),
        (TEXT, "- 1", "plan.yaml holds [1]; a plan is a mapping of named fields"),
        (TEXT, "a: [", "plan.yaml is not YAML: "),
    ],
)
def test_a_wrong_plan_is_refused_in_a_sentence(tmp_path, old, new, message):
    message = message.replace("{q}", "model.layers.1.self_attn.q_proj")
    if not message.startswith("plan.yaml"):
        message = f"plan.yaml: {message}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        read_plan(written(tmp_path, TEXT.replace(old, new)))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read the plan '.*nothing.yaml' \(No such file"):
        read_plan(tmp_path / "nothing.yaml")


def test_a_pruned_head_is_refused():
    with pytest.raises(ConfigError, match=r"^head is pruned; the head keeps all its weights$"):
        CompressionPlan(model="tiny", head={"kept": 0.5})


def test_a_plan_that_does_not_fit_the_model(tmp_path):
    plan = read_plan(written(tmp_path, TEXT + "  '*.up_proj': {bits: 2}\n"))
    message = (
        "the plan names the layer '*.up_proj', which tiny does not have; its layers run from "
        "'model.layers.0.self_attn.q_proj' to 'model.layers.1.mlp.down_proj'"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        plan.check(SIZES)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "average_bits: 5",
            "average_bits: 4.5",
            "the plan needs average_bits = 5.25, its budget allows 4.5; "
            "'model.layers.1.self_attn.q_proj' has the most, 8 bits and 1 kept: lower it, or "
            "raise the budget",
        ),
        (
            "kept_fraction: 0.75",
            "kept_fraction: 0.5",
            "the plan needs kept_fraction = 0.6875, its budget allows 0.5; "
            "'model.layers.1.self_attn.q_proj' has the most, 8 bits and 1 kept: lower it, or "
            "raise the budget",
        ),
    ],
)
def test_a_plan_beyond_its_budget(tmp_path, old, new, message):
    fits = TEXT.replace("average_bits: 5", "average_bits: 5.25")
    read_plan(written(tmp_path, fits)).check(SIZES)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        read_plan(written(tmp_path, (fits if "kept" in old else TEXT).replace(old, new))).check(
            SIZES
        )

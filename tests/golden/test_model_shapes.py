import re

import pytest
from pydantic import ValidationError

from golden import model_shapes
from golden.spec.errors import ConfigError

GOOD = {
    "source": "here",
    "layers": 1,
    "hidden": 8,
    "heads": 2,
    "kv_heads": 1,
    "head_size": 4,
    "feed_forward": 16,
    "vocabulary": 32,
}


def yaml_of(fields):
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(model_shapes, "FOLDER", tmp_path)
    return tmp_path


def weights(shape):
    one_layer = sum(linear.rows * linear.inputs for linear in shape.layer_linears())
    return shape.layers * one_layer + shape.head_linear().rows * shape.head_linear().inputs


def test_every_file_loads_under_its_own_name():
    assert model_shapes.names() == ["llama-2-7b", "smollm2-135m"]
    assert [model_shapes.load(name).name for name in model_shapes.names()] == model_shapes.names()


@pytest.mark.parametrize(
    ("name", "count"), [("llama-2-7b", 6_607_077_376), ("smollm2-135m", 134_479_872)]
)
def test_weights_of_known_models(name, count):
    """Published parameter counts less the norms, and less Llama's separate input embedding."""
    assert weights(model_shapes.load(name)) == count


def test_linears_in_the_order_of_use(folder):
    (folder / "tiny.yaml").write_text(yaml_of(GOOD | {"hidden": 10}))
    shape = model_shapes.load("tiny")
    assert [(x.name, x.rows, x.inputs) for x in shape.layer_linears()] == [
        ("q_proj", 8, 10),
        ("k_proj", 4, 10),
        ("v_proj", 4, 10),
        ("o_proj", 10, 8),
        ("gate_proj", 16, 10),
        ("up_proj", 16, 10),
        ("down_proj", 10, 16),
    ]
    head = shape.head_linear()
    assert (head.name, head.rows, head.inputs) == ("lm_head", 32, 10)


def test_a_shape_is_a_value():
    shape = model_shapes.load("llama-2-7b")
    assert shape == model_shapes.load("llama-2-7b")
    with pytest.raises(ValidationError):
        shape.layers = 1


@pytest.mark.parametrize("name", ["llama", "", "../models/llama-2-7b", "llama-2-7b.yaml"])
def test_unknown_names(name):
    message = f"there is no model {name!r}; known are llama-2-7b, smollm2-135m"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        model_shapes.load(name)


@pytest.mark.parametrize(
    "text",
    [
        yaml_of(GOOD | {"layers": 0}),
        yaml_of(GOOD | {"layers": "many"}),
        yaml_of(GOOD | {"experts": 8}),
        yaml_of(GOOD | {"name": "other"}),
        yaml_of({name: value for name, value in GOOD.items() if name != "hidden"}),
        "",
        "- layers",
        "layers: [1",
    ],
    ids=["zero", "word", "extra", "named", "missing", "empty", "list", "not YAML"],
)
def test_a_wrong_file_gets_one_line(folder, text):
    (folder / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"\Abad\.yaml\b[^\n]+\Z"):
        model_shapes.load("bad")

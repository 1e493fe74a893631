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
    assert {"llama-2-7b", "smollm2-135m", "opt-13b"} <= set(model_shapes.names())
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


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Llama-2-7", "; the nearest are llama-2-7b, llama-2-70b, llama-7b"),
        ("", ""),
        ("birds", ""),
    ],
)
def test_unknown_names(name, nearest):
    message = f"there is no model {name!r}{nearest}; `nandu list models` names all"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        model_shapes.load(name)


@pytest.mark.parametrize("name", model_shapes.names())
def test_a_model_weighs_what_its_name_says(name):
    """Names are rounded, and some leave out the embeddings: within 8 %, or half of "1b"."""
    number, unit = re.search(r"([\d.]+)([bm])$", name).groups()
    said = float(number) * {"b": 1e9, "m": 1e6}[unit]
    tolerance = 0.5 if number == "1" else 0.08
    tied = model_shapes.load(name).model_copy(update={"tied": True})
    assert any(
        weight == pytest.approx(said, rel=tolerance)
        for weight in (model_shapes.load(name).weights, tied.weights)
    )


def test_an_alias_is_the_same_shape():
    assert model_shapes.load("vicuna-7b") == model_shapes.load("llama-2-7b")
    for alias, name in model_shapes.aliases().items():
        assert alias not in model_shapes.names()
        assert model_shapes.load(alias).name == name


def test_a_feed_forward_without_a_gate_has_two_matrices():
    names = [linear.name for linear in model_shapes.load("opt-13b").layer_linears()]
    assert names == ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]


def test_heads_share_keys_evenly(folder):
    (folder / "tiny.yaml").write_text(yaml_of(GOOD | {"heads": 3, "kv_heads": 2}))
    with pytest.raises(
        ConfigError, match=r"^tiny\.yaml: kv_heads is 2; it must divide the 3 query heads$"
    ):
        model_shapes.load("tiny")


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

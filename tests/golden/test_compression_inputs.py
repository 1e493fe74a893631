import pytest
import torch
from tiny_llama import tiny_llama, tiny_tokens

from golden.calibration import calibrate
from golden.compression_inputs import CompressedInputs
from golden.compression_plan import CompressionPlan
from golden.compression_quality import quality
from golden.recipe import Recipe
from golden.transformer_quantise import quantise_transformer

TEXTS = torch.cat([tiny_tokens(60, seed) for seed in (2, 3, 4)])


@pytest.fixture(scope="module")
def tiny():
    return tiny_llama()


def moments_by_hand(model, path):
    rows = torch.cat([model.inputs_of(path, text[None]) for text in TEXTS])
    return (rows.T @ rows).double() / len(rows)


def test_moments_are_those_of_the_inputs(tiny):
    inputs = CompressedInputs(tiny, TEXTS)
    for path in tiny.linear_layers():
        if path != "lm_head":
            given = inputs.moments(path)
            torch.testing.assert_close(given, moments_by_hand(tiny, path), rtol=1e-4, atol=1e-4)


def test_a_layer_sees_what_the_compressed_ones_in_front_of_it_give():
    changed, path = tiny_llama(), "model.layers.0.mlp.up_proj"
    weight = changed.weight(path) * 0.5
    inputs = CompressedInputs(changed, TEXTS)
    inputs.moments(path)
    inputs.put(path, weight)
    below = inputs.moments("model.layers.1.self_attn.k_proj")
    torch.testing.assert_close(changed.weight(path), 2 * weight)  # the model is as it was
    changed.network.get_submodule(path).weight.data = weight
    expected = moments_by_hand(changed, "model.layers.1.self_attn.k_proj")
    torch.testing.assert_close(below, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def seen(tiny):
    return calibrate(tiny, tiny_tokens(200, seed=2))


def made(tiny, seen, plan):
    recipe = Recipe(plan=CompressionPlan(model="tiny", **plan), cache_headroom=1.5)
    return quantise_transformer(tiny, seen, recipe, CompressedInputs(tiny, TEXTS))


def test_a_plan_gives_each_layer_its_format(tiny, seen):
    integer = made(
        tiny,
        seen,
        {
            "default": {"bits": 4, "group_size": 32, "kept": 0.5},
            "layers": {
                "*.q_proj": {"sparsity": "4:16"},
                "model.layers.1.*": {"bits": 3},
                "model.layers.0.mlp.up_proj": {"bits": 8, "kept": 1.0},
            },
            "head": {"bits": 6, "group_size": 16},
        },
    )
    first, second = integer.layers
    assert [first.attention.query.bits, second.attention.query.bits] == [4, 3]
    assert first.feed_forward.up.bits == 8 and second.feed_forward.up.bits == 3
    assert (integer.head.bits, integer.head.group_size) == (6, 16)
    counts = (first.attention.query.values != 0).reshape(64, -1, 16).sum(dim=2)
    assert counts.max() <= 4
    down = first.feed_forward.down.values != 0
    assert 0.4 < down.double().mean() <= 0.5
    assert (first.feed_forward.up.values != 0).double().mean() > 0.9


def test_a_dense_plan_of_eight_bits_is_close_to_the_float_model(tiny, seen):
    integer = made(tiny, seen, {"default": {"bits": 8, "group_size": 32}})
    found = quality(tiny, integer, tiny_tokens(150))
    assert found.perplexity == pytest.approx(found.perplexity_float, rel=0.03)
    assert 0 < found.kl < 0.01


def test_compensation_brings_a_pruned_model_closer(tiny, seen):
    def kl(integer):
        return quality(tiny, integer, tiny_tokens(150)).kl

    plain = quantise_transformer(
        tiny, seen, Recipe(bits=4, group_size=32, sparsity="8:16", cache_headroom=1.5)
    )
    planned = made(tiny, seen, {"default": {"bits": 4, "group_size": 32, "sparsity": "8:16"}})
    assert kl(planned) < 0.8 * kl(plain)

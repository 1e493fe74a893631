import re
from dataclasses import replace

import pytest
import torch
from tiny_llama import VOCABULARY, tiny_llama, tiny_tokens

from golden.calibration import calibrate
from golden.recipe import Recipe
from golden.sparsity import importance, keep_mask, uniform_keep
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.sparse_chain import SparseChainConfig
from golden.special_functions import functions, lane
from golden.special_functions.scalars import exact, normalise
from golden.transformer import Cache, Residual, attend, quantise
from golden.transformer_quantise import (
    fraction_bits,
    norm_of,
    quantise_transformer,
    residual,
    shape_of,
)

RECIPE = Recipe(group_size=32, cache_headroom=1.5, max_positions=256)


@pytest.fixture(scope="module")
def tiny():
    return tiny_llama()


@pytest.fixture(scope="module")
def seen(tiny):
    return calibrate(tiny, tiny_tokens(200, seed=2))


@pytest.fixture(scope="module")
def integer(tiny, seen):
    return quantise_transformer(tiny, seen, RECIPE)


def error(tiny, integer, tokens):
    """The root mean square of the logits' error over that of the logits themselves."""
    with torch.no_grad():
        exact = tiny.network(tokens).logits[0].double()
    given = integer.forward(tokens[0]) * 2.0**-integer.logit_fraction
    return float((given - exact).norm() / exact.norm())


def test_logits_are_close_to_the_float_model_s(tiny, integer):
    with lane.count_saturations() as saturated:
        assert error(tiny, integer, tiny_tokens(150)) < 0.05
    assert saturated["wide"] == saturated["factor"] == 0


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({"probability_bits": 7}, 0.05),
        ({"group_size": 48}, 0.05),
        ({"smoothing": 0.0}, 0.06),
        ({"bits": 4}, 0.6),
    ],
)
def test_recipes(tiny, seen, change, limit):
    integer = quantise_transformer(tiny, seen, replace(RECIPE, **change))
    assert error(tiny, integer, tiny_tokens(100)) < limit


def test_smoothing_helps_where_channels_have_outliers(tiny, seen, integer):
    plain = quantise_transformer(tiny, seen, replace(RECIPE, smoothing=0))
    tokens = tiny_tokens(100)
    assert error(tiny, integer, tokens) < error(tiny, plain, tokens)


def test_pruned_weights_keep_n_of_sixteen(tiny, seen):
    integer = quantise_transformer(tiny, seen, replace(RECIPE, sparsity="4:16"))
    kept = integer.layers[1].feed_forward.up.values != 0
    assert (kept.reshape(len(kept), -1, 16).sum(dim=2) <= 4).all()
    weight = tiny.weight("model.layers.1.mlp.up_proj")
    scores = importance(weight, seen.norms["layer 1 feed-forward inputs"][None])
    config = SparseChainConfig()
    mask = keep_mask(scores, uniform_keep(*scores.shape, 4, config), config)
    assert not (kept & ~mask).any()
    assert kept.sum() > 0.95 * mask.sum()  # a kept weight may be rounded to 0
    mixed = quantise_transformer(tiny, seen, replace(RECIPE, kept=0.3))
    counts = (mixed.layers[0].attention.query.values != 0).reshape(64, -1, 16).sum(dim=2)
    assert 0.25 < counts.double().mean() / 16 <= 0.3
    assert len(counts.unique()) > 1


def test_token_by_token_is_all_at_once(integer):
    tokens = tiny_tokens(150)[0]
    cache = Cache()
    parts = [integer.forward(some, cache) for some in tokens.split([1, 1, 7, 60, 1, 80])]
    assert torch.equal(torch.cat(parts), integer.forward(tokens))
    assert cache.tokens == 150


def test_a_later_token_changes_nothing_before(integer):
    tokens = tiny_tokens(40)[0]
    changed = tokens.clone()
    changed[-1] = (changed[-1] + 1) % VOCABULARY
    one, other = integer.forward(tokens), integer.forward(changed)
    assert torch.equal(one[:-1], other[:-1])
    assert not torch.equal(one[-1], other[-1])


def test_every_intermediate_vector_is_shown(integer):
    seen = {}
    tokens = tiny_tokens(5)[0]
    hidden = integer.hidden(tokens, watch=seen.__setitem__)
    assert torch.equal(seen["layer 1 output"], hidden)
    assert torch.equal(seen["embedding"], integer.embedding[tokens].long())
    layer, x = integer.layers[0], seen["embedding"]
    after = layer.attention_residual(x, seen["layer 0 attention output"])
    assert torch.equal(seen["layer 0 attention residual"], after)
    inputs, scale = layer.feed_forward_norm(after)
    assert torch.equal(seen["layer 0 feed-forward inputs"], inputs)
    assert torch.equal(seen["layer 0 gate"], layer.feed_forward.gate(inputs, scale))
    output = layer.feed_forward.down(*quantise(seen["layer 0 gated"]))
    assert torch.equal(seen["layer 0 feed-forward output"], output)
    assert torch.equal(seen["layer 0 output"], layer.feed_forward_residual(after, output))
    for name in ("queries", "query bytes", "keys", "values", "attention", "up"):
        assert len(seen[f"layer 1 {name}"]) == 5


def test_the_cache_uses_its_range(tiny):
    """Calibrated on the same text, each channel's largest value is 127 over the headroom."""
    tokens = tiny_tokens(60)
    recipe = replace(RECIPE, cache_headroom=1.0)
    integer = quantise_transformer(tiny, calibrate(tiny, tokens), recipe)
    cache = Cache()
    integer.hidden(tokens[0], cache)
    keys = cache.keys[0].long().abs().amax(dim=0)
    pairs = keys.reshape(2, -1, 2).amax(dim=2)
    values = cache.values[0].long().abs().amax(dim=0)
    for largest in (pairs, values):
        assert int(largest.min()) >= 122
        assert int(largest.max()) <= 128


@pytest.mark.parametrize("epsilon", [1e-5, 20.0])
def test_a_norm_is_close_to_the_float_one(epsilon):
    generator = torch.Generator().manual_seed(3)
    gain = torch.rand(64, generator=generator).double() + 0.1
    x = torch.randn(9, 64, generator=generator).double() * 5
    norm, fraction = norm_of(gain, epsilon, fraction=12)
    exact = x / (x.square().mean(dim=1, keepdim=True) + epsilon).sqrt() * gain
    given, scale = norm(torch.round(x * 2**12).long())
    unit = scale.value * 2.0**scale.exponent / 127 * 2.0**-fraction
    assert ((given * unit[:, None] - exact).abs() <= 0.51 * unit[:, None]).all()


def test_smoothing_is_smoothquant_s(tiny, seen):
    """gamma is the norm's weights over s, whose common factor is free."""
    integer = quantise_transformer(tiny, seen, replace(RECIPE, smoothing=0.7))
    mlp = tiny.network.model.layers[1].mlp
    weights = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).detach().double()
    s = seen.largest["layer 1 feed-forward inputs"] ** 0.7 / weights.abs().amax(dim=0) ** 0.3
    ratio = integer.layers[1].feed_forward_norm.gamma * s
    torch.testing.assert_close(ratio / ratio.mean(), torch.ones(64).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("bits", "limit"), [(14, 0.02), (7, 1.5)])
def test_attention_is_close_to_the_float_one(tiny, seen, bits, limit):
    """Of the same bytes: the error in units of the cached values."""
    integer = quantise_transformer(tiny, seen, replace(RECIPE, probability_bits=bits))
    attention = integer.layers[1].attention
    generator = torch.Generator().manual_seed(4)
    queries = torch.randint(-127, 128, (30, 4, 16), generator=generator)
    keys, values = torch.randint(-128, 128, (2, 70, 2, 16), generator=generator).to(torch.int8)
    wide = torch.randint(2**20, 2**21, (30, 4), generator=generator)
    scale = normalise(exact(wide))
    given = attend(attention, queries, scale, keys, values) * 2.0**-16

    unit = 2.0 ** (-attention.score_shift - attention.score_fraction)
    by_head = keys.double().repeat_interleave(2, dim=1).permute(1, 2, 0)
    scores = queries.double().permute(1, 0, 2) @ by_head * (wide.T[..., None] * unit)
    unseen = torch.ones(30, 70, dtype=torch.bool).triu(41)
    p = scores.masked_fill(unseen, float("-inf")).softmax(dim=-1)
    mixed = p @ values.double().repeat_interleave(2, dim=1).transpose(0, 1)
    assert scores.std() > 0.3
    assert (given - mixed.transpose(0, 1)).abs().max() < limit


@pytest.mark.parametrize(("x", "y", "out"), [(12, 14, 10), (10, 12, 14), (7, 7, 7), (20, 5, 6)])
def test_a_residual_moves_the_binary_point(x, y, out):
    total = residual(x, y, out)(torch.tensor([3 << x]), torch.tensor([5 << y]))
    assert total.tolist() == [8 << out]


def test_a_residual_rounds_once():
    assert Residual(1, 1, 1)(torch.tensor([2, 1]), torch.tensor([1, 2])).tolist() == [2, 2]


def test_a_residual_that_the_hardware_does_not_have():
    message = (
        "a residual has the factors 1 and 131072 and the shift 0; allowed are up to 131071, and "
        "0 to 47"
    )
    with pytest.raises(ShapeError, match=f"^{message}$"):
        Residual(1, 2**17, 0)
    with pytest.raises(ShapeError, match=r"^a residual has the factors 1 and 1 and the shift 48;"):
        Residual(1, 1, 48)


def test_fraction_bits():
    assert fraction_bits(1.0, 8, headroom=1) == 6
    assert fraction_bits(127 / 64, 8, headroom=1) == 6
    assert fraction_bits(2.0, 8, headroom=1) == 5
    assert fraction_bits(1.0, 27, headroom=4) == 23
    assert fraction_bits(0.0) == 40


def test_the_shape_is_the_configuration_s(tiny):
    shape = shape_of(tiny)
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads) == (2, 64, 4, 2)
    assert (shape.head_size, shape.feed_forward, shape.vocabulary) == (16, 128, VOCABULARY)


def test_tokens_of_no_vocabulary(integer):
    message = f"a token is not one of the {VOCABULARY} of the vocabulary"
    for token in (-1, VOCABULARY):
        with pytest.raises(ShapeError, match=f"^{message}$"):
            integer.hidden(torch.tensor([0, token]))


def test_too_many_tokens(integer):
    cache = Cache()
    integer.hidden(tiny_tokens(200)[0], cache)
    message = "the text has 257 tokens; this model was made for 256"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        integer.hidden(tiny_tokens(57)[0], cache)


def test_sums_of_all_positions_do_not_saturate(integer):
    """The worst that attention can meet: equal scores, values of -128, all positions."""
    attention = replace(integer.layers[0].attention, score_shift=0)
    positions = integer.max_positions
    queries = torch.zeros(1, 4, 16, dtype=torch.int64)
    scale = functions.magnitude(torch.ones(1, 4, 16, dtype=torch.int64))
    keys = torch.zeros(positions, 2, 16, dtype=torch.int8)
    with lane.count_saturations() as saturated:
        given = attend(attention, queries, scale, keys, torch.full_like(keys, -128))
    assert sum(saturated.values()) == 0
    assert (given + (128 << 16)).abs().max() <= 128 << 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smoothing": 1.5}, "smoothing is 1.5; allowed are 0 to 1"),
        ({"probability_bits": 8}, "probability_bits is 8; allowed are 7 and 14"),
        ({"cache_headroom": 0.9}, "cache_headroom is 0.9; 1 is the least"),
        (
            {"max_positions": 1000},
            "max_positions is 1000; allowed are powers of two, 64 to 4096",
        ),
        (
            {"sparsity": "8:16", "kept": 0.5},
            "carried, plan, sparsity and kept exclude each other; give one of them",
        ),
        ({"bits": 7}, "bits is 7; allowed are 2, 3, 4, 5, 6, 8"),
        ({"group_size": 100}, "group_size is 100; a multiple of 16 is needed, up to 448"),
        ({"zero_fraction_bits": 4}, "zero_fraction_bits is 4; allowed are 0 to 3"),
    ],
)
def test_recipes_that_are_refused(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Recipe(**fields)

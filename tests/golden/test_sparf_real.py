"""SparF on real queries, keys and values of SmolLM2-135M: 300 tokens, all layers."""

from dataclasses import replace

import pytest
import torch
from transformers import AttentionInterface

from golden import attention_engine, perplexity, sparf
from golden import attention_engine_formats as formats
from golden.language_model import load, smollm2_file
from golden.spec.attention_engine import AttentionConfig, KvFormat

TOKENS = 300
CONTEXTS = torch.tensor([1, 2, 100, 170, 240, 299, 300])
CONFIG = AttentionConfig(head_size=64, queries=3)


@pytest.fixture(scope="module")
def heads():
    """Of every fifth layer: (queries [contexts, 3, 64], keys, values) of the first kv head."""
    model = load(smollm2_file())
    seen = []

    def grab(module, q, k, v, mask, scaling=None, **_):
        if module.layer_idx % 5 == 0:
            seen.append((q[0, :3, CONTEXTS - 1].transpose(0, 1), k[0, 0], v[0, 0]))
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).contiguous(), None

    AttentionInterface.register("grab", grab)
    model.network.set_attn_implementation("grab")
    with torch.no_grad():
        model.network(perplexity.first_tokens(model, perplexity.evaluation_text(), TOKENS))
    return seen


def cache(config, keys, values):
    """The cache, and what the host multiplies queries and outputs with."""
    if config.kv_format is KvFormat.FP16:
        fractions = [formats.fraction_for(float(x.abs().max())) for x in (keys, values)]
        return formats.from_half(keys.half(), values.half(), *fractions), 1.0, 1.0
    scales = [formats.channel_scales(x) for x in (keys, values)]
    stored = [formats.to_bytes(x, s) for x, s in zip((keys, values), scales, strict=True)]
    return formats.from_bytes(*stored), *(s.float() for s in scales)


@pytest.mark.parametrize(
    ("kv_format", "query_bits", "most"),
    [(KvFormat.FP16, 16, 1e-3), (KvFormat.INT8, 16, 0.03), (KvFormat.INT8, 8, 0.08)],
)
def test_dense_attention_on_real_heads(heads, kv_format, query_bits, most):
    """Of a head's outputs together, against float32 and no cache: formats and arithmetic."""
    config = replace(CONFIG, kv_format=kv_format, query_bits=query_bits)
    for q, keys, values in heads:
        exact = sparf.dense(q, keys, values, CONTEXTS)
        kv, key_scale, value_scale = cache(config, keys, values)
        queries = formats.to_queries(config, (q * key_scale).half())
        wide = attention_engine.outputs(
            config, attention_engine.dense(config, queries, kv, CONTEXTS)
        )
        got = formats.to_half(config, wide, kv.value_fraction) * value_scale
        assert float((got - exact).norm() / exact.norm()) < most


@pytest.mark.parametrize("kv_format", KvFormat)
@pytest.mark.parametrize("ratio", [2, 8])
def test_sparf_on_real_heads(heads, kv_format, ratio):
    """The integers choose what float chooses from the same numbers, but for close ones."""
    config = replace(CONFIG, kv_format=kv_format, ratio=ratio)
    same, chosen = 0, 0
    for q, keys, values in heads:
        kv, key_scale, _ = cache(config, keys, values)
        queries = formats.to_queries(config, (q * key_scale).half())
        partial, choice = attention_engine.sparf(config, queries, kv, CONTEXTS)
        numbers = (
            queries.values * 2.0 ** -queries.fraction[:, None, None].double(),
            kv.keys * 2.0 ** torch.tensor(-kv.key_fraction).double(),
            kv.values.double(),
        )
        result = sparf.sparf(config, *numbers, CONTEXTS)
        assert torch.equal(choice.channels, result.channels)
        same += int((choice.tokens & result.tokens).sum())
        chosen += int(result.tokens.sum())
        got = attention_engine.outputs(config, partial) * 2.0**-config.output_fraction_bits
        equal = (choice.tokens == result.tokens).all(dim=-1)
        error = (got - result.outputs)[equal].abs().max()
        assert float(error) < 2.0**-13 * float(kv.values.abs().max())
    assert same / chosen > 0.999


def test_what_is_lost_on_real_heads(heads):
    """Less with more; measured over far more in docs/sparf.md."""
    errors = {}
    for ratio in (2, 4, 8, 16):
        config = replace(CONFIG, ratio=ratio)
        parts = []
        for q, keys, values in heads:
            exact = sparf.dense(q, keys, values, CONTEXTS)
            got = sparf.sparf(config, q, keys, values, CONTEXTS).outputs
            parts.append(((got - exact).norm(dim=-1) / exact.norm(dim=-1)).mean())
        errors[ratio] = float(torch.stack(parts).mean())
    assert errors[2] < errors[4] < errors[8] < errors[16]
    assert errors[2] < 0.1
    assert errors[8] < 0.35

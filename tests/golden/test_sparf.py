"""SparF in float: each step against a plain reading of it, one query at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.sparf import choose_tokens, dense, probabilities, seen, sparf, temperature
from golden.spec.attention_engine import AttentionConfig, Selection, Temperature


def case(config, tokens, seed=0, groups=2):
    random = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, tokens, config.head_size, generator=random, dtype=torch.float64)
    shape = (groups, config.queries, config.head_size)
    return 2 * torch.randn(shape, generator=random, dtype=torch.float64), keys, values


def softmax(x):
    powers = [math.exp(t - max(x)) for t in x]
    return [p / sum(powers) for p in powers]


def by_hand(config, q, keys, values):
    """One group's outputs, in lists of floats: SparF as docs/sparf.md tells it."""
    size = len(q[0])
    group = [list(range(len(q)))]
    if config.selection is Selection.PER_HEAD:
        group = [[h] for h in range(len(q))]
    outputs = {}
    for heads in group:
        weight = [sum(abs(q[h][c]) for h in heads) for c in range(size)]
        channels = sorted(range(size), key=lambda c: -weight[c])[: config.channels]
        logits, likely = {}, {}
        for h in heads:
            part = sum(abs(q[h][c]) for c in channels)
            ratio = sum(map(abs, q[h])) / part
            factor = {"sparq": math.sqrt(ratio), "ratio": ratio, "none": 1}
            by = factor[config.temperature.value] / math.sqrt(size)
            logits[h] = [by * sum(q[h][c] * key[c] for c in channels) for key in keys]
            likely[h] = softmax(logits[h])
        score = likely if config.selection is Selection.PROBABILITIES else logits
        total = [sum(score[h][j] for h in heads) for j in range(len(keys))]
        last = len(keys) - 1
        k = config.tokens(len(keys))
        newest = list(range(last - min(k // 2, config.local), last))
        rest = sorted((j for j in range(last) if j not in newest), key=lambda j: -total[j])
        kept = sorted([*rest[: k - len(newest)], *newest, last])
        for h in heads:
            exact = softmax(
                [
                    sum(a * b for a, b in zip(q[h], keys[j], strict=True)) / math.sqrt(size)
                    for j in kept
                ]
            )
            alpha = sum(likely[h][j] for j in kept) if config.compensation else 1
            outputs[h] = [
                alpha * sum(p * values[j][c] for p, j in zip(exact, kept, strict=True))
                + (1 - alpha) * sum(v[c] for v in values) / len(values)
                for c in range(size)
            ]
    return [outputs[h] for h in range(len(q))]


@settings(max_examples=60)
@given(
    st.builds(
        AttentionConfig,
        head_size=st.just(16),
        queries=st.integers(1, 3),
        ratio=st.sampled_from([1, 2, 4, 8]),
        local=st.integers(0, 4),
        temperature=st.sampled_from(Temperature),
        selection=st.sampled_from(Selection),
        compensation=st.booleans(),
    ),
    st.integers(1, 30),
    st.integers(0, 99),
)
def test_sparf_by_hand(config, context, seed):
    q, keys, values = case(config, 30, seed, groups=1)
    result = sparf(config, q, keys, values, torch.tensor([context]))
    expected = by_hand(config, q[0].tolist(), keys[:context].tolist(), values[:context].tolist())
    assert torch.allclose(result.outputs[0], torch.tensor(expected).double(), atol=1e-9)


def test_dense_is_the_library_s():
    config = AttentionConfig(head_size=16, queries=3)
    q, keys, values = case(config, 20)
    contexts = torch.tensor([20, 7])
    got = dense(q, keys, values, contexts)
    for group, context in enumerate(contexts.tolist()):
        expected = torch.nn.functional.scaled_dot_product_attention(
            q[group], keys[:context], values[:context]
        )
        assert torch.allclose(got[group], expected)


def test_with_everything_kept_sparf_is_dense():
    config = AttentionConfig(head_size=16, queries=2, ratio=1, k=1000)
    q, keys, values = case(config, 50)
    contexts = torch.tensor([50, 30])
    result = sparf(config, q, keys, values, contexts)
    assert torch.allclose(result.outputs, dense(q, keys, values, contexts))
    assert torch.allclose(result.weight, torch.ones(2, 2).double())


def test_queries_do_not_change_each_other():
    config = AttentionConfig(head_size=16, queries=2, ratio=4)
    q, keys, values = case(config, 60, groups=5)
    contexts = torch.tensor([1, 2, 30, 59, 60])
    together = sparf(config, q, keys, values, contexts)
    for each in range(5):
        alone = sparf(config, q[each : each + 1], keys, values, contexts[each : each + 1])
        assert torch.allclose(together.outputs[each], alone.outputs[0])
        assert torch.equal(together.tokens[each], alone.tokens[0])


def test_what_comes_later_does_not_count():
    config = AttentionConfig(head_size=16, queries=2, ratio=4)
    q, keys, values = case(config, 60)
    contexts = torch.tensor([40, 40])
    first = sparf(config, q, keys, values, contexts)
    keys[40:], values[40:] = 1e3, -1e3
    assert torch.equal(sparf(config, q, keys, values, contexts).outputs, first.outputs)


@pytest.mark.parametrize("kind", Temperature)
def test_temperatures(kind):
    config = AttentionConfig(head_size=16, temperature=kind)
    q = torch.tensor([[4.0, -3.0, 2.0, 0.0]])
    some = torch.tensor([[4.0, 0.0, 0.0, 0.0]])
    expected = {Temperature.SPARQ: 1.5, Temperature.RATIO: 2.25, Temperature.NONE: 1.0}[kind]
    assert temperature(config, q, some).tolist() == [expected]
    none = temperature(config, q, torch.zeros(1, 4))
    assert none.tolist() == [1.0 if kind is Temperature.NONE else 0.0]


def test_equal_tokens_come_by_lower_index():
    config = AttentionConfig(head_size=16, k=3, local=1)
    logits = torch.tensor([[[1.0, 2.0, 1.0, 1.0, 0.0, 0.0]]])
    kept = choose_tokens(config, logits, logits, torch.tensor([6]))
    assert kept[0, 0].nonzero().flatten().tolist() == [0, 1, 4, 5]


def test_probabilities_are_0_elsewhere():
    config = AttentionConfig(head_size=16)
    q, keys, _ = case(config, 9)
    p = probabilities(q, keys, seen(torch.tensor([4, 9]), 9))
    assert torch.allclose(p.sum(dim=-1), torch.ones(2, 1).double())
    assert not p[0, :, 4:].any()
    assert p[0, :, :4].all()


def test_a_planted_token_is_found():
    """A key along the query among noise: what the first step is for."""
    config = AttentionConfig(head_size=64, ratio=8, local=0)
    random = torch.Generator().manual_seed(0)
    found = 0
    for _ in range(50):
        q, keys, values = case(config, 200, int(torch.randint(1000, (), generator=random)), 1)
        place = int(torch.randint(0, 190, (), generator=random))
        keys[place] = 0.5 * q[0, 0]
        tokens = sparf(config, q, keys, values, torch.tensor([200])).tokens
        found += int(tokens[0, 0, place])
    assert found == 50

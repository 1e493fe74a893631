"""Dense and SparF attention in integers: by hand, against float, in parts, and bad input."""

import re
from dataclasses import replace
from itertools import pairwise

import attention_by_hand as by_hand
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import sparf as real
from golden.attention_engine import (
    Compensation,
    Partial,
    choose_channels,
    dense,
    largest,
    merge_partials,
    outputs,
    sparf,
    weight,
)
from golden.attention_engine_formats import (
    KvHead,
    Queries,
    channel_scales,
    fraction_for,
    from_bytes,
    from_half,
    to_bytes,
    to_half,
    to_queries,
)
from golden.attention_engine_sums import Sums
from golden.spec.attention_engine import AttentionConfig, KvFormat, Selection, Temperature
from golden.spec.errors import ConfigError, ShapeError

CONFIG = AttentionConfig(head_size=16, queries=2, ratio=4, local=3)
MOST_ERROR = 2.0**-13
"""Of an output, over the largest |value|: what docs/sparf.md promises."""


def case(config, tokens, seed=0, groups=3, spread=2.0):
    """Random FP16 queries, and a cache of random keys and values."""
    random = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, tokens, config.head_size, generator=random)
    q = torch.randn(groups, config.queries, config.head_size, generator=random) * spread
    if config.kv_format is KvFormat.FP16:
        largest_key, largest_value = (float(x.abs().max()) for x in (keys, values))
        fractions = fraction_for(largest_key), fraction_for(largest_value)
        return to_queries(config, q.half()), from_half(keys.half(), values.half(), *fractions)
    scales = channel_scales(keys), channel_scales(values)
    kv = from_bytes(to_bytes(keys, scales[0]), to_bytes(values, scales[1]))
    return to_queries(config, (q * scales[0]).half()), kv


def in_float(config, queries, kv):
    """What the integers are worth: queries, keys and values."""
    q = queries.values * 2.0 ** -queries.fraction[..., None, None].double()
    return q, kv.keys.double() * 2.0**-kv.key_fraction, kv.values.double()


def worth(config, wide):
    return wide * 2.0**-config.output_fraction_bits


def equal(a, b):
    """Whether two partial results are the same, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return a is b is None or all(equal(x, y) for x, y in zip(a, b, strict=True))


CONFIGS = st.builds(
    AttentionConfig,
    head_size=st.sampled_from([16, 24, 64]),
    queries=st.integers(1, 3),
    kv_format=st.sampled_from(KvFormat),
    ratio=st.sampled_from([1, 2, 4, 8, 16]),
    local=st.integers(0, 8),
    temperature=st.sampled_from(Temperature),
    selection=st.sampled_from(Selection),
    compensation=st.booleans(),
    query_bits=st.sampled_from([8, 12, 16]),
    probability_bits=st.sampled_from([8, 12, 16]),
)


# By hand.


@settings(max_examples=15)
@given(CONFIGS, st.integers(1, 12), st.integers(0, 99), st.sampled_from([0.01, 1.0, 30.0]))
def test_dense_attention_by_hand(config, tokens, seed, spread):
    config = replace(config, head_size=16)
    queries, kv = case(config, tokens, seed, groups=1, spread=spread)
    got = outputs(config, dense(config, queries, kv, torch.tensor([tokens])))
    for head in range(config.queries):
        expected = by_hand.attention(
            config,
            queries.values[0, head].tolist(),
            int(queries.fraction),
            kv.keys.tolist(),
            kv.values.tolist(),
            kv.key_fraction,
            range(tokens),
        )
        assert got[0, head].tolist() == expected


@settings(max_examples=25)
@given(CONFIGS, st.integers(1, 40), st.integers(0, 99))
def test_sparf_by_hand(config, tokens, seed):
    """From the first step's logits on, everything else is by hand."""
    config = replace(config, head_size=16)
    queries, kv = case(config, tokens, seed, groups=1)
    partial, choice = sparf(config, queries, kv, torch.tensor([tokens]))
    sizes = queries.values[0].abs()
    per_head = config.selection is Selection.PER_HEAD
    for head in range(config.queries):
        size = sizes[head] if per_head else sizes.sum(dim=0)
        channels = by_hand.best(size.tolist(), config.channels)
        assert choice.channels[0, head].nonzero().flatten().tolist() == sorted(channels)
        t = choice.logits[0, head] if per_head else choice.logits[0].sum(dim=0)
        if config.selection is Selection.PROBABILITIES:
            rows = [by_hand.shares(config, row.tolist()) for row in choice.logits[0]]
            t = [sum(column) for column in zip(*rows, strict=True)]
        k = config.tokens(tokens)
        local = min(k // 2, config.local)
        newest = list(range(tokens - 1 - local, tokens))
        older = [int(x) for x in t[: newest[0]]]
        kept = sorted(newest + by_hand.best(older, k - local))
        assert choice.tokens[0, head].nonzero().flatten().tolist() == kept
        plain = by_hand.attention(
            config,
            queries.values[0, head].tolist(),
            int(queries.fraction),
            kv.keys.tolist(),
            kv.values.tolist(),
            kv.key_fraction,
            kept,
        )
        if config.compensation:
            alpha = by_hand.share_of_kept(config, choice.logits[0, head].tolist(), kept)
            assert int(weight(partial.compensation)[0, head]) == alpha
            sums = kv.values.sum(dim=0).tolist()
            mean = [by_hand.divided(config, x << 15, tokens << 15) for x in sums]
            plain = [
                by_hand.wide(by_hand.shifted(x * alpha + m * (2**16 - alpha), 16))
                for x, m in zip(plain, mean, strict=True)
            ]
        assert outputs(config, partial)[0, head].tolist() == plain


# Against float.


@settings(max_examples=40)
@given(
    CONFIGS, st.integers(1, 300), st.integers(0, 999), st.sampled_from([0.0, 0.01, 1.0, 5.0, 40.0])
)
def test_errors_against_float(config, tokens, seed, spread):
    config = replace(config, probability_bits=16)
    queries, kv = case(config, tokens, seed, spread=spread)
    contexts = torch.tensor([tokens, (tokens + 1) // 2, 1])
    q, keys, values = in_float(config, queries, kv)
    most = MOST_ERROR * float(values.abs().max())
    exact = real.dense(q, keys, values, contexts)
    got = worth(config, outputs(config, dense(config, queries, kv, contexts)))
    assert float((got - exact).abs().max()) <= most
    partial, choice = sparf(config, queries, kv, contexts)
    got = worth(config, outputs(config, partial))
    assert float((got - with_tokens(config, q, keys, values, contexts, choice)).abs().max()) <= most


def with_tokens(config, q, keys, values, contexts, choice):
    """SparF in float, of the channels and tokens that the engine chose: equal logits may differ."""
    some = torch.where(choice.channels, q, 0)
    factor = real.temperature(config, q, some).unsqueeze(-1)
    seen = real.seen(contexts, len(keys))
    result = real.probabilities(q, keys, choice.tokens) @ values
    if not config.compensation:
        return result
    alpha = (real.probabilities(some * factor, keys, seen) * choice.tokens).sum(-1, keepdim=True)
    mean = seen.double() @ values / contexts[:, None, None]
    return alpha * result + (1 - alpha) * mean


@pytest.mark.parametrize("selection", Selection)
@pytest.mark.parametrize("kv_format", KvFormat)
def test_what_is_chosen_is_what_float_chooses(selection, kv_format):
    config = replace(CONFIG, head_size=64, selection=selection, kv_format=kv_format)
    queries, kv = case(config, 400, groups=8)
    contexts = torch.arange(50, 450, 50)
    choice = sparf(config, queries, kv, contexts)[1]
    result = real.sparf(config, *in_float(config, queries, kv), contexts)
    assert torch.equal(choice.channels, result.channels)
    assert torch.equal(choice.tokens, result.tokens)


@pytest.mark.parametrize("kv_format", KvFormat)
@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_operands(kv_format, sign):
    """The largest scores and values there are."""
    config = AttentionConfig(head_size=64, queries=1, kv_format=kv_format, context_bits=10)
    tokens, most = 512, 2 ** (config.element_bits - 1)
    q = torch.full((1, 1, 64), 32767)
    kv = KvHead(torch.full((tokens, 64), sign * (most - 1)), torch.full((tokens, 64), -most))
    for fraction in (-60, 8, 60):
        queries = Queries(q, torch.tensor([fraction]))
        for partial in (
            dense(config, queries, kv, torch.tensor([tokens])),
            sparf(config, queries, kv, torch.tensor([tokens]))[0],
        ):
            got = worth(config, outputs(config, partial))
            assert float((got + most).abs().max()) <= MOST_ERROR * most


def test_a_score_fits_in_its_bits():
    config = AttentionConfig(head_size=128)
    most = 128 * (2**15 - 1) * 2**15
    assert most.bit_length() == config.score_bits - 1


# Parts, and the order of tokens.


@settings(max_examples=25)
@given(CONFIGS, st.integers(2, 60), st.integers(0, 99), st.data())
def test_dense_parts_merge_exactly(config, tokens, seed, data):
    queries, kv = case(config, tokens, seed)
    whole = dense(config, queries, kv, torch.full((3,), tokens))
    cuts = sorted(data.draw(st.sets(st.integers(1, tokens - 1), max_size=4)))
    bounds = [0, *cuts, tokens]
    parts = []
    for start, end in pairwise(bounds):
        own = kv.part(slice(start, end))
        parts.append(dense(config, queries, own, torch.full((3,), end - start)))
    for order in (parts, parts[::-1], data.draw(st.permutations(parts))):
        merged = order[0]
        for part in order[1:]:
            merged = merge_partials(merged, part)
        assert equal(merged, whole)


def test_the_order_of_tokens_does_not_matter():
    queries, kv = case(CONFIG, 50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    turned = KvHead(kv.keys[order], kv.values[order], kv.key_fraction, kv.value_fraction)
    contexts = torch.full((3,), 50)
    assert equal(dense(CONFIG, queries, kv, contexts), dense(CONFIG, queries, turned, contexts))


def test_sparf_of_a_sequence_on_two_drives():
    """Each drive chooses from what it has; only the second one has the current token."""
    queries, kv = case(CONFIG, 64)
    first, a = sparf(CONFIG, queries, kv.part(slice(0, 32)), torch.full((3,), 32), ends=False)
    second, b = sparf(CONFIG, queries, kv.part(slice(32, 64)), torch.full((3,), 32))
    assert a.tokens.sum(dim=-1).unique().tolist() == [4]
    assert b.tokens.sum(dim=-1).unique().tolist() == [5]
    assert not a.tokens[0, 0, 28:].all() or a.tokens[0, 0, 29:].all()
    merged = outputs(CONFIG, merge_partials(first, second))
    assert torch.equal(merged, outputs(CONFIG, merge_partials(second, first)))
    both = a._replace(
        channels=a.channels,
        tokens=torch.cat([a.tokens, b.tokens], dim=-1),
        logits=torch.cat([a.logits, b.logits], dim=-1),
    )
    q, keys, values = in_float(CONFIG, queries, kv)
    exact = with_tokens(CONFIG, q, keys, values, torch.full((3,), 64), both)
    assert float((worth(CONFIG, merged) - exact).abs().max()) <= MOST_ERROR * 2**15


def test_parts_have_the_same_settings():
    queries, kv = case(CONFIG, 20)
    contexts = torch.full((3,), 20)
    message = "only one of two parts has a compensation; both need the same settings"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_partials(
            dense(CONFIG, queries, kv, contexts), sparf(CONFIG, queries, kv, contexts)[0]
        )


# What is chosen.


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.integers(0, 25))
def test_the_largest_come_with_ties_by_lower_index(keys, count):
    got = largest(torch.tensor(keys), torch.tensor(count)).nonzero().flatten().tolist()
    assert got == sorted(by_hand.best(keys, count))


def test_a_group_chooses_channels_together():
    values = torch.zeros(1, 2, 16, dtype=torch.int64)
    values[0, 0, 3], values[0, 1, 5], values[0, :, 9], values[0, :, 11] = -9, 8, 5, -4
    queries = Queries(values, torch.tensor([0]))
    config = replace(CONFIG, r=2)
    assert choose_channels(config, queries)[0].nonzero()[:, 1].tolist() == [3, 9] * 2
    alone = choose_channels(replace(config, selection=Selection.PER_HEAD), queries)[0]
    assert alone.nonzero().tolist() == [[0, 3], [0, 9], [1, 5], [1, 9]]


@pytest.mark.parametrize("context", range(1, 12))
def test_the_current_token_is_kept_beside_k(context):
    config = replace(CONFIG, k=5, local=2)
    queries, kv = case(config, 12)
    tokens = sparf(config, queries, kv, torch.full((3,), context))[1].tokens
    assert tokens.sum(dim=-1).unique().tolist() == [min(context, 6)]
    assert tokens[..., max(context - 1 - min((context - 1) // 2, 2), 0) : context].all()
    assert not tokens[..., context:].any()


def test_heads_that_choose_alone_are_groups_of_one():
    config = replace(CONFIG, selection=Selection.PER_HEAD)
    queries, kv = case(config, 50)
    contexts = torch.full((3,), 50)
    together, choice = sparf(config, queries, kv, contexts)
    one = replace(config, queries=1)
    for head in range(2):
        own = Queries(queries.values[:, head : head + 1], queries.fraction)
        alone, chosen = sparf(one, own, kv, contexts)
        assert torch.equal(chosen.tokens[:, 0], choice.tokens[:, head])
        assert torch.equal(outputs(one, alone)[:, 0], outputs(config, together)[:, head])


def test_if_all_is_kept_it_is_dense_attention():
    config = replace(CONFIG, ratio=1, r=5, k=40)
    queries, kv = case(config, 40)
    contexts = torch.full((3,), 40)
    partial = sparf(config, queries, kv, contexts)[0]
    whole = dense(config, queries, kv, contexts)
    assert equal(partial.attention, whole.attention)
    assert int(weight(partial.compensation).min()) >= 2**16 - 1
    plain = sparf(replace(config, compensation=False), queries, kv, contexts)[0]
    assert torch.equal(outputs(config, plain), outputs(config, whole))


def test_alpha_of_many_masses():
    """Whatever its 16 bits, all of a mass is a weight of 1 but for a unit, and never more."""
    masses = torch.arange(2**15, 2**16 + 1, 5)
    bins = torch.stack([masses, *[torch.zeros_like(masses)] * 3], dim=-1)
    sums = Sums(torch.zeros_like(masses), bins, bins.unsqueeze(-1)[..., :0])
    alpha = weight(Compensation(sums, sums, masses, masses))
    assert (int(alpha.min()), int(alpha.max())) == (2**16 - 1, 2**16)
    half = Sums(sums.top, bins // 2, sums.mixed)
    alpha = weight(Compensation(sums, half, masses, masses))
    assert float((alpha - 2**15).abs().max()) <= 2


def test_a_context_of_nothing_gives_zeros():
    queries, kv = case(CONFIG, 5)
    contexts = torch.tensor([0, 0, 5])
    for partial in (dense(CONFIG, queries, kv, contexts), sparf(CONFIG, queries, kv, contexts)[0]):
        got = outputs(CONFIG, partial)
        assert not got[:2].any()
        assert got[2].any()
        assert not to_half(CONFIG, got, kv.value_fraction)[:2].any()


def test_queries_of_zeros_give_the_mean():
    queries, kv = case(CONFIG, 32, spread=0.0)
    contexts = torch.full((3,), 32)
    mean = kv.values.double().mean(dim=0)
    for partial in (
        dense(CONFIG, queries, kv, contexts),
        sparf(replace(CONFIG, k=32), queries, kv, contexts)[0],
    ):
        error = worth(CONFIG, outputs(CONFIG, partial)) - mean
        assert float(error.abs().max()) <= MOST_ERROR * 2**15


# Bad input.


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def test_bad_input():
    queries, kv = case(CONFIG, 8)
    contexts = torch.full((3,), 8)
    with refuses(ShapeError, "contexts span 8 to 9; 0 to 8 are there"):
        dense(CONFIG, queries, kv, torch.tensor([8, 9, 8]))
    with refuses(
        ShapeError,
        "queries are [3, 2, 16] and contexts [2]; needed are [..., 2, 16] and [...]",
    ):
        sparf(CONFIG, queries, kv, contexts[:2])
    with refuses(ShapeError, "keys are [8, 16] and values [7, 16]; both must be [tokens, 16]"):
        dense(CONFIG, queries, KvHead(kv.keys, kv.values[:7]), contexts)
    small = replace(CONFIG, context_bits=10)
    many = KvHead(kv.keys.repeat(129, 1), kv.values.repeat(129, 1))
    with refuses(ConfigError, "there are 1032 tokens; context_bits allows 1024"):
        dense(small, queries, many, contexts)


def test_a_partial_result_without_compensation_is_sums_only():
    queries, kv = case(CONFIG, 8)
    assert dense(CONFIG, queries, kv, torch.full((3,), 8))._fields == Partial._fields
    assert dense(CONFIG, queries, kv, torch.full((3,), 8)).compensation is None

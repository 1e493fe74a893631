"""What the drive's attention engine computes, bit for bit: dense decode attention, and SparF.

One kv head and its group of queries; docs/sparf.md has each step with its numbers. All products and
sums are exact integers, and sums of powers are kept in bins (`golden.attention_engine_sums`). So no
result depends on how many elements are multiplied per cycle, or on the order of tokens or channels.

`golden.sparf` is the same in float.
"""

import math
from typing import NamedTuple

import torch

from golden.attention_engine_formats import KvHead, Queries
from golden.attention_engine_sums import (
    Powers,
    Sums,
    add_up,
    divide,
    exponent_of,
    logits,
    lower,
    mass,
    merge,
    mixture,
    powers,
)
from golden.spec.attention_engine import (
    BIN_OCTAVES,
    BINS,
    LOGIT_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    AttentionConfig,
    Selection,
    Temperature,
)
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.special_function_unit import MANTISSA_BITS
from golden.special_functions import lane, scalars
from golden.special_functions.rounding import shift_round
from golden.special_functions.scalars import Scalar, exact

KEY_FRACTION_BITS = 26
"""Fraction bits of a probability by which tokens are chosen."""

ONE = 1 << WEIGHT_FRACTION_BITS
"""A weight of 1."""


class Choice(NamedTuple):
    """What SparF's first step chose.

    Attributes:
        channels: bool [..., queries, head_size]. tokens: bool [..., queries, tokens].
        logits: of the first step, int64 [..., queries, tokens].
    """

    channels: torch.Tensor
    tokens: torch.Tensor
    logits: torch.Tensor


class Compensation(NamedTuple):
    """What SparF needs of the tokens that it does not keep.

    Attributes:
        whole: sums of the first step's powers over all tokens, [..., queries], without values.
        kept: the same over the kept ones.
        value_sum: of all tokens, int64 [..., head_size]. tokens: their number, int64 [...].
    """

    whole: Sums
    kept: Sums
    value_sum: torch.Tensor
    tokens: torch.Tensor


class Partial(NamedTuple):
    """What a part of a sequence gives; parts on any number of drives merge into the whole.

    Attributes:
        attention: sums over the kept tokens, [..., queries].
        compensation: of SparF, if it compensates.
    """

    attention: Sums
    compensation: Compensation | None = None


def dense(config: AttentionConfig, queries: Queries, kv: KvHead, contexts: torch.Tensor) -> Partial:
    """Return dense attention's sums.

    Args:
        queries: [..., queries, head_size]. contexts: how many of the tokens each group of queries
            sees, from the first on, int64 [...].

    Raises:
        ShapeError: shapes do not fit. ConfigError: there are more tokens than fit.
    """
    return Partial(_attend(config, queries, kv, _seen(config, queries, kv, contexts)))


def sparf(
    config: AttentionConfig,
    queries: Queries,
    kv: KvHead,
    contexts: torch.Tensor,
    *,
    ends: bool = True,
) -> tuple[Partial, Choice]:
    """Return SparF's sums, and what was chosen.

    Args:
        queries, kv, contexts: as in `dense`.
        ends: the last token seen is the sequence's current one, which is kept beside the k chosen.
            Of a sequence that is divided over drives it is True for the last part only.

    Raises:
        ShapeError, ConfigError: as in `dense`.
    """
    seen = _seen(config, queries, kv, contexts)
    channels = choose_channels(config, queries)
    some = torch.where(channels, queries.values, 0)
    factor = temperature(config, queries.values, some)
    scale = logit_scales(config, queries, kv.key_fraction, factor)
    approximate = logits(_scores(some, kv), scale)
    likely = powers(config, approximate)
    whole = add_up(likely, seen)
    key = token_keys(config, approximate, likely, whole)
    tokens = choose_tokens(config, key, contexts, ends=ends).expand_as(approximate)
    sums = _attend(config, queries, kv, tokens)
    choice = Choice(channels, tokens, approximate)
    if not config.compensation:
        return Partial(sums), choice
    each = seen.squeeze(-2)
    value_sum = (each.double() @ kv.values.double()).long()
    missed = Compensation(whole, add_up(likely, tokens), value_sum, each.sum(dim=-1))
    return Partial(sums, missed), choice


def merge_partials(first: Partial, second: Partial) -> Partial:
    """Return what two parts of a sequence give together: exact, in any order and grouping.

    Raises:
        ConfigError: only one of them has a compensation.
    """
    sums = merge(first.attention, second.attention)
    a, b = first.compensation, second.compensation
    if a is None and b is None:
        return Partial(sums)
    if a is None or b is None:
        raise ConfigError("only one of two parts has a compensation; both need the same settings")
    missed = Compensation(
        merge(a.whole, b.whole),
        merge(a.kept, b.kept),
        a.value_sum + b.value_sum,
        a.tokens + b.tokens,
    )
    return Partial(sums, missed)


def outputs(config: AttentionConfig, partial: Partial) -> torch.Tensor:
    """Return the attention's outputs, int64 [..., queries, head_size].

    They have `config.output_fraction_bits` in units of the values' least bit;
    `attention_engine_formats.to_half` makes FP16 of them.
    """
    exactly = mixture(config, partial.attention)
    missed = partial.compensation
    if missed is None:
        return exactly
    # The mean is what attention would give if all logits were 0: each power is 2**15.
    unit = MANTISSA_BITS - 1
    mean = divide(config, missed.value_sum << unit, missed.tokens << unit).unsqueeze(-2)
    alpha = weight(missed).unsqueeze(-1)
    return lane.combine(exactly, alpha, WEIGHT_FRACTION_BITS, mean, ONE - alpha)


def weight(missed: Compensation) -> torch.Tensor:
    """Return alpha, the kept tokens' share of the first step's mass, 0 to 2**16: int64 [...]."""
    share = scalars.reciprocal(exact(mass(missed.whole)))
    kept = mass(lower(missed.kept, missed.whole.top))
    kept = shift_round(kept, exponent_of(share).clamp(min=0))
    return shift_round(kept * share.value, MANTISSA_BITS - 1).clamp(max=ONE)


def choose_channels(config: AttentionConfig, queries: Queries) -> torch.Tensor:
    """Return the `config.channels` channels with the largest |q|, bool [..., queries, head_size].

    Unless each head chooses alone, |q| is summed over the group. Of equal ones the lower comes
    first.
    """
    size = queries.values.abs()
    if config.selection is not Selection.PER_HEAD:
        size = size.sum(dim=-2, keepdim=True)
    count = torch.full(size.shape[:-1], config.channels)
    return largest(size, count).expand_as(queries.values)


def token_keys(
    config: AttentionConfig, t: torch.Tensor, likely: Powers, whole: Sums
) -> torch.Tensor:
    """Return what tokens are chosen by, int64 [..., 1 or queries, tokens].

    It is a head's own logit, or the sum of the group's logits, or of its probabilities in units of
    2**-26, each rounded.

    Args:
        t: logits of the first step, [..., queries, tokens]. likely: their powers. whole: the sums
            over all tokens that are seen.
    """
    if config.selection is Selection.PER_HEAD:
        return t
    if config.selection is Selection.LOGITS:
        return t.sum(dim=-2, keepdim=True)
    share = scalars.reciprocal(exact(mass(whole)))
    place = whole.top.unsqueeze(-1) - likely.bin
    down = scalars.RECIPROCAL_BITS - KEY_FRACTION_BITS + exponent_of(share).clamp(min=0)
    shift = down.unsqueeze(-1) + BIN_OCTAVES * place.clamp(0, BINS - 1)
    each = shift_round(likely.power * share.value.unsqueeze(-1), shift)
    return torch.where(place < BINS, each, 0).sum(dim=-2, keepdim=True)


def choose_tokens(
    config: AttentionConfig, key: torch.Tensor, contexts: torch.Tensor, *, ends: bool = True
) -> torch.Tensor:
    """Return the kept tokens, bool of the keys' shape [..., 1 or queries, tokens].

    Those are the current token; of the k others first the newest, then those with the largest key.
    Of equal ones the older comes first.

    Args:
        key: less than 2**40 in magnitude. contexts, ends: as in `sparf`.
    """
    others = contexts - int(ends)
    k, local = counts(config, contexts)
    place = torch.arange(key.shape[-1])
    candidates = place < others[..., None, None]
    forced = candidates & (place >= (others - local)[..., None, None])
    beyond = 1 << 40
    key = torch.where(candidates, torch.where(forced, beyond, key), -beyond)
    chosen = largest(key, k.unsqueeze(-1).expand(key.shape[:-1])) & candidates
    return chosen | ((place < contexts[..., None, None]) & ~candidates)


def counts(config: AttentionConfig, contexts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return k, and how many of those are the newest tokens, for each context, int64 [...]."""
    each = [int(context) for context in contexts.flatten()]
    return (
        torch.tensor([config.tokens(n) for n in each], dtype=torch.int64).reshape(contexts.shape),
        torch.tensor([config.newest(n) for n in each], dtype=torch.int64).reshape(contexts.shape),
    )


def largest(keys: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Return which of the keys [..., n] are the `count` [...] largest, bool [..., n].

    Of equal ones the lower index comes first.
    """
    count = count.clamp(max=keys.shape[-1]).unsqueeze(-1)
    most = int(count.max()) if count.numel() else 0
    if not most:
        return torch.zeros_like(keys, dtype=torch.bool)
    least = keys.topk(most, dim=-1).values.gather(-1, (count - 1).clamp(min=0))
    more, equal = keys > least, keys == least
    room = count - more.sum(dim=-1, keepdim=True)
    return (more | (equal & (equal.cumsum(dim=-1) <= room))) & (count > 0)


def temperature(config: AttentionConfig, q: torch.Tensor, some: torch.Tensor) -> Scalar | None:
    """Return what the logits of some channels are multiplied with, normalised; None for 1.

    With a, b the sums of |q| over all and over the chosen channels: a * (1 / sqrt(a * b)), or
    a * (1 / b). For a query of zeros it is 0, and so are its logits.

    Args:
        q, some: int64 [..., head_size]; the same with 0 in channels that were not chosen.
    """
    a, b = (x.abs().sum(dim=-1) for x in (q, some))
    if config.temperature is Temperature.NONE:
        return None
    if config.temperature is Temperature.SPARQ:
        inverse = scalars.inverse_root(exact(a * b), exact(0))
    else:
        inverse = scalars.reciprocal(exact(b))
    return scalars.normalise(Scalar(a * inverse.value, inverse.exponent))


def logit_scales(
    config: AttentionConfig, queries: Queries, key_fraction: int, factor: Scalar | None = None
) -> Scalar:
    """Return what makes logits of scores: log2(e) / sqrt(head_size) in their units, [..., queries].

    Args:
        key_fraction: fraction bits of the keys. factor: the temperature, [..., queries].
    """
    mantissa, place = math.frexp(math.log2(math.e) / math.sqrt(config.head_size))
    value = round(mantissa * 2**MANTISSA_BITS)
    exponent = place - MANTISSA_BITS + LOGIT_FRACTION_BITS - queries.fraction - key_fraction
    exponent = exponent.unsqueeze(-1).expand(queries.values.shape[:-1])
    if factor is None:
        return Scalar(torch.full_like(exponent, value), exponent)
    normal = scalars.normalise(Scalar(factor.value * value, factor.exponent))
    return Scalar(normal.value, normal.exponent + exponent)


def _scores(q: torch.Tensor, kv: KvHead) -> torch.Tensor:
    """Return the exact sums of products, int64 [..., queries, tokens]: less than 2**53."""
    return (q.double() @ kv.keys.double().T).long()


def _attend(config: AttentionConfig, queries: Queries, kv: KvHead, tokens: torch.Tensor) -> Sums:
    """Return the sums over `tokens`, bool [..., queries, tokens], of the whole keys and values."""
    t = logits(_scores(queries.values, kv), logit_scales(config, queries, kv.key_fraction))
    return add_up(powers(config, t), tokens, kv.values)


def _seen(
    config: AttentionConfig, queries: Queries, kv: KvHead, contexts: torch.Tensor
) -> torch.Tensor:
    """Return which tokens each group of queries sees, bool [..., 1, tokens]."""
    shape = tuple(queries.values.shape)
    if shape[-2:] != (config.queries, config.head_size) or contexts.shape != shape[:-2]:
        raise ShapeError(
            f"queries are {list(shape)} and contexts {list(contexts.shape)}; needed are "
            f"[..., {config.queries}, {config.head_size}] and [...]"
        )
    if kv.keys.shape != kv.values.shape or kv.keys.shape[-1:] != (config.head_size,):
        raise ShapeError(
            f"keys are {list(kv.keys.shape)} and values {list(kv.values.shape)}; both must be "
            f"[tokens, {config.head_size}]"
        )
    tokens = len(kv.keys)
    if tokens > config.max_context:
        raise ConfigError(f"there are {tokens} tokens; context_bits allows {config.max_context}")
    if contexts.numel() and not 0 <= int(contexts.min()) <= int(contexts.max()) <= tokens:
        raise ShapeError(
            f"contexts span {int(contexts.min())} to {int(contexts.max())}; 0 to {tokens} are there"
        )
    return torch.arange(tokens) < contexts[..., None, None]

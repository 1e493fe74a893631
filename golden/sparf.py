"""Dense decode attention and SparF in float: what the drive's engine approximates in integers.

SparF (InstInfer, arXiv 2409.04992) is SparQ (arXiv 2312.04985) over pages of a flash: few channels
of all keys say which few tokens count, and only those tokens' keys and values are read. The mean of
all values stands for the rest. `golden.attention_engine` is the same in integers, step by step.

One kv head and the group of query heads that share it; any leading dimensions.
"""

from typing import NamedTuple

import torch

from golden.attention_engine import counts, largest
from golden.spec.attention_engine import AttentionConfig, Selection, Temperature


class Result(NamedTuple):
    """What SparF gives, and what it chose.

    Attributes:
        outputs: [..., queries, head_size].
        channels: bool [..., queries, head_size]. tokens: bool [..., queries, tokens].
        weight: the kept tokens' share of the approximate probabilities, [..., queries].
    """

    outputs: torch.Tensor
    channels: torch.Tensor
    tokens: torch.Tensor
    weight: torch.Tensor


def seen(contexts: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return which tokens are in the first `contexts` [...], bool [..., 1, tokens]."""
    return torch.arange(tokens) < contexts[..., None, None]


def probabilities(q: torch.Tensor, keys: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return softmax(q . keys / sqrt(head_size)) over `tokens`, 0 elsewhere.

    Args:
        q: [..., queries, head_size]. keys: [all tokens, head_size].
        tokens: bool, broadcastable to [..., queries, all tokens], at least one each.
    """
    logits = q @ keys.T * q.shape[-1] ** -0.5
    return logits.masked_fill_(~tokens, -torch.inf).softmax(dim=-1)


def dense(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, contexts: torch.Tensor
) -> torch.Tensor:
    """Return dense attention's outputs, [..., queries, head_size].

    Args:
        q: [..., queries, head_size]. keys, values: [tokens, head_size].
        contexts: how many tokens each group of queries sees, int64 [...], at least 1.
    """
    return probabilities(q, keys, seen(contexts, len(keys))) @ values


def sparf(
    config: AttentionConfig,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    contexts: torch.Tensor,
) -> Result:
    """Return SparF's outputs; see `dense` for the arguments.

    1. The r channels with the largest |q|, summed over the group unless each head is alone.
    2. Approximate probabilities from those channels of all keys, with the temperature.
    3. The kept tokens: the current one, the `local` newest, and the best others, k in all but it.
    4. Attention over the kept tokens, with whole keys and values.
    5. alpha * that + (1 - alpha) * the mean of all values; alpha is the kept approximate
       probability.

    Of equal channels and tokens the lower index comes first.
    """
    all_seen = seen(contexts, len(keys))
    channels = choose_channels(config, q)
    some = torch.where(channels, q, 0)
    factor = temperature(config, q, some).unsqueeze(-1)
    logits = (some * factor) @ keys.T * config.head_size**-0.5
    likely = logits.masked_fill(~all_seen, -torch.inf).softmax(dim=-1)
    tokens = choose_tokens(config, logits, likely, contexts)
    outputs = probabilities(q, keys, tokens) @ values
    weight = (likely * tokens).sum(dim=-1)
    if config.compensation:
        mean = all_seen.to(values.dtype) @ values / contexts[..., None, None]
        outputs = weight.unsqueeze(-1) * outputs + (1 - weight.unsqueeze(-1)) * mean
    return Result(outputs, channels, tokens, weight)


def choose_channels(config: AttentionConfig, q: torch.Tensor) -> torch.Tensor:
    """Return the r channels with the largest |q|, bool [..., queries, head_size]."""
    size = q.abs()
    if config.selection is not Selection.PER_HEAD:
        size = size.sum(dim=-2, keepdim=True)
    return largest(size, torch.full(size.shape[:-1], config.channels)).expand_as(q)


def choose_tokens(
    config: AttentionConfig, logits: torch.Tensor, likely: torch.Tensor, contexts: torch.Tensor
) -> torch.Tensor:
    """Return the kept tokens, bool [..., queries, tokens].

    Args:
        logits, likely: approximate logits and probabilities, [..., queries, tokens].
    """
    if config.selection is Selection.PER_HEAD:
        key = logits
    elif config.selection is Selection.LOGITS:
        key = logits.sum(dim=-2, keepdim=True)
    else:
        key = likely.sum(dim=-2, keepdim=True)
    place = torch.arange(logits.shape[-1])
    k, local = counts(config, contexts)
    current = (contexts - 1)[..., None, None]
    newest = current - local[..., None, None]
    key = torch.where(place >= newest, torch.inf, key).masked_fill(place >= current, -torch.inf)
    chosen = largest(key, k.unsqueeze(-1).expand(key.shape[:-1]))
    return (chosen | (place == current)).expand_as(logits)


def temperature(config: AttentionConfig, q: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    """Return what the logits of some channels are multiplied with, [...].

    Args:
        q, some: [..., head_size]; the same with 0 in the channels that were not chosen.
    """
    if config.temperature is Temperature.NONE:
        return torch.ones_like(q[..., 0])
    all_of_it, part = (x.abs().sum(dim=-1) for x in (q, some))
    ratio = torch.where(part > 0, all_of_it / part, 0)
    return ratio.sqrt() if config.temperature is Temperature.SPARQ else ratio

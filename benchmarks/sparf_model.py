"""SmolLM2-135M reading CPython's help topics, with any attention behind the prompt.

The first 2,048 tokens are the prompt, with dense attention as on a GPU; the drive answers for the
1,024 tokens behind it, in contexts of 2,049 to 3,072.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from transformers import AttentionInterface

from golden import attention_engine, perplexity, sparf
from golden import attention_engine_formats as formats
from golden.language_model import LanguageModel, load, smollm2_file
from golden.spec.attention_engine import AttentionConfig, KvFormat

PROMPT, TOKENS = 2048, 3072
SAMPLE = 64
"""Queries of each head that errors are measured on, evenly spaced."""

AT_ONCE = 64
LAYERS, KV_HEADS = 30, 3
HEADROOM = {KvFormat.FP16: 2.0, KvFormat.INT8: 1.2}
"""Of the cache's range over what the prompt needs."""

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From head number, queries [n, 3, 64], keys, values [tokens, 64] and contexts [n] to outputs."""


@dataclass(frozen=True)
class Heads:
    """Real queries, keys and values of all layers' kv heads.

    Attributes:
        queries: [heads, sample, 3, 64]. keys, values: [heads, tokens, 64]. contexts: [sample].
    """

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    contexts: torch.Tensor

    def every(self, step: int) -> "Heads":
        """Return one in `step` of the queries."""
        return Heads(
            self.queries[:, ::step].contiguous(), self.keys, self.values, self.contexts[::step]
        )

    def of_layers(self, first: int, last: int) -> "Heads":
        """Return the heads of some layers."""
        own = slice(KV_HEADS * first, KV_HEADS * (last + 1))
        return Heads(self.queries[own], self.keys[own], self.values[own], self.contexts)

    def __iter__(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]]:
        return iter(zip(range(len(self.keys)), self.queries, self.keys, self.values, strict=True))


class Reader:
    """A model that has read the prompt, and can read on with any attention."""

    def __init__(self) -> None:
        self.model: LanguageModel = load(smollm2_file())
        self.tokens = perplexity.first_tokens(self.model, perplexity.evaluation_text(), TOKENS)
        with torch.no_grad():
            past = self.model.network(self.tokens[:, :PROMPT], use_cache=True)
        self.past = past.past_key_values

    def perplexity(self, attend: Attend, count: int = TOKENS - PROMPT) -> float:
        """Return that of so many tokens behind the prompt, with `attend` in every layer."""
        tokens = self.tokens[:, PROMPT : PROMPT + count]
        _register(attend)
        self.model.network.set_attn_implementation("drive")
        with torch.no_grad():
            logits = self.model.network(tokens, past_key_values=copy.deepcopy(self.past)).logits[0]
        expected = tokens[0, 1:]
        return exp(float(torch.nn.functional.cross_entropy(logits[:-1].double(), expected)))

    def heads(self) -> Heads:
        """Return what the heads see with dense attention."""
        contexts = torch.linspace(PROMPT + 1, TOKENS, SAMPLE).long()
        seen: list[tuple[torch.Tensor, ...]] = []

        def attend(
            head: int, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, each: torch.Tensor
        ) -> torch.Tensor:
            seen.append((q[contexts - PROMPT - 1].clone(), keys, values))
            return float_dense(head, q, keys, values, each)

        self.perplexity(attend)
        return Heads(*(torch.stack(parts) for parts in zip(*seen, strict=True)), contexts)


def _register(attend: Attend) -> None:
    """Make `attend` the attention "drive": a layer's kv heads one after the other."""

    def layer(module: Any, q: Any, k: Any, v: Any, mask: Any, **_: Any) -> tuple[Any, None]:
        heads, tokens = k.shape[1], q.shape[2]
        contexts = torch.arange(k.shape[2] - tokens, k.shape[2]) + 1
        groups = q[0].unflatten(0, (heads, -1)).transpose(1, 2)
        outputs = [
            attend(module.layer_idx * heads + h, groups[h], k[0, h], v[0, h], contexts)
            for h in range(heads)
        ]
        return torch.cat(outputs, dim=1)[None].to(q.dtype), None

    AttentionInterface.register("drive", layer)


def in_pieces(attend: Attend) -> Attend:
    """Return the same, a few queries at a time: what does not fit in caches is slow."""

    def whole(
        head: int, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, contexts: torch.Tensor
    ) -> torch.Tensor:
        pieces = zip(q.split(AT_ONCE), contexts.split(AT_ONCE), strict=True)
        return torch.cat([attend(head, some, keys, values, own) for some, own in pieces])

    return whole


@in_pieces
def float_dense(
    head: int, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, contexts: torch.Tensor
) -> torch.Tensor:
    return sparf.dense(q, keys, values, contexts)


def float_sparf(config: AttentionConfig, dense_layers: int = 0) -> Attend:
    """Return SparF, but dense attention in the first layers."""

    @in_pieces
    def attend(head: int, *given: torch.Tensor) -> torch.Tensor:
        if head < KV_HEADS * dense_layers:
            return sparf.dense(*given)
        return sparf.sparf(config, *given).outputs

    return attend


def fixed(config: AttentionConfig, dense_layers: int) -> Attend:
    """Return the engine's SparF, but dense attention in the first layers."""

    def attend(head: int, *given: torch.Tensor) -> torch.Tensor:
        return engine(config, head >= KV_HEADS * dense_layers, *given)[0]

    return attend


def engine(
    config: AttentionConfig,
    sparse: bool,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    contexts: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the engine's outputs, and the tokens that it keeps.

    What the numbers of the cache are worth is taken from the prompt.
    """
    kv, key_scale, value_scale = to_cache(config, keys, values)
    outputs, tokens = [], []
    for some, own in zip(q.split(AT_ONCE), contexts.split(AT_ONCE), strict=True):
        queries = formats.to_queries(config, (some * key_scale).half())
        if sparse:
            partial, choice = attention_engine.sparf(config, queries, kv, own)
            tokens.append(choice.tokens)
        else:
            partial = attention_engine.dense(config, queries, kv, own)
            tokens.append(sparf.seen(own, len(keys)).expand(*some.shape[:2], -1))
        wide = attention_engine.outputs(config, partial)
        outputs.append(formats.to_half(config, wide, kv.value_fraction) * value_scale)
    return torch.cat(outputs), torch.cat(tokens)


def to_cache(
    config: AttentionConfig, keys: torch.Tensor, values: torch.Tensor
) -> tuple[formats.KvHead, torch.Tensor, torch.Tensor]:
    """Return the cache, and what the host multiplies queries and outputs with."""
    headroom = HEADROOM[config.kv_format]
    prompts = (keys[:PROMPT], values[:PROMPT])
    if config.kv_format is KvFormat.FP16:
        fractions = [formats.fraction_for(float(x.abs().max()) * headroom) for x in prompts]
        one = torch.ones(())
        return formats.from_half(keys.half(), values.half(), *fractions), one, one
    scales = [formats.channel_scales(x, headroom) for x in prompts]
    stored = [formats.to_bytes(x, s) for x, s in zip((keys, values), scales, strict=True)]
    return formats.from_bytes(*stored), *(s.float() for s in scales)

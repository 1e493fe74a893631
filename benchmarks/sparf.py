"""Measures what SparF loses on a real model: SmolLM2-135M reads CPython's help topics.

Run by `python -m benchmarks.sparf`, with names of parts for some of them: heads, layers,
alternatives, pages, planted, perplexity, fixed. The last two take long. Prints the
tables of docs/sparf.md; `benchmarks.sparf_model` says which tokens count.
"""

import sys
from dataclasses import dataclass, replace

import torch

from benchmarks.sparf_model import (
    LAYERS,
    Heads,
    Reader,
    engine,
    fixed,
    float_dense,
    float_sparf,
)
from golden import sparf
from golden.kv_pages import PageLayout, dense_reads, dense_work, sparf_reads, sparf_work
from golden.spec.attention_engine import AttentionConfig, KvFormat, Selection, Temperature
from golden.special_functions.functions import interleave

FIXED_TOKENS = 256
"""Tokens behind the prompt that the engine's integers are run on."""

FIXED_STEP = 4
"""And on every fourth of the sampled queries."""

CONFIG = AttentionConfig(head_size=64, queries=3)
RATIOS = (2, 4, 8, 16)
ALTERNATIVES = {
    "as above": CONFIG,
    "temperature RATIO": replace(CONFIG, temperature=Temperature.RATIO),
    "temperature NONE": replace(CONFIG, temperature=Temperature.NONE),
    "no compensation": replace(CONFIG, compensation=False),
    "no local window": replace(CONFIG, local=0),
    "local window of 32": replace(CONFIG, local=32),
    "selection PROBABILITIES": replace(CONFIG, selection=Selection.PROBABILITIES),
    "selection PER_HEAD": replace(CONFIG, selection=Selection.PER_HEAD),
    "all 64 channels": replace(CONFIG, r=64),
}
INT8 = replace(CONFIG, kv_format=KvFormat.INT8)
FIXED = {
    "dense, FP16": (CONFIG, LAYERS),
    "dense, INT8": (INT8, LAYERS),
    "dense, INT8, queries of 8 bits": (replace(INT8, query_bits=8), LAYERS),
    "1/8, first layer dense, FP16": (CONFIG, 1),
    "1/8, first layer dense, INT8": (INT8, 1),
}
"""The engine's configuration, and the layers with dense attention."""


@dataclass(frozen=True)
class Loss:
    """What is lost: |error| / |output| on average, of all together, and the kept probability."""

    error: float
    rms: float
    recall: float

    def text(self) -> str:
        return f"{self.error:.4f} | {self.rms:.4f} | {self.recall:.4f}"


def loss(config: AttentionConfig, heads: Heads, integers: bool = False) -> Loss:
    """Return the loss of all heads' sampled queries against dense attention in float."""
    errors, norms, recalls = [], [], []
    for _, q, keys, values in heads:
        exact = sparf.probabilities(q, keys, sparf.seen(heads.contexts, len(keys)))
        result = sparf.sparf(config, q, keys, values, heads.contexts)
        outputs, tokens = result.outputs, result.tokens
        if integers:
            outputs, tokens = engine(config, True, q, keys, values, heads.contexts)
        dense = exact @ values
        errors.append((outputs - dense).norm(dim=-1))
        norms.append(dense.norm(dim=-1))
        recalls.append((exact * tokens).sum(dim=-1))
    error, norm = torch.stack(errors), torch.stack(norms)
    relative, recall = (error / norm).mean(), torch.stack(recalls).mean()
    return Loss(float(relative), float(error.norm() / norm.norm()), float(recall))


def show_heads(reader: Reader) -> None:
    """Print the loss by ratio: float, and both formats in the engine's integers, which are slow."""
    heads = reader.heads().every(FIXED_STEP)
    table("ratio | r | numbers | error | rms error | recall")
    for ratio in RATIOS:
        config = replace(CONFIG, ratio=ratio)
        int8 = replace(config, kv_format=KvFormat.INT8)
        for name, own, integers in (
            ("float", config, False),
            ("FP16, integers", config, True),
            ("INT8, integers", int8, True),
        ):
            row(f"1/{ratio} | {config.channels} | {name} | {loss(own, heads, integers).text()}")


def show_layers(reader: Reader) -> None:
    """Print the loss of the first layer and of the others at 1/8, with r channels and with all."""
    heads = reader.heads()
    table("layers | channels | error | rms error | recall")
    for config in (CONFIG, replace(CONFIG, r=64)):
        for first, last in ((0, 0), (1, LAYERS - 1)):
            name = "the first" if last == 0 else "the others"
            lost = loss(config, heads.of_layers(first, last))
            row(f"{name} | {config.channels} | {lost.text()}")


def show_alternatives(reader: Reader) -> None:
    """Print the loss of other settings at 1/8, in float."""
    heads = reader.heads()
    table("setting | error | rms error | recall | 4 KB pages read")
    for name, config in ALTERNATIVES.items():
        share = reads(config, PageLayout(), heads, choices(config, heads))
        row(f"{name} | {loss(config, heads).text()} | {share:.3f}")


def choices(config: AttentionConfig, heads: Heads) -> list[sparf.Result]:
    """Return what SparF reads for each kv head's sampled queries.

    Channels that are rotated together have queries of like size: so they lie side by side.
    """
    order = interleave(config.head_size)
    results = [sparf.sparf(config, *own, heads.contexts) for _, *own in heads]
    return [result._replace(channels=result.channels[..., order]) for result in results]


def reads(
    config: AttentionConfig, layout: PageLayout, heads: Heads, results: list[sparf.Result]
) -> float:
    """Return SparF's pages over those of dense attention."""
    pages = sum(
        int(sparf_reads(config, layout, x.channels, x.tokens, heads.contexts).pages.sum())
        for x in results
    )
    return pages / (int(dense_reads(config, layout, heads.contexts).pages.sum()) * len(results))


def show_pages(reader: Reader) -> None:
    """Print what is read and multiplied, over dense attention."""
    heads = reader.heads()
    table("ratio | selection | format | keys and values | 4 KB | 8 KB | 16 KB | wanted | MACs")
    for ratio in RATIOS:
        for selection in (Selection.LOGITS, Selection.PER_HEAD):
            config = replace(CONFIG, ratio=ratio, selection=selection)
            results = choices(config, heads)
            for kv_format in KvFormat:
                for paired in (False, True):
                    own = replace(config, kv_format=kv_format)
                    show_layouts(own, paired, heads, results)


def show_layouts(
    config: AttentionConfig, paired: bool, heads: Heads, results: list[sparf.Result]
) -> None:
    """Print a row: all sizes of pages, each with the best number of channels in a page."""
    shares = []
    for page_bytes in (4096, 8192, 16384):
        layouts = [PageLayout(page_bytes, channels, paired) for channels in (1, 2, 4, 8)]
        share, best = min((reads(config, x, heads, results), x.channels_per_page) for x in layouts)
        shares.append(f"{share:.3f} ({best})")
    counted = [
        sparf_reads(config, PageLayout(), x.channels, x.tokens, heads.contexts) for x in results
    ]
    wanted = sum(int((x.channel_bytes + x.token_bytes).sum()) for x in counted)
    dense = int(dense_reads(config, PageLayout(), heads.contexts).token_bytes.sum()) * len(results)
    work = [
        sum(count(config, int(context)).total for context in heads.contexts)
        for count in (sparf_work, dense_work)
    ]
    row(
        f"1/{config.ratio} | {config.selection.name} | {config.kv_format.name} | "
        f"{'together' if paired else 'apart'} | {' | '.join(shares)} | {wanted / dense:.3f} | "
        f"{work[0] / work[1]:.3f}"
    )


def show_planted(reader: Reader) -> None:
    """Print how often a token is kept that a head gives much of its attention to."""
    heads = reader.heads()
    table("ratio | planted, half of the attention | found in the text | of these")
    for ratio in RATIOS:
        config = replace(CONFIG, ratio=ratio)
        kept, natural, number = 0.0, 0, 0
        for head, q, keys, values in heads:
            kept += planted(config, head, q, keys, values, heads.contexts) / len(heads.keys)
            found, all_of_them = attended(config, q, keys, values, heads.contexts)
            natural, number = natural + found, number + all_of_them
        row(f"1/{ratio} | {kept:.4f} | {natural / number:.4f} | {number}")


def planted(
    config: AttentionConfig,
    seed: int,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    contexts: torch.Tensor,
) -> float:
    """Return how often a planted key is kept, one for each sampled group of queries.

    Anywhere but among the newest 64 tokens a key is moved towards the query of one head of the
    group, until it has half of that head's attention.
    """
    random = torch.Generator().manual_seed(seed)
    kept = 0
    for query, context in zip(q, contexts, strict=True):
        place = int(torch.randint(0, int(context) - 64, (), generator=random))
        target = query[int(torch.randint(0, len(query), (), generator=random))]
        logits = keys[:context] @ target * config.head_size**-0.5
        others = torch.cat([logits[:place], logits[place + 1 :]]).logsumexp(dim=0)
        changed = keys.clone()
        missing = (others - logits[place]) * config.head_size**0.5
        changed[place] += missing * target / target.square().sum()
        own = context[None]
        kept += int(sparf.sparf(config, query[None], changed, values, own).tokens[0, 0, place])
    return kept / len(q)


def attended(
    config: AttentionConfig,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    contexts: torch.Tensor,
) -> tuple[int, int]:
    """Return how many tokens with a quarter of a head's attention are kept, of how many.

    The first 4 tokens and the newest 64 do not count: those are kept almost always.
    """
    exact = sparf.probabilities(q, keys, sparf.seen(contexts, len(keys)))
    place = torch.arange(len(keys))
    far = (place >= 4) & (place < contexts[:, None, None] - 64)
    much = (exact >= 0.25) & far
    kept = sparf.sparf(config, q, keys, values, contexts).tokens
    return int((much & kept).sum()), int(much.sum())


def show_perplexity(reader: Reader) -> None:
    """Print the perplexity with SparF in every layer, in float."""
    base = reader.perplexity(float_dense)
    table("setting | perplexity | over dense")
    row(f"dense | {base:.3f} | 1")
    settings = {f"1/{ratio}": float_sparf(replace(CONFIG, ratio=ratio)) for ratio in RATIOS}
    settings |= {
        f"1/{ratio}, first layer dense": float_sparf(replace(CONFIG, ratio=ratio), dense_layers=1)
        for ratio in RATIOS
    }
    settings |= {
        f"1/8, first layer dense, {name}": float_sparf(config, dense_layers=1)
        for name, config in list(ALTERNATIVES.items())[1:]
    }
    for name, attend in settings.items():
        value = reader.perplexity(attend)
        row(f"{name} | {value:.3f} | {value / base:.4f}")


def show_fixed(reader: Reader) -> None:
    """Print the perplexity with the engine's integers in every layer."""
    sparse = "1/8, first layer dense, float"
    settings = {"dense, float": float_dense, sparse: float_sparf(CONFIG, dense_layers=1)}
    settings |= {name: fixed(*setting) for name, setting in FIXED.items()}
    base = None
    table("setting | perplexity | over dense in float")
    for name, attend in settings.items():
        value = reader.perplexity(attend, FIXED_TOKENS)
        base = base or value
        row(f"{name} | {value:.3f} | {value / base:.4f}")


def table(columns: str) -> None:
    print(f"\n| {columns} |")
    print("|---" * len(columns.split("|")) + "|", flush=True)


def row(text: str) -> None:
    print(f"| {text} |", flush=True)


PARTS = {
    "heads": show_heads,
    "layers": show_layers,
    "alternatives": show_alternatives,
    "pages": show_pages,
    "planted": show_planted,
    "perplexity": show_perplexity,
    "fixed": show_fixed,
}


def main() -> None:
    """Measure all, or the parts named on the command line."""
    torch.set_num_threads(1)
    reader = Reader()
    for name in sys.argv[1:] or PARTS:
        PARTS[name](reader)


if __name__ == "__main__":
    main()

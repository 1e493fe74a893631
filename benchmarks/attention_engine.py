"""The drive's attention engine in RTL: bytes per cycle, and what SparF reads on a real cache.

    python -m benchmarks.attention_engine rate
    python -m benchmarks.attention_engine reads [HEADS [CHANNELS]]

`rate` reads random numbers with the default engine: eight dense jobs behind each other, one for
each of a layer's kv heads, from flash that gives 4.9 bytes per cycle and channel.

`reads` has SmolLM2-135M read a text. Then HEADS of its kv heads (4 by default) attend in RTL to
what it has in its cache, each with two queries of the group, with CHANNELS in a page of the copy by
channels (1 by default). Outputs must be golden's; pages are those that the engine asked for.
"""

import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.sparf_model import Reader
from golden.attention_engine_formats import fraction_for
from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.attention_engine_cases import (
    Job,
    StoredSequence,
    as_heads,
    random_queries,
    random_sequence,
)
from storage_engine.attention_engine_trials import Case
from storage_engine.kv_address import SequenceId
from storage_engine.verify_attention_engine import CaseResult, run_cases

FLASH_BYTES_PER_CYCLE = 4.9
"""Of a channel: 1.4 GB/s at 285 MHz, an assumed clock."""

HEADROOM = 2.0
"""Of a cache's range over what is in it."""

CONTEXTS = (1024, 1032, 1100, 1500, 2048)
HEADS = 8


def rates() -> list[CaseResult]:
    """Run dense jobs from flash at its rate."""
    config = DriveEngineConfig(attempts=1)
    random = np.random.default_rng(0)
    heads = as_heads(random_sequence(config, random, max(CONTEXTS)), HEADS)
    cases = [
        Case(
            str(n),
            config,
            tuple(Job(head, random_queries(config, random), n) for head in heads),
        )
        for n in CONTEXTS
    ]
    return run_cases(cases, latency=300, bytes_per_cycle=FLASH_BYTES_PER_CYCLE)


@dataclass(frozen=True)
class Reads:
    """What a job read and multiplied, over what dense attention does."""

    context: int
    pages: float
    products: float


def reads(count: int, channels_per_page: int) -> list[Reads]:
    """Run SparF on so many of the model's kv heads, evenly spaced over its layers.

    Raises:
        AssertionError: an output is not golden's.
    """
    config = DriveEngineConfig(
        flash_channels=4,
        head_size=64,
        queries=3,
        channels_per_page=channels_per_page,
        context_bits=12,
        attempts=1,
    )
    heads = Reader().heads()
    found = []
    for head in np.linspace(0, len(heads.keys) - 1, count).astype(int):
        keys, values = (x[head].half().numpy() for x in (heads.keys, heads.values))
        fractions = [fraction_for(float(np.abs(x).max()) * HEADROOM) for x in (keys, values)]
        name = SequenceId(0, 0, int(head) // 3, int(head) % 3)
        sequence = StoredSequence(config, name, keys, values, *fractions)
        jobs = tuple(
            Job(sequence, heads.queries[head, n].half().numpy(), int(heads.contexts[n]), sparf)
            for n in (0, len(heads.contexts) - 1)
            for sparf in (False, True)
        )
        (result,) = run_cases([Case(str(head), config, jobs)])
        assert result.passed, result
        for whole, some, job in zip(
            result.completions[::2], result.completions[1::2], jobs[1::2], strict=True
        ):
            found.append(Reads(job.context, some.reads / whole.reads, _products(job)))
    return found


def _products(job: Job) -> float:
    """Return multiplications of queries, keys and values over those of dense attention.

    Those of a whole span's chosen channels, of the tail's keys, and of the kept tokens.
    """
    config, choice = job.config, job.golden[1]
    assert choice is not None
    spans = job.context // config.layout.span_tokens * config.layout.span_tokens
    channels = int(choice.channels.any(dim=0).sum())
    kept = int(choice.tokens.any(dim=0).sum())
    tail = job.context - spans
    whole = 2 * config.head_size * job.context
    return (channels * spans + config.head_size * tail + 2 * config.head_size * kept) / whole


def main() -> None:
    """Run what is asked for and print a table."""
    what = sys.argv[1] if len(sys.argv) > 1 else "rate"
    if what == "rate":
        print("context  bytes per cycle  of the flash's rate  words that waited")
        for case in rates():
            assert case.passed
            rate = case.bytes_read / case.word_cycles
            most = FLASH_BYTES_PER_CYCLE * case.lanes / 8
            print(f"{case.name:>7}  {rate:15.2f}  {rate / most:19.2%}  {case.held:17}")
        return
    count, channels = (int(each) for each in [*sys.argv[2:], *("4", "1")[len(sys.argv[2:]) :]])
    made = reads(count, channels)
    for context in sorted({each.context for each in made}):
        some = [each for each in made if each.context == context]
        pages, products = (
            np.mean([getattr(each, n) for each in some]) for n in ("pages", "products")
        )
        print(f"context {context}: {pages:.3f} of the pages, {products:.3f} of the products")


if __name__ == "__main__":
    main()

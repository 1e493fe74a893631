"""DuoAttention: some heads keep all tokens, the others the first few and the newest.

Of each layer's heads of keys and values the share `retrieval` keeps all L tokens; the others keep
min(L, sink + recent). So the cache holds share * L + (1 - share) * (sink + recent) tokens of L, and
a decode step reads those; over a prompt, a token sees as many in a head that streams. The share is
rounded to whole heads. Source: DuoAttention (arXiv 2410.10819; mit-han-lab/duo-attention at
fe93c31: 25 % of the heads with multi-head attention and 50 % with grouped queries, 64 + 256
tokens).
"""

from dataclasses import replace
from typing import ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from golden.model_shapes import ModelShape
from sim.operators import Forward, Operator
from sim.result import Quality
from sim.technique import Cache, Technique, cached, position_count, positions
from sim.workload import Pass

MULTI_HEAD, GROUPED = 0.25, 0.5
"""The authors' shares of retrieval heads."""


class DuoAttention(Technique):
    """Heads that stream beside heads that keep all.

    Attributes:
        retrieval: share of the heads that keep all; 0 for the authors' share.
        sink, recent: first and newest tokens that the others keep.
    """

    title: ClassVar[str] = "some heads keep all tokens, others the first and the newest"
    source: ClassVar[str] = "DuoAttention, arXiv 2410.10819"
    touches: ClassVar[str] = "which cached tokens are read"

    retrieval: float = Field(default=0, ge=0, le=1)
    sink: NonNegativeInt = 64
    recent: PositiveInt = 256

    def whole(self, model: ModelShape) -> int:
        """Return how many of a layer's heads keep all tokens, at least 1."""
        usual = MULTI_HEAD if model.kv_heads == model.heads else GROUPED
        return max(round((self.retrieval or usual) * model.kv_heads), 1)

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators, those of the heads that stream apart."""
        whole, held = self.whole(model), self.sink + self.recent
        if whole == model.kv_heads or job.context <= held:
            return work
        seen = _mean_seen(job, held)

        def divided(one: Operator) -> list[Operator]:
            share = whole / model.kv_heads
            full = round(one.matrices * share)
            count = position_count(one)
            near = min(count, held + job.new - 1)
            few = positions(one, near, one.matrices - full)
            # Of the positions that it sees where it sees all, such a head sees these.
            vectors = one.vectors * count / job.seen * seen / near
            few = replace(few, name=f"streaming {one.name}", vectors=vectors)
            return [positions(one, count, full), few]

        return cached(work, divided)

    def cache(self, cache: Cache, model: ModelShape, context: int) -> Cache:
        """Return what a sequence keeps."""
        share = self.whole(model) / model.kv_heads
        part = share + (1 - share) * min((self.sink + self.recent) / max(context, 1), 1)
        return Cache(cache.elements * part, cache.bits, cache.beside * part)

    def quality(self) -> Quality | None:
        """Return None: its authors' tables were not read."""
        return None


def _mean_seen(job: Pass, held: int) -> float:
    """Return the positions that a token of a pass sees where at most `held` are kept."""
    first = job.context - job.new + 1
    growing = max(min(held, job.context) - first + 1, 0)
    below = growing * (first + first + growing - 1) / 2
    return (below + (job.new - growing) * held) / job.new

"""SparF: in a decode step, a few channels of all keys say which few tokens are read whole.

With d numbers in a head, S cached tokens and a ratio c: r = round(d / c) channels of S keys are
read from a copy of K that is stored channel by channel, then k = round(S / 2c) keys and values. So
S * r + 2 * k * d elements are read of 2 * S * d, about 1/c, and as many multiplied. The copy makes
the cache half as large again. Prompts are read with dense attention.

Elements are read one by one here, as a memory with short bursts can; a drive reads whole pages, and
systems with drives count those themselves. Sources: InstInfer (arXiv 2409.04992, section IV-B);
SparQ (arXiv 2312.04985), whose rule for r and k this is. What is lost was measured here:
docs/sparf.md.
"""

from typing import ClassVar

from pydantic import Field, NonNegativeInt

from golden.model_shapes import ModelShape
from sim.operators import VALUES, Forward, Operator
from sim.result import Quality
from sim.technique import Cache, Technique, cached, few_channels, few_tokens, position_count
from sim.workload import Pass

MEASURED = {
    # ratio: perplexity over dense with SparF in all layers, and with the first layer dense.
    2: (1.012, 1.005),
    4: (1.041, 1.013),
    8: (1.237, 1.039),
    16: (5.277, 1.232),
}
"""On SmolLM2-135M, 1,023 tokens after a prompt of 2,048: the first table of docs/sparf.md."""


class SparF(Technique):
    """SparF in decode steps.

    Attributes:
        ratio: c, of what dense attention reads to what this reads.
        dense_layers: layers, from the first, that keep dense attention.
    """

    title: ClassVar[str] = "few channels of the keys choose the few tokens that are read"
    source: ClassVar[str] = "InstInfer, arXiv 2409.04992; SparQ, arXiv 2312.04985"
    touches: ClassVar[str] = "which cached tokens are read"

    ratio: float = Field(default=8, ge=2, le=64)
    dense_layers: NonNegativeInt = 0

    def refusal(self, system: object, model: ModelShape) -> str | None:
        """Return why it makes no sense on a model."""
        if round(model.head_size / self.ratio) < 1:
            return f"ratio is {self.ratio:g}; a head of {model.head_size} has no channel left"
        if self.dense_layers >= model.layers:
            return f"dense_layers is {self.dense_layers}; {model.name} has {model.layers} layers"
        return None

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators of a decode pass over chosen tokens; the mean over all layers."""
        if job.prompt:
            return work
        dense = self.dense_layers / model.layers
        channels = round(model.head_size / self.ratio)

        def chosen(one: Operator) -> list[Operator]:
            count = round(position_count(one) / (2 * self.ratio))
            some = few_tokens(one, count, job.new, dense)
            if one.name.endswith(VALUES):
                return [some]
            return [few_channels(one, "channels", channels, 1 - dense), some]

        return cached(work, chosen)

    def cache(self, cache: Cache, model: ModelShape, context: int) -> Cache:
        """Return what a sequence keeps: K twice in the layers that choose."""
        sparse = 1 - self.dense_layers / model.layers
        return Cache(cache.elements * (1 + 0.5 * sparse), cache.bits, cache.beside)

    def quality(self) -> Quality | None:
        """Return the perplexity that was measured at this ratio."""
        if self.ratio not in MEASURED or self.dense_layers > 1:
            return None
        over = MEASURED[int(self.ratio)][self.dense_layers]
        return Quality(self.name(), f"perplexity x {over:g}", "SmolLM2-135M, docs/sparf.md")

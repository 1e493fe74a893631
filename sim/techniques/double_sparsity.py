"""Double Sparsity: labels, a few channels of all keys chosen offline, say which tokens are read.

With d numbers in a head and L cached tokens, a head reads L * d/c labels of b bits, then L/t keys
and values; the labels are stored beside the cache. At c = t = 16 and labels of 16 bits these are
1 / 10.7 of the bytes of dense attention (4 L d), with labels of 4 bits 1 / 14.2. Labels of 16 bits
add 1 / 2c to the cache. Prompts, and the first two layers, are dense. Source: Double Sparsity
(arXiv 2408.07092; andy-yang-1/DoubleSparse at b0575e6: models/model.py, evaluation/).
"""

from typing import ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from golden.model_shapes import ModelShape
from sim.operators import VALUES, Forward, Operator
from sim.result import Quality
from sim.technique import Cache, Technique, cached, few_channels, few_tokens, position_count
from sim.workload import Pass


class DoubleSparsity(Technique):
    """Double Sparsity in decode steps.

    Attributes:
        tokens, channels: one of so many is kept. label_bits: of an element of a label.
        dense_layers: layers, from the first, that keep dense attention.
    """

    title: ClassVar[str] = "labels beside the cache choose the few tokens that are read"
    source: ClassVar[str] = "Double Sparsity, arXiv 2408.07092"
    touches: ClassVar[str] = "which cached tokens are read"

    tokens: PositiveInt = 16
    channels: PositiveInt = 16
    label_bits: float = Field(default=16, ge=1, le=16)
    dense_layers: NonNegativeInt = 2

    def refusal(self, system: object, model: ModelShape) -> str | None:
        """Return why it makes no sense on a model."""
        if self.channels > model.head_size:
            return f"channels is {self.channels}; a head of {model.head_size} has no channel left"
        if self.dense_layers >= model.layers:
            return f"dense_layers is {self.dense_layers}; {model.name} has {model.layers} layers"
        return None

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators of a decode pass over chosen tokens; the mean over all layers."""
        if job.prompt:
            return work
        dense = self.dense_layers / model.layers
        label = round(model.head_size / self.channels)

        def chosen(one: Operator) -> list[Operator]:
            count = round(position_count(one) / self.tokens)
            some = few_tokens(one, count, job.new, dense)
            if one.name.endswith(VALUES):
                return [some]
            return [few_channels(one, "labels", label, 1 - dense, self.label_bits), some]

        return cached(work, chosen)

    def cache(self, cache: Cache, model: ModelShape, context: int) -> Cache:
        """Return what a sequence keeps: the labels beside it."""
        layers = max(model.layers - self.dense_layers, 0)
        label = round(model.head_size / self.channels) * self.label_bits
        beside = cache.beside + context * layers * model.kv_heads * label
        return Cache(cache.elements, cache.bits, beside)

    def quality(self) -> Quality | None:
        """Return None: its authors' tables were not read."""
        return None

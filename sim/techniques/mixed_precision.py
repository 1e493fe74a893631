"""Weights of few bits, by class: attention's projections, the feed-forward, the head.

A class's bits are the mean over its weights, so 3.5 stands for a mixture of 3, 4 and 5 bits. Each
group of weights adds one scale: bits + scale_bits / group for a weight that is kept. There are as
many multiplications as before. Source: FlightLLM (arXiv 2401.03868, evaluation: 3, 4 or 5 bits by
importance, 3.5 on average, activations of 8 bits).
"""

from typing import ClassVar

from pydantic import Field, PositiveInt

from golden.model_shapes import ModelShape
from sim.operators import FEED_FORWARD, HEAD, PROJECTIONS, Forward
from sim.result import Quality
from sim.technique import Technique, weights
from sim.workload import Pass


class MixedPrecision(Technique):
    """Weights of few bits, by class.

    Attributes:
        attention, feed_forward, head: mean bits of a weight.
        group: kept weights that share a scale; scale_bits: of the scale.
    """

    title: ClassVar[str] = "weights of few bits, by class of operators"
    source: ClassVar[str] = "FlightLLM, arXiv 2401.03868"
    touches: ClassVar[str] = "bits of a weight"

    attention: float = Field(default=3.5, ge=1, le=16)
    feed_forward: float = Field(default=3.5, ge=1, le=16)
    head: float = Field(default=8, ge=1, le=16)
    group: PositiveInt = 128
    scale_bits: int = Field(default=16, ge=0, le=32)

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators with weights of these bits."""
        scale = self.scale_bits / self.group
        for part, bits in (
            (PROJECTIONS, self.attention),
            (FEED_FORWARD, self.feed_forward),
            (HEAD, self.head),
        ):
            work = weights(work, (part,), bits=bits, scale_bits=scale)
        return work

    def quality(self) -> Quality | None:
        """Return None: it depends on how the bits are dealt."""
        return None

"""N:M weights: of every M neighbours in a row, N are kept and the others are zero.

A kept weight needs an index of log2(M) bits beside its own, so weights take N/M * (b + log2 M) / b
of the bytes of dense ones with b bits: at 2:4 and 16 bits 0.5625, at 2:16 and 8 bits 0.1875.
Hardware that skips zeros multiplies N/M as often. Sources: FlightLLM (arXiv 2401.03868, section
3.2: M = 16 with 4-bit indices); NVIDIA Ampere architecture whitepaper (2:4 with 2-bit indices).
"""

from typing import ClassVar

from pydantic import PositiveInt, model_validator

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim.operators import FEED_FORWARD, PROJECTIONS, Forward
from sim.result import Quality
from sim.technique import Technique, weights
from sim.workload import Pass

MOST = 64


class NmWeights(Technique):
    """N:M weights in the layers; the head stays dense.

    Attributes:
        n, m: how many of how many neighbours in a row are kept; m is a power of two up to 64.
    """

    title: ClassVar[str] = "N:M weights: of every M neighbours N are kept"
    source: ClassVar[str] = "FlightLLM, arXiv 2401.03868; NVIDIA Ampere whitepaper"
    touches: ClassVar[str] = "which weights are kept"

    n: PositiveInt = 2
    m: PositiveInt = 4

    @model_validator(mode="after")
    def _is_a_pattern(self) -> "NmWeights":
        if self.m not in (2, 4, 8, 16, 32, MOST):
            raise ConfigError(f"m is {self.m}; a power of two from 2 to {MOST} is allowed")
        if self.n > self.m:
            raise ConfigError(f"n is {self.n}; of {self.m} neighbours 1 to {self.m} can be kept")
        return self

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators with N of M weights."""
        if self.n == self.m:
            return work
        pattern = (self.n, self.m)
        return weights(work, (PROJECTIONS, FEED_FORWARD), kept=self.n / self.m, pattern=pattern)

    def quality(self) -> Quality | None:
        """Return None: what pruning loses depends on how a model is trained afterwards."""
        return None

    def assumptions(self) -> tuple[str, ...]:
        """Return what it takes for granted."""
        return (
            f"{self.n}:{self.m} weights: a GPU reads the kept ones and their indices, and "
            "multiplies zeros too; an FPGA's sparse chain skips them.",
        )

"""A quantised KV cache with what it takes beside the bits: scales, a low-rank part, outliers.

Over n cached tokens of a head of d numbers, an element of b bits takes (GEAR's accounting)

    b + 32 / group + 16 * rank * (n + d) / (n * d) + outliers * (16 + index_bits)

bits: a scale and a zero of 16 bits for each group, two factors of 16 bits, and the share of
outliers with their places. The newest `residual` tokens stay at 16 bits. So "2 bits" are 3.5 with
indices of 7 bits and 4.0 with the 32 bits of the released code. A step multiplies with the factors
and the outliers too: rank * (n + d) + outliers * n * d more products for each head and matrix.
Prompts are read before they are quantised. Source: GEAR (arXiv 2403.05527;
HaoKang-Timmy/GEAR at efe0bfe: compress_function.py; group 64, rank 4, 2 % outliers). Set rank and
outliers to 0 for KIVI's plain groups (arXiv 2402.02750).
"""

from dataclasses import replace
from typing import ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from golden.model_shapes import ModelShape
from sim.operators import ATTENTION, VALUES, Forward, Operator
from sim.result import Quality
from sim.technique import Cache, Technique, cached, position_count
from sim.workload import Pass

FULL = 16
"""Bits of a number that is not quantised: residual tokens, factors, outliers."""
SCALE_AND_ZERO = 32


class KvQuantisation(Technique):
    """A cache of few bits, all of them counted.

    Attributes:
        bits: of an element by itself. group: elements that share a scale and a zero.
        rank: of the part that corrects what quantising loses; 0 for none.
        outliers: share of the elements kept apart; index_bits: of an outlier's place.
        residual: newest tokens that are not quantised.
    """

    title: ClassVar[str] = "KV cache of few bits, with scales, low-rank part and outliers counted"
    source: ClassVar[str] = "GEAR, arXiv 2403.05527"
    touches: ClassVar[str] = "bits of a cached element"

    bits: float = Field(default=2, ge=1, le=8)
    group: PositiveInt = 64
    rank: NonNegativeInt = 4
    outliers: float = Field(default=0.02, ge=0, le=0.5)
    index_bits: NonNegativeInt = 7
    residual: NonNegativeInt = 64

    @property
    def apart(self) -> float:
        """Bits of an element but for the low-rank part."""
        return self.bits + SCALE_AND_ZERO / self.group + self.outliers * (FULL + self.index_bits)

    def element_bits(self, tokens: int, head_size: int) -> float:
        """Return the bits of an element of `tokens` that are all quantised."""
        factors = FULL * self.rank * (tokens + head_size) / (tokens * head_size)
        return self.apart + factors

    def _mean(self, tokens: int) -> float:
        """Return the bits of an element but for the low-rank part, residual tokens included."""
        late = min(self.residual, tokens)
        return (late * FULL + (tokens - late) * self.apart) / tokens

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators of a decode pass over a quantised cache."""
        if job.prompt:
            return work
        stored = self._mean(job.context)

        def quantised(one: Operator) -> list[Operator]:
            if one.bits is not None:
                return [one]
            more = one.vectors * (1 + self.outliers)
            few = replace(one, bits=stored, vectors=more)
            low = self._low_rank(one, model.head_size)
            return [few, low] if self.rank and position_count(one) > self.residual else [few]

        return cached(work, quantised)

    def _low_rank(self, one: Operator, head_size: int) -> Operator:
        """Return the product with both factors of the keys or the values."""
        size = position_count(one) + head_size
        rows, inputs = (self.rank, size) if one.name.endswith(VALUES) else (size, self.rank)
        name = f"low-rank {one.name}"
        fields = {"rows": rows, "inputs": inputs, "bits": float(FULL), "part": ATTENTION}
        return replace(one, name=name, **fields, cached=one.matrices * size)  # type: ignore[arg-type]

    def cache(self, cache: Cache, model: ModelShape, context: int) -> Cache:
        """Return what a sequence keeps."""
        if context <= self.residual:
            return Cache(cache.elements, FULL, cache.beside)
        factors = FULL * self.rank * (context + model.head_size) / (context * model.head_size)
        return Cache(cache.elements, self._mean(context) + factors, cache.beside)

    def quality(self) -> Quality | None:
        """Return None: its authors' tables were not read."""
        return None

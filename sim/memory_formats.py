"""How weights and the KV cache lie in memory, to the byte."""

from math import ceil, isclose

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from golden.spec.errors import ConfigError
from golden.spec.records import Record
from golden.spec.sparse_chain import SparseChainConfig
from sim.operators import Operator


class WeightFormat(Record):
    """The format of a model's weights.

    Attributes:
        bits: bits of a weight.
        group_size: neighbouring inputs of a row that share one scale; None when there are none.
        scale_bits: bits of a scale.
        keep: the share of the m x m blocks in which every row keeps N of its m weights, by N;
            empty when every weight is kept.
    """

    bits: float = Field(ge=2, le=16)
    group_size: PositiveInt | None = None
    scale_bits: PositiveInt = 16
    keep: dict[int, NonNegativeFloat] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _shares_add_up(self) -> "WeightFormat":
        total = sum(self.keep.values())
        if self.keep and not isclose(total, 1, abs_tol=1e-6):
            raise ConfigError(f"keep is {self.keep!r}; its shares add up to {total:g}, not to 1")
        return self

    def mix(self, m: int) -> dict[int, float]:
        """Return the share of the blocks by their N, where dense means N = `m`."""
        total = sum(self.keep.values())
        return {n: share / total for n, share in self.keep.items()} or {m: 1.0}

    @property
    def number(self) -> str:
        """The number format as a person reads it."""
        return "FP16" if self.bits == 16 else f"INT{self.bits:g}"

    @property
    def element_bits(self) -> float:
        """Bits of one weight with its share of a scale."""
        return self.bits + (self.scale_bits / self.group_size if self.group_size else 0)

    def block_bytes(self, operator: Operator, chain: SparseChainConfig) -> int:
        """Return the bytes of matrices that are stored in the blocks that `chain` takes.

        A block is one byte that says N, its m x N kept weights and, where N < m, the index of
        each. Matrices are padded to whole blocks.
        """
        m = chain.m
        blocks = operator.matrices * ceil(operator.rows / m) * ceil(operator.inputs / m)
        bits: float = self._scale_bits(operator)
        for n, count in deal(self.mix(m), blocks).items():
            index_bits = chain.index_bits if n < m else 0
            bits += count * (8 + m * n * (self.bits + index_bits))
        return ceil(bits / 8)

    def _scale_bits(self, operator: Operator) -> int:
        """Return the bits of one scale for each row and group."""
        if self.group_size is None:
            return 0
        groups = ceil(operator.inputs / self.group_size)
        return operator.matrices * operator.rows * groups * self.scale_bits


class CacheFormat(Record):
    """The format of the KV cache.

    Attributes:
        bits: bits of an element.
        scale_bits: bits of the scale that the elements of one position and head share; 0 for none.
    """

    bits: int = Field(ge=2, le=16)
    scale_bits: NonNegativeInt = 0

    def bytes(self, operator: Operator) -> int:
        """Return the bytes of the keys or values that `operator` reads."""
        return ceil((operator.elements * self.bits + operator.cached * self.scale_bits) / 8)


def deal(mix: dict[int, float], blocks: int) -> dict[int, int]:
    """Return how many of `blocks` blocks have each N, by the largest remainder.

    Each count is less than one block away from its share.
    """
    counts = {n: int(share * blocks) for n, share in mix.items()}
    by_remainder = sorted(mix, key=lambda n: counts[n] - mix[n] * blocks)
    for n in by_remainder[: blocks - sum(counts.values())]:
        counts[n] += 1
    return counts

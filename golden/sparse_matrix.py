"""A block-sparse matrix of integer weights, before it is put in the order of any hardware.

It is cut into blocks of m x m weights; in a block every row keeps N of its m weights, N = 0 for an
absent block. A matrix need not be made of whole blocks: one that reaches over the edge is filled up
with zeros, and a row keeps min(N, inputs of the block) weights there.
"""

from dataclasses import dataclass

import torch

from golden.numbers import check_range
from golden.quantise import matrix_shape
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.expansion import WEIGHT_WIDTHS


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """Pruned and quantised weights.

    Attributes:
        weights: int8 [rows, inputs], zero where none is kept; other integers are converted.
        mask: bool [rows, inputs], which weights are kept; a kept one may be zero.
        keep: N of every block, int64 [rows / m, inputs / m], rounded up; 0 or a power of two to m.
        group_size: inputs that share a scale, a multiple of m; the last group may be shorter.
        bits: width of a stored weight: 2, 3, 4, 5, 6 or 8.
        m: inputs and rows of a block.

    Raises:
        ConfigError: `bits` is no width of a weight.
        ShapeError: shapes do not fit each other, a weight does not fit in `bits`, the group size
            is not made of whole blocks, or a row does not keep exactly what its block says.
    """

    weights: torch.Tensor
    mask: torch.Tensor
    keep: torch.Tensor
    group_size: int
    bits: int = 8
    m: int = 16

    def __post_init__(self) -> None:
        if self.bits not in WEIGHT_WIDTHS:
            *others, last = WEIGHT_WIDTHS
            allowed = f"{', '.join(map(str, others))} or {last}"
            raise ConfigError(f"bits is {self.bits!r}; allowed are {allowed}")
        rows, inputs = matrix_shape(self.weights, "the weight")
        check_range(self.weights, self.bits, "the weight")
        object.__setattr__(self, "weights", self.weights.to(torch.int8))
        grid = [-(-rows // self.m), -(-inputs // self.m)]
        if self.mask.shape != self.weights.shape or list(self.keep.shape) != grid:
            raise ShapeError(
                f"the mask is {list(self.mask.shape)} and keep {list(self.keep.shape)}; a weight "
                f"of {rows} x {inputs} needs {[rows, inputs]} and {grid}"
            )
        if self.mask.dtype != torch.bool or self.keep.is_floating_point():
            raise ShapeError(
                f"the mask is {self.mask.dtype} and keep {self.keep.dtype}; torch.bool and "
                "integers are needed"
            )
        object.__setattr__(self, "keep", self.keep.long())
        if self.group_size < self.m or self.group_size % self.m:
            raise ShapeError(
                f"the group size is {self.group_size}; a multiple of {self.m} is needed"
            )
        self._check_kept()

    def _check_kept(self) -> None:
        allowed = [0, *(2**i for i in range(1, self.m.bit_length()))]
        unknown = sorted(set(self.keep.unique().tolist()) - set(allowed))
        if unknown:
            raise ShapeError(f"keep holds N = {unknown[0]}; allowed are {allowed}")
        if self.weights.masked_select(~self.mask).any():
            raise ShapeError("a weight is not zero where the mask keeps none")
        rows, inputs = self.weights.shape
        missing = -inputs % self.m
        kept = torch.nn.functional.pad(self.mask, (0, missing)).reshape(rows, -1, self.m).sum(2)
        width = torch.full((self.keep.shape[1],), self.m)
        width[-1] -= missing
        due = torch.minimum(self.keep, width).repeat_interleave(self.m, dim=0)[:rows]
        if not torch.equal(kept, due):
            raise ShapeError("the mask does not keep exactly N weights in every row of every block")

    @property
    def rows(self) -> int:
        """Output rows."""
        return self.weights.shape[0]

    @property
    def inputs(self) -> int:
        """Inputs (K)."""
        return self.weights.shape[1]

    @property
    def groups(self) -> int:
        """Scales per row."""
        return -(-self.inputs // self.group_size)

    @property
    def kept_fraction(self) -> float:
        """Kept weights / all weights."""
        return float(self.mask.sum()) / self.mask.numel()

    @property
    def is_dense(self) -> bool:
        """Whether every block keeps all its weights."""
        return bool((self.keep == self.m).all())


def prune(
    weight: torch.Tensor,
    mask: torch.Tensor,
    keep: torch.Tensor,
    group_size: int,
    bits: int = 8,
    m: int = 16,
) -> SparseMatrix:
    """Return the matrix of the integer weights [rows, inputs] where `mask` is set, 0 elsewhere."""
    if mask.dtype == torch.bool and mask.shape == weight.shape:
        weight = weight * mask
    return SparseMatrix(weight, mask, keep, group_size, bits, m)


def dense_matrix(weight: torch.Tensor, group_size: int, bits: int = 8, m: int = 16) -> SparseMatrix:
    """Return the matrix that keeps all of the integer weights [rows, inputs]."""
    rows, inputs = matrix_shape(weight, "the weight")
    keep = torch.full((-(-rows // m), -(-inputs // m)), m)
    return SparseMatrix(
        weight, torch.ones_like(weight, dtype=torch.bool), keep, group_size, bits, m
    )

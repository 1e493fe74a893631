"""The special function unit's jobs: what each one does with its streams and the scalar registers.

A pass computes, for each element,

    first, second = job.first or the low 17 bits of register `scale`,  job.second or -first
    u   = saturate27(round((a * first + other * second) / 2**shift))

and then by its operation:

    LINEAR            out = u
    PRODUCT           out = u * factor(b) / 2**16
    ROTATE            u   = a * cos -+ neighbour * sin; cos, sin are factor(b) of the pair; out = u
    SILU, GELU        out = u * function(u / 2**16)
    EXP               out = 2**(u / 2**16) in units of 2**-fraction_bits
    SQUARES           out = floor(factor(u)**2 / 2**16); a sum is that of factor(u)**2

The steps on scalars are those of `golden.special_functions.scalars`.
"""

from dataclasses import dataclass, field

import torch

from golden.numbers import saturate
from golden.spec.errors import ShapeError
from golden.spec.special_function_unit import (
    FACTOR_BITS,
    FACTOR_FRACTION_BITS,
    MAX_SHIFT,
    REGISTERS,
    SUM_BITS,
    WIDE_BITS,
    Byte,
    Job,
    Operation,
    Reduction,
    Second,
)
from golden.special_functions import lane, scalars
from golden.special_functions.scalars import Scalar, exact
from golden.special_functions.tables import DEFAULT_TABLES, Tables


@dataclass(frozen=True)
class Streams:
    """What a pass gives: int64 [length] for each stream that it writes, None for the others."""

    wide: torch.Tensor | None = None
    byte: torch.Tensor | None = None


@dataclass
class SpecialFunctionUnit:
    """The unit's scalar registers, and what its jobs do.

    Attributes:
        tables: of the unit's configuration.
        registers: the 16 scalars, [].
    """

    tables: Tables = DEFAULT_TABLES
    registers: list[Scalar] = field(default_factory=lambda: [exact(0)] * REGISTERS)

    def run(
        self, job: Job, a: torch.Tensor | None = None, b: torch.Tensor | None = None
    ) -> Streams:
        """Do a job; return what it writes.

        Args:
            a: wide [length], of a pass. b: wide [length], where `job.takes_b`.

        Raises:
            ShapeError: a vector is missing, not wanted, or has another length.
        """
        for name, vector, wanted in (("a", a, job.operation.is_pass), ("b", b, job.takes_b)):
            if (None if vector is None else list(vector.shape)) != ([job.length] * wanted or None):
                shape = "missing" if vector is None else list(vector.shape)
                needed = [job.length] if wanted else "none"
                raise ShapeError(f"vector {name} is {shape}; {job.operation.name} needs {needed}")
        if not job.operation.is_pass:
            self.registers[job.target] = self._step(job)
            return Streams()
        assert a is not None
        return self._pass(job, a, b)

    def _step(self, job: Job) -> Scalar:
        x = self.registers[job.scale]
        match job.operation:
            case Operation.LOAD:
                return exact(job.first << job.shift)
            case Operation.SHIFT:
                return scalars.shift_scalar(x, job.shift)
            case Operation.NORMALISE:
                return scalars.normalise(x)
            case Operation.RECIPROCAL:
                return scalars.reciprocal(x)
            case Operation.QUANTISER:
                return scalars.quantiser(x)
        return scalars.inverse_root(x, self.registers[job.other])

    def _pass(self, job: Job, a: torch.Tensor, b: torch.Tensor | None) -> Streams:
        shift = self.shift(job)
        u = self._first_product(job, a, b, shift)
        factor = lane.to_factor(u)
        match job.operation:
            case Operation.PRODUCT:
                assert b is not None
                out = lane.scale(u, lane.to_factor(b))
            case Operation.SILU:
                out = lane.scale(u, lane.sigmoid(u, self.tables))
            case Operation.GELU:
                out = lane.scale(u, lane.normal(u, self.tables))
            case Operation.EXP:
                out = lane.exp2(u, job.fraction_bits, self.tables)
            case Operation.SQUARES:
                out = factor * factor >> FACTOR_FRACTION_BITS
            case _:
                out = u
        squares = job.operation is Operation.SQUARES
        if job.reduction is not Reduction.NONE:
            summands = factor * factor if squares else out
            self.registers[job.target] = self._reduce(job, out, summands, 2 * shift * squares)
        return Streams(out if job.wide else None, _bytes(job.byte, out))

    def shift(self, job: Job) -> int:
        """Return the shift of a pass, 0 to 47: the job's, and its scalar's exponent."""
        exponent = int(self.registers[job.scale].exponent) if job.scaled else 0
        squares = job.operation is Operation.SQUARES
        shift = job.shift + max(exponent, 0) if squares else job.shift - exponent
        return min(max(shift, 0), MAX_SHIFT)

    def _first_product(
        self, job: Job, a: torch.Tensor, b: torch.Tensor | None, shift: int
    ) -> torch.Tensor:
        if job.operation is Operation.ROTATE:
            assert b is not None
            pairs = a.reshape(-1, 2)
            cos, sin = lane.to_factor(b).reshape(-1, 2).T
            even = lane.combine(pairs[:, 0], cos, shift, pairs[:, 1], -sin)
            odd = lane.combine(pairs[:, 1], cos, shift, pairs[:, 0], sin)
            return torch.stack([even, odd], dim=-1).flatten()
        first = job.first
        if job.scaled and job.operation is not Operation.SQUARES:
            first = int(self.registers[job.scale].value) % (1 << (FACTOR_BITS - 1))
        second = -first if job.minus else job.second
        other: torch.Tensor | int = 0
        if job.source is Second.SCALAR:
            other = saturate(self.registers[job.other].value, WIDE_BITS)
        elif job.source is Second.VECTOR:
            assert b is not None
            other = b
        return lane.combine(a, first, shift, other, second)

    def _reduce(self, job: Job, out: torch.Tensor, summands: torch.Tensor, exponent: int) -> Scalar:
        before = int(self.registers[job.target].value)
        if job.reduction is Reduction.SUM:
            total = int(summands.sum()) + before * job.carry
            half = 1 << (SUM_BITS - 1)
            value = (total + half) % (2 * half) - half
        else:
            keys = out.abs() if job.reduction is Reduction.MAGNITUDE else out
            value = int(keys.max())
            if job.carry:
                value = max(value, int(saturate(torch.tensor(before), WIDE_BITS + 1)))
        return Scalar(torch.tensor(value), torch.tensor(exponent))


def _bytes(kind: Byte, out: torch.Tensor) -> torch.Tensor | None:
    if kind is Byte.NONE:
        return None
    if kind is Byte.SATURATED:
        return lane.to_byte(out)
    high, low = lane.halves(out)
    return high if kind is Byte.HIGH else low

"""Random cases for the bench of the special function unit, and how much of it they cover."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from golden.numbers import signed_range
from golden.spec.special_function_unit import (
    FACTOR_BITS,
    FACTOR_FRACTION_BITS,
    MAX_FRACTION_BITS,
    MAX_SHIFT,
    REGISTERS,
    WIDE_BITS,
    Byte,
    Job,
    Operation,
    Reduction,
    Second,
    SpecialFunctionUnitConfig,
)
from hw.verify_special_functions import Case

LENGTHS = ("one", "ragged", "whole")
"""One element; several words of which the last is not full; whole words."""

ELEMENTS = ("any", "extremes", "zeros")

_MOST_FACTOR = 2 ** (FACTOR_BITS - 1) - 1

Cross = tuple[Operation, str, str, bool, bool]
"""Operation, length, elements, idle sources, stalling sinks; a step has one length and elements."""


def crosses(config: SpecialFunctionUnitConfig) -> list[Cross]:
    """Return every combination that there is: a rotation's length is even."""
    pauses = [(idle, stall) for idle in (False, True) for stall in (False, True)]
    found: list[Cross] = []
    for operation in Operation:
        lengths: tuple[str, ...] = LENGTHS
        if operation is Operation.ROTATE:
            lengths = LENGTHS[1:] if config.lanes > 2 else LENGTHS[2:]
        kinds = [(length, kind) for length in lengths for kind in ELEMENTS]
        for length, kind in kinds if operation.is_pass else [("one", "any")]:
            found += [(operation, length, kind, *pause) for pause in pauses]
    return found


def random_cases(config: SpecialFunctionUnitConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; as many as `crosses` has hit every cross.

    Each has a job of its cross among others. A quarter begins with a try that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    every = crosses(config)
    order = random.permutation(len(every))
    chosen = [every[order[number % len(order)]] for number in range(count)]
    return [_case(config, random, number, cross) for number, cross in enumerate(chosen)]


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    every = {*crosses(cases[0].config)}
    return len({cross for case in cases for cross in _hit(case)} & every) / len(every)


def _hit(case: Case) -> set[Cross]:
    hit = set()
    vectors = iter(case.a)
    pauses = case.idle, case.stall
    for job in case.jobs:
        if not job.operation.is_pass:
            hit.add((job.operation, "one", "any", *pauses))
            continue
        a = next(vectors)
        low, high = signed_range(WIDE_BITS)
        kind = "any"
        if not a.any():
            kind = "zeros"
        elif ((a == low) | (a == high)).all():
            kind = "extremes"
        whole = "whole" if job.length % case.config.lanes == 0 else "ragged"
        hit.add((job.operation, "one" if job.length == 1 else whole, kind, *pauses))
    return hit


def _case(
    config: SpecialFunctionUnitConfig, random: np.random.Generator, number: int, cross: Cross
) -> Case:
    operation, length, kind, idle, stall = cross
    jobs = _Jobs(config, random)
    for _ in range(int(random.integers(0, 5))):
        jobs.add(*_any_pass(random))
    jobs.add(operation, length, kind)
    for _ in range(int(random.integers(1, 7))):
        jobs.add(*_any_pass(random))
    jobs.show()
    name = f"random {number}: {operation.name}, {length}, {kind}"
    reset_after = int(random.integers(1, 150)) if random.random() < 0.25 else 0
    return Case(
        name, config, tuple(jobs.jobs), tuple(jobs.a), tuple(jobs.b), idle, stall, reset_after
    )


def _any_pass(random: np.random.Generator) -> tuple[Operation, str, str]:
    operation = Operation(int(random.choice([int(op) for op in Operation])))
    return operation, str(random.choice(LENGTHS)), str(random.choice(ELEMENTS, p=(0.8, 0.1, 0.1)))


class _Jobs:
    """Jobs that read only registers which one before has written."""

    def __init__(self, config: SpecialFunctionUnitConfig, random: np.random.Generator) -> None:
        self.config, self.random = config, random
        self.jobs: list[Job] = []
        self.a: list[torch.Tensor] = []
        self.b: list[torch.Tensor] = []
        self.written: dict[int, None] = {}
        self.multipliers: set[int] = set()

    def add(self, operation: Operation, length: str, kind: str) -> None:
        """Add a job, and before it what writes the registers that it reads."""
        if operation.is_pass:
            self._pass(operation, self._length(operation, length), kind)
        else:
            self._step(operation)

    def show(self) -> None:
        """Add jobs that bring every register's value and exponent to stream o.

        A value of 52 bits comes in two parts: its upper ones, and it itself, saturated.
        """
        for register in list(self.written):
            self._append(Job(Operation.LINEAR, source=Second.SCALAR, other=register, second=1))
            upper, normal = self._any_register(), self._any_register()
            if register in (upper, normal):
                continue
            self._append(Job(Operation.SHIFT, scale=register, target=upper, shift=25))
            self._append(Job(Operation.LINEAR, source=Second.SCALAR, other=upper, second=1))
            self._append(Job(Operation.NORMALISE, scale=register, target=normal))
            shift = int(self.random.integers(-20, 40))
            self._append(Job(Operation.LINEAR, scaled=True, scale=normal, shift=shift))

    def _append(self, job: Job, kind: str = "any", bits: int = WIDE_BITS) -> None:
        self.jobs.append(job)
        if job.operation.is_pass:
            self.a.append(self._elements(job.length, kind, bits))
        if job.takes_b:
            few = int(self.random.choice((FACTOR_BITS, FACTOR_BITS, WIDE_BITS)))
            self.b.append(self._elements(job.length, "extremes" if kind == "extremes" else "", few))
        self.written |= dict.fromkeys(job.writes)

    def _step(self, operation: Operation) -> None:
        random = self.random
        if operation is Operation.LOAD:
            first = self._factor()
            shift = int(random.integers(32))
            self._append(Job(operation, first=first, shift=shift, target=self._any_register()))
            return
        scale, other = self._written(), self._written()
        target = self._any_register()
        shift = int(random.integers(-10, 60))
        self._append(Job(operation, scale=scale, other=other, target=target, shift=shift))
        if operation not in (Operation.LOAD, Operation.SHIFT):
            self.multipliers.add(target)

    def _pass(self, operation: Operation, length: int, kind: str) -> None:
        random = self.random
        bits = WIDE_BITS if kind == "extremes" else int(random.integers(1, WIDE_BITS + 1))
        job = Job(
            operation,
            length,
            first=self._factor(),
            second=self._factor(),
            wide=bool(random.random() < 0.8),
            byte=Byte(int(random.integers(4))),
            reduction=Reduction(int(random.integers(4))),
            carry=bool(random.random() < 0.2),
            target=self._any_register(),
            fraction_bits=int(random.integers(MAX_FRACTION_BITS + 1)),
        )
        changes: dict[str, Any] = {}
        if job.carry and job.reduction is not Reduction.NONE:
            changes["target"] = self._written()
        if operation is Operation.ROTATE:
            changes["shift"] = FACTOR_FRACTION_BITS
            if random.random() < 0.2:
                changes["shift"] = int(random.integers(-3, 50))
            self._append(replace(job, **changes), kind, bits)
            return
        scaled = bool(random.random() < 0.3)
        factor_bits = abs(job.first).bit_length()
        changes["shift"] = self._shift(operation, bits + factor_bits)
        if scaled:
            changes |= {"scaled": True, "scale": self._written()}
            if random.random() < 0.7:
                changes["scale"] = self._multiplier()
                # Near the exponent that it is likely to have.
                changes["shift"] = int(random.integers(-30, 50))
        sources = [Second.NONE, Second.SCALAR]
        sources += [] if operation is Operation.PRODUCT else [Second.VECTOR]
        source = sources[int(random.integers(len(sources)))]
        if source is Second.SCALAR:
            changes["other"] = self._written()
        changes |= {"source": source, "minus": bool(random.random() < 0.4)}
        self._append(replace(job, **changes), kind, bits)

    def _shift(self, operation: Operation, product_bits: int) -> int:
        """Return a shift that leaves a number of bits which the operation can tell apart."""
        random = self.random
        if random.random() < 0.1:
            return int(random.integers(-128, 128))
        tabulated = operation in (Operation.SILU, Operation.GELU, Operation.EXP)
        wanted = int(random.integers(14, 23) if tabulated else random.integers(4, WIDE_BITS + 2))
        return min(max(product_bits - wanted, 0), MAX_SHIFT)

    def _length(self, operation: Operation, length: str) -> int:
        lanes, random = self.config.lanes, self.random
        whole = lanes * int(random.integers(1, 6))
        step = 2 if operation is Operation.ROTATE else 1
        if length == "one" and step == 1:
            return 1
        rests = range(step, lanes, step) if length == "ragged" else ()
        return whole + (int(random.choice(rests)) if rests else 0)

    def _elements(self, length: int, kind: str, bits: int) -> torch.Tensor:
        if kind == "zeros":
            return torch.zeros(length, dtype=torch.int64)
        low, high = signed_range(bits)
        if kind == "extremes":
            return torch.from_numpy(self.random.choice([low, high], size=length))
        elements = self.random.integers(low, high, size=length, endpoint=True)
        elements[0] |= 1  # not zeros by chance
        return torch.from_numpy(elements)

    def _factor(self) -> int:
        random = self.random
        if random.random() < 0.3:
            return int(random.choice((-_MOST_FACTOR, -1, 0, 1, _MOST_FACTOR)))
        most = 2 ** int(random.integers(1, FACTOR_BITS)) - 1
        return int(random.integers(-most, most, endpoint=True))

    def _any_register(self) -> int:
        register = int(self.random.integers(REGISTERS))
        self.multipliers.discard(register)
        return register

    def _written(self) -> int:
        if not self.written:
            self._step(Operation.LOAD)
        return int(self.random.choice(list(self.written)))

    def _multiplier(self) -> int:
        if not self.multipliers:
            steps = (Operation.NORMALISE, Operation.RECIPROCAL, Operation.INVERSE_ROOT)
            self._step(steps[int(self.random.integers(len(steps)))])
        return int(self.random.choice(list(self.multipliers)))

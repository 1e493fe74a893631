"""The special function unit's jobs and configuration: what is refused, and the golden unit."""

import re

import pytest
import torch

from golden.spec.errors import ConfigError, ShapeError
from golden.spec.special_function_unit import (
    Byte,
    Job,
    Operation,
    Reduction,
    Second,
    SpecialFunctionUnitConfig,
)
from golden.special_functions import functions, sequences
from golden.special_functions.passes import SpecialFunctionUnit
from golden.special_functions.scalars import exact

LINEAR = Operation.LINEAR


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 0}, "length is 0; allowed here are 1 to 65536"),
        ({"length": 65537}, "length is 65537; allowed here are 1 to 65536"),
        ({"length": True}, "length is True; allowed here are 1 to 65536"),
        ({"first": -131072}, "first is -131072; allowed here are -131071 to 131071"),
        ({"second": 131072}, "second is 131072; allowed here are -131071 to 131071"),
        ({"shift": 128}, "shift is 128; allowed here are -128 to 127"),
        ({"target": 16}, "target is 16; allowed here are 0 to 15"),
        ({"fraction_bits": 16}, "fraction_bits is 16; allowed here are 0 to 15"),
        (
            {"operation": Operation.LOAD, "shift": 32},
            "shift of LOAD is 32; allowed here are 0 to 31",
        ),
        (
            {"operation": Operation.PRODUCT, "source": Second.VECTOR},
            "PRODUCT takes stream b itself; source must not be VECTOR",
        ),
        (
            {"operation": Operation.ROTATE, "length": 2, "scaled": True},
            "ROTATE has its factors in stream b; scaled and source must be unset",
        ),
        (
            {"operation": Operation.ROTATE, "length": 3},
            "length is 3; ROTATE needs pairs, an even length",
        ),
        (
            {"operation": Operation.SHIFT, "length": 2},
            "length is 2; a step on scalars has length 1",
        ),
    ],
)
def test_a_job_that_does_not_fit_is_refused(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Job(**{"operation": LINEAR, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lanes": 1}, "lanes is 1; allowed are 2, 4, 8, 16 and 32"),
        ({"lanes": 64}, "lanes is 64; allowed are 2, 4, 8, 16 and 32"),
        ({"table_bits": 4}, "table_bits is 4; allowed here are 5 to 10"),
        ({"table_bits": 11}, "table_bits is 11; allowed here are 5 to 10"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        SpecialFunctionUnitConfig(**fields)


def test_what_a_job_reads_writes_and_takes():
    job = Job(LINEAR, 3, scaled=True, scale=1, other=2, target=3)
    assert (job.reads, job.writes, job.takes_b, job.gives) == ((1,), (), False, True)
    job = Job(
        Operation.EXP,
        3,
        source=Second.SCALAR,
        other=2,
        reduction=Reduction.SUM,
        carry=True,
        target=4,
    )
    assert (job.reads, job.writes) == ((2, 4), (4,))
    assert Job(LINEAR, 3, source=Second.VECTOR).takes_b and Job(Operation.PRODUCT).takes_b
    job = Job(Operation.INVERSE_ROOT, scale=5, other=6, target=7)
    assert (job.reads, job.writes, job.gives) == ((5, 6), (7,), False)
    assert Job(Operation.LOAD, target=1).reads == ()
    assert not Job(LINEAR, wide=False).gives and Job(LINEAR, wide=False, byte=Byte.LOW).gives


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (None, None, "vector a is missing; LINEAR needs [3]"),
        ([1, 2], None, "vector a is [2]; LINEAR needs [3]"),
        ([1, 2, 3], [1, 2, 3], "vector b is [3]; LINEAR needs none"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(a, b, message):
    vectors = [None if v is None else torch.tensor(v) for v in (a, b)]
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        SpecialFunctionUnit().run(Job(LINEAR, 3), *vectors)


def test_sums_and_maxima_carry_on():
    unit = SpecialFunctionUnit()
    unit.registers[2] = exact(100)
    x = torch.tensor([5, -200, 7])
    unit.run(Job(LINEAR, 3, reduction=Reduction.MAXIMUM, target=2, carry=True), x)
    assert unit.registers[2] == (100, 0)
    unit.run(Job(LINEAR, 3, reduction=Reduction.MAGNITUDE, target=2, carry=True), x)
    assert unit.registers[2] == (200, 0)
    unit.run(Job(LINEAR, 3, reduction=Reduction.SUM, target=2, carry=True), x)
    assert unit.registers[2] == (12, 0)
    unit.run(Job(LINEAR, 3, reduction=Reduction.MAXIMUM, target=2), x)
    assert unit.registers[2] == (7, 0)


def test_a_sum_of_squares_shifts_what_is_large():
    unit = SpecialFunctionUnit()
    x = torch.tensor([2**26 - 1, -(2**20), 3])
    unit.registers[0] = functions.magnitude(x)
    for job in sequences.rms_norm_jobs(3, 0, epsilon=9, work=1, shift=-20)[:2]:
        unit.run(job, x if job.operation.is_pass else None)
    assert unit.registers[1] == functions.sum_of_squares(x, functions.magnitude(x))
    value, exponent = unit.registers[1]
    assert exponent == 20 and value == 2**32 + 2**20

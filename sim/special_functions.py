"""What the special functions of a transformer take, by our unit's timing contract.

The contract is `hw.sfu_timing`, that of `SpecialFunctionUnit`: so many elements per cycle, and two
passes for what needs all elements first.
"""

from collections.abc import Callable
from functools import cache

from golden.spec.special_function_unit import Job, Operation, Second, SpecialFunctionUnitConfig
from golden.special_functions.sequences import (
    layer_norm_jobs,
    maximum_job,
    rms_norm_jobs,
    softmax_job,
)
from hw.sfu_timing import schedule

Jobs = Callable[[int], tuple[Job, ...]]
"""Gives the jobs for a vector of so many elements."""


def rms_norm(length: int) -> tuple[Job, ...]:
    """Return the jobs of a root mean square norm: two passes."""
    return rms_norm_jobs(length, magnitude=0, epsilon=1, work=2, shift=0)


def layer_norm(length: int) -> tuple[Job, ...]:
    """Return the jobs of a layer norm: five passes."""
    return layer_norm_jobs(length, epsilon=1, work=2, shift=0)


def softmax(length: int) -> tuple[Job, ...]:
    """Return the jobs of a softmax: one pass for the maximum, one for the exponentials."""
    return (maximum_job(length, 0), softmax_job(length, 0, 1, fraction_bits=14))


def rotation(length: int) -> tuple[Job, ...]:
    """Return the jobs of RoPE in FlightLLM: times sine, times cosine, and their sum."""
    product = Job(Operation.PRODUCT, length)
    return (product, product, *addition(length))


def activation(length: int) -> tuple[Job, ...]:
    """Return the job of SiLU or GELU."""
    return (Job(Operation.SILU, length),)


def multiplication(length: int) -> tuple[Job, ...]:
    """Return the job of a product element by element."""
    return (Job(Operation.PRODUCT, length),)


def addition(length: int) -> tuple[Job, ...]:
    """Return the job of a sum element by element."""
    return (Job(Operation.LINEAR, length, source=Second.VECTOR, second=1),)


@cache
def cycles(lanes: int, jobs: Jobs, length: int, vectors: int = 1) -> int:
    """Return the cycles for `vectors` vectors of `length` elements, one after the other.

    Latency is hidden between vectors: each further one takes as long as it keeps the unit busy.
    """
    config = SpecialFunctionUnitConfig(lanes)
    first = schedule(config, jobs(length)).cycles
    return first + (vectors - 1) * (schedule(config, jobs(length) * 2).cycles - first)

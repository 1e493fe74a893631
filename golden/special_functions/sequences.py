"""The functions that take several jobs of the special function unit, as sequences of jobs.

Each sequence gives what the function of the same name in `golden.special_functions.functions` does.
Functions that are one job are that job: `Job(Operation.LINEAR, ...)` adds, scales and copies.

A pass that reads the vector that another pass wrote, or reads the same vector again, is fed by
whoever stands around the unit: in each sequence, `a` is said for each pass.
"""

from golden.spec.special_function_unit import (
    FACTOR_FRACTION_BITS,
    Byte,
    Job,
    Operation,
    Reduction,
    Second,
)
from golden.special_functions.functions import EXP_FACTOR, mean_scale


def quantise_jobs(length: int, magnitude: int, work: int) -> tuple[Job, ...]:
    """Return the jobs of `quantise`: a is x; the result goes to o_byte.

    Args:
        magnitude: register that holds `magnitude(x)`. work: one for the quantiser.
    """
    multiply = Job(
        Operation.LINEAR, length, scaled=True, scale=work, wide=False, byte=Byte.SATURATED
    )
    return (Job(Operation.QUANTISER, scale=magnitude, target=work), multiply)


def rms_norm_jobs(
    length: int, magnitude: int, epsilon: int, work: int, shift: int
) -> tuple[Job, ...]:
    """Return the jobs of `rms_norm`: a is x in both passes, b is gamma in the last.

    The last one leaves the magnitude of its outputs in register `work`.

    Args:
        magnitude, epsilon: registers that hold them. work: one for what comes between.
    """
    squares = Job(
        Operation.SQUARES,
        length,
        scaled=True,
        scale=work,
        wide=False,
        reduction=Reduction.SUM,
        target=work,
    )
    apply = Job(
        Operation.PRODUCT,
        length,
        shift=shift,
        scaled=True,
        scale=work,
        reduction=Reduction.MAGNITUDE,
        target=work,
    )
    return (
        Job(Operation.NORMALISE, scale=magnitude, target=work),
        squares,
        Job(Operation.INVERSE_ROOT, scale=work, other=epsilon, target=work),
        apply,
    )


def layer_norm_jobs(length: int, epsilon: int, work: int, shift: int) -> tuple[Job, ...]:
    """Return the jobs of `layer_norm`.

    a is x in the first two passes, then twice what the second one gave, and at last what the fourth
    gave; b is gamma in the fourth pass and beta in the fifth. The last one leaves the magnitude of
    its outputs in register `work`.
    """
    factor, down, guard = mean_scale(length)
    return (
        Job(
            Operation.LINEAR,
            length,
            factor,
            shift=down,
            wide=False,
            reduction=Reduction.SUM,
            target=work,
        ),
        Job(Operation.SHIFT, scale=work, shift=guard, target=work),
        Job(
            Operation.LINEAR,
            length,
            source=Second.SCALAR,
            other=work,
            second=-1,
            reduction=Reduction.MAGNITUDE,
            target=work,
        ),
        *rms_norm_jobs(length, work, epsilon, work, shift),
        Job(
            Operation.LINEAR,
            length,
            source=Second.VECTOR,
            second=1,
            reduction=Reduction.MAGNITUDE,
            target=work,
        ),
    )


def softmax_job(
    length: int,
    maximum: int,
    total: int,
    fraction_bits: int,
    factor: int = EXP_FACTOR,
    shift: int = FACTOR_FRACTION_BITS,
    *,
    wide: bool = True,
    byte: Byte = Byte.NONE,
) -> Job:
    """Return the job of `softmax`: a is x.

    Args:
        maximum: register that holds it. total: register for the sum.
        byte: INT8 probabilities are Byte.SATURATED with 7 fraction bits; `lane.halves` are
            Byte.HIGH with 14, and a second pass LINEAR over the wide result with Byte.LOW.
    """
    return Job(
        Operation.EXP,
        length,
        factor,
        shift=shift,
        source=Second.SCALAR,
        other=maximum,
        minus=True,
        fraction_bits=fraction_bits,
        wide=wide,
        byte=byte,
        reduction=Reduction.SUM,
        target=total,
    )


def maximum_job(length: int, target: int, *, carry: bool = False) -> Job:
    """Return the first pass of a softmax with two: a is x; its maximum goes to `target`.

    Args:
        carry: the register already holds the maximum of chunks before.
    """
    return Job(
        Operation.LINEAR,
        length,
        wide=False,
        reduction=Reduction.MAXIMUM,
        target=target,
        carry=carry,
    )


def softmax_chunk_jobs(
    length: int,
    maximum: int,
    total: int,
    work: int,
    fraction_bits: int,
    factor: int = EXP_FACTOR,
    shift: int = FACTOR_FRACTION_BITS,
) -> tuple[Job, ...]:
    """Return the jobs of `softmax_chunk` for a chunk that is not the first.

    a is the chunk; the maximum of before, as a vector of one element; the chunk again; and the sum
    of before, as a vector of one element. The last pass gives the new sum as such a vector, the
    second one the correction, which is also in register `work`.

    Args:
        maximum: register that holds the maximum of before, and then of now. total: register for the
            chunk's sum, and then the new one. work: register for the correction.
    """
    return (
        maximum_job(length, maximum, carry=True),
        softmax_job(1, maximum, work, fraction_bits, factor, shift),
        softmax_job(length, maximum, total, fraction_bits, factor, shift),
        Job(
            Operation.LINEAR,
            1,
            second=1 << fraction_bits,
            shift=fraction_bits,
            scaled=True,
            scale=work,
            source=Second.SCALAR,
            other=total,
            reduction=Reduction.SUM,
            target=total,
        ),
    )

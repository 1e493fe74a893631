"""Directed cases for the special function unit: its edges, and what random cases seldom hit."""

from dataclasses import replace
from itertools import product

import numpy as np
import torch

from golden.spec.special_function_unit import Byte, Job, Operation, Reduction, Second
from hw.verify_special_functions import Case

LOW, HIGH = -(2**26), 2**26 - 1
LINEAR, EXP = Operation.LINEAR, Operation.EXP


def wide(*values):
    return torch.tensor(values, dtype=torch.int64)


def load(register, value=0, shift=0):
    return Job(Operation.LOAD, first=value, shift=shift, target=register)


def shown(register):
    """Jobs that bring a register to stream o, and their vectors."""
    return Job(LINEAR, source=Second.SCALAR, second=1, other=register), wide(0)


def edge_cases(config, length):
    """Yield each operation on vectors of one value: 0, both ends, and what saturates."""
    vectors = {
        "zeros": torch.zeros(length, dtype=torch.int64),
        "least": torch.full((length,), LOW),
        "most": torch.full((length,), HIGH),
        "units": torch.full((length,), -1),
    }
    for operation in (op for op in Operation if op.is_pass):
        if operation is Operation.ROTATE and length % 2:
            continue
        for name, a in vectors.items():
            for other, b in vectors.items():
                jobs = [load(3, -1)]
                for first, shift in ((1, 0), (131071, 0), (-131071, 47), (1, -5)):
                    one = Job(
                        operation,
                        length,
                        *(first, 131071, shift),
                        byte=Byte.SATURATED,
                        reduction=Reduction.MAGNITUDE,
                        target=2,
                        fraction_bits=15,
                    )
                    vector = operation in (LINEAR, EXP, Operation.SILU)
                    one = replace(one, source=Second.VECTOR) if vector else one
                    jobs += [one, replace(one, reduction=Reduction.SUM, byte=Byte.HIGH)]
                passes = [job for job in jobs if job.operation.is_pass]
                both = [b for job in passes if job.takes_b]
                if both or other == "zeros":
                    about = f"{operation.name}, {length}, {name}, {other}"
                    yield Case(about, config, tuple(jobs), (a,) * len(passes), tuple(both))


def dense_cases(config, seed):
    """Yield each operation on many elements of few bits, and each step on many scalars."""
    random = np.random.default_rng(seed)

    def integers(bits, count):
        return torch.from_numpy(random.integers(-(2**bits), 2**bits, count))

    for operation in (op for op in Operation if op.is_pass):
        jobs, a, b = [], [], []
        for bits, first, shift in ((21, 1, 0), (17, 3, 1), (12, 5, 4), (26, 1, 9), (20, 1, 16)):
            job = Job(operation, 300, first, shift=shift, fraction_bits=15, byte=Byte.LOW)
            for kind in (Reduction.SUM, Reduction.MAGNITUDE, Reduction.MAXIMUM):
                jobs += [replace(job, reduction=kind, target=1), shown(1)[0]]
                a += [integers(bits, 300), wide(0)]
                b += [integers(17, 300)] * job.takes_b
                for amount in (11, 25):
                    jobs += [Job(Operation.SHIFT, scale=1, shift=amount, target=2), shown(2)[0]]
                    a.append(wide(0))
        yield Case(f"dense {operation.name}", config, tuple(jobs), tuple(a), tuple(b))
    steps = [op for op in Operation if op > Operation.LOAD]
    for operation in steps:
        jobs, a = [], []
        for value in integers(17, 100).tolist():
            jobs.append(load(0, min(abs(value), 131071), int(random.integers(32))))
            jobs.append(load(1, abs(value) >> 3, int(random.integers(32))))
            about = {"scale": 0, "other": 1, "target": 2, "shift": int(random.integers(40))}
            jobs += [Job(operation, **about), shown(2)[0]]
            jobs += [Job(LINEAR, scaled=True, scale=2, shift=int(random.integers(-30, 30)))]
            a += [wide(0), wide(HIGH)]
        yield Case(f"dense {operation.name}", config, tuple(jobs), tuple(a))


def carried_cases(config):
    """Yield every length up to some, and maxima that go on from scalars of all magnitudes."""
    jobs = tuple(Job(LINEAR, n) for n in range(1, 30 * config.lanes, 3))
    yield Case("lengths", config, jobs, tuple(torch.arange(job.length) for job in jobs))
    carry = Job(LINEAR, reduction=Reduction.MAXIMUM, carry=True, wide=False)
    jobs, a = [], []
    for first, value, shift in product((-65537, 65537), (LOW, HIGH), range(32)):
        jobs += [load(0, first, shift), carry, shown(0)[0]]
        a += [wide(value), wide(0)]
    yield Case("carried maxima", config, tuple(jobs), tuple(a))


def every_argument(config, operation):
    """A case with each argument of a table, and of half an octave around 0 for EXP."""
    end, most = 2**20 + 2**10, 2**16
    x = torch.arange(0, end)
    parts = x.split(most)
    jobs = tuple(Job(operation, len(part), fraction_bits=15) for part in parts)
    return Case(f"every {operation.name}", config, jobs, tuple(-part for part in parts))

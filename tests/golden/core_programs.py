"""Small cores, programs and operands for the tests of the golden core."""

import numpy as np
import torch

from golden.core_interpreter import Core
from golden.matrix_engine import Mode, chain_passes
from golden.spec.core import CoreConfig
from golden.spec.instruction import instruction
from golden.spec.isa import SystemOperation, Unit, Weights
from hw.random_matrices import random_matrix
from hw.weight_stream import equally_long, weight_stream
from hw.weight_stream_reader import read_weight_stream

M8 = CoreConfig(chains=3, m=8, strips=4, vector_depth=256, activation_depth=64)
M16 = CoreConfig(chains=2, m=16, strips=4, vector_depth=128, activation_depth=32)
UNIT = 1 << 14
"""With this scale an output is a sum itself."""

BASES = [0x100 * number for number in range(16)]
END = instruction(Unit.SYS, op=SystemOperation.END)


def make_core(core_class=Core, config=M8, size=1 << 14, read=read_weight_stream):
    """Return a core whose memories hold random bytes."""
    random = np.random.default_rng(0)
    ports = ["general", *(f"channel_{c}" for c in range(config.chains))]
    memories = {port: random.integers(0, 256, size, np.uint8) for port in ports}
    return core_class(config, memories, BASES, read)


def program(*instructions):
    return [word for one in (*instructions, END) for word in one.encode()]


def run(core, *instructions):
    effects = core.run(program(*instructions))
    assert [effect.unit for effect in effects] == [one.unit for one in (*instructions, END)]
    assert effects[-1].vector is None and not effects[-1].memory
    return effects


def misc(job, **places):
    fields = {name: int(getattr(job, name)) for name in job.__dataclass_fields__}
    return instruction(Unit.MISC, op=fields.pop("operation"), **fields, **places)


def raw_product(config, columns, addresses, mask):
    return instruction(
        Unit.MV,
        weights=Weights.RAW,
        channels=mask,
        words=columns * addresses * config.m,
        strips=2 * config.chains * addresses,
        columns=columns,
        group=columns,
        addresses=addresses,
        scale=UNIT,
    )


def packed_product(core, matrix, scales, zeros, number):
    """Put a matrix into the channels; return its load and its product."""
    config = core.config
    chains = chain_passes(matrix, config.engine, Mode.MATRIX_VECTOR)
    streams = equally_long([weight_stream(p, scales, zeros, config.engine) for p in chains])
    for chain, words in enumerate(streams):
        place = number << 14
        core.memories[f"channel_{chain}"][place : place + words.size] = words.reshape(-1)
    columns = -(-matrix.inputs // config.m)
    load = instruction(
        Unit.LD, channels=2**config.chains - 1, offset=number << 14, length=streams.shape[1]
    )
    return load, instruction(
        Unit.MV,
        words=streams.shape[1],
        strips=sum(passes.strips[passes.strips >= 0].size for passes in chains),
        activation=10 * number,
        columns=columns,
        group=min(matrix.group_size // config.m, columns),
        sweeps=len(chains[0].strips),
        paired=int(not chains[0].shares_activations),
        out=40 * number,
    )


def packed_case(core_class, config, read=read_weight_stream):
    """Return a core with three matrices, and each one's operands, load and product."""
    random = np.random.default_rng(7)
    core = make_core(core_class, config, 1 << 16, read)
    cases = []
    for number, pattern in enumerate((("uniform", config.m), ("absent", 0), ("mixed", 0))):
        matrix = random_matrix(config.engine.chain, random, pattern, 8, most_in_group=3)
        shape = (matrix.rows, matrix.groups)
        scales = torch.from_numpy(random.integers(1, 2**config.engine.scale_bits, shape))
        zeros = torch.from_numpy(random.integers(-128, 128, shape)) * matrix.is_dense
        load, product = packed_product(core, matrix, scales, zeros, number)
        cases.append(((matrix, scales, zeros), load, product))
    return core, cases

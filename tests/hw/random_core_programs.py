"""Random programs of all units for a small core, and the memories that they work on."""

from dataclasses import dataclass, fields

import numpy as np
import torch

from golden.core_interpreter import Core
from golden.matrix_engine import Mode, chain_passes
from golden.spec.core import CoreConfig
from golden.spec.instruction import encode
from golden.spec.isa import Memory, Unit, Weights
from golden.spec.special_function_unit import Byte
from golden.token_schedule import Region, Schedule, Space
from hw.core_ports import port_names
from hw.core_simulation import ProgramRun
from hw.random_matrices import random_matrix
from hw.sfu_cases import random_cases
from hw.weight_stream import equally_long, weight_stream
from hw.weight_stream_reader import read_weight_stream

CONFIG = CoreConfig(chains=3, m=8, strips=4, vector_depth=256, activation_depth=64, buffer_words=64)
SIZE = 1 << 16
STORED = 1 << 15
"""From here on programs store, below it they load."""

BASES = {0: 0, 1: 0x1000, 2: STORED, 3: STORED + 0x1003}


@dataclass(frozen=True)
class Packed:
    """A matrix in the channels: the fields of its load and of its product."""

    load: dict
    product: dict
    columns: int
    strips: int


def images(config, seed):
    """Return the memories of all ports but the program's, and some matrices in them."""
    random = np.random.default_rng(seed)
    memories = {name: random.integers(0, 256, SIZE, np.uint8) for name in port_names(config)[1:]}
    matrices, place = [], 1 << 13
    for pattern in (("uniform", config.m), ("absent", 0), ("mixed", 0)):
        matrix = random_matrix(config.engine.chain, random, pattern, 8, most_in_group=3)
        shape = (matrix.rows, matrix.groups)
        scales = torch.from_numpy(random.integers(1, 2**config.engine.scale_bits, shape))
        zeros = torch.from_numpy(random.integers(-128, 128, shape)) * matrix.is_dense
        chains = chain_passes(matrix, config.engine, Mode.MATRIX_VECTOR)
        streams = equally_long([weight_stream(p, scales, zeros, config.engine) for p in chains])
        for chain, words in enumerate(streams):
            memories[f"channel_{chain}"][place : place + words.size] = words.reshape(-1)
        columns = -(-matrix.inputs // config.m)
        strips = sum(passes.strips[passes.strips >= 0].size for passes in chains)
        matrices.append(
            Packed(
                {"offset": place, "length": streams.shape[1]},
                {
                    "words": streams.shape[1],
                    "strips": strips,
                    "columns": columns,
                    "group": min(matrix.group_size // config.m, columns),
                    "sweeps": len(chains[0].strips),
                    "paired": int(not chains[0].shares_activations),
                },
                columns,
                strips,
            )
        )
        place += -(-streams[0].size // config.word_bytes) * config.word_bytes
    assert place <= STORED
    return memories, matrices


class RandomProgram:
    """Adds random instructions to a schedule, which gives them their tokens."""

    def __init__(self, config, matrices, seed):
        self.config, self.matrices = config, matrices
        self.random = np.random.default_rng(seed)
        sizes = {Space.VECTOR: config.vector_depth, Space.ACTIVATION: config.activation_depth}
        self.schedule = Schedule({**sizes, Space.KEYS: 1, Space.VALUES: 1})
        self.jobs = []

    def words(self, count):
        kinds = (self.load, self.raw, self.packed, self.misc, self.misc, self.misc, self.store)
        for _ in range(count):
            kinds[int(self.random.integers(len(kinds)))]()
        return encode(self.schedule.instructions())

    def place(self, space, words):
        depth = self.config.vector_depth if space is Space.VECTOR else self.config.activation_depth
        return Region(space, int(self.random.integers(0, depth - words + 1)), words)

    def loops(self, step, most):
        """Three loops of steps forwards or backwards, that stay within 4096 bytes."""
        random, counts = self.random, [int(self.random.integers(1, most)) for _ in range(3)]
        strides = [step * int(random.integers(-4, 5)) for _ in range(3)]
        low = sum(min(s, 0) * (c - 1) for s, c in zip(strides, counts, strict=True))
        names = ("count", "stride")
        values = zip(counts, strides, strict=True)
        named = {
            f"{name}_{k + 1}": v
            for k, pair in enumerate(values)
            for name, v in zip(names, pair, strict=True)
        }
        return named, -low, int(np.prod(counts))

    def load(self):
        config, random = self.config, self.random
        loops, low, runs = self.loops(config.word_bytes, 4)
        length = int(random.integers(1, 5))
        words = -(-runs * length // config.words_per_vector_word)
        out = self.place(Space.VECTOR, words)
        offset = low + config.word_bytes * int(random.integers(0, 100))
        fields = {"base": 1, "out": out.start, "length": length, "offset": offset, **loops}
        self.schedule.add(Unit.LD, fields, writes=[out])

    def raw(self):
        config, random = self.config, self.random
        columns, addresses = int(random.integers(1, 7)), int(random.integers(1, 4))
        mask = int(random.integers(1, 2**config.chains))
        words = columns * addresses * config.m
        offset = config.word_bytes * int(random.integers(0, 100))
        # As blocks of a column each, in the order in which the product takes them.
        blocks = {"length": config.m, "count_1": addresses, "count_2": columns}
        stride = config.word_bytes * config.m
        loops = blocks | {"stride_1": stride, "stride_2": stride * addresses}
        self.schedule.add(Unit.LD, {"channels": mask, "offset": offset, **loops})
        strips = 2 * config.chains * addresses
        inputs, out = self.place(Space.ACTIVATION, columns), self.place(Space.VECTOR, strips)
        self.schedule.add(
            Unit.MV,
            {
                "weights": Weights.RAW,
                "channels": mask,
                "words": words,
                "strips": strips,
                "activation": inputs.start,
                "columns": columns,
                "group": int(random.integers(1, columns + 1)),
                "addresses": addresses,
                "scale": int(random.integers(0, 2**config.engine.scale_bits)),
                "out": out.start,
            },
            reads=[inputs],
            writes=[out],
        )

    def packed(self):
        matrix = self.matrices[int(self.random.integers(len(self.matrices)))]
        channels = 2**self.config.chains - 1
        self.schedule.add(Unit.LD, {"channels": channels, **matrix.load})
        inputs = self.place(Space.ACTIVATION, matrix.columns)
        out = self.place(Space.VECTOR, matrix.strips)
        self.schedule.add(
            Unit.MV,
            {
                "activation": inputs.start,
                "out": out.start,
                **matrix.product,
            },
            reads=[inputs],
            writes=[out],
        )

    def misc(self):
        config = self.config
        if not self.jobs:
            seed = int(self.random.integers(2**31))
            (case,) = random_cases(config.functions, 1, seed)
            self.jobs = list(case.jobs)
        job = self.jobs.pop(0)
        words = config.functions.words(job.length)
        a, b, out = (self.place(Space.VECTOR, words) for _ in range(3))
        # An output may go over the input from which it comes, or beside it, but not behind it.
        if a.start < out.start < a.start + words or b.start < out.start < b.start + words:
            out = a if not b.start < a.start < b.start + words else b
        out_byte = self.place(Space.ACTIVATION, words)
        given = {f.name: int(getattr(job, f.name)) for f in fields(job) if f.name != "operation"}
        is_pass = job.operation.is_pass
        reads = ([a] if is_pass else []) + ([b] if job.takes_b else [])
        writes = [out] if is_pass and job.wide else []
        writes += [out_byte] if is_pass and job.byte is not Byte.NONE else []
        self.schedule.add(
            Unit.MISC,
            {
                "op": int(job.operation),
                "a": a.start,
                "b": b.start,
                "out": out.start,
                "out_byte": out_byte.start,
                "token": int(self.random.integers(4)),
                **given,
            },
            reads=reads,
            writes=writes,
        )

    def store(self):
        random, config = self.random, self.config
        memory = Memory(int(random.integers(2)))
        loops, low, runs = self.loops(1, 4)
        length = int(random.choice([1, 2, 7, 8, 16, 33]))
        mask = int(random.integers(2**config.chains))
        ports = max(mask.bit_count(), 1)
        space, size = Space.VECTOR, 4 * config.m
        if memory is Memory.ACTIVATION:
            space, size = Space.ACTIVATION, config.m
        words = -(-runs * length * ports // size)
        depth = config.vector_depth if space is Space.VECTOR else config.activation_depth
        if words > depth:
            return
        source = self.place(space, words)
        self.schedule.add(
            Unit.ST,
            {
                "memory": memory,
                "token": int(random.integers(4)),
                "base": int(random.integers(2, 4)),
                "channels": mask,
                "start": source.start,
                "length": length,
                "offset": low + int(random.integers(0, 4096)),
                **loops,
            },
            reads=[source],
        )


def golden_core(config, memories):
    bases = [BASES.get(number, 0) for number in range(16)]
    copies = {name: memory.copy() for name, memory in memories.items()}
    return Core(config, copies, bases, read_weight_stream)


def run_golden(core, runs):
    """Return the effects of programs one after the other; scalar registers begin with 0."""
    effects = []
    for one in runs:
        effects += core.run(one.words)
    return effects


def random_runs(config, matrices, seed, programs, count):
    return [
        ProgramRun(RandomProgram(config, matrices, (seed, number)).words(count), BASES)
        for number in range(programs)
    ]

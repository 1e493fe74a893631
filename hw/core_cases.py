"""Random programs of all units of a core, and the memories that they work on.

A program's tokens come from `golden.token_schedule`, so what it writes does not hang on time, and
the golden interpreter says what that is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from golden.core_effects import Effect
from golden.core_interpreter import Core
from golden.matrix_engine import Mode, chain_passes
from golden.spec.core import LANES, CoreConfig
from golden.spec.instruction import encode
from golden.spec.isa import LENGTH_BASE, Memory, SystemOperation, Unit, Weights
from golden.spec.special_function_unit import LENGTH_BITS, Byte, Job, Operation
from golden.token_schedule import Region, Schedule, Space
from hw.core_ports import port_names
from hw.core_simulation import ProgramRun
from hw.random_matrices import Pattern, random_matrix
from hw.sfu_cases import random_cases
from hw.weight_stream import equally_long, weight_stream
from hw.weight_stream_reader import read_weight_stream

CONFIG = CoreConfig(
    chains=3,
    m=8,
    strips=4,
    vector_depth=256,
    activation_depth=64,
    buffer_words=64,
    replay_words=128,
)
"""A small core, whose simulator many tests share."""

SIZE = 1 << 16
"""Bytes of each memory."""

STORED = 1 << 15
"""From here on programs store, below it they load."""

STREAMS = 1 << 13
"""From here on there are weight streams in the channels."""

BASES = {0: 0, 1: 0x1000, 2: STORED, 3: STORED + 0x1003}
"""What the programs' base registers hold."""

WINDOW = {Space.VECTOR: 256, Space.ACTIVATION: 64}
"""Words of each memory on the chip, side by side, that a program uses at most: so its instructions
meet in deep memories too."""

Images = dict[str, np.ndarray]
"""What the memory behind each port holds, uint8 [bytes]."""


@dataclass(frozen=True)
class Packed:
    """A matrix in the channels.

    Attributes:
        pattern: of its blocks, see `hw.random_matrices`.
        load, product: fields of the instructions that load it and multiply with it.
        columns: words of the activation memory that it takes. strips: that come out.
        kept: weights of each strip that are there.
    """

    pattern: str
    load: dict[str, int]
    product: dict[str, int]
    columns: int
    strips: int
    kept: tuple[int, ...]


def images(config: CoreConfig, seed: int) -> tuple[Images, list[Packed]]:
    """Return the memories of all ports but the program's, and some matrices in them."""
    random = np.random.default_rng(seed)
    memories = {name: random.integers(0, 256, SIZE, np.uint8) for name in port_names(config)[1:]}
    matrices: list[Packed] = []
    place = STREAMS
    for pattern in (("uniform", config.m), ("absent", 0), ("mixed", 0)):
        room = (STORED - place) // (3 - len(matrices))
        streams, matrix = _packed(config, random, pattern, place)
        while streams[0].size > room:
            streams, matrix = _packed(config, random, pattern, place)
        for chain, words in enumerate(streams):
            memories[f"channel_{chain}"][place : place + words.size] = words.reshape(-1)
        matrices.append(matrix)
        place += -(-streams[0].size // config.word_bytes) * config.word_bytes
    return memories, matrices


def _packed(
    config: CoreConfig, random: np.random.Generator, pattern: Pattern, place: int
) -> tuple[np.ndarray, Packed]:
    """Return the streams of a random matrix, uint8 [chains, words, bytes], and its fields."""
    matrix = random_matrix(config.engine.chain, random, pattern, 8, most_in_group=3)
    shape = (matrix.rows, matrix.groups)
    scales = torch.from_numpy(random.integers(1, 2**config.engine.scale_bits, shape))
    zeros = torch.from_numpy(random.integers(-128, 128, shape)) * matrix.is_dense
    chains = chain_passes(matrix, config.engine, Mode.MATRIX_VECTOR)
    streams = equally_long([weight_stream(p, scales, zeros, config.engine) for p in chains])
    columns = -(-matrix.inputs // config.m)
    strips = sum(passes.strips[passes.strips >= 0].size for passes in chains)
    kept = np.zeros(max(strips * config.m, matrix.rows), np.int64)
    kept[: matrix.rows] = matrix.mask.sum(dim=1).numpy()
    fields = {
        "words": streams.shape[1],
        "strips": strips,
        "columns": columns,
        "group": min(matrix.group_size // config.m, columns),
        "sweeps": len(chains[0].strips),
        "paired": int(not chains[0].shares_activations),
    }
    load = {"offset": place, "length": streams.shape[1]}
    by_strip = kept.reshape(-1, config.m).sum(axis=1).tolist()
    return streams, Packed(pattern[0], load, fields, columns, strips, tuple(by_strip))


class RandomProgram:
    """Adds random instructions to a schedule, which gives them their tokens.

    Args:
        matrices: that products may use. seed: of all that is chosen.
    """

    def __init__(
        self, config: CoreConfig, matrices: Sequence[Packed], seed: int | Sequence[int]
    ) -> None:
        self.config, self.matrices = config, matrices
        self.random = np.random.default_rng(seed)
        sizes = {Space.VECTOR: config.vector_depth, Space.ACTIVATION: config.activation_depth}
        self.schedule = Schedule(sizes)
        self.sizes = {space: min(depth, WINDOW[space]) for space, depth in sizes.items()}
        self.first = {s: self.up_to(depth - self.sizes[s]) for s, depth in sizes.items()}
        self.jobs: list[Job] = []

    def words(self, count: int) -> list[int]:
        """Return the words of a program of about `count` instructions or pairs of them."""
        misc = (self.misc,) * 3
        kinds = (self.load, self.raw, self.packed, *misc, self.store, self.sync)
        for _ in range(count):
            kinds[int(self.random.integers(len(kinds)))]()
        return encode(self.schedule.instructions())

    def up_to(self, most: int) -> int:
        """Return a number from 0 to `most`."""
        return int(self.random.integers(most + 1))

    def add(
        self,
        unit: Unit,
        fields: Mapping[str, int],
        reads: Sequence[Region] = (),
        writes: Sequence[Region] = (),
    ) -> None:
        """Add an instruction; see `golden.token_schedule.Schedule.add`."""
        self.schedule.add(unit, fields, reads=reads, writes=writes)

    def place(self, space: Space, words: int) -> Region:
        """Return a region somewhere."""
        return Region(space, self.first[space] + self.up_to(self.sizes[space] - words), words)

    def mask(self) -> int:
        """Return a mask of some channels: one, several or all."""
        every = 2**self.config.chains - 1
        kinds = (every, 1 << self.up_to(self.config.chains - 1), 1 + self.up_to(every - 1))
        return kinds[self.up_to(2)]

    def loops(self, step: int, most: int) -> tuple[dict[str, int], int, int]:
        """Return three loops of steps forwards or backwards.

        Args:
            step: that strides are multiples of. most: what counts stay below.

        Returns:
            Their fields, how many bytes they reach below their start, and their runs.
        """
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

    def load(self) -> None:
        """Load words of the general memory into the vector buffer."""
        config, random = self.config, self.random
        loops, low, runs = self.loops(config.word_bytes, 4)
        most = self.sizes[Space.VECTOR] * config.words_per_vector_word // runs
        length = min(int(random.integers(1, 5)), most)
        words = -(-runs * length // config.words_per_vector_word)
        out = self.place(Space.VECTOR, words)
        offset = low + config.word_bytes * int(random.integers(0, 100))
        place = {"base": 1, "out": out.start, "length": length, "offset": offset}
        self.add(Unit.LD, place | loops, writes=[out])

    def addresses(self) -> int:
        """Return how many strips each chain's lanes have in a product with plain INT8."""
        most = self.sizes[Space.VECTOR] // self.config.raw_step
        return 1 + self.up_to(min(3, self.config.strips, most) - 1)

    def raw(self) -> None:
        """Multiply with plain INT8 of some channels."""
        config, random = self.config, self.random
        columns, addresses = int(random.integers(1, 7)), self.addresses()
        mask = self.mask()
        words = columns * addresses * config.m
        offset = config.word_bytes * int(random.integers(0, 100))
        # As blocks of a column each, in the order in which the product takes them.
        blocks = {"length": config.m, "count_1": addresses, "count_2": columns}
        stride = config.word_bytes * config.m
        loops = blocks | {"stride_1": stride, "stride_2": stride * addresses}
        self.add(Unit.LD, {"channels": mask, "offset": offset, **loops})
        strips = LANES * config.chains * addresses
        unit, places, inputs, out = self.tokens(words, columns, strips)
        product = {
            "weights": Weights.RAW,
            "channels": mask,
            "words": words,
            "strips": strips,
            "columns": columns,
            "group": int(random.integers(1, columns + 1)),
            "addresses": addresses,
            "scale": int(random.integers(0, 2**config.engine.scale_bits)),
        }
        self.add(unit, product | places, reads=[inputs], writes=[out])

    def packed(self) -> None:
        """Multiply with one of the matrices."""
        matrix = self.matrices[int(self.random.integers(len(self.matrices)))]
        channels = 2**self.config.chains - 1
        self.add(Unit.LD, {"channels": channels, **matrix.load})
        unit, places, inputs, out = self.tokens(
            matrix.product["words"], matrix.columns, matrix.strips
        )
        self.add(unit, matrix.product | places, reads=[inputs], writes=[out])

    def tokens(
        self, words: int, columns: int, strips: int
    ) -> tuple[Unit, dict[str, int], Region, Region]:
        """Make a product one of one token or of several.

        Args:
            words: that each chain takes. columns: of activations. strips: of all cores.

        Returns:
            The unit, the fields that say where its tokens lie, and what it reads and writes: the
            tokens' activations may overlap, their outputs only as a whole.
        """
        unit = Unit.MM if self.up_to(1) else Unit.MV
        room, outside = self.sizes[Space.ACTIVATION], self.sizes[Space.VECTOR]
        more = self.up_to(3) if unit is Unit.MM and words <= self.config.replay_words else 0
        step = self.up_to((room - columns) // max(more, 1))
        out_step = 0
        if self.up_to(3):
            more = min(more, outside // strips - 1)
            out_step = strips + self.up_to(outside // (1 + more) - strips)
        inputs = self.place(Space.ACTIVATION, columns + more * step)
        out = self.place(Space.VECTOR, strips + more * out_step)
        places = {"activation": inputs.start, "out": out.start}
        if unit is Unit.MM:
            places |= {"tokens": 1 + more, "step": step, "out_step": out_step}
        return unit, places, inputs, out

    def misc(self) -> None:
        """Let the special function unit do a job, the next one of a random case."""
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
        shorter = (job.length - 1 - BASES[LENGTH_BASE]) % (1 << LENGTH_BITS) + 1
        if is_pass and job.operation is not Operation.ROTATE and self.up_to(1):
            given |= {"length": shorter, "extended": 1}
        reads = ([a] if is_pass else []) + ([b] if job.takes_b else [])
        writes = [out] if is_pass and job.wide else []
        writes += [out_byte] if is_pass and job.byte is not Byte.NONE else []
        self.add(
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

    def sync(self) -> None:
        """Let all that uses some words wait for all that has used them."""
        spaces = (Space.VECTOR, Space.ACTIVATION)
        writes = [self.place(space, 1 + self.up_to(7)) for space in spaces]
        self.add(Unit.SYS, {"op": SystemOperation.SYNC}, writes=writes)

    def store(self) -> None:
        """Store a part of the vector buffer or of the activation memory."""
        random, config = self.random, self.config
        memory = Memory(int(random.integers(2)))
        # Half of them whole words.
        base, step = (2, config.word_bytes) if self.up_to(1) else (2 + self.up_to(1), 1)
        loops, low, runs = self.loops(step, 4)
        length = step * int(random.choice([1, 2, 3] if step > 1 else [1, 2, 7, 8, 16, 33]))
        mask = self.mask() * self.up_to(1)
        ports = max(mask.bit_count(), 1)
        space, size = Space.VECTOR, 4 * config.m
        if memory is Memory.ACTIVATION:
            space, size = Space.ACTIVATION, config.m
        words = -(-runs * length * ports // size)
        if words > self.sizes[space]:
            return
        source = self.place(space, words)
        self.add(
            Unit.ST,
            {
                "memory": memory,
                "token": int(random.integers(4)),
                "base": base,
                "channels": mask,
                "start": source.start,
                "length": length,
                "offset": low + step * self.up_to(4095 // step),
                **loops,
            },
            reads=[source],
        )


def golden_core(config: CoreConfig, memories: Mapping[str, np.ndarray]) -> Core:
    """Return the golden twin of a core with copies of these memories."""
    bases = [BASES.get(number, 0) for number in range(16)]
    copies = {name: memory.copy() for name, memory in memories.items()}
    return Core(config, copies, bases, read_weight_stream)


def run_golden(core: Core, runs: Sequence[ProgramRun]) -> list[Effect]:
    """Return the effects of programs one after the other; scalar registers begin with 0."""
    effects: list[Effect] = []
    for one in runs:
        effects += core.run(one.words)
    return effects


def random_runs(
    config: CoreConfig, matrices: Sequence[Packed], seed: int, programs: int, count: int
) -> list[ProgramRun]:
    """Return random programs of about `count` instructions each."""
    return [
        ProgramRun(RandomProgram(config, matrices, (seed, number)).words(count), BASES)
        for number in range(programs)
    ]

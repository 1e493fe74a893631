"""Random programs of several cores that give each other strips, and the memories they work on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from golden.accelerator_interpreter import Accelerator
from golden.core_effects import Effect
from golden.spec.core import LANES, CoreConfig
from golden.spec.instruction import encode
from golden.spec.isa import Memory, Unit, Weights
from golden.token_schedule import Region, Schedule, Space
from hw.core_cases import BASES, CONFIG, SIZE, STORED, Images, Packed, RandomProgram, images
from hw.core_simulation import ProgramRun
from hw.weight_stream_reader import read_weight_stream

PAIR = replace(CONFIG, chains=2, cores=2)
"""Two small cores, whose simulator many tests share."""

DUMPED = STORED + 0x4000
"""Where a program leaves what it used of its vector buffer."""


def core_images(config: CoreConfig, seed: int) -> tuple[list[Images], list[Packed]]:
    """Return the memories of each core, all different, and matrices dealt over all chains."""
    memories, matrices = images(replace(config, chains=config.all_chains, cores=1), seed)
    mine = [
        {"general": np.roll(memories["general"], core)}
        | {
            f"channel_{chain}": memories[f"channel_{core * config.chains + chain}"]
            for chain in range(config.chains)
        }
        for core in range(config.cores)
    ]
    return mine, matrices


class RandomPrograms(RandomProgram):
    """Adds random instructions to the schedules of all cores: some are of all, some of a few."""

    def __init__(
        self, config: CoreConfig, matrices: Sequence[Packed], seed: int | Sequence[int]
    ) -> None:
        super().__init__(config, matrices, seed)
        sizes = {Space.VECTOR: config.vector_depth, Space.ACTIVATION: config.activation_depth}
        self.schedules = [Schedule(sizes, config.cores) for _ in range(config.cores)]

    def programs(self, count: int) -> list[list[int]]:
        """Return the words of each core's program; at its end it stores what it used."""
        misc = (self.misc,) * 2
        kinds = (self.load, self.raw, self.packed, *misc, self.store, self.sync)
        for _ in range(count):
            kinds[int(self.random.integers(len(kinds)))]()
        size = 4 * self.config.m
        words = min(self.sizes[Space.VECTOR], (SIZE - DUMPED) // size)
        used = Region(Space.VECTOR, self.first[Space.VECTOR], words)
        dump = {"memory": Memory.VECTOR, "start": used.start, "offset": DUMPED, "length": size}
        loops = {"count_1": words, "stride_1": size}
        for schedule in self.schedules:
            schedule.add(Unit.ST, dump | loops, reads=[used])
        return [encode(schedule.instructions()) for schedule in self.schedules]

    def add(
        self,
        unit: Unit,
        fields: Mapping[str, int],
        reads: Sequence[Region] = (),
        writes: Sequence[Region] = (),
    ) -> None:
        """Add an instruction to some cores, at least one; jobs need the ones before: to all."""
        some = self.random.random(self.config.cores) < 0.7
        if unit is Unit.MISC or not some.any():
            some[:] = True
        for schedule, here in zip(self.schedules, some.tolist(), strict=True):
            schedule.add(unit, fields, reads=reads, writes=writes, here=here)

    def raw(self) -> None:
        """Multiply with plain INT8 of some channels of some cores."""
        config, random = self.config, self.random
        columns, addresses = int(random.integers(1, 7)), self.addresses()
        offset = config.word_bytes * int(random.integers(0, 100))
        blocks = {"length": config.m, "count_1": addresses, "count_2": columns}
        stride = config.word_bytes * config.m
        loops = blocks | {"stride_1": stride, "stride_2": stride * addresses}
        words = columns * addresses * config.m
        unit, places, inputs, out = self.tokens(words, columns, config.raw_step * addresses)
        product = {
            "weights": Weights.RAW,
            "words": words,
            "strips": config.chains * LANES * addresses,
            "columns": columns,
            "group": int(random.integers(1, columns + 1)),
            "addresses": addresses,
            "scale": int(random.integers(0, 2**config.engine.scale_bits)),
        }
        masks = [self.mask() * bool(self.up_to(3)) for _ in range(config.cores)]
        for core, (mask, schedule) in enumerate(zip(masks, self.schedules, strict=True)):
            chosen = {"channels": mask}
            schedule.add(Unit.LD, chosen | loops | {"offset": offset}, here=mask > 0)
            place = places | {"out": out.start + core * config.chains * LANES}
            schedule.add(
                unit, chosen | product | place, reads=[inputs], writes=[out], here=mask > 0
            )

    def packed(self) -> None:
        """Multiply with one of the matrices, whose rows are dealt over all chains."""
        config = self.config
        matrix = self.matrices[int(self.random.integers(len(self.matrices)))]
        unit, places, inputs, out = self.tokens(
            matrix.product["words"], matrix.columns, matrix.strips
        )
        product = matrix.product | places | {"strips": matrix.strips // config.cores}
        channels = {"channels": 2**config.chains - 1}
        for schedule in self.schedules:
            schedule.add(Unit.LD, channels | matrix.load)
            schedule.add(unit, product, reads=[inputs], writes=[out])


def random_programs(
    config: CoreConfig, matrices: Sequence[Packed], seed: int, programs: int, count: int
) -> list[list[ProgramRun]]:
    """Return for each core its programs."""
    made = [
        RandomPrograms(config, matrices, (seed, number)).programs(count)
        for number in range(programs)
    ]
    return [[ProgramRun(words, BASES) for words in mine] for mine in zip(*made, strict=True)]


def golden_accelerator(
    config: CoreConfig, memories: Sequence[Mapping[str, np.ndarray]]
) -> Accelerator:
    """Return the golden twin of cores with copies of these memories."""
    bases = [BASES.get(number, 0) for number in range(16)]
    copies = [{name: memory.copy() for name, memory in mine.items()} for mine in memories]
    return Accelerator(config, copies, [bases] * config.cores, read_weight_stream)


def run_golden_cores(
    golden: Accelerator, runs: Sequence[Sequence[ProgramRun]]
) -> list[list[Effect]]:
    """Return the effects of each core's programs."""
    effects: list[list[Effect]] = [[] for _ in golden.cores]
    for together in zip(*runs, strict=True):
        for mine, given in zip(effects, golden.run([one.words for one in together]), strict=True):
            mine += given
    return effects

"""Random programs of several cores that give each other strips, and the memories they work on."""

from dataclasses import replace

import numpy as np
from random_core_programs import BASES, CONFIG, STORED, RandomProgram, images

from golden.accelerator_interpreter import Accelerator
from golden.spec.core import LANES
from golden.spec.instruction import encode
from golden.spec.isa import Memory, Unit, Weights
from golden.token_schedule import Region, Schedule, Space
from hw.core_simulation import ProgramRun
from hw.weight_stream_reader import read_weight_stream

PAIR = replace(CONFIG, chains=2, cores=2)

DUMPED = STORED + 0x4000
"""Where a program leaves all of its vector buffer."""


def core_images(config, seed):
    """The memories of each core, all different; and the matrices that are dealt over all chains."""
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

    def __init__(self, config, matrices, seed):
        super().__init__(config, matrices, seed)
        self.sizes = {Space.VECTOR: config.vector_depth, Space.ACTIVATION: config.activation_depth}
        self.schedules = [Schedule(self.sizes, config.cores) for _ in range(config.cores)]
        self.schedule = self

    def programs(self, count):
        """The words of each core's program; at its end it stores its vector buffer."""
        kinds = (self.load, self.raw, self.packed, self.misc, self.misc, self.store)
        for _ in range(count):
            kinds[int(self.random.integers(len(kinds)))]()
        depth = self.config.vector_depth
        dump = {"memory": Memory.VECTOR, "offset": DUMPED, "length": 4 * self.config.m}
        loops = {"count_1": depth, "stride_1": 4 * self.config.m}
        for schedule in self.schedules:
            schedule.add(Unit.ST, dump | loops, reads=[Region(Space.VECTOR, 0, depth)])
        return [encode(schedule.instructions()) for schedule in self.schedules]

    def add(self, unit, fields, *, reads=(), writes=()):
        """Add an instruction to some cores, at least one; jobs need the ones before: to all."""
        some = self.random.random(self.config.cores) < 0.7
        if unit is Unit.MISC or not some.any():
            some[:] = True
        for schedule, here in zip(self.schedules, some.tolist(), strict=True):
            schedule.add(unit, fields, reads=reads, writes=writes, here=here)

    def raw(self):
        config, random = self.config, self.random
        columns, addresses = int(random.integers(1, 7)), int(random.integers(1, 4))
        offset = config.word_bytes * int(random.integers(0, 100))
        blocks = {"length": config.m, "count_1": addresses, "count_2": columns}
        stride = config.word_bytes * config.m
        loops = blocks | {"stride_1": stride, "stride_2": stride * addresses}
        inputs = self.place(Space.ACTIVATION, columns)
        out = self.place(Space.VECTOR, config.raw_step * addresses)
        product = {
            "weights": Weights.RAW,
            "words": columns * addresses * config.m,
            "strips": config.chains * LANES * addresses,
            "activation": inputs.start,
            "columns": columns,
            "group": int(random.integers(1, columns + 1)),
            "addresses": addresses,
            "scale": int(random.integers(0, 2**config.engine.scale_bits)),
        }
        masks = random.integers(0, 2**config.chains, config.cores).tolist()
        for core, (mask, schedule) in enumerate(zip(masks, self.schedules, strict=True)):
            chosen = {"channels": mask}
            schedule.add(Unit.LD, chosen | loops | {"offset": offset}, here=mask > 0)
            place = {"out": out.start + core * config.chains * LANES}
            schedule.add(
                Unit.MV, chosen | product | place, reads=[inputs], writes=[out], here=mask > 0
            )

    def packed(self):
        config = self.config
        matrix = self.matrices[int(self.random.integers(len(self.matrices)))]
        inputs = self.place(Space.ACTIVATION, matrix.columns)
        out = self.place(Space.VECTOR, matrix.strips)
        product = matrix.product | {"strips": matrix.strips // config.cores, "out": out.start}
        channels = {"channels": 2**config.chains - 1}
        for schedule in self.schedules:
            schedule.add(Unit.LD, channels | matrix.load)
            schedule.add(
                Unit.MV, product | {"activation": inputs.start}, reads=[inputs], writes=[out]
            )


def random_programs(config, matrices, seed, programs, count):
    """For each core its programs."""
    made = [
        RandomPrograms(config, matrices, (seed, number)).programs(count)
        for number in range(programs)
    ]
    return [[ProgramRun(words, BASES) for words in mine] for mine in zip(*made, strict=True)]


def golden_accelerator(config, memories):
    bases = [BASES.get(number, 0) for number in range(16)]
    copies = [{name: memory.copy() for name, memory in mine.items()} for mine in memories]
    return Accelerator(config, copies, [bases] * config.cores, read_weight_stream)


def run_golden_cores(golden, runs):
    """The effects of each core's programs."""
    effects = [[] for _ in golden.cores]
    for together in zip(*runs, strict=True):
        for mine, given in zip(effects, golden.run([one.words for one in together]), strict=True):
            mine += given
    return effects

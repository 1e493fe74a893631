"""The tokens that a program reads: their places on the chip, and what is done with each of them.

A vector's steps wait for each other's scalars. So a few vectors go in turn, each with two scalar
registers of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import IntEnum

from golden.block_sparse import BlockSparse
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.special_function_unit import LENGTH_BITS, Job, Operation
from golden.special_functions.sequences import quantise_jobs
from hls_gen.buffers import SLOTS, Places, activation_memory, vector_buffer
from hls_gen.emitter import Emitter, Task
from hls_gen.memory_map import MAX_CHUNK
from hls_gen.plan import Linear, ModelPlan, Part


class Register(IntEnum):
    """Scalar registers: the first one of each kind."""

    TOKEN = 0
    """Of each token: magnitude or scale of the vector that it is at."""
    WORK = MAX_CHUNK
    """Of each vector that is worked on in turn, as the next ones."""
    OTHER = MAX_CHUNK + SLOTS


class Chunk:
    """Tokens that follow each other.

    Args:
        position: tokens in the cache. tokens: to be read.
        blocks: that they see of all in front of them; all, if nothing is said.
        core: number of the core.

    Attributes:
        position: the first one of the bucket, see `MemoryMap.bucket`. Those of the tokens begin
            there, or as much later as the base registers say.
        tokens: their numbers, from 0 on.
        runs: the positions that they see, side by side.
        wide, bytes: places on the chip.

    Raises:
        ConfigError: the tokens are too many, beyond the cache or not of one block; blocks are not
            made of whole pairs of strips; or the memories on the chip are too small.
    """

    def __init__(
        self,
        plan: ModelPlan,
        position: int,
        tokens: int,
        blocks: BlockSparse | None = None,
        core: int = 0,
    ) -> None:
        memory, config = plan.memory, plan.memory.config
        end = position + tokens
        if tokens not in range(1, memory.chunk + 1):
            raise ConfigError(
                f"tokens is {tokens}; this model's programs have 1 to {memory.chunk} (chunk)"
            )
        if not 0 <= position < end <= memory.max_positions:
            raise ConfigError(
                f"the positions are {position} to {end - 1}; the cache was made for 0 to "
                f"{memory.max_positions - 1}"
            )
        check_blocks(blocks, config)
        self.plan, self.memory, self.sizes = plan, memory, plan.sizes
        self.position, self.tokens = memory.bucket(position, tokens), range(tokens)
        end = self.position + tokens
        self.runs = blocks.runs(self.position, end) if blocks else (range(end),)
        self.emitter = Emitter(config, memory.shape.layers, core)
        self.wide = vector_buffer(self.sizes, config)
        self.bytes = activation_memory(self.sizes, config)

    def in_turn(self, numbers: Sequence[int], tasks: Callable[[int, int], Iterable[Task]]) -> None:
        """Do the tasks of several vectors, a few of them in turn.

        A vector is one task ahead of the one behind it, which comes first: while a pass runs, the
        scalar unit may be at what the next vector's pass needs.

        Args:
            tasks: of a vector: is given its number and its slot, 0 to `SLOTS` - 1.
        """
        for some in batched(numbers):
            lists = [list(tasks(number, slot)) for slot, number in enumerate(some)]
            for turn in range(len(some) + max(map(len, lists))):
                for slot, mine in reversed([*enumerate(lists)]):
                    if turn - slot in range(len(mine)):
                        self.emitter.run(mine[turn - slot])

    def spread(self, task: Task, words: int) -> None:
        """Do a pass without scalars over whole words, as several where they are very many."""
        m = self.memory.config.m
        most = ((1 << LENGTH_BITS) - 1) // m
        for first in range(0, words, most):
            job = replace(task.job, length=min(words - first, most) * m)
            places = (task.a, task.b, task.out, task.out_byte)
            self.emitter.run(Task(job, *(place + first for place in places)))

    def product(self, linear: Linear, inputs: Places, out: Places) -> None:
        """Multiply a matrix with the inputs of all tokens."""
        for product in linear.products:
            self.emitter.product(product, inputs, out, len(self.tokens))

    def quantise(
        self, length: int, magnitude: int, scale: int, work: int, a: int, out_byte: int
    ) -> Iterator[Task]:
        """Yield what makes bytes of a vector.

        Args:
            magnitude: register that holds it. scale: register for the normalised one.
            work: register for the quantiser. One of the two may be that of the magnitude.
        """
        quantiser, multiply = quantise_jobs(length, magnitude, work)
        normalise = Job(Operation.NORMALISE, scale=magnitude, target=scale)
        steps = (quantiser, normalise) if scale == magnitude else (normalise, quantiser)
        yield from map(Task, steps)
        yield Task(multiply, a, out_byte=out_byte)


def batched(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield as many of the numbers at a time as there are slots."""
    for first in range(0, len(numbers), SLOTS):
        yield numbers[first : first + SLOTS]


def dequantise(part: Part, token: int, outputs: Places, out: int | None = None) -> Task:
    """Return what makes wide elements of a layer's outputs, in their place or elsewhere."""
    scale = Register.TOKEN + token
    job = Job(Operation.LINEAR, part.rows, shift=part.shift, scaled=True, scale=scale)
    start = outputs[token] + part.strip
    return Task(job, start, out=start if out is None else out)


def check_blocks(blocks: BlockSparse | None, config: CoreConfig) -> None:
    """Refuse blocks that are not made of whole pairs of strips.

    Raises:
        ConfigError: they are not.
    """
    if blocks and blocks.block % (2 * config.m):
        raise ConfigError(
            f"block is {blocks.block}; a core with m = {config.m} needs a multiple of "
            f"{2 * config.m}"
        )

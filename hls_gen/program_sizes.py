"""Bytes of the programs that serve every length of a prompt and of a context.

A prompt of L tokens is read by programs of whole chunks, the last one filled up with any tokens
whose keys and values are written over later, and then its last token by the program of a single
one, which gives the logits. So two sets of programs serve all lengths: one of chunks and one of
single tokens, each with a program per bucket of positions (`MemoryMap.bucket`).

Beside that stands what the same instructions would take *naively*: a program of its own for each
length and phase, in which each channel has its own LDs and STs.

An instruction's size is that of its format. So a layer has as many bytes wherever it stands, apart
from barriers where it joins the next one, and programs with the same products for keys and values
are of the same size.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import WORD_BITS, Unit
from hls_gen.chunk import Chunk
from hls_gen.compiler import Compiled
from hls_gen.plan import LayerPlan, ModelPlan

Shape = tuple[object, ...]


@dataclass(frozen=True)
class ProgramBytes:
    """Bytes of a program of all cores.

    Attributes:
        merged: as it is. naive: with an LD or ST for each channel.
    """

    merged: int
    naive: int

    def __add__(self, other: "ProgramBytes") -> "ProgramBytes":
        return ProgramBytes(self.merged + other.merged, self.naive + other.naive)

    def __sub__(self, other: "ProgramBytes") -> "ProgramBytes":
        return ProgramBytes(self.merged - other.merged, self.naive - other.naive)

    def times(self, count: int) -> "ProgramBytes":
        """Return `count` such programs."""
        return ProgramBytes(self.merged * count, self.naive * count)


@dataclass(frozen=True)
class ProgramSizes:
    """Programs of all lengths from 1 to `positions`.

    Attributes:
        chunk: tokens of a prompt's program.
        decode, prefill: bytes by the first position of the bucket; of single tokens with logits,
            and of chunks without.
    """

    positions: int
    chunk: int
    bucket: int
    decode: dict[int, ProgramBytes]
    prefill: dict[int, ProgramBytes]

    @property
    def buckets(self) -> int:
        """Programs that there are, of each core."""
        return len(self.decode) + len(self.prefill)

    @property
    def bucketed_bytes(self) -> int:
        """Bytes of all programs that there are."""
        return sum(one.merged for one in (*self.decode.values(), *self.prefill.values()))

    def decode_bytes(self, length: int) -> ProgramBytes:
        """Return the program that decodes the token number `length`, from 1 on."""
        return self.decode[(length - 1) // self.bucket * self.bucket]

    def prefill_bytes(self, length: int) -> ProgramBytes:
        """Return the programs that read a prompt of `length` tokens, one behind the other."""
        total = self.decode_bytes(length)
        for first in range(0, length - 1, self.chunk):
            total += self.prefill[first // self.bucket * self.bucket]
        return total

    @property
    def naive_bytes(self) -> int:
        """Bytes of a program for each length and phase, with an LD or ST for each channel."""
        lengths = range(1, self.positions + 1)
        decode = sum(self.decode_bytes(length).naive for length in lengths)
        # A chunk is in the prompts of all lengths that reach beyond its first token.
        chunks = (
            self.prefill[first // self.bucket * self.bucket].naive * (self.positions - 1 - first)
            for first in range(0, self.positions - 1, self.chunk)
        )
        return 2 * decode + sum(chunks)


def program_sizes(
    plan: ModelPlan, progress: Callable[[float], None] = lambda _: None
) -> ProgramSizes:
    """Return the sizes of a model's programs.

    Args:
        progress: is told the share that is done.

    Raises:
        ConfigError: chunks do not fill a bucket, or the cache.
    """
    memory = plan.memory
    bucket, positions, chunk = memory.config.m, memory.max_positions, memory.chunk
    if bucket % chunk or positions % bucket:
        raise ConfigError(
            f"chunk is {chunk} and max_positions {positions}; programs for all lengths need a "
            f"chunk that divides {bucket}, and a multiple of {bucket} positions"
        )
    sizes = _Sizes(plan)
    decode: dict[int, ProgramBytes] = {}
    prefill: dict[int, ProgramBytes] = {}
    for first in range(0, positions, bucket):
        decode[first] = sizes.of(first, 1, head=True)
        prefill[first] = sizes.of(first, chunk, head=False)
        progress((first + bucket) / positions)
    return ProgramSizes(positions, chunk, bucket, decode, prefill)


class _Sizes:
    """Compiles a layer of each kind, for each number of products with keys and values, once."""

    def __init__(self, plan: ModelPlan) -> None:
        self._plan, self._compiled = plan, Compiled(plan, ())
        self._known: dict[Shape, ProgramBytes] = {}
        kinds = [_kind(layer) for layer in plan.layers]
        self._layers = {kinds.index(kind): kinds.count(kind) for kind in kinds}

    def of(self, position: int, tokens: int, *, head: bool) -> ProgramBytes:
        """Return the size of a program."""
        none = self._measured((), position, tokens, False)
        total = self._measured((), position, tokens, head)
        for layer, times in self._layers.items():
            total += (self._measured((layer,), position, tokens, False) - none).times(times)
        # Several cores have barriers where layers meet, the same ones everywhere.
        one = self._measured((0,), 0, tokens, False)
        joint = self._measured((0, 0), 0, tokens, False) - one.times(2) + none
        last = self._measured((0,), 0, tokens, head) - one
        last -= self._measured((), 0, tokens, head) - none
        return total + joint.times(len(self._plan.layers) - 1) + last

    def _measured(
        self, layers: Sequence[int], position: int, tokens: int, head: bool
    ) -> ProgramBytes:
        key = (layers, tokens, head, self._products(position, tokens) if layers else ())
        if key not in self._known:
            programs = self._compiled.programs(position, tokens=tokens, layers=layers, head=head)
            self._known[key] = _bytes(one for program in programs for one in program.instructions)
        return self._known[key]

    def _products(self, position: int, tokens: int) -> Shape:
        """Return of each product with the cache its channels, and whether chains keep its words."""
        cache, most = self._plan.memory.cache, self._plan.memory.config.replay_words
        runs = Chunk(self._plan, position, tokens).runs
        parts = [*cache.key_parts(runs), cache.value_part(runs)]
        return tuple((p.product["channels"], p.product["words"] <= most) for p in parts)


def _kind(layer: LayerPlan) -> Shape:
    """Return in how many parts a layer's matrices are."""
    attention, network = layer.attention, layer.feed_forward
    linears = (attention.inputs, attention.output, network.gate_up, network.down)
    return (*(len(one.products) for one in linears), attention.probability_bits)


def _bytes(instructions: Iterable[Instruction]) -> ProgramBytes:
    merged = naive = 0
    for one in instructions:
        size = one.format.words * WORD_BITS // 8
        merged += size
        per_channel = one.unit in (Unit.LD, Unit.ST)
        naive += size * (max(one["channels"].bit_count(), 1) if per_channel else 1)
    return ProgramBytes(merged, naive)

"""The golden twin of a core: a program's instructions one after the other, on memories of bytes.

A core's units work side by side; where the tokens of a program keep the order of what depends on
each other, they leave what stands here. Tokens and time are not looked at; `golden.scoreboard` says
which programs have the tokens that they need. docs/isa.md says what the instructions do.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from golden.chain_rows import ChainRows, raw_rows
from golden.core_effects import (
    ActivationWrite,
    CoreStopped,
    Effect,
    MemoryWrite,
    UndefinedProgram,
    VectorWrite,
)
from golden.core_memories import check_memories, numbers_in, ports_of, runs
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.instruction import IllegalInstruction, Instruction, walk
from golden.spec.isa import BASES, ErrorCode, Memory, SystemOperation, Unit, Weights
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.special_function_unit import SLOT_BITS, WIDE_BITS
from golden.special_functions.passes import SpecialFunctionUnit
from golden.special_functions.tables import Tables

StreamReader = Callable[[np.ndarray, MatrixEngineConfig], ChainRows]
"""Reads a chain's weight stream, uint8 [words, bytes]."""


class WordQueue:
    """Words of memory that are loaded and wait for the products that take them."""

    def __init__(self, word_bytes: int) -> None:
        self._parts = [np.zeros((0, word_bytes), np.uint8)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def put(self, words: np.ndarray) -> None:
        """Add words, uint8 [words, bytes]."""
        self._parts.append(words)

    def take(self, count: int) -> np.ndarray:
        """Return the first words, uint8 [count, bytes]; there must be so many."""
        taken = []
        while count > 0:
            first = self._parts.pop(0)
            taken.append(first[:count])
            if len(first) > count:
                self._parts.insert(0, first[count:])
            count -= len(first)
        return np.concatenate(taken)


class Core:
    """A core with what lasts from one program to the next.

    Args:
        memories: uint8 [bytes] of each port, "general" and "channel_0" on. ST writes into them.
        bases: the 16 base registers, in bytes.
        read_stream: see `StreamReader`. What it gives is kept for every stream that was ever taken,
            so that the next token has it: about a byte per weight.

    Attributes:
        vectors: the vector buffer, int64 [vector_depth, m].
        activations: the activation memory, int8 [activation_depth, 2, m].
        functions: the special function unit; its scalar registers are 0 when a program begins,
            which no program may count on.
        streams: of each chain, the words that are loaded and not yet taken.
        vectors_read: words of the vector buffer that were read since this was last set to False,
            bool [vector_depth].

    Raises:
        ShapeError: a memory is missing, unknown or no row of bytes, or there are not 16 bases.
    """

    def __init__(
        self,
        config: CoreConfig,
        memories: Mapping[str, np.ndarray],
        bases: Sequence[int],
        read_stream: StreamReader,
    ) -> None:
        check_memories(config, memories)
        if len(bases) != BASES:
            raise ShapeError(f"there are {len(bases)} base registers; a core has {BASES}")
        self.config = config
        self.memories = dict(memories)
        self.bases = list(bases)
        self.vectors = np.zeros((config.vector_depth, config.m), np.int64)
        self.vectors_read = np.zeros(config.vector_depth, bool)
        self.activations = np.zeros((config.activation_depth, 2, config.m), np.int8)
        self._tables = Tables(config.table_bits)
        self.functions = SpecialFunctionUnit(self._tables)
        self.streams = [WordQueue(config.word_bytes) for _ in range(config.chains)]
        self._read_stream = read_stream
        self._known_rows: dict[bytes, ChainRows] = {}

    def run(self, words: Sequence[int]) -> list[Effect]:
        """Execute a program to its END; return what each instruction wrote, in their order.

        Raises:
            CoreStopped: an instruction is illegal, or reads or writes where no memory is.
            UndefinedProgram: it asks for what no core promises.
            ShapeError: a weight stream is none, or a sum is wider than the engine's.
        """
        return list(self.steps(words))

    def steps(self, words: Sequence[int]) -> Iterator[Effect]:
        """Execute as `run` does, and yield each effect when it has come about.

        Of an instruction that stops the core nothing is written here. Hardware may have done a part
        of it and of those behind it; and where several stop it, it shows one of them.
        """
        self.functions = SpecialFunctionUnit(self._tables)
        try:
            for pc, one in walk(words, self.config.chains):
                effect = self._execute(pc, one)
                self._apply(effect)
                yield effect
        except IllegalInstruction as error:
            message = str(error).removeprefix(f"word {error.pc}: ")
            raise CoreStopped(error.code, error.pc, message) from None

    def _execute(self, pc: int, one: Instruction) -> Effect:
        """Return what an instruction writes; queues and scalar registers change at once."""
        match one.unit:
            case Unit.LD:
                return self._load(pc, one)
            case Unit.ST:
                return self._store(pc, one)
            case Unit.MV | Unit.MM:
                return self._multiply(pc, one)
            case Unit.MISC:
                return self._compute(pc, one)
        return Effect(one.unit, pc, is_barrier=one["op"] == SystemOperation.BARRIER)

    def _apply(self, effect: Effect) -> None:
        if vector := effect.vector:
            self.vectors[vector.addresses] = vector.values
        if activation := effect.activation:
            self.activations[activation.addresses, activation.lane] = activation.values
        for run in effect.memory:
            self.memories[run.port][run.address : run.address + len(run.data)] = run.data

    def _load(self, pc: int, one: Instruction) -> Effect:
        word_bytes = self.config.word_bytes
        memories = [self.memories[port] for port in ports_of(one)]
        length, size = one["length"] * word_bytes, min(map(len, memories))
        starts = runs(pc, one, self.bases, length, size, word_bytes)
        loaded = [
            np.concatenate([memory[start : start + length] for start in starts])
            for memory in memories
        ]
        if not one["channels"]:
            return Effect(Unit.LD, pc, vector=self._vector_write(one["out"], self._wide(loaded[0])))
        for number, data in zip(numbers_in(one["channels"]), loaded, strict=True):
            self.streams[number].put(data.reshape(-1, word_bytes))
        return Effect(Unit.LD, pc)

    def _wide(self, data: np.ndarray) -> np.ndarray:
        """Return what slots of memory hold, int64 [words, m]; behind the last one there is 0."""
        missing = -len(data) % (self.config.m * SLOT_BITS // 8)
        slots = np.pad(data, (0, missing)).view("<i4").reshape(-1, self.config.m)
        above = SLOT_BITS - WIDE_BITS
        return (slots << above >> above).astype(np.int64)

    def _store(self, pc: int, one: Instruction) -> Effect:
        ports, length = ports_of(one), one["length"]
        size = min(len(self.memories[port]) for port in ports)
        starts = runs(pc, one, self.bases, length, size)
        targets = [(port, int(start)) for port in ports for start in starts]
        data = self._stored(one, len(targets) * length).reshape(-1, length)
        writes = (MemoryWrite(*target, part) for target, part in zip(targets, data, strict=True))
        return Effect(Unit.ST, pc, memory=tuple(writes))

    def _stored(self, one: Instruction, count: int) -> np.ndarray:
        """Return the bytes that an ST reads, uint8 [count]."""
        wide = one["memory"] == Memory.VECTOR
        source: np.ndarray = self.vectors if wide else self.activations[:, one["token"] & 1]
        words = -(-count // (self.config.m * (SLOT_BITS // 8 if wide else 1)))
        places = (one["start"] + np.arange(words)) % len(source)
        if wide:
            self.vectors_read[places] = True
        taken = source[places]
        return taken.astype("<i4" if wide else np.int8).view(np.uint8).reshape(-1)[:count]

    def _multiply(self, pc: int, one: Instruction) -> Effect:
        config = self.config
        with _stopping(pc):
            config.check_product(one)
        rows = self._packed(pc, one) if one["weights"] == Weights.PACKED else self._raw(pc, one)
        strips = np.concatenate([each.destinations for each in rows])
        if len(np.unique(strips % config.vector_depth)) < len(strips):
            message = f"of {len(strips)} strips two go to the same word of the vector buffer"
            raise UndefinedProgram(pc, message)
        order, is_matrix = np.argsort(strips), one.unit is Unit.MM
        tokens = np.arange(one["tokens"] if is_matrix else 1, dtype=int)
        step, out_step = (one["step"], one["out_step"]) if is_matrix else (0, 0)
        outputs = np.concatenate(
            [self._outputs(rows, one, int(token) * step)[order] for token in tokens]
        )
        places = (one["out"] + tokens[:, None] * out_step + strips[order]) % config.vector_depth
        return Effect(one.unit, pc, vector=VectorWrite(places.reshape(-1), outputs))

    def _outputs(self, rows: Sequence[ChainRows], one: Instruction, offset: int) -> np.ndarray:
        """Return the strips of a token whose activations begin `offset` words behind the first."""
        config = self.config
        columns = one["activation"] + offset + np.arange(one["columns"])
        activations = self.activations[columns % len(self.activations), 0].reshape(-1)
        return np.concatenate([each.outputs(activations, config.engine) for each in rows])

    def _packed(self, pc: int, one: Instruction) -> list[ChainRows]:
        """Return what all chains take, and check that the instruction says the same of it."""
        config = self.config
        rows = [self._decoded(self._take(pc, chain, one)) for chain in range(config.chains)]
        for each in rows:
            _check(pc, one, "columns", (each.weights.shape[2] // config.m,))
            _check(pc, one, "group", (each.group_inputs // config.m,))
            _check(pc, one, "sweeps", (each.tiles,))
            _check(pc, one, "paired", (int(config.engine.pairs_rows and not each.two_rows),))
        _check(pc, one, "strips", (sum(len(each.destinations) for each in rows),))
        return rows

    def _decoded(self, words: np.ndarray) -> ChainRows:
        key = hashlib.blake2b(words.data, digest_size=16).digest()
        if key not in self._known_rows:
            self._known_rows[key] = self._read_stream(words, self.config.engine)
        return self._known_rows[key]

    def _raw(self, pc: int, one: Instruction) -> list[ChainRows]:
        """Return the plain rows of the chains whose strips count."""
        config, scale = self.config, one["scale"]
        _check(pc, one, "scale", range(1 << config.engine.scale_bits))
        shape = (config.raw_step, one["addresses"], one["group"], scale, config.m)
        return [
            raw_rows(self._take(pc, chain, one), 2 * chain, *shape)
            for chain in numbers_in(one["channels"] or (1 << config.chains) - 1)
        ]

    def _take(self, pc: int, chain: int, one: Instruction) -> np.ndarray:
        queue = self.streams[chain]
        if len(queue) < one["words"]:
            message = (
                f"{one.unit.name} takes {one['words']} words of chain {chain}; "
                f"{len(queue)} are loaded"
            )
            raise UndefinedProgram(pc, message)
        return queue.take(one["words"])

    def _compute(self, pc: int, one: Instruction) -> Effect:
        job, config = one.job(self.bases), self.config
        with _stopping(pc):
            config.check_pass(job)
        a = self._vector(one["a"], job.length) if job.operation.is_pass else None
        b = self._vector(one["b"], job.length) if job.takes_b else None
        given = self.functions.run(job, a, b)
        vector = activation = None
        if given.wide is not None:
            vector = self._vector_write(one["out"], self._whole_words(given.wide))
        if given.byte is not None:
            values = self._whole_words(given.byte).astype(np.int8)
            places = (one["out_byte"] + np.arange(len(values))) % config.activation_depth
            activation = ActivationWrite(places, one["token"] & 1, values)
        return Effect(Unit.MISC, pc, vector, activation)

    def _vector(self, start: int, length: int) -> torch.Tensor:
        """Return elements of the vector buffer, int64 [length]."""
        words = self.config.functions.words(length)
        places = (start + np.arange(words)) % self.config.vector_depth
        self.vectors_read[places] = True
        return torch.from_numpy(self.vectors[places].reshape(-1)[:length])

    def _whole_words(self, vector: torch.Tensor) -> np.ndarray:
        """Return elements as words, int64 [words, m]; behind the last one there is 0."""
        return np.pad(vector.numpy(), (0, -len(vector) % self.config.m)).reshape(-1, self.config.m)

    def _vector_write(self, start: int, values: np.ndarray) -> VectorWrite:
        places = (start + np.arange(len(values))) % self.config.vector_depth
        return VectorWrite(places, values)


@contextmanager
def _stopping(pc: int) -> Iterator[None]:
    """Stop where the configuration refuses what an instruction asks for."""
    try:
        yield
    except ConfigError as error:
        raise CoreStopped(ErrorCode.ILLEGAL_FIELD, pc, str(error)) from None


def _check(pc: int, one: Instruction, name: str, allowed: Collection[int]) -> None:
    """Raise UndefinedProgram where a field of a product has none of the values that go with it."""
    if one[name] not in allowed:
        few = " or ".join(map(str, sorted({*allowed}))) if len(allowed) < 3 else None
        what = few or f"{min(allowed)} to {max(allowed)}"
        message = f"{one.unit.name} {name} is {one[name]}; here it must be {what}"
        raise UndefinedProgram(pc, message)

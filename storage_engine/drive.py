"""A drive as the host sees it: it takes commands from a queue pair, and answers each.

Keys and values are written and kept by `KvStore`; attention is the engine's (`drive_attend.py`).
Whatever a command says, the drive answers with a status and goes on serving.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby, islice

import numpy as np

from golden.spec.attention_engine import AttentionConfig
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.kv_layout import ADDRESS_FIELDS
from storage_engine.drive_attend import AttendAnswer, AttendEngine, AttendJob, failed
from storage_engine.drive_commands import (
    SPARF,
    CommandStatus,
    Completion,
    Opcode,
    QueuePair,
    Submission,
)
from storage_engine.engine_layouts import FRACTION_BITS
from storage_engine.flash_errors import DriveError
from storage_engine.flash_health import health_of
from storage_engine.kv_address import SequenceId
from storage_engine.kv_store import KvStore

BATCH = 16
"""Attend commands that the engine is given at once."""


class Refusal(Exception):
    """What a command is answered with, if not OK; `result` is the number of a field, or more."""

    def __init__(self, status: CommandStatus, result: int = 0, detail: int = 0) -> None:
        super().__init__(status.name)
        self.status, self.result, self.detail = status, result, detail

    def completion(self, command: Submission) -> Completion:
        """Return what the host is told."""
        return Completion(command.id, self.status, self.result, self.detail)


FIELDS = ("sequence", "buffer", "buffer_bytes", "tokens", "k", "local", "fraction", "output")
"""The fields by whose number INVALID_FIELD names the one that is wrong."""


@dataclass
class HostMemory:
    """Memory of the host that the drive reads and writes: `content`, from address 0 on."""

    content: bytearray

    def read(self, address: int, count: int) -> bytes:
        """Return bytes. Raises Refusal where there is no memory."""
        self._check(address, count)
        return bytes(self.content[address : address + count])

    def write(self, address: int, given: bytes) -> None:
        """Put bytes there. Raises Refusal where there is no memory."""
        self._check(address, len(given))
        self.content[address : address + len(given)] = given

    def _check(self, address: int, count: int) -> None:
        if address + count > len(self.content):
            raise Refusal(CommandStatus.INVALID_BUFFER)


class Drive:
    """The drive's firmware.

    Attributes:
        store: keys and values. engine: what attends. memory: the host's.
        attention: what is computed; CONFIGURE changes its `k` and `local`.
    """

    def __init__(self, store: KvStore, engine: AttendEngine, memory: HostMemory) -> None:
        if store.layout.config != engine.config.layout:
            raise ConfigError("store and engine have different layouts; make both from one")
        self.store, self.engine, self.memory = store, engine, memory
        self.attention: AttentionConfig = engine.config.attention

    def serve(self, queue: QueuePair) -> int:
        """Carry out the commands that are there, as far as there is room for answers.

        Attend commands that follow each other go to the engine together. Return how many commands
        were answered.
        """
        answered = 0
        while commands := list(islice(iter(queue.take, None), min(queue.room, BATCH))):
            for attend, some in groupby(commands, lambda each: each.opcode == Opcode.ATTEND):
                for completion in self._attend(list(some)) if attend else map(self._order, some):
                    queue.answer(completion)
            answered += len(commands)
        return answered

    def _order(self, command: Submission) -> Completion:
        """Carry out a command but ATTEND."""
        try:
            return Completion(command.id, CommandStatus.OK, self._carry_out(command))
        except Refusal as refusal:
            return refusal.completion(command)

    def _attend(self, commands: list[Submission]) -> list[Completion]:
        """Carry out the ATTEND commands that may be; answer all."""
        jobs: list[AttendJob] = []
        answers: list[Completion | None] = []
        for command in commands:
            try:
                jobs.append(self._attend_job(command))
                answers.append(None)
            except Refusal as refusal:
                answers.append(refusal.completion(command))
        made = iter(self.engine.attend(self.store, jobs) if jobs else ())
        return [
            answer or self._completion(command, next(made))
            for command, answer in zip(commands, answers, strict=True)
        ]

    def _carry_out(self, command: Submission) -> int:
        """Carry out a command but ATTEND; return its result."""
        orders: dict[int, Callable[[Submission], int]] = {
            Opcode.CONFIGURE: self._configure,
            Opcode.WRITE_KV: self._write,
            Opcode.RECLAIM: self._reclaim,
            Opcode.HEALTH: self._health,
            Opcode.FLUSH: self._flush,
        }
        order = orders.get(command.opcode)
        if order is None:
            raise Refusal(CommandStatus.INVALID_OPCODE)
        try:
            return order(command)
        except DriveError as error:
            raise self._refusal(error) from error
        except (ConfigError, ShapeError) as error:
            raise _invalid("tokens") from error

    def _configure(self, command: Submission) -> int:
        try:
            self.attention = replace(self.attention, k=command.k, local=command.local)
        except ConfigError as error:
            wrong = "local" if command.k <= self.attention.max_context else "k"
            raise _invalid(wrong) from error
        return 0

    def _write(self, command: Submission) -> int:
        """Append tokens: the host's buffer has their keys, then their values."""
        layout = self.store.layout
        size = command.tokens * layout.config.token_bytes
        if not command.tokens:
            raise _invalid("tokens")
        if command.buffer_bytes != 2 * size:
            raise _invalid("buffer_bytes")
        content = np.frombuffer(self.memory.read(command.buffer, 2 * size), layout.dtype)
        keys, values = content.reshape(2, command.tokens, layout.config.head_size)
        self.store.append(_sequence(command), keys, values)
        return 2 * size

    def _flush(self, _: Submission) -> int:
        self.store.flush()
        return 0

    def _reclaim(self, command: Submission) -> int:
        self.store.reclaim(_sequence(command).task)
        return 0

    def _health(self, command: Submission) -> int:
        packed = health_of(self.store.manager).pack()
        if command.buffer_bytes < len(packed):
            raise _invalid("buffer_bytes")
        self.memory.write(command.buffer, packed)
        return len(packed)

    def _attend_job(self, command: Submission) -> AttendJob:
        """Check an ATTEND; return what it asks for."""
        config, sequence, context = self.engine.config, _sequence(command), command.tokens
        size = config.queries * config.head_size * 2
        if command.buffer_bytes != size:
            raise _invalid("buffer_bytes")
        if not 1 <= context <= self.attention.max_context:
            raise _invalid("tokens")
        limit = 1 << FRACTION_BITS - 1
        fractions = command.key_fraction, command.value_fraction
        if not all(-limit <= fraction < limit for fraction in fractions):
            raise _invalid("fraction")
        sparf = bool(command.flags & SPARF)
        k = command.k or self.attention.tokens(context)
        if sparf and k >= context > 1:
            raise _invalid("k")
        if context > self.store.tokens(sequence):
            raise Refusal(CommandStatus.MISSING, self.store.tokens(sequence))
        packed = self.memory.read(command.buffer, size)
        self.memory.read(command.output, size)
        queries = np.frombuffer(packed, "<f2").reshape(config.queries, config.head_size)
        k = min(k, context - 1)
        newest = min(self.attention.local, k // 2)
        return AttendJob(sequence, queries.copy(), context, sparf, k, newest, *fractions)

    def _completion(self, command: Submission, answer: AttendAnswer) -> Completion:
        if answer.outputs is None:
            return Completion(command.id, answer.status, answer.flash_channel, answer.page)
        packed = answer.outputs.astype("<f2").tobytes()
        self.memory.write(command.output, packed)
        return Completion(command.id, answer.status, len(packed))

    def _refusal(self, error: DriveError) -> Refusal:
        answer = failed(error, self.store.manager.reader.flash.shape)
        return Refusal(answer.status, answer.flash_channel, answer.page)


def _sequence(command: Submission) -> SequenceId:
    """Return the sequence that a command names."""
    low = ADDRESS_FIELDS["head"].low
    if command.sequence & (1 << low) - 1:
        raise _invalid("sequence")
    return SequenceId(
        *(
            command.sequence >> ADDRESS_FIELDS[name].low & ADDRESS_FIELDS[name].values - 1
            for name in SequenceId._fields
        )
    )


def _invalid(field: str) -> Refusal:
    return Refusal(CommandStatus.INVALID_FIELD, FIELDS.index(field))

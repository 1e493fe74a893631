"""A host's driver for the drive: a call for each command, and an error for each bad status."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import NanduError
from storage_engine.drive import FIELDS, Drive, HostMemory
from storage_engine.drive_commands import (
    COMPLETION,
    SPARF,
    SUBMISSION,
    CommandStatus,
    Completion,
    Opcode,
    QueuePair,
    Submission,
    sequence_field,
)
from storage_engine.flash_health import HEALTH_BYTES, Health
from storage_engine.kv_address import SequenceId


class CommandError(NanduError):
    """A drive did not do what it was asked.

    Attributes:
        completion: what it answered.
    """

    def __init__(self, message: str, completion: Completion) -> None:
        super().__init__(message)
        self.completion = completion

    @property
    def status(self) -> CommandStatus:
        """Why."""
        return CommandStatus(self.completion.status)


@dataclass(frozen=True)
class Attend:
    """An attention that is asked for.

    Attributes:
        sequence: over whose first `tokens` tokens.
        queries: float16 [queries, head_size].
        sparf: SparF, else dense. k: of SparF, beside the current token; 0 for what the drive's
            configuration says.
        key_fraction, value_fraction: fraction bits of keys and values in the engine.
    """

    sequence: SequenceId
    queries: np.ndarray
    tokens: int
    sparf: bool = False
    k: int = 0
    key_fraction: int = 0
    value_fraction: int = 0


class DriveHost:
    """The host's side of a queue pair.

    Args:
        config: of the drive's engine.
        memory: that host and drive share; `room` bytes of it from address 0 on are the driver's.
        ring: tells the drive that there are commands, as a doorbell does.
    """

    def __init__(
        self,
        config: DriveEngineConfig,
        memory: HostMemory,
        ring: Callable[[QueuePair], object],
        entries: int = 64,
    ) -> None:
        self.config, self.memory, self.queue = config, memory, QueuePair(entries)
        self._ring, self._phase, self._ids = ring, 1, 0

    @classmethod
    def of(cls, drive: Drive, entries: int = 64) -> "DriveHost":
        """Return the driver of a drive that serves whenever its doorbell rings."""
        return cls(drive.engine.config, drive.memory, drive.serve, entries)

    def configure(self, *, k: int = 0, local: int = 0) -> None:
        """Set how many tokens SparF keeps, and how many of the newest; `AttentionConfig`."""
        self._do(Submission(Opcode.CONFIGURE, k=k, local=local))

    def write(self, sequence: SequenceId, keys: np.ndarray, values: np.ndarray) -> None:
        """Append tokens to a sequence: keys and values [tokens, head_size], FP16 or INT8."""
        packed = keys.tobytes() + values.tobytes()
        self.memory.write(0, packed)
        address = sequence_field(sequence)
        self._do(
            Submission(
                Opcode.WRITE_KV,
                sequence=address,
                buffer_bytes=len(packed),
                tokens=len(keys),
            )
        )

    def flush(self) -> None:
        """Wait until all tokens are in flash."""
        self._do(Submission(Opcode.FLUSH))

    def attend(self, *asked: Attend) -> list[np.ndarray]:
        """Return the outputs of attentions, float16 [queries, head_size] each.

        Raises:
            CommandError: one of them failed; the first that did.
        """
        answers = self.try_attend(*asked)
        for answer in answers:
            if isinstance(answer, CommandError):
                raise answer
        return [answer for answer in answers if isinstance(answer, np.ndarray)]

    def try_attend(self, *asked: Attend) -> list[np.ndarray | CommandError]:
        """Return the outputs of attentions, or why there are none."""
        size = self.config.queries * self.config.head_size * 2
        commands = []
        for number, each in enumerate(asked):
            place = 2 * number * size
            self.memory.write(place, np.ascontiguousarray(each.queries, "<f2").tobytes())
            commands.append(
                Submission(
                    Opcode.ATTEND,
                    flags=SPARF * each.sparf,
                    sequence=sequence_field(each.sequence),
                    buffer=place,
                    buffer_bytes=size,
                    tokens=each.tokens,
                    k=each.k,
                    key_fraction=each.key_fraction,
                    value_fraction=each.value_fraction,
                    output=place + size,
                )
            )
        found: list[np.ndarray | CommandError] = []
        for command, completion in zip(commands, self.submit(commands), strict=True):
            if completion.status != CommandStatus.OK:
                found.append(_error(command, completion))
                continue
            packed = self.memory.read(command.output, size)
            found.append(np.frombuffer(packed, "<f2").reshape(self.config.queries, -1).copy())
        return found

    def reclaim(self, task: int) -> None:
        """Forget all sequences of a task."""
        self._do(Submission(Opcode.RECLAIM, sequence=sequence_field(SequenceId(task, 0, 0, 0))))

    def health(self) -> Health:
        """Return how the drive is."""
        self._do(Submission(Opcode.HEALTH, buffer_bytes=HEALTH_BYTES))
        return Health.unpack(self.memory.read(0, HEALTH_BYTES))

    def submit(self, commands: Sequence[Submission]) -> list[Completion]:
        """Return the drive's answers to commands, whose ids the driver chooses."""
        found: dict[int, Completion] = {}
        ids = []
        for command in commands:
            if (self.queue.submission_tail + 1) % self.queue.entries == self.queue.submission_head:
                self._collect(found)
            ids.append(self._ids)
            self._put(command._replace(id=self._ids))
            self._ids = (self._ids + 1) % (1 << 16)
        while len(found) < len(ids):
            self._collect(found)
        return [found[number] for number in ids]

    def _do(self, command: Submission) -> Completion:
        (completion,) = self.submit([command])
        if completion.status != CommandStatus.OK:
            raise _error(command, completion)
        return completion

    def _put(self, command: Submission) -> None:
        queue, size = self.queue, SUBMISSION.size
        start = queue.submission_tail * size
        queue.submissions[start : start + size] = command.pack()
        queue.submission_tail = (queue.submission_tail + 1) % queue.entries

    def _collect(self, found: dict[int, Completion]) -> None:
        """Ring the doorbell; take the answers whose phase bit says that they are new."""
        queue, size = self.queue, COMPLETION.size
        self._ring(queue)
        while True:
            start = queue.completion_head * size
            completion = Completion.unpack(bytes(queue.completions[start : start + size]))
            if completion.phase != self._phase:
                return
            found[completion.id] = completion
            queue.completion_head = (queue.completion_head + 1) % queue.entries
            self._phase ^= queue.completion_head == 0


def _error(command: Submission, completion: Completion) -> CommandError:
    """Return an error that says what was wrong."""
    status, result = CommandStatus(completion.status), completion.result
    name = Opcode(command.opcode).name if command.opcode in list(Opcode) else "a command"
    messages = {
        CommandStatus.INVALID_OPCODE: f"opcode {command.opcode:#04x} is none of the drive's",
        CommandStatus.INVALID_FIELD: f"{name} has a wrong {FIELDS[result % len(FIELDS)]}",
        CommandStatus.INVALID_BUFFER: f"{name} names a buffer outside the host's memory",
        CommandStatus.NOT_FINITE: "a query, a key or a value is infinite or no number",
        CommandStatus.FULL: "the drive is full; reclaim a task",
        CommandStatus.MISSING: f"{name} needs {command.tokens} tokens; the drive has {result}",
        CommandStatus.UNCORRECTABLE: (
            f"page {completion.detail} of flash channel {result} cannot be read"
        ),
        CommandStatus.DAMAGED: "a part of the sequence was lost; reclaim its task",
    }
    return CommandError(messages.get(status, f"{name} failed with {status.name}"), completion)

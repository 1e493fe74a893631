"""The drive's commands: entries of submission and completion rings in shared memory.

The rings work as those of NVMe (NVM Express Base Specification 2.0, sections 3.3 and 4.2): the host
writes entries of 64 bytes and then a doorbell, the tail of its ring; the drive answers with entries
of 16 bytes whose phase bit changes with each turn of the ring, and takes the head from a second
doorbell. All is little-endian. docs/drive-commands.md has the entries byte by byte.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

from golden.spec.errors import ConfigError
from storage_engine.kv_address import KvAddress, SequenceId

SUBMISSION = struct.Struct("<BBHIQQIIIIbbHIQQ")
COMPLETION = struct.Struct("<IIHHHH")
assert (SUBMISSION.size, COMPLETION.size) == (64, 16)

SPARF = 1
"""The flag of ATTEND that asks for SparF."""


class Opcode(IntEnum):
    """What a command asks for. Vendor specific ones of NVMe begin at 0xC0."""

    CONFIGURE = 0xC0
    WRITE_KV = 0xC1
    ATTEND = 0xC2
    RECLAIM = 0xC3
    HEALTH = 0xC4
    FLUSH = 0xC5


class CommandStatus(IntEnum):
    """What became of a command.

    From FULL on the numbers are those of `flash_errors.DriveStatus` and 0x10.
    """

    OK = 0x00
    INVALID_OPCODE = 0x01
    INVALID_FIELD = 0x02
    INVALID_BUFFER = 0x03
    NOT_FINITE = 0x04
    INTERNAL = 0x06
    FULL = 0x11
    MISSING = 0x12
    UNCORRECTABLE = 0x13
    DAMAGED = 0x16


class Submission(NamedTuple):
    """A command.

    Attributes:
        opcode: an `Opcode`. flags: of ATTEND, `SPARF`. id: of the host's choice.
        sequence: the packed `KvAddress` of a sequence, kind and index 0.
        buffer: where the host's data are, or are to be put; a byte address in its memory.
        buffer_bytes: how many there are.
        tokens: that are written; of ATTEND, that the queries see.
        k, local: of CONFIGURE.
        key_fraction, value_fraction: of ATTEND, the fraction bits of keys and values.
        output: of ATTEND, where its outputs are to be put.
    """

    opcode: int
    id: int = 0
    flags: int = 0
    sequence: int = 0
    buffer: int = 0
    buffer_bytes: int = 0
    tokens: int = 0
    k: int = 0
    local: int = 0
    key_fraction: int = 0
    value_fraction: int = 0
    output: int = 0

    def pack(self) -> bytes:
        """Return the 64 bytes."""
        return SUBMISSION.pack(
            *(self.opcode, self.flags, self.id, 0, self.sequence, self.buffer, self.buffer_bytes),
            *(self.tokens, self.k, self.local, self.key_fraction, self.value_fraction, 0, 0),
            *(self.output, 0),
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Return the command of 64 bytes."""
        opcode, flags, number, _, sequence, buffer, size, tokens, k, local, *rest = (
            SUBMISSION.unpack(packed)
        )
        key_fraction, value_fraction, _, _, output, _ = rest
        return cls(
            *(opcode, number, flags, sequence, buffer, size, tokens, k, local),
            *(key_fraction, value_fraction, output),
        )


class Completion(NamedTuple):
    """An answer.

    Attributes:
        id: of the command. status: a `CommandStatus`.
        result: bytes that were put into the host's buffer; of an error a field's or a flash
            channel's number. detail: of UNCORRECTABLE, the page's number on that channel.
        head: entries that the drive has taken from the submission ring.
        phase: changes with each turn of the ring.
    """

    id: int
    status: int
    result: int = 0
    detail: int = 0
    head: int = 0
    phase: int = 0

    def pack(self) -> bytes:
        """Return the 16 bytes."""
        return COMPLETION.pack(
            self.result, self.detail, self.head, 0, self.id, self.status << 1 | self.phase
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Return the answer of 16 bytes."""
        result, detail, head, _, number, status = COMPLETION.unpack(packed)
        return cls(number, status >> 1, result, detail, head, status & 1)


def sequence_field(sequence: SequenceId) -> int:
    """Return a sequence as commands name it."""
    return KvAddress(*sequence, 0, 0).pack()  # type: ignore[arg-type]


@dataclass
class QueuePair:
    """A submission ring and a completion ring, and where both sides are.

    Attributes:
        entries: of each ring, 2 to 65536; one of them always stays free.
        submissions, completions: the rings' bytes.
        submission_tail, completion_head: the doorbells, which the host writes.
        submission_head, completion_tail: where the drive is. phase: that it writes next.

    Raises:
        ConfigError: `entries` is out of range.
    """

    entries: int = 64

    def __post_init__(self) -> None:
        if not 2 <= self.entries <= 65536:
            raise ConfigError(f"entries is {self.entries!r}; allowed are 2 to 65536")
        self.submissions = bytearray(self.entries * SUBMISSION.size)
        self.completions = bytearray(self.entries * COMPLETION.size)
        self.submission_tail = self.submission_head = 0
        self.completion_tail = self.completion_head = 0
        self.phase = 1

    @property
    def room(self) -> int:
        """Completions that the drive can still write."""
        return (self.completion_head - self.completion_tail - 1) % self.entries

    def take(self) -> Submission | None:
        """Return the next command, as the drive takes it; None if there is none."""
        if self.submission_head == self.submission_tail:
            return None
        start = self.submission_head * SUBMISSION.size
        self.submission_head = (self.submission_head + 1) % self.entries
        return Submission.unpack(bytes(self.submissions[start : start + SUBMISSION.size]))

    def answer(self, completion: Completion) -> None:
        """Write an answer, as the drive does; there must be room."""
        start = self.completion_tail * COMPLETION.size
        whole = completion._replace(head=self.submission_head, phase=self.phase)
        self.completions[start : start + COMPLETION.size] = whole.pack()
        self.completion_tail = (self.completion_tail + 1) % self.entries
        self.phase ^= self.completion_tail == 0

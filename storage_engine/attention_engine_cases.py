"""Sequences in flash and jobs over them for the engine's bench: streams, and golden's answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from golden.attention_engine import Choice, Partial, dense, outputs, sparf
from golden.attention_engine_formats import KvHead, from_bytes, from_half, to_half, to_queries
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import KvKind
from storage_engine.engine_job_layouts import Status
from storage_engine.engine_streams import JobFields, of_entries, of_halves, of_job, of_value_sum
from storage_engine.engine_tables import job_table
from storage_engine.flash_format import PageCodec, PageHeader, PageType
from storage_engine.kv_address import KvAddress, SequenceId, channel_index
from storage_engine.kv_layout import KvLayout


@dataclass(frozen=True)
class StoredSequence:
    """A kv head's keys and values, and its pages.

    Attributes:
        config: of the engine.
        name: of the sequence.
        keys, values: [tokens, head_size]: float16, or int8.
        key_fraction, value_fraction: fraction bits of their fixed point.
    """

    config: DriveEngineConfig
    name: SequenceId
    keys: np.ndarray
    values: np.ndarray
    key_fraction: int = 0
    value_fraction: int = 0

    @cached_property
    def kv(self) -> KvHead:
        """As the engine computes with them."""
        keys, values = torch.from_numpy(self.keys), torch.from_numpy(self.values)
        if self.config.kv_bits == 8:
            return from_bytes(keys, values)
        return from_half(keys, values, self.key_fraction, self.value_fraction)

    @cached_property
    def pages(self) -> dict[int, tuple[int, np.ndarray]]:
        """By packed address: the flash channel that a page is on, and the page as stored."""
        layout, config = KvLayout(self.config.layout), self.config.layout
        keys, values = (
            np.ascontiguousarray(x).view(layout.dtype) for x in (self.keys, self.values)
        )
        codec = PageCodec(self.config.code)
        found: dict[int, tuple[int, np.ndarray]] = {}

        def store(address: KvAddress, tokens: int, payload: np.ndarray) -> None:
            header = PageHeader(PageType.DATA, tokens, 0, 0, address.pack(), len(found) + 1)
            channel = layout.unit(address) % config.flash_channels
            found[address.pack()] = channel, codec.encode(header, payload)

        for group in range(-(-len(keys) // config.group_tokens)):
            some = slice(group * config.group_tokens, (group + 1) * config.group_tokens)
            address = KvAddress(*self.name, KvKind.PAIRS, group)
            store(address, len(keys[some]), layout.pack_group(keys[some], values[some]))
        for span in range(len(keys) // config.span_tokens):
            some = slice(span * config.span_tokens, (span + 1) * config.span_tokens)
            for number, payload in enumerate(layout.pack_span(keys[some])):
                index = channel_index(span, number)
                address = KvAddress(*self.name, KvKind.KEY_CHANNELS, index)
                store(address, config.span_tokens, payload)
        return found


@dataclass(frozen=True)
class Job:
    """A job over the first `context` tokens of a sequence.

    Attributes:
        queries: float16 [queries, head_size].
        k: of SparF; -1 for what the configuration says.
        absent: packed addresses of pages that the table does not have.
    """

    sequence: StoredSequence
    queries: np.ndarray
    context: int
    sparf: bool = False
    k: int = -1
    absent: frozenset[int] = field(default=frozenset())

    @property
    def config(self) -> DriveEngineConfig:
        """The engine's."""
        return self.sequence.config

    @cached_property
    def golden(self) -> tuple[Partial, Choice | None]:
        """Golden's sums, and what SparF chose."""
        attention = self.config.attention
        queries = to_queries(attention, torch.from_numpy(self.queries))
        context = torch.tensor(self.context)
        if self.sparf:
            return sparf(attention, queries, self.sequence.kv, context)
        return dense(attention, queries, self.sequence.kv, context), None

    def outputs(self) -> np.ndarray:
        """Return golden's outputs, float16 [queries, head_size]."""
        attention = self.config.attention
        made = outputs(attention, self.golden[0])
        return to_half(attention, made, self.sequence.value_fraction).numpy()

    def table(self) -> list[int]:
        """Return the packed addresses of the job's part of the table, in their order."""
        return job_table(self.config, self.sequence.name, self.context, sparf=self.sparf)

    def reads(self) -> list[int]:
        """Return the packed addresses of the pages that are wanted."""
        table, choice = self.table(), self.golden[1]
        if choice is None:
            return table
        config = self.config.layout
        groups = -(-self.context // config.group_tokens)
        channels = choice.channels.any(dim=0).reshape(config.channel_groups, -1).any(dim=1)
        tokens = choice.tokens.any(dim=0)[: self.context]
        padded = torch.nn.functional.pad(tokens, (0, groups * config.group_tokens - self.context))
        kept = padded.reshape(groups, -1).any(dim=1).tolist()
        spans = self.context // config.span_tokens
        early = table[: len(table) - groups]
        wanted = channels.tolist() * spans
        wanted += [True] * (len(early) - len(wanted))
        return [one for one, is_wanted in zip(table, [*wanted, *kept], strict=True) if is_wanted]

    def status(self) -> Status:
        """Return what becomes of it if all its pages can be read."""
        if self.context == 0 or (self.sparf and self._k() >= self.context):
            return Status.BAD_JOB
        if self.absent.intersection(self.reads()):
            return Status.MISSING
        finite = np.isfinite(self.queries).all() and self._is_finite()
        return Status.OK if finite else Status.NOT_FINITE

    def payload(self, number: int) -> np.ndarray:
        """Return the job's payload, by its number."""
        sequence, k = self.sequence, self._k()
        fields = JobFields(
            *(sequence.name, self.context, self.sparf, k),
            min(self.config.attention.newest(self.context), k),
            *(sequence.key_fraction, sequence.value_fraction),
        )
        return of_job(self.config, number, fields)

    def query_payloads(self) -> np.ndarray:
        """Return the queries' beats."""
        return of_halves(self.config, self.queries)

    def value_sum_payloads(self) -> np.ndarray:
        """Return the beats of the sum of values, of a SparF job."""
        missed = self.golden[0].compensation
        total = missed.value_sum.numpy() if missed else np.zeros(0, np.int64)
        return of_value_sum(self.config, total)

    def output_payloads(self) -> np.ndarray:
        """Return the outputs' beats."""
        return of_halves(self.config, self.outputs())

    def _k(self) -> int:
        return self.config.attention.tokens(self.context) if self.k < 0 else self.k

    def _is_finite(self) -> bool:
        if self.config.kv_bits == 8:
            return True
        return bool(
            np.isfinite(self.sequence.keys).all() and np.isfinite(self.sequence.values).all()
        )


class FlashImage:
    """Where the pages of some sequences lie on the flash channels.

    Attributes:
        pages: of each channel, the stored pages: uint8 [stored_bytes] each.
    """

    def __init__(self, config: DriveEngineConfig, sequences: Sequence[StoredSequence]) -> None:
        self.config = config
        self.pages: list[list[np.ndarray]] = [[] for _ in range(config.flash_channels)]
        self._places: dict[int, tuple[int, int]] = {}
        for sequence in sequences:
            for address, (channel, stored) in sequence.pages.items():
                self._places[address] = channel, len(self.pages[channel])
                self.pages[channel].append(stored)

    @property
    def most_pages(self) -> int:
        """Pages of the fullest channel."""
        return max(map(len, self.pages))

    def place(self, address: int) -> tuple[int, int]:
        """Return the channel and the number of a page."""
        return self._places[address]

    def entries(self, job: Job) -> np.ndarray:
        """Return the beats of a job's part of the table."""
        places = [(0, 0, 0) if a in job.absent else (1, *self.place(a)) for a in job.table()]
        return of_entries(self.config, places)

    def pages_of(self, channel: int, room: int) -> np.ndarray:
        """Return a channel's pages, uint8 [room, stored_bytes]."""
        stored = np.zeros((room, self.config.code.stored_bytes), np.uint8)
        for number, page in enumerate(self.pages[channel]):
            stored[number] = page
        return stored


def random_sequence(
    config: DriveEngineConfig, random: np.random.Generator, tokens: int, number: int = 0
) -> StoredSequence:
    """Return a sequence of random keys and values."""
    shape = (2, tokens, config.head_size)
    name = SequenceId(number % 4096, 7, 3, 1)
    if config.kv_bits == 8:
        keys, values = random.integers(-128, 128, shape).astype(np.int8)
        return StoredSequence(config, name, keys, values)
    keys, values = random.normal(0, 1, shape).astype(np.float16)
    return StoredSequence(config, name, keys, values, 12, 12)


def as_heads(sequence: StoredSequence, count: int) -> list[StoredSequence]:
    """Return a sequence as so many kv heads: each one's pages begin on the next flash channel."""
    return [replace(sequence, name=sequence.name._replace(head=head)) for head in range(count)]


def random_queries(
    config: DriveEngineConfig, random: np.random.Generator, size: float = 1.0
) -> np.ndarray:
    """Return random queries."""
    return random.normal(0, size, (config.queries, config.head_size)).astype(np.float16)

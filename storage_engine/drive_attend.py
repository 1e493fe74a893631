"""What carries out a drive's attend commands: the engine's RTL in Verilator, or its golden twin."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from golden.attention_engine import dense, outputs, sparf
from golden.attention_engine_formats import (
    KvHead,
    from_bytes,
    from_half,
    is_finite,
    to_half,
    to_queries,
)
from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.drive_commands import CommandStatus
from storage_engine.flash_device import FlashShape
from storage_engine.flash_errors import DriveError, UncorrectableError
from storage_engine.kv_address import SequenceId
from storage_engine.kv_store import KvStore


@dataclass(frozen=True)
class AttendJob:
    """One attention.

    Attributes:
        sequence: of which keys and values are read; its first `context` tokens.
        queries: float16 [queries, head_size].
        k, newest: of SparF; `engine_job_layout`.
        key_fraction, value_fraction: fraction bits of the keys and values.
    """

    sequence: SequenceId
    queries: np.ndarray
    context: int
    sparf: bool
    k: int
    newest: int
    key_fraction: int
    value_fraction: int


@dataclass(frozen=True)
class AttendAnswer:
    """What became of it: `outputs` float16 [queries, head_size] if all went well.

    Of UNCORRECTABLE, `flash_channel` and `page` say where, as `FlashShape.on_channel` does.
    """

    status: CommandStatus
    outputs: np.ndarray | None = None
    flash_channel: int = 0
    page: int = 0


def failed(error: DriveError, shape: FlashShape) -> AttendAnswer:
    """Return what the host is told of an error; INTERNAL if it should never be told of it."""
    told = {status.value: status for status in CommandStatus}
    status = told.get(0x10 | error.status, CommandStatus.INTERNAL)
    if isinstance(error, UncorrectableError):
        return AttendAnswer(status, None, *shape.on_channel(error.block, error.page))
    return AttendAnswer(status)


class AttendEngine(Protocol):
    """What a drive has for its attend commands."""

    @property
    def config(self) -> DriveEngineConfig:
        """What it computes, and how pages are laid out."""

    def attend(self, store: KvStore, jobs: Sequence[AttendJob]) -> list[AttendAnswer]:
        """Carry out jobs, in their order."""


class GoldenEngine:
    """Golden's attention over what the store reads."""

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config

    def attend(self, store: KvStore, jobs: Sequence[AttendJob]) -> list[AttendAnswer]:
        """Carry out jobs, in their order."""
        return [self._attend(store, job) for job in jobs]

    def _attend(self, store: KvStore, job: AttendJob) -> AttendAnswer:
        try:
            keys, values = store.read(job.sequence, 0, job.context)
        except DriveError as error:
            return failed(error, store.manager.reader.flash.shape)
        config = replace(self.config, k=job.k, local=job.newest).attention
        given = torch.from_numpy(job.queries)
        stored = [torch.from_numpy(elements(self.config, part)) for part in (keys, values)]
        finite = [given] if self.config.kv_bits == 8 else [given, *stored]
        if not all(bool(is_finite(part).all()) for part in finite):
            return AttendAnswer(CommandStatus.NOT_FINITE)
        kv = fixed_point(self.config, keys, values, job.key_fraction, job.value_fraction)
        queries, context = to_queries(config, given), torch.tensor(job.context)
        if job.sparf:
            partial, _ = sparf(config, queries, kv, context)
        else:
            partial = dense(config, queries, kv, context)
        made = to_half(config, outputs(config, partial), job.value_fraction)
        return AttendAnswer(CommandStatus.OK, made.numpy())


def elements(config: DriveEngineConfig, stored: np.ndarray) -> np.ndarray:
    """Return what a store's elements are: INT8, or the FP16 of their bits."""
    return stored if config.kv_bits == 8 else np.ascontiguousarray(stored).view(np.float16)


def fixed_point(
    config: DriveEngineConfig,
    keys: np.ndarray,
    values: np.ndarray,
    key_fraction: int,
    value_fraction: int,
) -> KvHead:
    """Return a store's keys and values [tokens, head_size] as the engine computes with them."""
    k, v = (torch.from_numpy(elements(config, part)) for part in (keys, values))
    return (
        from_bytes(k, v) if config.kv_bits == 8 else from_half(k, v, key_fraction, value_fraction)
    )

"""An attention engine's own streams as bytes: what a bench or a drive gives it, and its answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.bit_packing import pack_fields
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import KvKind
from hw.payloads import of_struct
from storage_engine.engine_job_layouts import (
    SEQUENCE_LOW,
    Status,
    completion_layout,
    engine_job_layout,
    page_entry_layout,
)
from storage_engine.engine_layouts import half_layout, value_sum_layout
from storage_engine.entry_filter import page_beats
from storage_engine.kv_address import KvAddress, SequenceId
from storage_engine.slice_jobs import of_array

Entry = tuple[int, int, int]
"""Of a page: is there one, its flash channel, its number there."""


@dataclass(frozen=True)
class JobFields:
    """The fields of `engine_job_layout` but its number."""

    sequence: SequenceId
    context: int
    sparf: bool
    k: int
    newest: int
    key_fraction: int
    value_fraction: int


@dataclass(frozen=True)
class Completion:
    """The fields of `completion_layout`."""

    id: int
    status: Status
    flash_channel: int
    page: int
    reads: int
    retries: int
    corrected: int


def of_job(config: DriveEngineConfig, number: int, job: JobFields) -> np.ndarray:
    """Return a job's payload."""
    fields = {**vars(job), "id": number}
    packed = KvAddress(*job.sequence, KvKind.PAIRS, 0).pack()
    fields["sequence"] = packed >> SEQUENCE_LOW
    layout = engine_job_layout(config)
    return of_struct(layout, **{name: np.array([int(fields[name])]) for name in layout.members})


def of_halves(config: DriveEngineConfig, halves: np.ndarray) -> np.ndarray:
    """Return the beats of FP16 numbers, float16 [queries, head_size]."""
    bits = np.ascontiguousarray(halves).view(np.int16).astype(np.int64)
    return of_array(half_layout(config), bits.reshape(-1, config.lanes))


def of_value_sum(config: DriveEngineConfig, total: np.ndarray) -> np.ndarray:
    """Return the beats of a sum of values, int64 [head_size]; none of an empty one."""
    return of_array(value_sum_layout(config), total.reshape(-1, config.lanes))


def of_entries(config: DriveEngineConfig, entries: Sequence[Entry]) -> np.ndarray:
    """Return the beats of entries of the table."""
    columns = np.array(entries, np.int64).reshape(-1, 3)
    widths = [field.width for _, field in page_entry_layout(config)]
    return pack_fields(*((columns[:, [k]], width) for k, width in enumerate(widths)))


def completions(config: DriveEngineConfig, payloads: np.ndarray) -> list[Completion]:
    """Return what completions say, uint8 [completions, bytes]."""
    layout, found = completion_layout(config), []
    for row in payloads:
        packed = int.from_bytes(row.tobytes(), "little")
        fields = {name: packed >> field.offset & (1 << field.width) - 1 for name, field in layout}
        found.append(Completion(**{**fields, "status": Status(fields["status"])}))
    return found


def idle_cycles(config: DriveEngineConfig) -> int:
    """Return cycles in which nothing may move outside an engine.

    SparF's choice of tokens takes as long, or pages that a front end has.
    """
    choice = 2 * config.queries * config.attention.max_context
    return 2_000 + choice + config.buffer_pages * page_beats(config)

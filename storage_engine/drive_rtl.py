"""The engine's RTL in Verilator, as what carries out a drive's attend commands."""

from collections.abc import Sequence

import numpy as np
import torch
from amaranth.lib import data

from golden.attention_engine_formats import to_fixed
from golden.bit_packing import pack_fields
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from hw import player
from hw.emit import emit
from hw.payloads import of_struct
from storage_engine.drive_attend import AttendAnswer, AttendJob, elements
from storage_engine.drive_commands import CommandStatus
from storage_engine.engine_job_layouts import (
    SEQUENCE_LOW,
    Status,
    completion_layout,
    engine_job_layout,
    page_entry_layout,
)
from storage_engine.engine_layouts import half_layout, value_sum_layout
from storage_engine.engine_tables import job_table
from storage_engine.flash_channel_model import EngineWithFlash, FlashModelConfig
from storage_engine.flash_errors import MissingError, UncorrectableError
from storage_engine.flash_format import PageHeader, PageType
from storage_engine.kv_address import KvAddress
from storage_engine.kv_store import KvStore
from storage_engine.slice_jobs import of_array
from storage_engine.verify_attention_engine import idle_cycles

STATUS = {
    Status.OK: CommandStatus.OK,
    Status.BAD_JOB: CommandStatus.INVALID_FIELD,
    Status.MISSING: CommandStatus.MISSING,
    Status.LOST: CommandStatus.UNCORRECTABLE,
    Status.NOT_FINITE: CommandStatus.NOT_FINITE,
}


class RtlEngine:
    """The RTL, started anew for each batch of jobs.

    The flash channels' pages, with whatever errors each read of them gives, are put into the
    simulation's memories before; pages that the drive still has in its own memory lie beside them.

    Attributes:
        config: of the engine.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config

    def attend(self, store: KvStore, jobs: Sequence[AttendJob]) -> list[AttendAnswer]:
        """Carry out jobs, in their order."""
        if store.manager.reader.codec.config != self.config.code:
            raise ConfigError("the drive's pages have another code than the engine's")
        sums: list[np.ndarray | None] = [self._value_sum(store, job) for job in jobs]
        ready = [job for job, each in zip(jobs, sums, strict=True) if each is not None]
        images = _Images(self.config, store)
        entries = [
            images.entry(address)
            for job in ready
            for address in job_table(self.config, job.sequence, job.context, sparf=job.sparf)
        ]
        answers = iter(
            self._run(ready, [each for each in sums if each is not None], entries, images)
        )
        lost = AttendAnswer(CommandStatus.UNCORRECTABLE)
        return [lost if each is None else next(answers) for each in sums]

    def _run(
        self,
        jobs: Sequence[AttendJob],
        sums: Sequence[np.ndarray],
        entries: Sequence[tuple[int, int, int]],
        images: "_Images",
    ) -> list[AttendAnswer]:
        config = self.config
        model = FlashModelConfig(images.room, config.attempts)
        halves = [each.queries.view(np.int16).reshape(-1, config.lanes) for each in jobs]
        columns = np.array(entries, np.int64).reshape(-1, 3)
        layout = page_entry_layout(config)
        words = {c: images.words(c) for c in range(config.flash_channels)}
        case = player.Case(
            inputs={
                "i_job": np.concatenate([self._job(n, job) for n, job in enumerate(jobs)]),
                "i_query": of_array(half_layout(config), np.concatenate(halves).astype(np.int64)),
                "i_entry": pack_fields(
                    *((columns[:, [k]], field.width) for k, (_, field) in enumerate(layout))
                ),
                "i_value_sum": of_array(
                    value_sum_layout(config), np.concatenate(sums).reshape(-1, config.lanes)
                ),
                **{f"i_image_{c}": each for c, each in words.items()},
            },
            outputs={
                "o": len(jobs) * config.queries * config.rows,
                "o_completion": len(jobs),
                # More than there can be, so that the run ends when nothing has moved for long.
                **{f"o_word_{c}": 2 * len(entries) * len(each) for c, each in words.items()},
            },
            levels={f"words_{c}": len(each) for c, each in words.items()},
            max_idle_cycles=idle_cycles(config),
        )
        (trace,) = player.play(emit(EngineWithFlash, config, model), [case], logged=())
        return self._answers(trace)

    def _answers(self, trace: player.Trace) -> list[AttendAnswer]:
        """Return the answers, with the outputs that are there in the order of jobs."""
        config = self.config
        given = iter(
            np.ascontiguousarray(trace.outputs["o"])
            .view("<f2")
            .reshape(-1, config.queries, config.head_size)
        )
        answers = []
        for row in trace.outputs["o_completion"]:
            fields = _fields(completion_layout(config), row)
            status = Status(fields["status"])
            made = next(given).copy() if status is Status.OK else None
            answers.append(
                AttendAnswer(STATUS[status], made, fields["flash_channel"], fields["page"])
            )
        return answers

    def _job(self, number: int, job: AttendJob) -> np.ndarray:
        sequence = KvAddress(*job.sequence, 1, 0).pack() >> SEQUENCE_LOW  # type: ignore[arg-type]
        fields = {
            "id": number,
            "sequence": sequence,
            "context": job.context,
            "sparf": job.sparf,
            "k": job.k,
            "newest": job.newest,
            "key_fraction": job.key_fraction,
            "value_fraction": job.value_fraction,
        }
        rows = {name: np.array([int(value)]) for name, value in fields.items()}
        return of_struct(engine_job_layout(self.config), **rows)

    def _value_sum(self, store: KvStore, job: AttendJob) -> np.ndarray | None:
        """Return the sum of all values that SparF needs, [0 or head_size]; None if one is lost."""
        if not job.sparf:
            return np.zeros(0, np.int64)
        try:
            _, values = store.read(job.sequence, 0, job.context)
        except (MissingError, UncorrectableError):
            return None
        stored = torch.from_numpy(elements(self.config, values))
        fixed = stored.long()
        if self.config.kv_bits == 16:
            fixed = to_fixed(stored, job.value_fraction, self.config.kv_bits)
        return fixed.sum(dim=0).numpy()


class _Images:
    """Pages as their reads give them, by flash channel."""

    def __init__(self, config: DriveEngineConfig, store: KvStore) -> None:
        self.config, self.store = config, store
        self._pages: list[list[list[np.ndarray]]] = [[] for _ in range(config.flash_channels)]
        self._entries: dict[int, tuple[int, int, int]] = {}

    @property
    def room(self) -> int:
        """Pages that each channel's memory has room for, a power of 2."""
        return 1 << max(max(map(len, self._pages)) - 1, 0).bit_length()

    def entry(self, address: int) -> tuple[int, int, int]:
        """Return the table's entry of a page: present, flash channel, number."""
        if address not in self._entries:
            found = self._find(address)
            if found is None:
                return 0, 0, 0
            channel, reads = found
            self._entries[address] = 1, channel, len(self._pages[channel])
            self._pages[channel].append(reads)
        return self._entries[address]

    def words(self, channel: int) -> np.ndarray:
        """Return a channel's words: of all pages the first read, then of all the second, ..."""
        code = self.config.code
        stored = np.zeros((self.config.attempts, self.room, code.stored_bytes), np.uint8)
        for number, reads in enumerate(self._pages[channel]):
            stored[:, number] = reads
        return stored.reshape(-1, code.word_bytes)

    def _find(self, address: int) -> tuple[int, list[np.ndarray]] | None:
        """Return a page's channel and reads, from memory or flash; None if it is not there."""
        manager, attempts = self.store.manager, self.config.attempts
        write = self.store.in_memory(KvAddress.unpack(address))
        if write:
            header = PageHeader(PageType.DATA, write.tokens, 0, 0, address, 0)
            stored = manager.reader.codec.encode(header, write.payload)
            return write.unit % self.config.flash_channels, [stored] * attempts
        located = manager.table.get(address)
        if located is None:
            return None
        flash = manager.reader.flash
        reads = [flash.read(located.block, located.page, retry) for retry in range(attempts)]
        return located.block % flash.shape.channels, reads


def _fields(layout: data.StructLayout, row: np.ndarray) -> dict[str, int]:
    packed = int.from_bytes(row.tobytes(), "little")
    return {name: packed >> field.offset & (1 << field.width) - 1 for name, field in layout}

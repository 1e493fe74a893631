"""The engine's RTL in Verilator, as what carries out a drive's attend commands."""

from collections.abc import Sequence

import numpy as np
import torch

from golden.attention_engine_formats import to_fixed
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from hw import player
from hw.emit import emit
from storage_engine.drive_attend import AttendAnswer, AttendJob, elements, failed
from storage_engine.drive_commands import CommandStatus
from storage_engine.engine_job_layouts import Status
from storage_engine.engine_streams import (
    Entry,
    JobFields,
    completions,
    idle_cycles,
    of_entries,
    of_halves,
    of_job,
    of_value_sum,
)
from storage_engine.engine_tables import job_table
from storage_engine.flash_channel_model import EngineWithFlash, FlashModelConfig
from storage_engine.flash_errors import DriveError
from storage_engine.flash_format import PageHeader, PageType
from storage_engine.kv_address import KvAddress
from storage_engine.kv_store import KvStore

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
        sums = [self._value_sum(store, job) for job in jobs]
        ready = [
            (job, each)
            for job, each in zip(jobs, sums, strict=True)
            if not isinstance(each, AttendAnswer)
        ]
        made = iter(self._run(store, ready) if ready else ())
        return [each if isinstance(each, AttendAnswer) else next(made) for each in sums]

    def _run(
        self, store: KvStore, jobs: Sequence[tuple[AttendJob, np.ndarray]]
    ) -> list[AttendAnswer]:
        """Return what the simulation makes of jobs and their sums of values."""
        config, images = self.config, _Images(self.config, store)
        entries = [
            images.entry(address)
            for job, _ in jobs
            for address in job_table(config, job.sequence, job.context, sparf=job.sparf)
        ]
        model = FlashModelConfig(images.room, config.attempts)
        words = {c: images.words(c) for c in range(config.flash_channels)}
        case = player.Case(
            inputs={
                "i_job": np.concatenate(
                    [of_job(config, n, _fields(job)) for n, (job, _) in enumerate(jobs)]
                ),
                "i_query": np.concatenate([of_halves(config, job.queries) for job, _ in jobs]),
                "i_entry": of_entries(config, entries),
                "i_value_sum": np.concatenate([of_value_sum(config, total) for _, total in jobs]),
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
        return self._answers(trace, images)

    def _answers(self, trace: player.Trace, images: "_Images") -> list[AttendAnswer]:
        """Return the answers, with the outputs that are there in the order of jobs."""
        config = self.config
        given = iter(
            np.ascontiguousarray(trace.outputs["o"])
            .view("<f2")
            .reshape(-1, config.queries, config.head_size)
        )
        answers = []
        for done in completions(config, trace.outputs["o_completion"]):
            status, outputs, place = STATUS[done.status], None, (0, 0)
            if done.status is Status.OK:
                outputs = next(given).copy()
            elif done.status is Status.LOST:
                place = images.place(done.flash_channel, done.page)
            answers.append(AttendAnswer(status, outputs, *place))
        return answers

    def _value_sum(self, store: KvStore, job: AttendJob) -> np.ndarray | AttendAnswer:
        """Return the sum of all values that SparF needs, [0 or head_size], or why there is none."""
        if not job.sparf:
            return np.zeros(0, np.int64)
        try:
            _, values = store.read(job.sequence, 0, job.context)
        except DriveError as error:
            return failed(error, store.manager.reader.flash.shape)
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
        self._entries: dict[int, Entry] = {}
        self._places: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def room(self) -> int:
        """Pages that each channel's memory has room for, a power of 2."""
        return 1 << max(max(map(len, self._pages)) - 1, 0).bit_length()

    def entry(self, address: int) -> Entry:
        """Return the table's entry of a page."""
        if address not in self._entries:
            found = self._find(address)
            if found is None:
                return 0, 0, 0
            (channel, page), reads = found
            number = len(self._pages[channel])
            self._entries[address] = 1, channel, number
            self._places[channel, number] = channel, page
            self._pages[channel].append(reads)
        return self._entries[address]

    def place(self, channel: int, number: int) -> tuple[int, int]:
        """Return where the drive has an entry's page: flash channel, and page there."""
        return self._places[channel, number]

    def words(self, channel: int) -> np.ndarray:
        """Return a channel's words: of all pages the first read, then of all the second, ..."""
        code = self.config.code
        stored = np.zeros((self.config.attempts, self.room, code.stored_bytes), np.uint8)
        for number, reads in enumerate(self._pages[channel]):
            stored[:, number] = reads
        return stored.reshape(-1, code.word_bytes)

    def _find(self, address: int) -> tuple[tuple[int, int], list[np.ndarray]] | None:
        """Return a page's place and reads, from memory or flash; None if it is not there.

        A page in memory has no place in flash yet, but the channel of its unit.
        """
        manager, attempts = self.store.manager, self.config.attempts
        write = self.store.in_memory(KvAddress.unpack(address))
        if write:
            header = PageHeader(PageType.DATA, write.tokens, 0, 0, address, 0)
            stored = manager.reader.codec.encode(header, write.payload)
            return (write.unit % self.config.flash_channels, 0), [stored] * attempts
        located = manager.table.get(address)
        if located is None:
            return None
        flash = manager.reader.flash
        reads = [flash.read(located.block, located.page, retry) for retry in range(attempts)]
        return flash.shape.on_channel(located.block, located.page), reads


def _fields(job: AttendJob) -> JobFields:
    """Return a job but its queries."""
    return JobFields(**{name: each for name, each in vars(job).items() if name != "queries"})

"""Verifies an attention engine behind its DMA: jobs in a drive's memory, answers in it.

The cases are those of `attention_engine_trials`. Memory and flash are models beside the engine, so
that nothing but addresses of descriptors goes in through streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from golden.spec.drive_engine import DriveEngineConfig
from hw import player
from hw.emit import Design, emit
from hw.memory_model import MemoryTiming, read_written, with_memory, write_image, write_timing
from storage_engine.attention_engine_cases import Job
from storage_engine.attention_engine_trials import Case
from storage_engine.engine_dma import ADDRESS_BITS, POINTERS, descriptor_layout, memory_config
from storage_engine.engine_job_layouts import Status, completion_layout
from storage_engine.engine_streams import completions, idle_cycles
from storage_engine.flash_channel_model import RATE_UNIT, EngineWithFlash, FlashModelConfig
from storage_engine.memory_engine import MemoryEngine
from storage_engine.verify_attention_engine import Play

PORT = "m_axi"
CAPACITY = 1 << 22
FREE = 0xA5
"""What lies where answers may go, so that it is seen if nothing, or more, was written."""


@dataclass
class JobMemory:
    """A drive's memory with jobs in it, and where their answers go.

    Attributes:
        content: uint8 [bytes], from address 0 on.
        descriptors: of the jobs, their addresses. outputs, completions: where their answers go.
    """

    config: DriveEngineConfig
    content: bytearray = field(default_factory=bytearray)
    descriptors: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    completions: list[int] = field(default_factory=list)

    def add(self, number: int, job: Job, entries: np.ndarray) -> None:
        """Add a job and what belongs to it.

        Args:
            number: of the job. entries: of its part of the table.
        """
        queries = job.query_payloads()
        outputs = self.store(np.full(queries.shape, FREE, np.uint8))
        size = -(-completion_layout(self.config).size // 8)
        completion = self.store(np.full((1, size), FREE, np.uint8))
        sums = job.value_sum_payloads() if job.sparf else np.zeros((0, 1), np.uint8)
        places = dict(
            zip(
                POINTERS,
                (*map(self.store, (queries, entries, sums)), outputs, completion),
                strict=True,
            )
        )
        layout = descriptor_layout(self.config)
        packed = int.from_bytes(job.payload(number)[0].tobytes(), "little") << layout["job"].offset
        packed |= len(entries) << layout["entry_count"].offset
        for name, address in places.items():
            packed |= address << layout[name].offset
        descriptor = np.frombuffer(packed.to_bytes(layout.size // 8, "little"), np.uint8)
        self.descriptors.append(self.store(descriptor[None]))
        self.outputs.append(outputs)
        self.completions.append(completion)

    def store(self, beats: np.ndarray) -> int:
        """Store beats, uint8 [beats, bytes], each in whole words; return where."""
        address = len(self.content)
        padding = -beats.shape[1] % memory_config(self.config).word_bytes
        self.content += np.pad(beats, ((0, 0), (0, padding))).tobytes()
        return address


@dataclass(frozen=True)
class DmaResult:
    """What happened in a case.

    Attributes:
        mismatches: jobs whose outputs or completion in memory are not golden's, or that were not
            reported in their order; and words written elsewhere.
        statuses: of the jobs.
    """

    name: str
    mismatches: int
    statuses: tuple[Status, ...]

    @property
    def passed(self) -> bool:
        """True when all is golden's."""
        return not self.mismatches


def run_case(
    case: Case,
    *,
    timing: MemoryTiming | None = None,
    capacity: int = CAPACITY,
    design: Design | None = None,
    waves: Path | None = None,
) -> DmaResult:
    """Run a case's jobs out of memory in Verilator; pauses and resets of the case do not count.

    Args:
        timing: of the memory; by default it answers in the next cycle.
        capacity: of the memory in bytes; beyond it reads and writes are errors.
        design: the Verilog to run; `bench` by default.

    Raises:
        ToolError: a tool is missing or broke off.
    """
    config, play = case.config, Play(case)
    memory = job_memory(play)
    model = flash_model(play)
    streams = play.streams(np.random.default_rng(0), model)
    addresses = np.array(memory.descriptors, "<u8").view(np.uint8).reshape(-1, 8)
    played = player.Case(
        {
            "i_descriptor": addresses[:, : -(-ADDRESS_BITS // 8)],
            **{k: v for k, v in streams.inputs.items() if k.startswith("i_image_")},
        },
        {
            "o_completed": len(case.jobs),
            **{k: 2 * v for k, v in streams.outputs.items() if k.startswith("o_word_")},
        },
        levels=streams.levels,
        max_idle_cycles=idle_cycles(config),
    )
    written: list[tuple[int, np.ndarray]] = []

    def prepare(folder: Path) -> None:
        write_image(folder, PORT, np.frombuffer(bytes(memory.content[:capacity]), np.uint8))
        write_timing(folder, PORT, timing or MemoryTiming())

    (trace,) = player.play(
        design or bench(config, model, capacity),
        [played],
        logged=(),
        prepare=prepare,
        collect=lambda folder: written.append(read_written(folder, PORT)),
        waves=waves,
    )
    content = np.frombuffer(bytes(memory.content), np.uint8).copy()
    first, some = written[0]
    content[first : first + len(some)] = some
    reported = trace.outputs["o_completed"].astype(np.int64) @ [1, 256]
    return _judge(play, memory, content, reported.tolist())


def bench(config: DriveEngineConfig, model: FlashModelConfig, capacity: int = CAPACITY) -> Design:
    """Return engine, DMA, flash and memory."""
    return with_memory(emit(MemoryEngine, config, EngineWithFlash, model), {PORT: capacity})


def job_memory(play: Play) -> JobMemory:
    """Return the memory that a case begins with."""
    memory = JobMemory(play.case.config)
    for number, job in enumerate(play.case.jobs):
        memory.add(number, job, play.image.entries(job))
    return memory


def flash_model(play: Play) -> FlashModelConfig:
    """Return a flash that has room for a case's pages."""
    pages = 1 << (play.image.most_pages - 1).bit_length()
    return FlashModelConfig(pages=pages, images=play.images, latency=60, rate=RATE_UNIT)


def _judge(
    play: Play, memory: JobMemory, content: np.ndarray, reported: Sequence[int]
) -> DmaResult:
    """Compare what lies in memory in the end with what must."""
    config, case = play.case.config, play.case
    expected = np.frombuffer(bytes(memory.content), np.uint8).copy()
    size = -(-completion_layout(config).size // 8)
    known = memory.completions[: len(reported)]
    rows = [content[address : address + size] for address in known]
    done = completions(config, np.array(rows, np.uint8).reshape(-1, size))
    wrong = sum(not play.is_right(each) for each in done)
    wrong += sum(each.id != number for number, each in enumerate(done))
    wrong += list(reported) != list(range(len(case.jobs)))
    for job, status, outputs, completion in zip(
        case.jobs, play.status, memory.outputs, memory.completions, strict=True
    ):
        if status is Status.OK:
            bytes_ = job.output_payloads().reshape(-1)
            expected[outputs : outputs + len(bytes_)] = bytes_
        words = -(-size // memory_config(config).word_bytes) * memory_config(config).word_bytes
        expected[completion : completion + size] = content[completion : completion + size]
        expected[completion + size : completion + words] = 0
    wrong += int((expected != content).any())
    return DmaResult(case.name, wrong, tuple(each.status for each in done))

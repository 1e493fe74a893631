"""Verifies the attention engine: jobs over pages in flash, outputs and completions against golden.

All cases of a call run in one start of the simulator; `hw.player` plays the streams, and
`flash_channel_model` the flash. What is counted is counted outside the design.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from golden.page_crc import read_page
from hw import cosim, player
from hw.emit import Design, emit
from hw.verify_chain import one_configuration
from storage_engine.attention_engine import AttentionEngine
from storage_engine.attention_engine_cases import FlashImage, Job
from storage_engine.attention_engine_trials import Case
from storage_engine.engine_job_layouts import Status
from storage_engine.engine_streams import Completion, completions, idle_cycles
from storage_engine.flash_channel_model import RATE_UNIT, EngineWithFlash, FlashModelConfig


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes.

    Attributes:
        lanes: bytes that flash can give per cycle.
        cycles: from the first job taken to the last completion.
        contract_cycles: by the contract of dense jobs; of a case without one what was measured.
        bytes_read: that flash gave, of all channels, with their spare bytes.
        word_cycles: from the first to the last of them.
        held: words that had to wait at a front end.
        compared, mismatches: beats and completions compared with golden, and how many differ.
        completions: of the jobs.
    """

    name: str
    lanes: int
    cycles: int
    contract_cycles: int
    bytes_read: int
    word_cycles: int
    held: int
    compared: int
    mismatches: int
    completions: tuple[Completion, ...]

    @property
    def stall_cycles(self) -> int:
        """Cycles that the contract does not explain."""
        return self.cycles - self.contract_cycles

    @property
    def products(self) -> int:
        """The bytes, by the name of what other benches count: one per lane and cycle."""
        return self.bytes_read

    @property
    def utilisation(self) -> float:
        """Bytes / (lanes x cycles)."""
        return self.products / (self.lanes * self.cycles)

    @property
    def passed(self) -> bool:
        """True when all is golden's, and a case with a contract takes as many cycles."""
        return self.mismatches == 0 and self.stall_cycles == 0


def run_cases(
    cases: Sequence[Case],
    *,
    latency: int = 40,
    bytes_per_cycle: float = 0.0,
    design: Design | None = None,
    target: str = "generic",
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the engine in Verilator.

    Args:
        latency: cycles from a read to its first word.
        bytes_per_cycle: at which a channel gives words; 0 for a word in each cycle.
        design: the Verilog of an engine, or of one with flash; by default that of the cases'
            configuration.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    plays = [Play(case) for case in cases]
    model = FlashModelConfig(
        pages=1 << max(play.image.most_pages - 1 for play in plays).bit_length(),
        images=max(play.images for play in plays),
        latency=latency,
        rate=round(RATE_UNIT * min(bytes_per_cycle / config.code.word_bytes, 1.0)) or RATE_UNIT,
    )
    bench = emit(EngineWithFlash, config, model, target=target)
    if design and design.top != bench.top:
        bench = _around(design, bench)
    random = np.random.default_rng(seed)
    played = [play.streams(random, model) for play in plays]
    traces = player.play(
        design if design and design.top == bench.top else bench,
        played,
        waves=waves,
        progress=progress,
    )
    known = latency if model.rate == RATE_UNIT else 0
    return [play.judge(trace, known) for play, trace in zip(plays, traces, strict=True)]


class Play:
    """A case as streams, and what should come of it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        sequences = {job.sequence.name: job.sequence for job in case.jobs}
        self.image = FlashImage(case.config, list(sequences.values()))
        self.images = max([1, *map(len, case.disturbed.values())])
        self.status = [self._status(job) for job in case.jobs]
        self.reads = self._reads()

    def streams(self, random: np.random.Generator, model: FlashModelConfig) -> player.Case:
        """Return what is to be played."""
        case, config = self.case, self.case.config
        taken = [
            job
            for job, status in zip(case.jobs, self.status, strict=True)
            if status is not Status.BAD_JOB
        ]
        inputs = {
            "i_job": np.concatenate([job.payload(n) for n, job in enumerate(case.jobs)]),
            "i_query": _joined([job.query_payloads() for job in taken]),
            "i_entry": _joined([self.image.entries(job) for job in taken]),
            "i_value_sum": _joined([job.value_sum_payloads() for job in taken]),
        }
        levels: dict[str, int] = {}
        for channel in range(config.flash_channels):
            words = self._words(channel, model)
            inputs[f"i_image_{channel}"] = words
            levels[f"words_{channel}"] = len(words)
        # Pages that are read again because of others are not foreseen; a case that expects too many
        # words ends when nothing has moved for long.
        page_words = config.code.chunks * config.code.chunk_words * (4 if case.disturbed else 1)
        outputs = {
            "o": len(self.outputs),
            "o_completion": len(case.jobs),
            **{f"o_word_{c}": each * page_words for c, each in enumerate(self.reads)},
        }
        counts: dict[str, int] = {}
        if case.idle:
            names = ("i_job", "i_query", "i_entry", "i_value_sum")
            counts |= dict.fromkeys(names, self._pause_cycles(model))
        if case.stall:
            counts |= dict.fromkeys(("o", "o_completion"), self._pause_cycles(model))
        return player.Case(
            inputs,
            outputs,
            player.random_pauses(random, counts),
            levels,
            case.reset_after,
            max_idle_cycles=idle_cycles(config),
        )

    def judge(self, trace: player.Trace, latency: int = 0) -> CaseResult:
        """Return what happened, beside golden and the contract.

        Args:
            latency: of the flash, which gave a word per cycle; 0 if it did not.
        """
        done = completions(self.case.config, trace.outputs["o_completion"])
        mismatches = player.count_mismatches(trace.outputs["o"], self.outputs)
        mismatches += abs(len(done) - len(self.case.jobs))
        mismatches += sum(not self.is_right(each) for each in done[: len(self.case.jobs)])
        taken = [trace.transfers(f"o_word_{c}") for c in range(self.case.config.flash_channels)]
        moments = np.concatenate(taken)
        jobs, ends = trace.transfers("i_job"), trace.transfers("o_completion")
        cycles = int(ends[-1] + 1 - jobs[0]) if len(ends) else 0
        code = self.case.config.code
        return CaseResult(
            self.case.name,
            len(taken) * code.word_bytes,
            cycles,
            self._contract(latency) if latency and self.case.has_contract else cycles,
            len(moments) * code.word_bytes,
            int(moments.max() + 1 - moments.min()) if len(moments) else 0,
            sum(int(trace.outputs[f"o_word_{c}"].sum()) for c in range(len(taken))),
            len(self.outputs) + len(self.case.jobs),
            mismatches,
            tuple(done),
        )

    def is_right(self, done: Completion) -> bool:
        """Return whether a completion is what the job with its number must have.

        How often a page is read again hangs on the jobs before and behind as well, so a job with
        retries has at least the reads and the corrected bits that its own pages need.
        """
        if done.id >= len(self.case.jobs) or done.status is not self.status[done.id]:
            return False
        reads = self.case.jobs[done.id].reads()
        if done.status is Status.LOST:
            lost = [self.image.place(a) for a in reads if self.tries(a) is None]
            return (done.flash_channel, done.page) in lost
        if done.status is not Status.OK:
            return True
        needed_reads = sum(self.tries(address) or 0 for address in reads)
        needed_bits = sum(map(self._wrong_bits, reads))
        if done.retries:
            return done.reads >= needed_reads and done.corrected >= needed_bits
        return (done.reads, done.corrected) == (needed_reads, needed_bits)

    def _wrong_bits(self, address: int) -> int:
        """Return how many bits are corrected in a page when it is at last good."""
        images = self.case.disturbed.get(address)
        if images is None:
            return 0
        good = images[min((self.tries(address) or 0), len(images)) - 1]
        return int(read_page(self.case.config.code, good).corrected.sum())

    def _contract(self, latency: int) -> int:
        (job,) = self.case.jobs
        channels = [self.image.place(address)[0] for address in job.table()]
        return AttentionEngine.cycles(self.case.config, job.context, channels, latency)

    @cached_property
    def outputs(self) -> np.ndarray:
        """The beats of all jobs that have outputs."""
        return _joined(
            [
                job.output_payloads()
                for job, status in zip(self.case.jobs, self.status, strict=True)
                if status is Status.OK
            ]
        )

    def _pause_cycles(self, model: FlashModelConfig) -> int:
        """Return about how many cycles the case takes, from the loading of the flash on."""
        code = self.case.config.code
        pages = model.pages * model.images + max(self.reads)
        return pages * code.chunks * code.chunk_words + 2000 * len(self.case.jobs)

    def _status(self, job: Job) -> Status:
        """Return what becomes of a job."""
        status = job.status()
        if status is not Status.OK:
            return status
        lost = any(self.tries(address) is None for address in job.reads())
        return Status.LOST if lost else Status.OK

    def tries(self, address: int) -> int | None:
        """Return how often a page is read until it is good; None if it is lost."""
        images = self.case.disturbed.get(address)
        if images is None:
            return 1
        config = self.case.config
        stored = next(
            pages[address][1]
            for pages in (job.sequence.pages for job in self.case.jobs)
            if address in pages
        )
        wanted = read_page(config.code, stored)
        for attempt in range(config.attempts):
            page = read_page(config.code, images[min(attempt, len(images) - 1)])
            if not page.lost and (page.data == wanted.data).all():
                return attempt + 1
        return None

    def _reads(self) -> list[int]:
        """Return how many reads each channel gets."""
        counts = [0] * self.case.config.flash_channels
        for job, status in zip(self.case.jobs, self.status, strict=True):
            if status is Status.BAD_JOB:
                continue
            for address in job.reads():
                if address not in job.absent:
                    tries = self.tries(address) or self.case.config.attempts
                    counts[self.image.place(address)[0]] += tries
        return counts

    def _words(self, channel: int, model: FlashModelConfig) -> np.ndarray:
        """Return all images of a channel's pages."""
        images = [self.image.pages_of(channel, model.pages) for _ in range(model.images)]
        for address, pages in self.case.disturbed.items():
            its_channel, number = self.image.place(address)
            if its_channel == channel:
                for attempt, stored in enumerate(images):
                    stored[number] = pages[min(attempt, len(pages) - 1)]
        return np.concatenate(images).reshape(-1, self.case.config.code.word_bytes)


def _around(engine: Design, bench: Design) -> Design:
    """Return the bench with another engine's Verilog in the place of its own."""
    modules = re.split(r"(?m)(?=^module )", bench.verilog)
    own = [text for text in modules if not text.startswith(_headers(engine))]
    others = tuple(name for name in bench.modules if name not in engine.modules)
    return replace(
        bench, verilog="".join([*own, engine.verilog]), modules=(*others, *engine.modules)
    )


def _headers(design: Design) -> tuple[str, ...]:
    return tuple(f"module {name}{end}" for name in design.modules for end in ("(", " ", ";"))


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return payloads behind each other."""
    some = [part for part in parts if len(part)]
    return np.concatenate(some) if some else np.zeros((0, 1), np.uint8)

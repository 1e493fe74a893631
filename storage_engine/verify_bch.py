"""Verifies the codec: words and statuses against golden, handshakes against the contract.

All cases of a call run in one start of the simulator; `hw.player` plays the streams and logs every
handshake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from golden.bch import Decoded, bch_code
from golden.bit_packing import pack_fields
from golden.page_crc import ReadPage, read_page, store_page
from hw import cosim, player
from hw.emit import Design, emit
from hw.verify_chain import one_configuration
from storage_engine.bch_cases import Case
from storage_engine.bch_codec import BchCodec
from storage_engine.bch_decoder import ChunkTiming
from storage_engine.bch_timing import ReadModel, WriteModel, read_cycles

STREAMS = ("i_page", "o_flash", "i_flash", "o_page", "o_status")


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes, beside the contract.

    Attributes:
        bytes_read: from flash; lanes: bytes that can be taken per cycle.
        cycles: from the first word of flash offered to the last status given.
        contract_cycles: that many where no stream waits.
        corrected: bits; uncorrectable: chunks; crc_wrong: pages.
        compared, mismatches: words and statuses compared with golden, and how many differ.
        unexplained: handshakes that do not follow from what the streams outside do, in the first
            cycle that has one.
        first_mismatch: what differs first.
    """

    name: str
    bytes_read: int
    lanes: int
    cycles: int
    contract_cycles: int
    corrected: int
    uncorrectable: int
    crc_wrong: int
    compared: int
    mismatches: int
    unexplained: int
    first_mismatch: str = ""

    @property
    def stall_cycles(self) -> int:
        """Cycles beyond the contract, because streams waited."""
        return self.cycles - self.contract_cycles

    @property
    def products(self) -> int:
        """The bytes, by the name of what other benches count: one per lane and cycle."""
        return self.bytes_read

    @property
    def utilisation(self) -> float:
        """Bytes / (lanes x cycles)."""
        return self.bytes_read / (self.lanes * self.cycles)

    @property
    def passed(self) -> bool:
        """True when all is golden's, and every handshake in the contract's cycle."""
        return self.mismatches == 0 and self.unexplained == 0


def run_cases(
    cases: Sequence[Case],
    *,
    design: Design | None = None,
    target: str = "generic",
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the codec in Verilator.

    Args:
        design: the Verilog to run; the codec of the cases' configuration by default.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(BchCodec, config, target=target)
    random = np.random.default_rng(seed)
    plays = [Play(case) for case in cases]
    played = [play.streams(random) for play in plays]
    traces = player.play(design, played, waves=waves, progress=progress)
    return [play.judge(trace) for play, trace in zip(plays, traces, strict=True)]


class Play:
    """A case as streams, and what should come of it."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def streams(self, random: np.random.Generator) -> player.Case:
        """Return what is to be played."""
        case, size = self.case, self.case.config.word_bytes
        inputs = {"i_page": case.written.reshape(-1, size), "i_flash": case.read.reshape(-1, size)}
        outputs = {name: len(payloads) for name, payloads in self.expected.items()}
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {key: len(v) for key, v in inputs.items()})
        if case.stall:
            pauses |= player.random_pauses(random, outputs, share=0.5)
        return player.Case(inputs, outputs, pauses, reset_after=case.reset_after)

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        wrong = {
            name: player.count_mismatches(trace.outputs[name], payloads)
            for name, payloads in self.expected.items()
        }
        unexplained = self._unexplained(trace)
        first = [f"{name} differs" for name in wrong if wrong[name]]
        first += [f"{name} is not in its cycle" for name in STREAMS if unexplained[name]]
        statuses = trace.transfers("o_status")
        end = int(statuses[-1]) + 1 if len(statuses) else len(trace.valid["i_flash"])
        read, config = self._read, self.case.config
        return CaseResult(
            self.case.name,
            self.case.read.size,
            config.lanes,
            end - int(np.argmax(trace.valid["i_flash"])),
            self._contract_cycles,
            int(read.corrected.sum()),
            int(read.uncorrectable.sum()),
            int(read.crc_wrong.sum()),
            sum(map(len, self.expected.values())),
            sum(wrong.values()),
            sum(unexplained.values()),
            *first[:1],
        )

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        """By the output stream, golden's payloads."""
        case, config, read = self.case, self.case.config, self._read
        size, pages = config.word_bytes, len(case.written)
        data, tags = np.split(case.written, [config.data_bytes], axis=-1)
        owner = tags.reshape(pages, -1)[:, : config.owner_bytes]
        crc_wrong = np.zeros(read.corrected.shape, np.int64)
        crc_wrong[:, -1] = read.crc_wrong
        return {
            "o_flash": store_page(config, data.reshape(pages, -1), owner).reshape(-1, size),
            "o_page": self._decoded.message.reshape(-1, size),
            "o_status": pack_fields(
                (read.corrected.reshape(-1, 1), config.t.bit_length()),
                (read.uncorrectable.reshape(-1, 1), 1),
                (crc_wrong.reshape(-1, 1), 1),
            ),
        }

    @cached_property
    def chunks(self) -> list[ChunkTiming]:
        """What decides the chunks' times."""
        found = self._decoded
        dirty = ((found.corrected > 0) | found.uncorrectable).flatten().tolist()
        searched = found.searched.flatten().tolist()
        return [ChunkTiming(*chunk) for chunk in zip(dirty, searched, strict=True)]

    @cached_property
    def _contract_cycles(self) -> int:
        return read_cycles(self.case.config, self.chunks)

    @cached_property
    def _decoded(self) -> Decoded:
        return bch_code(self.case.config).decode(self.case.read)

    @cached_property
    def _read(self) -> ReadPage:
        pages = self.case.read.reshape(len(self.case.read), -1)
        return read_page(self.case.config, pages)

    def _unexplained(self, trace: player.Trace) -> dict[str, int]:
        """Return by the stream whether its handshake is not the model's, in the first such cycle.

        From there on the model knows nothing of the hardware.
        """
        valid, ready = ({n: s[n].tolist() for n in STREAMS} for s in (trace.valid, trace.ready))
        write = WriteModel(self.case.config)
        # Behind the last chunk, one that never comes.
        read = ReadModel(self.case.config, [*self.chunks, ChunkTiming(False, False)])
        wrong = dict.fromkeys(STREAMS, 0)
        for cycle in range(len(valid["i_flash"])):
            flash_sink, *page_sinks = (ready[n][cycle] for n in ("o_flash", "o_page", "o_status"))
            page_ready, flash_valid = write.outputs(flash_sink)
            flash_ready, page_valid, status_valid = read.outputs(*page_sinks)
            wrong["i_page"] += page_ready != ready["i_page"][cycle]
            wrong["i_flash"] += flash_ready != ready["i_flash"][cycle]
            wrong["o_flash"] += flash_valid != valid["o_flash"][cycle]
            wrong["o_page"] += page_valid != valid["o_page"][cycle]
            wrong["o_status"] += status_valid != valid["o_status"][cycle]
            if any(wrong.values()):
                break
            write.step(valid["i_page"][cycle], flash_sink)
            read.step(valid["i_flash"][cycle], *page_sinks)
        return wrong

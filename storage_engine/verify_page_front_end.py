"""Verifies a channel's front end: elements and verdicts against golden, handshakes by contract.

All cases of a call run in one start of the simulator; `hw.player` plays the streams and logs every
handshake. What is counted is counted in that log, outside the design.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hw import cosim, player
from hw.emit import Design, emit
from hw.verify_chain import one_configuration
from storage_engine.page_elements import Expected, expected, pack_requests, pack_verdicts
from storage_engine.page_front_end import PageFrontEnd
from storage_engine.page_front_end_cases import Case
from storage_engine.page_front_end_timing import FrontEndModel, front_end_cycles

INPUTS, OUTPUTS = ("i_request", "i_flash"), ("o", "o_verdict")


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes, beside the contract.

    Attributes:
        bytes_read: from flash; lanes: bytes that can be taken per cycle.
        cycles: from the first word of flash offered to the last verdict or beat.
        contract_cycles: that many where no stream waits.
        held: cycles in which a word of flash was offered and not taken.
        pages, good: judged, and let through. beats: of elements.
        compared, mismatches: beats and verdicts compared with golden, and how many differ.
        unexplained: handshakes that do not follow from what the streams outside do, in the first
            cycle that has one.
        first_mismatch: what differs first.
    """

    name: str
    bytes_read: int
    lanes: int
    cycles: int
    contract_cycles: int
    held: int
    pages: int
    good: int
    beats: int
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
    """Run the cases, all of one configuration, on the front end in Verilator.

    Args:
        design: the Verilog to run; the front end of the cases' configuration by default.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(PageFrontEnd, config, target=target)
    random = np.random.default_rng(seed)
    plays = [Play(case) for case in cases]
    played = [play.streams(random) for play in plays]
    traces = player.play(design, played, waves=waves, progress=progress)
    return [play.judge(trace) for play, trace in zip(plays, traces, strict=True)]


class Play:
    """A case as streams, and what should come of it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.stored = np.stack([page.stored for page in case.pages])

    def streams(self, random: np.random.Generator) -> player.Case:
        """Return what is to be played."""
        case, config = self.case, self.case.config
        inputs = {
            "i_request": pack_requests(config, [page.request for page in case.pages]),
            "i_flash": self.stored.reshape(-1, config.code.word_bytes),
        }
        outputs = {"o": len(self.beats[0]), "o_verdict": len(case.pages)}
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {key: len(v) for key, v in inputs.items()})
        elif case.bytes_per_cycle:
            share = case.bytes_per_cycle / config.code.word_bytes
            cycles = np.arange(1 + int(len(inputs["i_flash"]) / share))
            pauses["i_flash"] = np.floor(cycles * share) == np.floor((cycles + 1) * share)
        if case.stall:
            pauses |= player.random_pauses(random, outputs, share=0.5)
        return player.Case(inputs, outputs, pauses, reset_after=case.reset_after)

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        case = self.case
        payloads, counting = self.beats
        common = min(len(payloads), len(trace.outputs["o"]))
        taken = trace.outputs["o"].copy()
        taken[:common] &= counting[:common]
        wrong = {
            "o": player.count_mismatches(taken, payloads & counting),
            "o_verdict": player.count_mismatches(trace.outputs["o_verdict"], self.verdicts),
        }
        unexplained = self._unexplained(trace)
        first = [f"{name} differs" for name in wrong if wrong[name]]
        first += [f"{name} is not in its cycle" for name in unexplained if unexplained[name]]
        ends = [trace.transfers(name) for name in OUTPUTS]
        end = max(int(each[-1]) + 1 for each in ends if len(each)) if len(ends[1]) else 0
        flash = trace.valid["i_flash"]
        return CaseResult(
            case.name,
            self.stored.size,
            case.config.code.word_bytes,
            (end or len(flash)) - int(np.argmax(flash)),
            front_end_cycles(case.config, [page.timing for page in self.expected]),
            int((flash & ~trace.ready["i_flash"]).sum()),
            len(case.pages),
            sum(page.verdict.good for page in self.expected),
            len(payloads),
            sum(map(len, (payloads, self.verdicts))),
            sum(wrong.values()),
            sum(unexplained.values()),
            *first[:1],
        )

    @cached_property
    def expected(self) -> list[Expected]:
        """What must come of the pages."""
        case = self.case
        return expected(case.config, [page.request for page in case.pages], self.stored)

    @cached_property
    def beats(self) -> tuple[np.ndarray, np.ndarray]:
        """Payloads of `o`, and the bits of them that count, uint8 [beats, bytes]."""
        beats = [page.beats for page in self.expected]
        payloads, counting = (
            np.concatenate([getattr(each, name) for each in beats])
            for name in ("payloads", "counting")
        )
        return payloads, counting

    @cached_property
    def verdicts(self) -> np.ndarray:
        """Payloads of `o_verdict`, uint8 [pages, bytes]."""
        return pack_verdicts(self.case.config, [page.verdict for page in self.expected])

    def _unexplained(self, trace: player.Trace) -> dict[str, int]:
        """Return by the stream whether its handshake is not the model's, in the first such cycle.

        From there on the model knows nothing of the hardware.
        """
        names = (*INPUTS, *OUTPUTS)
        valid, ready = ({n: s[n].tolist() for n in names} for s in (trace.valid, trace.ready))
        timings = [page.timing for page in self.expected]
        model = FrontEndModel(self.case.config, timings)
        wrong = dict.fromkeys(names, 0)
        for cycle in range(len(valid["o"])):
            sinks = ready["o"][cycle], ready["o_verdict"][cycle]
            offers = model.outputs(*sinks)
            wrong["i_request"] += offers.request_ready != ready["i_request"][cycle]
            wrong["i_flash"] += offers.flash_ready != ready["i_flash"][cycle]
            wrong["o"] += offers.valid != valid["o"][cycle]
            wrong["o_verdict"] += offers.verdict_valid != valid["o_verdict"][cycle]
            if any(wrong.values()):
                break
            model.step(valid["i_request"][cycle], valid["i_flash"][cycle], *sinks)
        return wrong

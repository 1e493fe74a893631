"""Verifies the arg-top-k unit: indices against golden, handshakes against the contract.

All cases of a call run in one start of the simulator; `hw.player` plays the streams and logs every
handshake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from golden.arg_top_k import arg_top_k
from golden.bit_packing import pack_fields
from hw import cosim, player
from hw.emit import Design, emit
from hw.verify_chain import one_configuration
from storage_engine.arg_top_k import ArgTopK
from storage_engine.arg_top_k_cases import Case
from storage_engine.arg_top_k_timing import ArgTopKModel, job_cycles

STREAMS = ("i_job", "i", "o")


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes, beside the contract.

    Attributes:
        products: scores; lanes: how many can be taken per cycle.
        cycles: from the first score taken to the last index given.
        contract_cycles: that many where no stream waits.
        compared, mismatches: indices compared with golden, and how many differ.
        unexplained: handshakes that do not follow from what the streams outside do, in the first
            cycle that has one.
        first_mismatch: what differs first.
    """

    name: str
    products: int
    lanes: int
    cycles: int
    contract_cycles: int
    compared: int
    mismatches: int
    unexplained: int
    first_mismatch: str = ""

    @property
    def stall_cycles(self) -> int:
        """Cycles beyond the contract, because streams waited."""
        return self.cycles - self.contract_cycles

    @property
    def utilisation(self) -> float:
        """Scores / (lanes x cycles)."""
        return self.products / (self.lanes * self.cycles)

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
    """Run the cases, all of one configuration, on the unit in Verilator.

    Args:
        design: the Verilog to run; the unit of the cases' configuration by default.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(ArgTopK, config, target=target)
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
        """Return what is to be played. What stands beyond a job's scores is noise."""
        case, config = self.case, self.case.config
        jobs = np.array([[job.count, job.k] for job in case.jobs])
        beats = []
        for job in case.jobs:
            lanes = config.beats(job.count) * config.lanes
            low = 1 << (config.score_bits - 1)
            beat = random.integers(-low, low, lanes)
            beat[: job.count] = job.scores
            beats.append(beat.reshape(-1, config.lanes))
        inputs = {
            "i_job": pack_fields(
                (jobs[:, :1], config.max_scores.bit_length()),
                (jobs[:, 1:], config.max_k.bit_length()),
            ),
            "i": pack_fields((np.concatenate(beats), config.score_bits)),
        }
        outputs = {"o": len(self.expected)}
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {key: len(v) for key, v in inputs.items()})
        if case.stall:
            pauses |= player.random_pauses(random, outputs, share=0.5)
        return player.Case(inputs, outputs, pauses, reset_after=case.reset_after)

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        case = self.case
        wrong = player.count_mismatches(trace.outputs["o"], self.expected)
        unexplained = self._unexplained(trace)
        first = ["o differs"] if wrong else []
        first += [f"{name} is not in its cycle" for name in STREAMS if unexplained[name]]
        given, taken = trace.transfers("o"), trace.transfers("i")
        end = int(given[-1]) + 1 if len(given) else len(trace.valid["i"])
        return CaseResult(
            case.name,
            sum(job.count for job in case.jobs),
            case.config.lanes,
            end - (int(taken[0]) if len(taken) else 0),
            self._contract_cycles,
            len(self.expected),
            wrong,
            sum(unexplained.values()),
            *first[:1],
        )

    @cached_property
    def expected(self) -> np.ndarray:
        """Golden's payloads."""
        config = self.case.config
        rows = []
        for job in self.case.jobs:
            kept = arg_top_k(config, job.scores, job.k).numpy()
            rows.append(np.stack([kept, np.arange(len(kept)) == len(kept) - 1], axis=1))
        payloads = np.concatenate(rows)
        return pack_fields((payloads[:, :1], config.index_bits), (payloads[:, 1:], 1))

    @cached_property
    def _contract_cycles(self) -> int:
        config, jobs = self.case.config, self.case.jobs
        if len(jobs) == 1:
            return ArgTopK.cycles(config, jobs[0].scores, jobs[0].k)
        return job_cycles(config, jobs)

    def _unexplained(self, trace: player.Trace) -> dict[str, int]:
        """Return by the stream whether its handshake is not the model's, in the first such cycle.

        From there on the model knows nothing of the hardware.
        """
        valid, ready = ({n: s[n].tolist() for n in STREAMS} for s in (trace.valid, trace.ready))
        model = ArgTopKModel(self.case.config, self.case.jobs)
        wrong = dict.fromkeys(STREAMS, 0)
        for cycle in range(len(valid["i"])):
            job_ready, takes, offers = model.outputs()
            wrong["i_job"] += job_ready != ready["i_job"][cycle]
            wrong["i"] += takes != ready["i"][cycle]
            wrong["o"] += offers != valid["o"][cycle]
            if any(wrong.values()):
                break
            model.step(*(row[cycle] for row in (valid["i_job"], valid["i"], ready["o"])))
        return wrong

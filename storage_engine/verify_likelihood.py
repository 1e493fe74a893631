"""Verifies the likelihood unit: kept tokens and masses against golden, handshakes by contract.

All cases of a call run in one start of the simulator; `hw.player` plays the streams and logs every
handshake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from golden.bit_packing import pack_fields
from golden.spec.drive_engine import DriveEngineConfig
from hw import player
from hw.emit import Design, emit
from hw.payloads import of_struct
from hw.verify_chain import one_configuration
from storage_engine.engine_layouts import (
    SCALE_BITS,
    SCALE_EXPONENT_BITS,
    approximate_layout,
    likelihood_job_layout,
)
from storage_engine.kept_groups import kept_token_layout
from storage_engine.likelihood_cases import Case, Job
from storage_engine.likelihood_timing import LikelihoodModel
from storage_engine.likelihood_unit import LikelihoodUnit
from storage_engine.slice_jobs import of_array


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes, beside golden and the contract.

    Attributes:
        tokens: of all jobs; cycles: from the first job taken to the last mass taken.
        compared, mismatches: kept tokens and masses compared with golden, and how many differ.
        off: the first cycle in which a handshake was not the contract's; -1 for none.
    """

    name: str
    tokens: int
    cycles: int
    compared: int
    mismatches: int
    off: int

    @property
    def passed(self) -> bool:
        """True when all is golden's, and every handshake in the contract's cycle."""
        return self.mismatches == 0 and self.off < 0


def run_cases(
    cases: Sequence[Case], *, design: Design | None = None, target: str = "generic", seed: int = 0
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the unit in Verilator.

    Args:
        design: the Verilog to run; the unit of the cases' configuration by default.
        seed: of the random pauses, and of what stands in lanes beyond a job's tokens.

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(LikelihoodUnit, config, target=target)
    random = np.random.default_rng(seed)
    plays = [Play(case) for case in cases]
    played = [play.streams(random) for play in plays]
    traces = player.play(design, played)
    return [play.judge(trace) for play, trace in zip(plays, traces, strict=True)]


class Play:
    """A case as streams, and what should come of it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.sources = [f"i_{channel}" for channel in range(case.config.flash_channels)]

    def streams(self, random: np.random.Generator) -> player.Case:
        """Return what is to be played."""
        case, config = self.case, self.case.config
        beats = [_beats(config, job, random) for job in case.jobs]
        inputs = {"i_job": _jobs(config, case.jobs)}
        for channel, name in enumerate(self.sources):
            mine = np.concatenate([each[channel] for each in beats])
            inputs[name] = of_array(approximate_layout(config), mine)
        outputs = {name: len(rows) for name, rows in self.expected.items()}
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {key: len(v) for key, v in inputs.items()})
        if case.stall:
            pauses |= player.random_pauses(random, outputs, share=0.5)
        levels = {"scale": _level(case.jobs[0])}
        return player.Case(inputs, outputs, pauses, levels, reset_after=case.reset_after)

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        case = self.case
        wrong = sum(
            player.count_mismatches(trace.outputs[name], rows)
            for name, rows in self.expected.items()
        )
        began, ended = trace.transfers("i_job"), trace.transfers("o_mass")
        return CaseResult(
            case.name,
            sum(job.context for job in case.jobs),
            int(ended[-1]) + 1 - int(began[0]) if len(ended) else 0,
            sum(len(rows) for rows in self.expected.values()),
            wrong,
            self._first_off(trace),
        )

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        """Golden's payloads by the stream, uint8 [payloads, bytes]."""
        config, kept, masses = self.case.config, [], []
        for job in self.case.jobs:
            tokens = job.kept.nonzero()[:, 0].numpy()
            kept.append(np.stack([tokens, np.arange(len(tokens)) == len(tokens) - 1], axis=1))
            masses.append(job.masses.reshape(-1, 1).numpy())
        rows = np.concatenate(kept)
        return {
            "o_kept": of_struct(kept_token_layout(config), token=rows[:, 0], last=rows[:, 1]),
            "o_mass": pack_fields((np.concatenate(masses), config.attention.mass_bits)),
        }

    def _first_off(self, trace: player.Trace) -> int:
        """Return the first cycle whose handshakes are not the model's, -1 for none.

        From there on the model knows nothing of the hardware.
        """
        names = ("i_job", *self.sources, "o_kept", "o_mass")
        valid, ready = ({n: s[n].tolist() for n in names} for s in (trace.valid, trace.ready))
        model = LikelihoodModel(self.case.config, self.case.jobs)
        for cycle in range(len(valid["o_mass"])):
            there = all(valid[name][cycle] for name in self.sources)
            job_ready, takes, keeps, gives = model.outputs(there)
            found = [ready["i_job"][cycle], valid["o_kept"][cycle], valid["o_mass"][cycle]]
            found += [ready[name][cycle] for name in self.sources]
            if found != [job_ready, keeps, gives, *[takes] * len(self.sources)]:
                return cycle
            model.step(valid["i_job"][cycle], there, ready["o_kept"][cycle], ready["o_mass"][cycle])
        return -1


def _jobs(config: DriveEngineConfig, jobs: Sequence[Job]) -> np.ndarray:
    fields = {
        "context": [job.context for job in jobs],
        "k": [job.counts[0] for job in jobs],
        "newest": [job.counts[1] for job in jobs],
        "ends": [job.ends for job in jobs],
    }
    return of_struct(
        likelihood_job_layout(config), **{name: np.array(row) for name, row in fields.items()}
    )


def _beats(config: DriveEngineConfig, job: Job, random: np.random.Generator) -> np.ndarray:
    """Return a job's beats, [flash_channels, beats, queries, lanes]; any beyond its tokens."""
    count = -(-job.context // config.lanes)
    shape = (config.flash_channels, config.queries, count * config.lanes)
    beats = random.integers(-(1 << 20), 1 << 20, shape)
    beats[..., : job.context] = job.parts.numpy()
    return beats.reshape(*shape[:2], count, config.lanes).transpose(0, 2, 1, 3)


def _level(job: Job) -> int:
    """Return the scales as the unit's input has them."""
    level, bits = 0, SCALE_BITS + SCALE_EXPONENT_BITS
    pairs = zip(job.scale.value.tolist(), job.scale.exponent.tolist(), strict=True)
    for query, (value, exponent) in enumerate(pairs):
        packed = value | (exponent & (1 << SCALE_EXPONENT_BITS) - 1) << SCALE_BITS
        level |= packed << query * bits
    return level

"""Runs the bench of the bit-width expansion unit: segments against golden and contract.

A `Case` is a series of segments; all cases of a call run in one start of the simulator.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from golden.bit_packing import pack_bits, pack_fields
from golden.numbers import signed_range
from golden.spec.expansion import WEIGHT_WIDTHS, ExpansionConfig
from hw.emit import Design, emit
from hw.expansion import WIDTH_CODE_BITS, BitWidthExpansion
from hw.jobs import pauses, run_job

BENCH = "hw.benches.expansion"


@dataclass(frozen=True)
class Segment:
    """One job: `weights`, integers [beats, lanes] of `bits` bits."""

    bits: int
    weights: torch.Tensor


@dataclass(frozen=True)
class Case:
    """Successive segments.

    Attributes:
        name: what a person calls it.
        config: of the unit that expands them.
        segments: in their order.
        idle: the sources pause at random; stall: the sink does.
        word_gap: cycles for which the source of words pauses before each, unless it is `idle`.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: ExpansionConfig
    segments: tuple[Segment, ...]
    idle: bool = False
    stall: bool = False
    word_gap: int = 0
    reset_after: int = 0

    @property
    def jobs(self) -> list[tuple[int, int]]:
        """Width and beats of every segment."""
        return [(segment.bits, len(segment.weights)) for segment in self.segments]


@dataclass(frozen=True)
class CaseResult:
    """What the bench's monitor counted in one case, beside the contract.

    Attributes:
        beats: beats of weights.
        cycles: from the first beat begun to the last one given; stall_cycles: of them, waiting.
        contract_cycles: `BitWidthExpansion.cycles`, for no stalls.
        words: memory words taken; contract_words: those that the segments fill.
        compared, mismatches: weights compared with golden, and how many differ;
            first_mismatch: one.
    """

    name: str
    beats: int
    cycles: int
    stall_cycles: int
    contract_cycles: int
    words: int
    contract_words: int
    compared: int
    mismatches: int
    first_mismatch: str = ""

    @property
    def beats_per_cycle(self) -> float:
        """Beats / cycles."""
        return self.beats / self.cycles

    @property
    def passed(self) -> bool:
        """True when every weight is golden's, and words and cycles are the contract's."""
        return (
            self.mismatches == 0
            and self.words == self.contract_words
            and self.cycles == self.contract_cycles + self.stall_cycles
        )


def run_cases(
    cases: Sequence[Case], *, design: Design | None = None, seed: int = 0
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the unit in Verilator.

    Args:
        design: the Verilog to run; the unit of the cases' configuration by default.
        seed: of the random pauses.

    Raises:
        ToolError: a tool is missing or broke off.
    """
    config = cases[0].config
    contracts = [_contract(case) for case in cases]
    noises = [np.random.default_rng(seed + number) for number in range(len(cases))]
    passed, counts = run_job(
        design or emit(BitWidthExpansion, config),
        BENCH,
        [_describe(case) | contract for case, contract in zip(cases, contracts, strict=True)],
        [_beats(case, noise) for case, noise in zip(cases, noises, strict=True)],
        seed=seed,
    )
    results = [
        CaseResult(case.name, sum(beats for _, beats in case.jobs), **contract, **counted)
        for case, contract, counted in zip(cases, contracts, counts, strict=True)
    ]
    # The bench does not know how many words a case may take, so it fails less often.
    assert passed or not all(result.passed for result in results), "bench and host disagree"
    return results


def random_cases(config: ExpansionConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; any 4 successive ones have all 4 combinations of pauses."""
    random = np.random.default_rng(seed)
    return [
        random_case(config, random, f"random {number}", **choice)
        for number, choice in enumerate(pauses(count))
    ]


def random_case(
    config: ExpansionConfig, random: np.random.Generator, name: str, *, idle: bool, stall: bool
) -> Case:
    """Return up to 12 segments of random widths and lengths; short ones and resets are likely."""
    segments = []
    for bits in random.choice(WEIGHT_WIDTHS, size=int(random.integers(1, 13))).tolist():
        beats = int(random.integers(1, random.choice((2, 9, 60))))
        segments.append(random_segment(config, random, bits, min(beats, config.max_beats)))
    reset_after = int(random.integers(1, 60)) if random.random() < 0.25 else 0
    return Case(name, config, tuple(segments), idle, stall, reset_after=reset_after)


def random_segment(
    config: ExpansionConfig, random: np.random.Generator, bits: int, beats: int
) -> Segment:
    """Return uniform weights; one segment in four holds nothing but the two extremes."""
    low, high = signed_range(bits)
    shape = (beats, config.lanes)
    if random.random() < 0.25:
        return Segment(bits, torch.from_numpy(random.choice([low, high], size=shape)))
    return Segment(bits, torch.from_numpy(random.integers(low, high, size=shape, endpoint=True)))


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all (width, idle, stall) crosses that the cases hit, 0 to 1."""
    hit = {(bits, case.idle, case.stall) for case in cases for bits, _ in case.jobs}
    return len(hit) / (len(WEIGHT_WIDTHS) * 4)


def transition_coverage(cases: Sequence[Case]) -> float:
    """Return the share of all pairs of widths that follow each other in the cases, 0 to 1."""
    hit = {(a, b) for case in cases for (a, _), (b, _) in itertools.pairwise(case.jobs)}
    return len(hit) / len(WEIGHT_WIDTHS) ** 2


def _contract(case: Case) -> dict[str, Any]:
    config = case.config
    return {
        "contract_cycles": BitWidthExpansion.cycles(config, case.jobs),
        "contract_words": sum(config.words(*job) for job in case.jobs),
    }


def _describe(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "idle": case.idle,
        "stall": case.stall,
        "word_gap": case.word_gap,
        "reset_after": case.reset_after,
    }


def _beats(case: Case, noise: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "jobs": _job_beats(case),
        "words": _words(case, noise),
        "expected": np.concatenate([segment.weights.numpy() for segment in case.segments]),
    }


def _job_beats(case: Case) -> np.ndarray:
    jobs = np.array(case.jobs) - 1
    return pack_fields((jobs[:, :1], WIDTH_CODE_BITS), (jobs[:, 1:], case.config.beat_bits))


def _words(case: Case, random: np.random.Generator) -> np.ndarray:
    """Return the words of all segments, uint8 [words, bytes], with noise in their padding."""
    words = [np.zeros((0, case.config.word_bits // 8), np.uint8)]
    for segment in case.segments:
        packed = pack_bits(segment.weights.flatten(), segment.bits, case.config.word_bits).numpy()
        string = np.unpackbits(packed, bitorder="little")
        padding = string[segment.weights.numel() * segment.bits :]
        padding[:] = random.integers(0, 2, padding.shape)
        words.append(np.packbits(string, bitorder="little").reshape(-1, words[0].shape[1]))
    return np.concatenate(words)

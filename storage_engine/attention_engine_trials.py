"""Random jobs for the bench of the engine, and how much of it they cover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import product

import numpy as np

from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.attention_engine_cases import (
    Job,
    StoredSequence,
    random_queries,
    random_sequence,
)


class Trouble(Enum):
    """What is wrong: nothing, wrong bits that are corrected, pages that are good when they are read
    again, a page that is lost, one that the table does not have, a job that cannot be.
    """

    NONE = "none"
    FEW = "few wrong bits"
    AGAIN = "read again"
    LOST = "a lost page"
    ABSENT = "an absent page"
    BAD = "a bad job"


Cross = tuple[bool, Trouble, bool, bool]
"""SparF, what is wrong, idle sources, stalling sinks."""


@dataclass(frozen=True)
class Case:
    """Successive jobs over sequences in flash.

    Attributes:
        name: what a person calls it.
        config: of the engine.
        jobs: one after the other.
        disturbed: by packed address, what a page gives at its first, second, ... read, uint8
            [stored_bytes] each, if that is not what was stored. Later reads give the last one.
        idle: the sources pause at random; stall: the sinks do.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
        hit: the crosses.
    """

    name: str
    config: DriveEngineConfig
    jobs: tuple[Job, ...]
    disturbed: Mapping[int, Sequence[np.ndarray]] = field(default_factory=dict)
    idle: bool = False
    stall: bool = False
    reset_after: int = 0
    hit: tuple[Cross, ...] = ()

    @property
    def has_contract(self) -> bool:
        """True for one dense job, where nothing is wrong and nothing pauses."""
        dense = len(self.jobs) == 1 and not self.jobs[0].sparf and self.jobs[0].context > 0
        return dense and not (self.disturbed or self.jobs[0].absent or self.idle or self.stall)


def crosses() -> list[Cross]:
    """Return every combination that there is."""
    return list(product((False, True), Trouble, (False, True), (False, True)))


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    return len({cross for case in cases for cross in case.hit}) / len(crosses())


def random_cases(config: DriveEngineConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases over one sequence; as many as `crosses` has hit every cross.

    A job with nothing wrong is alone; the others have one before them and one behind, in which
    nothing is wrong. A quarter of the cases begins with a try that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    tokens = min(config.attention.max_context, 2 * config.layout.span_tokens + 50, 600)
    sequence = random_sequence(config, random, tokens)
    every = crosses()
    order = random.permutation(len(every))
    return [_case(sequence, random, every[order[number % len(order)]]) for number in range(count)]


def wrong_bits(
    sequence: StoredSequence, random: np.random.Generator, address: int, bits: int
) -> np.ndarray:
    """Return a page with so many wrong bits in one of its chunks, uint8 [stored_bytes]."""
    code = sequence.config.code
    stored = sequence.pages[address][1].copy()
    chunk = stored.reshape(code.chunks, -1)[random.integers(code.chunks)]
    for bit in random.choice(8 * len(chunk), bits, replace=False):
        chunk[bit // 8] ^= 1 << bit % 8
    return stored


def _case(sequence: StoredSequence, random: np.random.Generator, cross: Cross) -> Case:
    config = sequence.config
    sparf, trouble, idle, stall = cross

    def job(sparf: bool) -> Job:
        context = int(random.integers(1, len(sequence.keys) + 1))
        return Job(sequence, random_queries(config, random), context, sparf)

    mine = job(sparf)
    reads = mine.reads()
    address = reads[random.integers(len(reads))]
    disturbed: dict[int, list[np.ndarray]] = {}
    if trouble is Trouble.FEW:
        for each in reads[:: max(len(reads) // 4, 1)]:
            few = int(random.integers(1, config.t + 1))
            disturbed[each] = [wrong_bits(sequence, random, each, few)]
    elif trouble is Trouble.AGAIN:
        bad = wrong_bits(sequence, random, address, 5 * config.t)
        disturbed[address] = [bad] * min(config.attempts - 1, 2) + [sequence.pages[address][1]]
    elif trouble is Trouble.LOST:
        disturbed[address] = [wrong_bits(sequence, random, address, 5 * config.t)]
    elif trouble is Trouble.ABSENT:
        mine = Job(sequence, mine.queries, mine.context, sparf, absent=frozenset([address]))
    elif trouble is Trouble.BAD:
        more = mine.context if sparf else -1
        mine = Job(sequence, mine.queries, mine.context if sparf else 0, sparf, k=more)
    alone = trouble is Trouble.NONE
    jobs = (mine,) if alone else (job(not sparf), mine, job(sparf))
    reset_after = int(random.integers(1, 20_000)) if random.random() < 0.25 else 0
    kind = "sparf" if sparf else "dense"
    name = f"{kind}, {trouble.value}"
    return Case(name, config, jobs, disturbed, idle, stall, reset_after, (cross,))

"""Cases of the finisher: jobs whose sums come from tokens, and jobs at the numbers' limits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from golden.attention_engine import Compensation, Partial
from golden.attention_engine_sums import LOWEST_BIN, Sums, add_up, powers
from golden.numbers import signed_range
from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig

LOGIT_BITS = 27


@dataclass(frozen=True)
class Job:
    """What the slices and the first step give of one job.

    Attributes:
        partials: of the flash channels: attention's sums [queries], and their part of the
            compensation in a job that compensates.
        value_fraction: fraction bits of the values.
    """

    partials: tuple[Partial, ...]
    value_fraction: int

    @property
    def compensates(self) -> bool:
        """True when the outputs are weighed against the mean of all values."""
        return self.partials[0].compensation is not None


@dataclass(frozen=True)
class Case:
    """Successive jobs.

    Attributes:
        name: what a person calls it.
        config: of the finisher.
        jobs: one after the other.
        idle: the sources pause at random; stall: the sink does.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: DriveEngineConfig
    jobs: tuple[Job, ...]
    idle: bool = False
    stall: bool = False
    reset_after: int = 0


SPREADS = {"level": 0.3, "octaves": 8.0, "bins": 60.0, "far": 900.0}
"""By a name, about how many octaves the logits of a job differ."""


def random_job(
    config: DriveEngineConfig,
    random: np.random.Generator,
    *,
    spread: float,
    compensates: bool,
    tokens: int = 6,
) -> Job:
    """Return the sums of random tokens: some slices have none, some one or a few."""
    c, bits = config.attention, config.attention.element_bits
    least, most = signed_range(LOGIT_BITS)
    size = 2.0 ** random.uniform(1, bits)
    center, partials = random.normal(0, spread), []
    for _ in range(config.flash_channels):
        count = int(random.integers(0, tokens)) * int(random.random() < 0.8)
        drawn = random.uniform(-size, size, (count, c.head_size)) / 2
        values = torch.from_numpy(drawn.clip(*signed_range(bits)).astype(np.int64))
        own = center + random.normal(0, spread)  # the slices' tops differ
        exact, first = (own + random.normal(0, spread, (config.queries, count)) for _ in range(2))
        t, u = (
            torch.from_numpy((x * 2**16).clip(least, most).astype(np.int64)) for x in (exact, first)
        )
        kept = torch.from_numpy(random.random((config.queries, count)) < 0.6)
        seen = torch.ones_like(kept)
        missed = None
        if compensates:
            likely = powers(c, u)
            missed = Compensation(
                add_up(likely, seen),
                add_up(likely, kept),
                values.sum(dim=0),
                torch.tensor(count),
            )
        partials.append(Partial(add_up(powers(c, t), kept, values), missed))
    fraction = int(random.choice([0, 4, 10, 14, -8, 30, 34, 45, -64, 63]))
    return Job(tuple(partials), fraction)


def limit_job(config: DriveEngineConfig, random: np.random.Generator, kind: str) -> Job:
    """Return a job at the numbers' limits.

    `empty`: no tokens. `largest`: as many tokens as fit, all of the largest power, with the least
    or the most value. `ties`: sums whose low bits are those of ties. `small`: less than a unit.
    """
    c, shape = config.attention, (config.queries,)
    bits, channels = c.element_bits, config.flash_channels
    tokens = c.max_context // channels
    power = ((1 << c.probability_bits) - 1) << (c.power_bits - c.probability_bits)
    partials = []
    for number in range(channels):
        mass = torch.zeros(*shape, BINS, dtype=torch.int64)
        mixed = torch.zeros(*shape, BINS, c.head_size, dtype=torch.int64)
        top = torch.full(shape, LOWEST_BIN)
        value_sum = torch.zeros(c.head_size, dtype=torch.int64)
        count = 0
        if kind != "empty":
            top = torch.full(shape, int(random.integers(-3, 4)) if kind == "ties" else 127)
        if kind == "largest":
            least, most = signed_range(bits)
            value = torch.from_numpy(random.choice([least, most], c.head_size))
            mass[..., 0], count = tokens * power, tokens
            mixed[..., 0, :] = mass[..., :1] * value
            value_sum = tokens * value
        elif kind == "ties":
            # One of two tokens: 2**15 or 2**16 in the top bin, halves and odd units below.
            mass[..., 0] = 1 << 15 << int(random.integers(0, 6))
            mass[..., 1:] = 128 * torch.from_numpy(random.integers(0, 4, (*shape, BINS - 1)))
            fine = random.integers(-(1 << 8), 1 << 8, tuple(mixed.shape))
            mixed = torch.from_numpy(fine) << int(random.integers(0, 14))
            count = int(random.choice([0, 1, 2, 3]))
            value_sum = torch.from_numpy(random.integers(-9, 10, c.head_size)) * count
        elif kind == "small":
            mass[..., 0], count = 1 << 15, 1
            mixed[..., 0, :] = torch.from_numpy(random.integers(-40, 41, (*shape, c.head_size)))
        kept = Sums(top, mass, mixed[..., :0])
        some = int(random.integers(0, 2)) if number else 1
        missed = Compensation(
            kept, Sums(top, mass * some, mixed[..., :0]), value_sum, torch.tensor(count)
        )
        partials.append(Partial(Sums(top, mass, mixed), missed))
    return Job(tuple(partials), int(random.choice([0, 13, 16, 34])))


LIMITS = ("empty", "largest", "ties", "small")


def random_cases(config: DriveEngineConfig, count: int, seed: int) -> list[Case]:
    """Return `count` cases of one to three jobs each.

    Spreads, limits, compensation and pauses come in turn; a quarter of the cases begins with a try
    that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    contents = [*SPREADS, *LIMITS]
    cases = []
    for number in range(count):
        chosen = [contents[(number + k) % len(contents)] for k in range(1 + number % 3)]
        jobs = tuple(_job(config, random, content) for content in chosen)
        idle, stall = bool(number & 1), bool(number & 2)
        reset_after = int(random.integers(1, 600)) if number % 4 == 3 else 0
        name = f"{number}: {', '.join(chosen)}"
        cases.append(Case(name, config, jobs, idle, stall, reset_after))
    return cases


def _job(config: DriveEngineConfig, random: np.random.Generator, content: str) -> Job:
    if content in LIMITS:
        return limit_job(config, random, content)
    spread, compensates = SPREADS[content], bool(random.random() < 0.6)
    return random_job(config, random, spread=spread, compensates=compensates)


def largest_distance(job: Job) -> Sequence[int]:
    """Return by the query by how many bins a slice's top is lower at most, four and more left."""
    tops = torch.stack([partial.attention.top for partial in job.partials])
    below = tops.amax(dim=0) - tops
    return torch.where(below < BINS, below, 0).amax(dim=0).tolist()

"""Cases of the likelihood unit: jobs of random scores, and what golden makes of them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from golden.attention_engine import choose_tokens, counts
from golden.attention_engine_sums import add_up, logits, lower, powers
from golden.numbers import signed_range
from golden.spec.attention_engine import LOGIT_FRACTION_BITS, AttentionConfig
from golden.spec.drive_engine import DriveEngineConfig
from golden.special_functions.scalars import Scalar

RANGE_BITS = 12
"""A case's scales are such that the largest scores are logits of 2**12 octaves, which saturate."""


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        attention: what is computed; it says how many tokens of a context are chosen.
        parts: the slices' scores, int64 [flash_channels, queries, context].
        scale: of the scores, [queries].
        ends: the last token is the sequence's current one.
    """

    attention: AttentionConfig
    parts: torch.Tensor
    scale: Scalar
    ends: bool

    @property
    def context(self) -> int:
        """Number of tokens."""
        return self.parts.shape[-1]

    @cached_property
    def counts(self) -> tuple[int, int]:
        """How many are chosen, and how many of those are the newest ones."""
        k, newest = counts(self.attention, torch.tensor(self.context))
        return int(k), int(newest)

    @cached_property
    def logits(self) -> torch.Tensor:
        """Golden's, int64 [queries, context]."""
        return logits(self.parts.sum(dim=0), self.scale)

    @cached_property
    def kept(self) -> torch.Tensor:
        """Golden's kept tokens, bool [context]."""
        key = self.logits.sum(dim=0, keepdim=True)
        chosen = choose_tokens(self.attention, key, torch.tensor(self.context), ends=self.ends)
        return chosen[0]

    @cached_property
    def masses(self) -> torch.Tensor:
        """Golden's masses over all and over the kept tokens, lowest bin first: [queries, 2, 4]."""
        likely = powers(self.attention, self.logits)
        whole = add_up(likely, torch.ones(self.context, dtype=torch.bool))
        kept = lower(add_up(likely, self.kept), whole.top)
        return torch.stack([whole.mass.flip(-1), kept.mass.flip(-1)], dim=-2)


@dataclass(frozen=True)
class Case:
    """Successive jobs, which have their scales in common.

    Attributes:
        name: what a person calls it.
        config: of the unit.
        jobs: one after the other.
        idle: the sources pause at random; stall: the sinks do.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: DriveEngineConfig
    jobs: tuple[Job, ...]
    idle: bool = False
    stall: bool = False
    reset_after: int = 0


SPREADS = {"level": 0.3, "octaves": 8.0, "bins": 60.0, "far": 1500.0}
"""By a name, about how many octaves the logits of a job differ."""

SHAPES = ("ties", "equal", "rising", "falling")

KINDS = (*SPREADS, *SHAPES)


def random_scale(config: DriveEngineConfig, random: np.random.Generator) -> Scalar:
    """Return scales that differ from query to query by less than a factor of 2."""
    value = torch.from_numpy(random.integers(1 << 15, (1 << 16) + 1, config.queries))
    down = config.attention.score_bits - 1 - RANGE_BITS - LOGIT_FRACTION_BITS
    return Scalar(value, torch.full((config.queries,), -LOGIT_FRACTION_BITS - down))


def random_job(
    config: DriveEngineConfig,
    random: np.random.Generator,
    scale: Scalar,
    kind: str,
    context: int,
    *,
    ends: bool = True,
) -> Job:
    """Return a job of `context` tokens whose logits are of that kind; k and `local` are any."""
    shape = (config.queries, context)
    if kind in SPREADS:
        octaves = random.normal(0, SPREADS[kind], shape)
    elif kind == "ties":
        octaves = random.choice([-9.0, 0.0, 0.5, 8.0], shape)
    elif kind == "equal":
        octaves = np.full(shape, random.normal(0, 20))
    else:
        octaves = np.linspace(-60, 60, context) * random.choice([1, 4]) + np.zeros(shape)
        octaves = octaves[:, ::-1] if kind == "falling" else octaves
    unit = 2.0 ** (config.attention.score_bits - 1 - RANGE_BITS)
    low, high = signed_range(config.attention.score_bits)
    scores = (octaves * unit).clip(low, high).astype(np.int64)
    k = int(random.choice([1, 2, max(context // 8, 1), max(context // 2, 1), context]))
    attention = replace(
        config.attention,
        k=min(k, config.max_k),
        local=int(random.choice([0, 1, 3, 16, 200])),
    )
    return Job(attention, _parts(config, random, scores), scale, ends)


def _parts(
    config: DriveEngineConfig, random: np.random.Generator, scores: np.ndarray
) -> torch.Tensor:
    """Return numbers of each slice that add up to the scores.

    Most tokens' scores come from one slice alone, as of a tail, the others from all of them.
    """
    channels = config.flash_channels
    high = signed_range(config.attention.score_bits)[1]
    room = (high - np.abs(scores).clip(max=high)) // channels
    shared = random.random(scores.shape) < 0.4
    parts = random.integers(-room, room + 1, (channels, *scores.shape)) * shared
    owner = random.integers(channels, size=scores.shape)
    for channel in range(channels):
        parts[channel][owner == channel] = 0
    missing = scores - parts.sum(axis=0)
    for channel in range(channels):
        mine = owner == channel
        parts[channel][mine] = missing[mine]
    return torch.from_numpy(parts)


def random_cases(config: DriveEngineConfig, count: int, seed: int, most: int = 300) -> list[Case]:
    """Return `count` cases of one to three jobs each, of `most` tokens at most.

    Kinds, contexts, pauses and `ends` come in turn; a quarter of the cases begins with a try that a
    reset breaks off.
    """
    random = np.random.default_rng(seed)
    lanes, cases = config.lanes, []
    contexts = (1, 2, lanes, lanes + 1, 33, most, most - 1, 3 * lanes - 1, most // 2)
    for number in range(count):
        scale = random_scale(config, random)
        jobs = []
        for place in range(1 + number % 3):
            context = contexts[(number + 4 * place) % len(contexts)]
            kind = KINDS[(number + 3 * place) % len(KINDS)]
            ends = context == 1 or random.random() < 0.7
            jobs.append(random_job(config, random, scale, kind, context, ends=ends))
        idle, stall = bool(number & 1), bool(number & 2)
        reset_after = int(random.integers(1, 600)) if number % 4 == 3 else 0
        about = ", ".join(f"{job.context} of k {job.counts[0]}" for job in jobs)
        cases.append(Case(f"{number}: {about}", config, tuple(jobs), idle, stall, reset_after))
    return cases

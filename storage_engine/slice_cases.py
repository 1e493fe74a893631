"""Random jobs for the bench of the slice, and how much of it they cover."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product

import numpy as np
import torch

from golden.numbers import signed_range
from golden.spec.drive_engine import DriveEngineConfig
from golden.special_functions.scalars import Scalar
from storage_engine.engine_layouts import ElementKind, span_tokens
from storage_engine.slice_jobs import Job, Page


class Work(Enum):
    """What a job has: full pages of pairs, pages with few tokens, approximate scores, nothing."""

    DENSE = "dense"
    SPARSE = "sparse"
    CHANNELS = "channels"
    TAIL = "tail"
    ALL = "all"
    NOTHING = "nothing"


class Spread(Enum):
    """How far logits lie apart: in one bin, in some, in all, beyond them; or shifts that end."""

    FLAT = "flat"
    SOME = "some"
    WIDE = "wide"
    SATURATED = "saturated"
    ENDS = "ends"


class Content(Enum):
    """Elements of keys and values: any, small ones, the largest, zeros."""

    ANY = "any"
    SMALL = "small"
    EXTREMES = "extremes"
    ZEROS = "zeros"


Cross = tuple[Work, Spread, Content, bool, bool]
"""What a job does, its logits, its elements, idle sources, stalling sinks."""

_LOGIT_BITS = {Spread.FLAT: 16, Spread.SOME: 20, Spread.WIDE: 24, Spread.SATURATED: 29}
"""About so many bits have the largest logits."""

_PAIRS = (Work.DENSE, Work.SPARSE, Work.ALL)
_SPANS = (Work.CHANNELS, Work.ALL)
_TAILS = (Work.TAIL, Work.ALL)


@dataclass(frozen=True)
class Case:
    """Successive jobs.

    Attributes:
        name: what a person calls it.
        config: of the slice.
        scale: of all jobs, [queries].
        jobs: at least one.
        hit: the crosses of the jobs.
        idle: the sources pause at random; stall: the sinks do.
        bytes_per_cycle: at which elements are offered; 0 for as fast as they are taken.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: DriveEngineConfig
    scale: Scalar
    jobs: tuple[Job, ...]
    hit: tuple[Cross, ...] = ()
    idle: bool = False
    stall: bool = False
    bytes_per_cycle: float = 0.0
    reset_after: int = 0


def crosses() -> list[Cross]:
    """Return every combination that there is."""
    pauses = (False, True)
    return list(product(Work, Spread, Content, pauses, pauses))


def random_cases(config: DriveEngineConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; as many as `crosses` has hit every cross.

    A quarter of them begins with a try that a reset breaks off, and another quarter has two jobs.
    """
    random = np.random.default_rng(seed)
    every = crosses()
    order = random.permutation(len(every))
    return [
        _case(config, random, number, every[order[number % len(order)]]) for number in range(count)
    ]


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    return len({cross for case in cases for cross in case.hit}) / len(crosses())


def full_pages(
    config: DriveEngineConfig, pages: Sequence[int], seed: int = 0, **how: float
) -> Case:
    """Return a case of one job of dense attention whose pages have so many tokens each."""
    random = np.random.default_rng(seed)
    maker = _Maker(config, random, Spread.SOME, Content.ANY)
    job = maker.job([maker.pairs(tokens) for tokens in pages if tokens])
    return Case(f"{len(pages)} pages", config, maker.scale(), (job,), **how)  # type: ignore[arg-type]


def _case(
    config: DriveEngineConfig, random: np.random.Generator, number: int, cross: Cross
) -> Case:
    work, spread, content, idle, stall = cross
    maker = _Maker(config, random, spread, content)
    hit = [cross]
    jobs = [maker.any_job(work)]
    if random.random() < 0.25:
        # What comes behind a job without pairs has to wait for BEGIN; here nobody waits.
        jobs = [maker.any_job(work, ends_with_pairs=True)]
        other = list(Work)[int(random.integers(len(Work)))]
        hit.append((other, *cross[1:]))
        jobs.append(maker.any_job(other))
    beats = sum(page.keys.size for page in jobs[0].pages) // config.lanes
    begin = 150
    reset_after = int(random.integers(1, begin + beats)) if random.random() < 0.25 else 0
    name = f"random {number}: {', '.join(str(getattr(each, 'value', each)) for each in cross)}"
    return Case(name, config, maker.scale(), tuple(jobs), tuple(hit), idle, stall, 0.0, reset_after)


class _Maker:
    """Makes jobs whose logits and elements are as a case wants them."""

    def __init__(
        self,
        config: DriveEngineConfig,
        random: np.random.Generator,
        spread: Spread,
        content: Content,
    ) -> None:
        self._config = config
        self._random = random
        self._spread = spread
        self._content = content
        self._query_bits = int(random.integers(4, config.attention.query_bits + 1))

    def scale(self) -> Scalar:
        """Return a scale for each query."""
        queries, random = self._config.queries, self._random
        value = random.integers(1 << 15, (1 << 16) + 1, queries)
        if self._spread is Spread.ENDS:
            exponent = random.choice([-512, -64, -63, -62, -57, -56, -48, -1, 0, 1, 511], queries)
            value[random.random(queries) < 0.2] = 0
        else:
            # The score of a random key, by its standard deviation.
            size = self._query_bits + self._config.kv_bits - 2
            size += (self._config.head_size.bit_length() - 1) // 2
            exponent = np.full(queries, _LOGIT_BITS[self._spread] - 16 - size)
            exponent += random.integers(-1, 2, queries)
        return Scalar(torch.from_numpy(value), torch.from_numpy(exponent.astype(np.int64)))

    def any_job(self, work: Work, *, ends_with_pairs: bool = False) -> Job:
        """Return a random job."""
        config, random = self._config, self._random
        size, most = span_tokens(config), config.layout.group_tokens
        pages: list[Page] = []
        spans: list[tuple[int, int]] = []
        most_spans = min(config.attention.max_context // size, 8)
        first, count = int(random.integers(0, (most_spans + 1) // 2)), 0
        if work in _SPANS:
            count = int(random.integers(1, max(most_spans - first, 2)))
            for span in range(first, first + count):
                some = 0 if random.random() < 0.1 else int(random.integers(1, 4))
                pages += [self._channels(span * size, size) for _ in range(some)]
                spans.append((span, size))
        if work in _TAILS and first + count < most_spans:
            tail = first + count
            tokens = int(random.integers(1, size + 1))
            groups = range(tail * size // most, -(-(tail * size + tokens) // most))
            mine = [group for group in groups if random.random() < 0.5]
            tails = [self._tail(group * most, tail * size, tokens) for group in mine]
            pages += [page for page in tails if page is not None]
            spans.append((tail, tokens))
        elif work is Work.NOTHING and random.random() < 0.5:
            spans = [(0, 0)]
        if work in _PAIRS:
            counts = [most] * int(random.integers(1, 4))
            if work is not Work.DENSE:
                counts = [int(n) for n in random.integers(1, min(most, 4) + 1, 4)]
            pages += [self.pairs(n) for n in counts]
        elif ends_with_pairs:
            pages.append(self.pairs(1))
        return self.job(pages, spans)

    def job(self, pages: Sequence[Page], spans: Sequence[tuple[int, int]] = ()) -> Job:
        """Return a job of those pages with random queries."""
        config = self._config
        low, high = signed_range(self._query_bits)
        shape = (config.queries, config.head_size)
        queries = self._random.integers(low, high, shape, endpoint=True)
        if self._content is Content.EXTREMES:
            queries = self._random.choice([low, high], size=shape)
        chosen = self._random.random(config.head_size) < 0.4
        return Job(queries, np.where(chosen, queries, 0), tuple(pages), tuple(spans))

    def pairs(self, tokens: int) -> Page:
        """Return a page of pairs of which so many tokens are kept."""
        config = self._config
        kept = self._random.choice(config.layout.group_tokens, tokens, replace=False)
        shape = (tokens, config.head_size)
        keys, values = self._elements(shape), self._elements(shape)
        return Page(ElementKind.KEYS, 0, np.sort(kept), keys, values)

    def _tail(self, first: int, start: int, tokens: int) -> Page | None:
        """Return the tokens of a group that are in the tail, if there are any."""
        place = first + np.arange(self._config.layout.group_tokens)
        kept = np.flatnonzero((place >= start) & (place < start + tokens))
        keys = self._elements((len(kept), self._config.head_size))
        return Page(ElementKind.TAIL_KEYS, first, kept, keys) if len(kept) else None

    def _channels(self, first: int, tokens: int) -> Page:
        config, random = self._config, self._random
        per_page = config.layout.channels_per_page
        kept = np.flatnonzero(random.random(per_page) < 0.5)
        group = int(random.integers(config.layout.channel_groups))
        kept = group * per_page + (kept if len(kept) else np.arange(1))
        return Page(ElementKind.CHANNEL, first, kept, self._elements((len(kept), tokens)))

    def _elements(self, shape: tuple[int, int]) -> np.ndarray:
        low, high = signed_range(self._config.kv_bits)
        random = self._random
        if self._content is Content.ZEROS:
            return np.zeros(shape, np.int64)
        if self._content is Content.EXTREMES:
            return random.choice([low, high], size=shape)
        if self._content is Content.SMALL:
            return random.integers(-3, 4, shape)
        return random.integers(low, high, shape, endpoint=True)

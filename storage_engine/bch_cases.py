"""Random cases for the bench of the codec, and how much of it they cover."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from golden.bch import bch_code
from golden.galois_field import galois_field
from golden.page_crc import store_page
from golden.spec.bch import BchConfig

CONTENTS = ("any", "zeros", "ones")
"""A chunk's message."""

Cross = tuple[str, str, bool, bool]
"""Errors of a chunk, its content, idle sources, stalling sinks."""


@dataclass(frozen=True)
class Case:
    """Pages that are written and, at the same time, pages that are read.

    Attributes:
        name: what a person calls it.
        config: of the codec.
        written: data and tags, chunk after chunk, uint8 [pages, chunks, message_bytes].
        read: as they come from flash, uint8 [pages, chunks, chunk_bytes].
        hit: the crosses of the chunks that are read.
        idle: the sources pause at random; stall: the sinks do.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: BchConfig
    written: np.ndarray
    read: np.ndarray
    hit: tuple[Cross, ...]
    idle: bool = False
    stall: bool = False
    reset_after: int = 0


Wrong = Callable[[BchConfig, np.random.Generator], np.ndarray]


def _some(config: BchConfig, random: np.random.Generator, count: int) -> np.ndarray:
    bits = config.message_bits + config.parity_bits
    return random.choice(bits, size=min(count, bits), replace=False)


def _burst(config: BchConfig, random: np.random.Generator) -> np.ndarray:
    bits = config.message_bits + config.parity_bits
    first = int(random.integers(0, bits - config.t))
    return np.arange(first, first + config.t)


def _parity(config: BchConfig, random: np.random.Generator) -> np.ndarray:
    count = min(config.t, config.parity_bits)
    return config.message_bits + random.choice(config.parity_bits, size=count, replace=False)


def _ends(config: BchConfig, random: np.random.Generator) -> np.ndarray:
    last = config.message_bits + config.parity_bits - 1
    return np.array([0, last])[: config.t]


def _padding(config: BchConfig, random: np.random.Generator) -> np.ndarray:
    bits = 8 * config.chunk_bytes
    return np.concatenate(
        [_some(config, random, config.t), np.arange(bits - config.padding_bits, bits)]
    )


def _zero_sum(config: BchConfig, random: np.random.Generator) -> np.ndarray:
    """Three wrong bits of which S_1 is 0: the polynomial gets longer by three at once."""
    field = galois_field(config.m)
    bits = config.message_bits + config.parity_bits
    while True:
        powers = random.choice(bits, size=2, replace=False)
        third = int(field.logarithms[np.bitwise_xor.reduce(field.powers[powers])])
        if third < bits:
            return bits - 1 - np.array([*powers, third])


WRONG: dict[str, Wrong] = {
    "none": lambda config, random: _some(config, random, 0),
    "one": lambda config, random: _some(config, random, 1),
    "fewer than t": lambda config, random: _some(config, random, int(random.integers(0, config.t))),
    "t": lambda config, random: _some(config, random, config.t),
    "beyond t": lambda config, random: _some(config, random, config.t + int(random.integers(1, 4))),
    "burst": _burst,
    "parity": _parity,
    "ends": _ends,
    "padding": _padding,
    "zero sum": _zero_sum,
}
"""By its name, a choice of a chunk's wrong bits; those of the padding need no correction."""


def crosses(config: BchConfig) -> list[Cross]:
    """Return every combination that there is."""
    pauses = [(idle, stall) for idle in (False, True) for stall in (False, True)]
    return [(wrong, content, *pause) for wrong in WRONG for content in CONTENTS for pause in pauses]


def random_cases(config: BchConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; as many as `crosses` has hit every cross.

    A quarter of them begins with a try that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    every = crosses(config)
    order = random.permutation(len(every))
    return [
        _case(config, random, number, every[order[number % len(order)]]) for number in range(count)
    ]


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    hit = {cross for case in cases for cross in case.hit}
    return len(hit) / len(crosses(cases[0].config))


def _case(config: BchConfig, random: np.random.Generator, number: int, cross: Cross) -> Case:
    idle, stall = cross[2:]
    pages = int(random.integers(1, 3))
    kinds = [
        (str(random.choice(list(WRONG))), str(random.choice(CONTENTS)), idle, stall)
        for _ in range(pages * config.chunks)
    ]
    kinds[int(random.integers(len(kinds)))] = cross
    messages = np.stack([_content(config, random, kind[1]) for kind in kinds])
    messages = messages.reshape(pages, config.chunks, config.message_bytes)
    # In one page of two the CRC is right.
    stored = bch_code(config).encode(messages)
    if random.random() < 0.5:
        stored = _with_crc(config, messages)
    rows = stored.reshape(-1, config.chunk_bytes).copy()
    for row, kind in zip(rows, kinds, strict=True):
        for bit in WRONG[kind[0]](config, random):
            row[bit // 8] ^= 1 << bit % 8
    reset_after = int(random.integers(1, 3 * config.chunk_words)) if random.random() < 0.25 else 0
    name = f"random {number}: {', '.join(map(str, cross))}"
    written = messages[: int(random.integers(1, pages + 1))]
    read = rows.reshape(pages, config.chunks, config.chunk_bytes)
    return Case(name, config, written, read, tuple(kinds), idle, stall, reset_after)


def _content(config: BchConfig, random: np.random.Generator, content: str) -> np.ndarray:
    if content == "any":
        return random.integers(0, 256, config.message_bytes, dtype=np.uint8)
    return np.full(config.message_bytes, 0 if content == "zeros" else 255, np.uint8)


def _with_crc(config: BchConfig, messages: np.ndarray) -> np.ndarray:
    pages = len(messages)
    data, tags = np.split(messages, [config.data_bytes], axis=-1)
    owner = tags.reshape(pages, -1)[:, : config.owner_bytes]
    stored = store_page(config, data.reshape(pages, -1), owner)
    return stored.reshape(pages, config.chunks, config.chunk_bytes)

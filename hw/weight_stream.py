"""A chain's share of a matrix as one stream of memory words: the weight stream.

Everything that a chain takes of a matrix lies in memory in the order in which it is needed, so one
reader that only follows addresses keeps the chain busy. There are six kinds of payloads:

    weights       a word of packed weights
    segments      a job of the expansion unit, per tile (`hw.expansion.job_layout`)
    indices       a beat of indices (`hw.weight_feed.index_layout`)
    passes        a pass header (`hw.layouts.pass_layout`)
    scales        scales and zero points of a row and group (`hw.layouts.scale_layout`)
    destinations  the strips whose rows a finished strip holds (`destination_layout`)

A word holds payloads of one kind. They stand in slots, the lowest first; a slot has the next power
of two of the payload's bits. Where a word is not full it is marked `PARTIAL`, and its last slot
holds the number of payloads. A header word tells what the words behind it are, four bits each,
until a 0 or its end; then follows the next header word.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache

import numpy as np
import torch
from amaranth.hdl import unsigned
from amaranth.lib import data

from golden.matrix_engine import Mode
from golden.passes import Passes
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import payloads
from hw.expansion import job_layout
from hw.layouts import pass_layout, scale_layout
from hw.weight_feed import index_layout

KIND_BITS = 4
"""Bits of a word's entry in a header."""

PARTIAL = 8
"""Added to the kind of a word that is not full."""

DESTINATION_BITS = 16
"""Bits of a strip's number."""


class Kind(IntEnum):
    """What a word holds."""

    HEADER = 0
    WEIGHTS = 1
    SEGMENTS = 2
    INDICES = 3
    PASSES = 4
    SCALES = 5
    DESTINATIONS = 6


def destination_layout(config: MatrixEngineConfig) -> data.ArrayLayout:
    """One beat per strip of finished rows: the number of the matrix's strip in each lane."""
    return data.ArrayLayout(unsigned(DESTINATION_BITS), config.products_per_dsp)


@cache
def unpacked_layouts(config: MatrixEngineConfig) -> dict[Kind, data.Layout]:
    """Return the layouts of the kinds that stand in slots."""
    return {
        Kind.SEGMENTS: job_layout(config.expansion),
        Kind.INDICES: index_layout(config),
        Kind.PASSES: pass_layout(config.chain),
        Kind.SCALES: scale_layout(config),
        Kind.DESTINATIONS: destination_layout(config),
    }


def check_word_bits(config: MatrixEngineConfig) -> None:
    """Raise ConfigError unless slots fill a word."""
    bits = config.word_bits
    if bits & (bits - 1):
        raise ConfigError(
            f"word_bits is {bits}; a weight stream needs a power of two, as an AXI4 bus has it"
        )


def slot_bits(payload_bits: int) -> int:
    """Return the bits of a slot."""
    return 1 << (payload_bits - 1).bit_length()


def weight_stream(
    passes: Passes,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    config: MatrixEngineConfig,
    mode: Mode = Mode.MATRIX_VECTOR,
) -> np.ndarray:
    """Return the words of a chain's share, uint8 [words, bytes].

    A word stands where the first of its payloads is needed. Rows leave behind the beats that finish
    them, one at a time, and when the sum of their group's activations is known: so their scales
    come later; but before the pass that needs the room of their strip, else that pass and the
    scales behind it would wait for each other.

    Args:
        scales, zeros: integers [rows, groups], see `golden.group_scale`.

    Raises:
        ConfigError: the engine's words are not a power of two of bits.
    """
    check_word_bits(config)
    finishes = np.flatnonzero(passes.last)
    ends = passes.first_beat[finishes] + passes.n[finishes]
    given_scales = payloads.of_scales(passes, scales, zeros, config, mode)
    last_group = passes.group[finishes] == passes.groups - 1
    given = {
        Kind.SEGMENTS: (payloads.of_segments(passes, config), _tile_starts(passes)),
        Kind.PASSES: (payloads.of_passes(passes), passes.first_beat),
        Kind.INDICES: (payloads.of_indices(passes), _index_beats(passes)),
        Kind.WEIGHTS: (payloads.of_words(passes, config), _word_beats(passes, config)),
        Kind.DESTINATIONS: (_destinations(passes, config)[last_group], ends[last_group]),
        Kind.SCALES: (given_scales, _scale_beats(passes, len(given_scales), config)),
    }
    words, kinds, needed = [], [], []
    for kind, (items, beats) in given.items():
        packed, partial = _pack(kind, items, config)
        words.append(packed)
        kinds.append(np.full(len(packed), kind) + PARTIAL * partial)
        needed.append(beats[:: _slots(kind, config)])
    order = np.argsort(np.concatenate(needed), kind="stable")
    return _with_headers(np.concatenate(words)[order], np.concatenate(kinds)[order])


def equally_long(streams: Sequence[np.ndarray]) -> np.ndarray:
    """Return weight streams side by side, uint8 [streams, words, bytes].

    The shorter ones end with headers that describe nothing, so all chains read as many words.
    """
    longest = max(len(words) for words in streams)
    return np.stack([np.pad(words, ((0, longest - len(words)), (0, 0))) for words in streams])


@cache
def _slots(kind: Kind, config: MatrixEngineConfig) -> int:
    if kind is Kind.WEIGHTS:
        return 1
    return int(config.word_bits // slot_bits(unpacked_layouts(config)[kind].size))


def _pack(
    kind: Kind, items: np.ndarray, config: MatrixEngineConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the words of all payloads of a kind, and which of them are not full."""
    slots = _slots(kind, config)
    count = -(-len(items) // slots)
    slotted = np.zeros((count * slots, config.word_bits // 8 // slots), np.uint8)
    slotted[: len(items), : items.shape[1]] = items
    partial = np.zeros(count, bool)
    if left := len(items) % slots:
        slotted[-1, 0] = left
        partial[-1] = True
    return slotted.reshape(count, config.word_bits // 8), partial


def _with_headers(words: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return the words with a header in front of as many as it describes."""
    each = words.shape[1] * 8 // KIND_BITS
    parts = []
    for start in range(0, len(words), each):
        nibbles = np.zeros(each, np.uint8)
        described = kinds[start : start + each]
        nibbles[: len(described)] = described
        parts += [(nibbles[::2] | nibbles[1::2] << KIND_BITS)[None], words[start : start + each]]
    return np.concatenate(parts)


def _tile_starts(passes: Passes) -> np.ndarray:
    first = np.searchsorted(passes.tile, np.arange(len(passes.strips)))
    return passes.first_beat[first]


def _index_beats(passes: Passes) -> np.ndarray:
    return np.flatnonzero(np.repeat(~passes.dense, passes.n))


def _word_beats(passes: Passes, config: MatrixEngineConfig) -> np.ndarray:
    """Return the beat that needs each word of weights first."""
    weights_per_beat = config.chain_length * (2 if passes.shares_activations else 1)
    starts = _tile_starts(passes)
    beats = []
    for start, end in zip(starts, [*starts[1:], passes.n.sum()], strict=True):
        bits = weights_per_beat * passes.bits
        count = -(-(end - start) * bits // config.word_bits)
        beats.append(start + np.arange(count) * config.word_bits // bits)
    return np.concatenate(beats)


def _destinations(passes: Passes, config: MatrixEngineConfig) -> np.ndarray:
    """Return a destination for each pass that finishes a strip's group."""
    strips = passes.strips[passes.tile[passes.last], passes.strip[passes.last]]
    lanes = np.broadcast_to(strips, (len(strips), config.products_per_dsp))
    return payloads.of_struct(
        data.StructLayout({"strips": destination_layout(config)}), strips=lanes
    )


def _sum_beats(passes: Passes) -> np.ndarray:
    """Return for each pass the beat from which its group's sum of activations may be known.

    The group's last column is loaded when the one before it is begun.
    """
    starts = np.flatnonzero(np.diff(passes.column_number, prepend=-1))
    group = passes.tile * passes.groups + passes.group
    last_column = passes.column_number[np.searchsorted(group, group, side="right") - 1]
    return passes.first_beat[starts][np.maximum(last_column - 1, 0)]


def _scale_beats(passes: Passes, items: int, config: MatrixEngineConfig) -> np.ndarray:
    """Return the beat at which each scale is needed, if the rows leave one after the other."""
    finishes = np.flatnonzero(passes.last)
    starts = passes.first_beat[finishes]
    ends = np.maximum(starts + passes.n[finishes], _sum_beats(passes)[finishes])
    rows = items // len(finishes)
    number = np.arange(items)
    leaves = number + np.maximum.accumulate(np.repeat(ends, rows) - number)
    # The pass that finishes so many strips later takes the place of this one's rows.
    follower = np.append(starts, np.full(config.strips, starts[-1] + items + 1))[config.strips :]
    return np.minimum(leaves, np.repeat(follower[: len(finishes)] - 1, rows))

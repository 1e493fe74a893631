"""Reads a weight stream (`hw.weight_stream`) back: the matrix rows that its chain works on.

It goes the way of the hardware and not that of the writer: headers tell the words' kinds, words
give payloads, payloads give passes, and passes tell where each weight belongs. A stream that hangs
the hardware, or of which it makes something else, is refused as far as that can be seen.
"""

from dataclasses import dataclass

import numpy as np
import torch
from amaranth.hdl import Shape
from amaranth.lib import data

from golden.bit_packing import unpack_bits
from golden.chain_rows import ChainRows
from golden.matrix_engine import Mode
from golden.spec.errors import ShapeError
from golden.spec.expansion import WEIGHT_WIDTHS
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.weight_stream import KIND_BITS, PARTIAL, Kind, check_word_bits, slot_bits, unpacked_layouts

Fields = dict[str, np.ndarray]
"""By name, int64 [payloads], or [payloads, elements] of an array."""


@dataclass(frozen=True, eq=False)
class _Work:
    """Where the passes of a chain belong.

    Attributes:
        headers: the passes' fields. n, first_beat: their beats.
        tile, column, group: as in `golden.passes.Passes`.
        place: the pass's address, counted through all tiles.
        tiles, columns, groups, places: how many there are; columns and groups of each tile.
        group_columns: columns of a group.
    """

    headers: Fields
    n: np.ndarray
    first_beat: np.ndarray
    tile: np.ndarray
    column: np.ndarray
    group: np.ndarray
    place: np.ndarray
    tiles: int
    columns: int
    groups: int
    places: int
    group_columns: int


def read_weight_stream(
    words: np.ndarray, config: MatrixEngineConfig, mode: Mode = Mode.MATRIX_VECTOR
) -> ChainRows:
    """Return the rows of a chain's weight stream.

    Args:
        words: uint8 [words, bytes].
        mode: of the engine: how it orders the scales.

    Raises:
        ConfigError: the engine's words are not a power of two of bits.
        ShapeError: the words are no weight stream of this engine.
    """
    check_word_bits(config)
    if words.ndim != 2 or words.shape[1] * 8 != config.word_bits:
        raise ShapeError(
            f"the words are {list(words.shape)}; {config.word_bits // 8} bytes each are needed"
        )
    kinds = word_kinds(words)
    fields = {
        kind: payload_fields(words[kinds % PARTIAL == kind], kinds[kinds % PARTIAL == kind], layout)
        for kind, layout in unpacked_layouts(config).items()
    }
    headers = fields[Kind.PASSES]
    _refuse(not len(headers["code"]), "it has no pass")
    two_rows = bool(headers["two_rows"][0])
    _refuse(bool((headers["two_rows"] != two_rows).any()), "only some passes are of two rows")
    values = _expanded(words[kinds % PARTIAL == Kind.WEIGHTS], fields[Kind.SEGMENTS], config)
    beats = [each.reshape(-1, 2 if two_rows else 1, config.chain_length) for each in values]
    work = _work(headers, np.array([len(each) for each in beats]), config)
    weights = _weights(np.concatenate(beats), fields[Kind.INDICES]["elements"], work, config)
    paired = mode is Mode.MATRIX_VECTOR and config.pairs_rows and not two_rows
    scales, zeros = _scales(fields[Kind.SCALES], work, config, paired=paired, two_rows=two_rows)
    return ChainRows(
        weights=weights.reshape(-1, config.chain_length, work.columns * config.m),
        scales=scales.reshape(-1, config.chain_length, work.groups),
        zeros=zeros.reshape(-1, config.chain_length, work.groups),
        destinations=_destinations(fields[Kind.DESTINATIONS]["elements"], work, two_rows=two_rows),
        group_inputs=work.group_columns * config.m,
        tiles=work.tiles,
        two_rows=two_rows,
    )


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise ShapeError(f"the words are no weight stream of this engine: {why}")


def word_kinds(words: np.ndarray) -> np.ndarray:
    """Return each word's entry in its header, uint8 [words]; 0 for headers."""
    kinds = np.zeros(len(words), np.uint8)
    entries = np.zeros(words.shape[1] * 8 // KIND_BITS + 1, np.uint8)  # and a 0 behind them
    at = 0
    while at < len(words):
        entries[:-1:2], entries[1::2] = words[at] % 16, words[at] // 16
        described = entries[: entries.argmin()]
        at += 1 + len(described)
        _refuse(at > len(words), f"a header names {len(described)} words, the last are missing")
        kinds[at - len(described) : at] = described
    _refuse(bool(np.isin(kinds, (7, PARTIAL, 7 + PARTIAL)).any()), "a word has an unknown kind")
    return kinds


def payload_fields(words: np.ndarray, kinds: np.ndarray, layout: data.Layout) -> Fields:
    """Return the fields of all payloads of a kind; an array is called `elements`."""
    bits = slot_bits(layout.size)
    shape = (len(words), words.shape[1] * 8 // bits, bits // 8)
    slots = np.ascontiguousarray(words).reshape(shape)
    counts = np.where(kinds >= PARTIAL, slots[:, -1, 0], slots.shape[1])
    _refuse(bool((counts > slots.shape[1]).any()), "a word has more payloads than slots")
    given = slots[np.arange(slots.shape[1]) < counts[:, None]]
    string = np.unpackbits(given, axis=1, bitorder="little")
    if isinstance(layout, data.ArrayLayout):
        layout = data.StructLayout({"elements": layout})
    fields = {}
    for name, field in layout:
        element, count = field.shape, 1
        if isinstance(element, data.ArrayLayout):
            element, count = element.elem_shape, element.length
        mine = string[:, field.offset : field.offset + field.width]
        numbers = _numbers(
            mine.reshape(len(mine), count, field.width // count), Shape.cast(element)
        )
        fields[name] = numbers if isinstance(field.shape, data.ArrayLayout) else numbers[:, 0]
    return fields


def _numbers(bits: np.ndarray, shape: Shape) -> np.ndarray:
    """Return the numbers whose bits [..., width] are, the lowest first: int64 [...]."""
    packed = np.packbits(bits, axis=-1, bitorder="little")
    whole = np.zeros((*bits.shape[:-1], 8), np.uint8)
    whole[..., : packed.shape[-1]] = packed
    numbers = whole.view("<i8")[..., 0]
    sign = 1 << (shape.width - 1) if shape.signed else 0
    return (numbers ^ sign) - sign


def _expanded(words: np.ndarray, segments: Fields, config: MatrixEngineConfig) -> list[np.ndarray]:
    """Return the weights of each segment, int8 [beats of the expansion unit, lanes]."""
    parts, at = [], 0
    lanes = config.chain.lanes
    for code, more in zip(segments["width_code"], segments["more_beats"], strict=True):
        bits, beats = int(code) + 1, int(more) + 1
        _refuse(bits not in WEIGHT_WIDTHS, f"a segment has weights of {bits} bits")
        count = config.expansion.words(bits, beats)
        string = words[at : at + count].reshape(-1)
        _refuse(len(string) * 8 < beats * lanes * bits, "it has too few words of weights")
        if bits == 8:  # the many bytes of a whole model are read faster as they are
            weights = string.view(np.int8)[: beats * lanes]
        else:
            weights = unpack_bits(torch.from_numpy(string), bits, beats * lanes).numpy()
        parts.append(weights.reshape(beats, lanes))
        at += count
    _refuse(at != len(words), f"it has {len(words)} words of weights and segments of {at}")
    return parts


def _work(headers: Fields, beats: np.ndarray, config: MatrixEngineConfig) -> _Work:
    """Return where the passes belong.

    Args:
        beats: of the chain in each tile, int64 [tiles].
    """
    n = config.group_length << headers["code"]
    _refuse(int(n.max()) > config.chain_length, "a pass has more beats than the chain multipliers")
    ends, first_beat = np.cumsum(n), np.cumsum(n) - n
    _refuse(ends[-1] != beats.sum(), f"passes have {ends[-1]} beats, weights {beats.sum()}")
    tile = np.searchsorted(np.cumsum(beats), first_beat, side="right")
    starts = np.searchsorted(first_beat, np.cumsum(beats) - beats)
    _refuse(bool((first_beat[starts] != np.cumsum(beats) - beats).any()), "a pass crosses tiles")
    counted = {}
    for what in ("column", "group"):
        before = np.cumsum(headers[f"end_{what}"]) - headers[f"end_{what}"]
        counted[what] = before - before[starts][tile]
        counts = np.append(before[starts][1:], before[-1] + 1) - before[starts]
        _refuse(bool((counts != counts[0]).any()), f"tiles have not the same {what}s")
        _refuse(headers[f"end_{what}"][-1] != 1, f"its last pass does not end a {what}")
    column, group = counted["column"], counted["group"]
    addresses = np.maximum.reduceat(headers["strip"], starts) + 1
    place = (np.cumsum(addresses) - addresses)[tile] + headers["strip"]
    group_columns = int(column[group == 0].max()) + 1
    _refuse(bool((column // group_columns != group).any()), "its groups are not equally long")
    work = _Work(
        headers,
        n,
        first_beat,
        tile,
        column,
        group,
        place,
        len(beats),
        int(column.max()) + 1,
        int(group.max()) + 1,
        int(addresses.sum()),
        group_columns,
    )
    _check_marks(work)
    return work


def _check_marks(work: _Work) -> None:
    """Refuse passes whose sums do not begin and leave once for each address and group."""
    key = work.place * work.groups + work.group
    order = np.argsort(key, kind="stable")
    edges = np.flatnonzero(np.diff(key[order])) + 1
    begins, ends = np.zeros((2, len(key)), np.int64)
    begins[[0, *edges]] = 1
    ends[[*(edges - 1), -1]] = 1
    for mark, wanted in (("first", begins), ("last", ends)):
        wrong = (work.headers[mark][order] != wanted).any()
        _refuse(bool(wrong), f"its passes are not marked {mark} where they are")
    _refuse(len(edges) + 1 != work.places * work.groups, "a strip has no pass in a group")


def _weights(
    beats: np.ndarray, indices: np.ndarray, work: _Work, config: MatrixEngineConfig
) -> np.ndarray:
    """Return the weights where they belong, int8 [places, lanes, rows, columns * m].

    Args:
        beats: int8 [beats, lanes, chain_length]. indices: [beats that have any, chain_length].
    """
    length, lanes = config.chain_length, beats.shape[1]
    weights = np.zeros((work.places, lanes, length, work.columns * config.m), np.int8)
    dense = work.headers["dense"] == 1
    _refuse(bool((work.n[dense] != length).any()), "a dense pass is not as long as the chain")
    _refuse(work.n[~dense].sum() != len(indices), "beats and indices are not equally many")
    index = np.zeros((len(beats), length), np.int64)
    index[np.repeat(~dense, work.n)] = indices
    blocks = weights.reshape(work.places, lanes, length, -1, length)
    wrong = (work.headers["segment"] >= config.chain.segments).any()
    _refuse(bool(wrong), "a pass is of a segment that a column does not have")
    segment = work.column * config.chain.segments + work.headers["segment"]
    blocks[work.place[dense], :, :, segment[dense]] = (
        beats[np.repeat(dense, work.n)].reshape(-1, length, lanes, length).transpose(0, 2, 1, 3)
    )
    for n in config.chain.beats_of_pass:
        (which,) = np.nonzero((work.n == n) & ~dense)
        where = work.first_beat[which][:, None] + np.arange(n)
        inputs = work.column[which][:, None, None] * config.m + index[where]
        # Slot i of beat j is of row (i // n) * n + j.
        rows = np.arange(length) // n * n + np.arange(n)[:, None]
        for lane in range(lanes):
            weights[work.place[which][:, None, None], lane, rows, inputs] = beats[where, lane]
    lost = np.count_nonzero(beats) - np.count_nonzero(weights)
    _refuse(lost != 0, f"{lost} weights go to the place of another")
    return weights


def _scales(
    scales: Fields, work: _Work, config: MatrixEngineConfig, *, paired: bool, two_rows: bool
) -> list[np.ndarray]:
    """Return scales and zero points, int32 [places, lanes, rows, groups]."""
    last = work.headers["last"] == 1
    place, group = work.place[last], work.group[last]
    rows = config.chain_length // (2 if paired else 1)
    found = len(scales["first"])
    _refuse(found != rows * len(group), f"it has {found} scales for {rows * len(group)} rows")
    first, end = np.repeat(group == 0, rows), np.repeat(group == work.groups - 1, rows)
    wrong = (scales["first"] != first).any() or (scales["last"] != end).any()
    _refuse(bool(wrong), "its scales are not marked by their groups")
    used = config.products_per_dsp if paired or two_rows else 1
    given = []
    for name in ("scale", "zero"):
        # Lane 1 of a pair is the strip's upper half; of two rows, the other strip.
        values = scales[name].reshape(len(group), rows, -1)[..., :used].transpose(0, 2, 1)
        all_rows = np.zeros(
            (work.places, 2 if two_rows else 1, config.chain_length, work.groups), np.int32
        )
        all_rows[place, :, :, group] = values.reshape(len(group), -1, config.chain_length)
        given.append(all_rows)
    return given


def _destinations(numbers: np.ndarray, work: _Work, *, two_rows: bool) -> np.ndarray:
    """Return the number of each strip, int64 [places * lanes].

    Args:
        numbers: int64 [strips of a lane, lanes].
    """
    finished = (work.headers["last"] == 1) & (work.group == work.groups - 1)
    _refuse(len(numbers) != finished.sum(), "strips and destinations are not equally many")
    _refuse(not two_rows and bool((numbers != numbers[:, :1]).any()), "a strip has two numbers")
    used = numbers[:, : 2 if two_rows else 1]
    ordered = np.zeros_like(used)
    ordered[work.place[finished]] = used
    return ordered.reshape(-1)

"""What a front end must give for the pages that a flash delivers: its golden twin.

It stands on golden's parts alone: the error correction and the CRC, the layout of keys and values,
and fixed point.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from amaranth.lib import data

from golden.attention_engine_formats import is_finite, to_fixed
from golden.bch import bch_code
from golden.bit_packing import pack_fields
from golden.page_crc import crc32c
from golden.spec.bch import CRC_BYTES
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import INDEX_FIELDS
from storage_engine.bch_decoder import ChunkTiming
from storage_engine.engine_layouts import (
    FRACTION_BITS,
    ElementKind,
    RequestKind,
    element_layout,
    page_request_layout,
    page_verdict_layout,
)
from storage_engine.entry_filter import page_steps
from storage_engine.flash_format import HEADER_BYTES, MAGIC, VERSION, PageType
from storage_engine.kv_layout import KvLayout
from storage_engine.page_front_end import PageTiming

_HEADER = struct.Struct("<HBBHHIQQ")
"""docs/flash-management.md: magic, version, type, tokens, generation, erases, address, sequence."""


@dataclass(frozen=True)
class Request:
    """The fields of `page_request_layout`."""

    kind: RequestKind
    first: int
    tokens: int
    keep: int
    keys_only: bool
    address: int
    key_fraction: int = 0
    value_fraction: int = 0


@dataclass(frozen=True)
class Verdict:
    """The fields of `page_verdict_layout`."""

    corrected: int
    uncorrectable: bool
    crc_wrong: bool
    misplaced: bool
    not_finite: bool

    @property
    def good(self) -> bool:
        """True when the page's elements leave."""
        return not (self.uncorrectable or self.crc_wrong or self.misplaced)


@dataclass(frozen=True)
class Beats:
    """Beats of `element_layout`.

    Attributes:
        payloads: uint8 [beats, bytes]. counting: the same, ones in the bits that mean something;
            a key has no channel's number, and a channel no token's.
    """

    payloads: np.ndarray
    counting: np.ndarray


@dataclass(frozen=True)
class Expected:
    """What must come of a page."""

    verdict: Verdict
    beats: Beats
    timing: PageTiming


def expected(
    config: DriveEngineConfig, requests: Sequence[Request], stored: np.ndarray
) -> list[Expected]:
    """Return what must come of pages.

    Args:
        stored: as they come from flash, uint8 [pages, stored_bytes].
    """
    code = config.code
    chunks = bch_code(code).decode(stored.reshape(len(stored), code.chunks, code.chunk_bytes))
    dirty = (chunks.corrected > 0) | chunks.uncorrectable
    whole = chunks.message.reshape(len(stored), -1)
    crc = np.ascontiguousarray(whole[:, -CRC_BYTES:]).view("<u4")[:, 0]
    crc_wrong = crc32c(whole[:, :-CRC_BYTES]) != crc
    payloads, tags = np.split(chunks.message, [code.data_bytes], axis=-1)
    found = []
    for number, request in enumerate(requests):
        payload = payloads[number].reshape(-1)
        lost = bool(chunks.uncorrectable[number].any() or crc_wrong[number])
        wrong = not lost and _is_misplaced(request, tags[number].reshape(-1))
        verdict = Verdict(
            int(chunks.corrected[number].sum()),
            bool(chunks.uncorrectable[number].any()),
            bool(crc_wrong[number]),
            wrong,
            not (lost or wrong) and _not_finite(config, payload),
        )
        steps = page_steps(
            config, request.kind, request.keep, request.tokens, keys_only=request.keys_only
        )
        timing = PageTiming(
            tuple(map(ChunkTiming, dirty[number].tolist(), chunks.searched[number].tolist())),
            verdict.good,
            tuple(steps),
        )
        beats = wanted_beats(config, request, payload) if verdict.good else []
        found.append(Expected(verdict, _pack(config, request, beats), timing))
    return found


@dataclass(frozen=True)
class Beat:
    """A beat's elements, int64 [lanes], and where they belong; `number`: a token's, a channel's."""

    elements: np.ndarray
    kind: ElementKind
    row: int
    number: int
    last: bool


def wanted_beats(config: DriveEngineConfig, request: Request, payload: np.ndarray) -> list[Beat]:
    """Return the beats that are wanted of a payload, uint8 [page_bytes]."""
    layout = KvLayout(config.layout)
    beats: list[Beat] = []

    def add(kind: ElementKind, number: int, elements: np.ndarray, fraction: int) -> None:
        rows = _fixed(config, elements, fraction).reshape(-1, config.lanes)
        beats.extend(Beat(each, kind, row, number, False) for row, each in enumerate(rows))

    kept = [k for k in range(request.keep.bit_length()) if request.keep >> k & 1]
    if request.kind is RequestKind.KEY_CHANNELS:
        group = request.address & INDEX_FIELDS["channel_group"].values - 1
        whole = -(-request.tokens // config.lanes) * config.lanes
        channels = layout.unpack_span(payload)[:, :whole].copy()
        channels[:, request.tokens :] = 0
        for k in kept:
            if k < len(channels):
                number = group * len(channels) + k
                add(ElementKind.CHANNEL, number, channels[k], request.key_fraction)
    else:
        tokens = min(request.tokens, config.layout.group_tokens)
        keys, values = layout.unpack_group(payload, config.layout.group_tokens)
        kind = ElementKind.TAIL_KEYS if request.keys_only else ElementKind.KEYS
        for k in kept:
            if k < tokens:
                add(kind, k, keys[k], request.key_fraction)
        for k in kept:
            if k < tokens and not request.keys_only:
                add(ElementKind.VALUES, k, values[k], request.value_fraction)
    if beats:
        end = beats[-1]
        beats[-1] = Beat(end.elements, end.kind, end.row, end.number, True)
    return beats


def pack_requests(config: DriveEngineConfig, requests: Sequence[Request]) -> np.ndarray:
    """Return requests as payloads of `page_request_layout`, uint8 [requests, bytes]."""
    return _pack_rows(page_request_layout(config), requests)


def pack_verdicts(config: DriveEngineConfig, verdicts: Sequence[Verdict]) -> np.ndarray:
    """Return verdicts as payloads of `page_verdict_layout`, uint8 [verdicts, bytes]."""
    return _pack_rows(page_verdict_layout(config), verdicts)


def _pack_rows(layout: data.StructLayout, rows: Sequence[object]) -> np.ndarray:
    fields = []
    for name, field in layout:
        values = [int(getattr(row, name)) % (1 << field.width) for row in rows]
        for low in range(0, field.width, 64):
            part = np.array([value >> low & (1 << 64) - 1 for value in values], np.uint64)
            fields.append((part.view(np.int64).reshape(-1, 1), min(field.width - low, 64)))
    return pack_fields(*fields)


def _pack(config: DriveEngineConfig, request: Request, beats: Sequence[Beat]) -> Beats:
    widths = {name: field.width for name, field in element_layout(config)}
    names = ("kind", "row", "token", "channel", "last", "first_token")
    first = request.first
    values, counting = [], []
    for beat in beats:
        is_channel = beat.kind is ElementKind.CHANNEL
        token, channel = (0, beat.number) if is_channel else (beat.number, 0)
        values.append([beat.kind, beat.row, token, channel, beat.last, first])
        counting.append([-1, -1, -int(not is_channel), -int(is_channel), -1, -1])
    elements = np.array([beat.elements for beat in beats], np.int64).reshape(-1, config.lanes)

    def packed(elements: np.ndarray, rows: list[list[int]]) -> np.ndarray:
        columns = np.array(rows, np.int64).reshape(-1, len(names))
        fields = [(columns[:, [k]], widths[name]) for k, name in enumerate(names)]
        return pack_fields((elements, config.kv_bits), *fields)

    return Beats(packed(elements, values), packed(np.full_like(elements, -1), counting))


def _fixed(config: DriveEngineConfig, elements: np.ndarray, fraction: int) -> np.ndarray:
    if config.kv_bits == 8:
        return elements.astype(np.int64)
    assert -(1 << FRACTION_BITS - 1) <= fraction < 1 << FRACTION_BITS - 1
    return to_fixed(_halves(elements), fraction, config.kv_bits).numpy()


def _not_finite(config: DriveEngineConfig, payload: np.ndarray) -> bool:
    return config.kv_bits == 16 and not bool(is_finite(_halves(payload)).all())


def _halves(stored: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(stored).view(np.float16).copy())


def _is_misplaced(request: Request, owner: np.ndarray) -> bool:
    magic, version, kind, tokens, _, _, address, _ = _HEADER.unpack(owner[:HEADER_BYTES].tobytes())
    right = (MAGIC, VERSION, PageType.DATA, request.address)
    return (magic, version, kind, address) != right or tokens < request.tokens

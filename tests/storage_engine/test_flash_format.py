"""What stands in flash, byte by byte."""

import re

import numpy as np
import pytest
from flash_trials import BCH, CODEC
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.spec.bch import BchConfig
from golden.spec.errors import ConfigError
from storage_engine.flash_format import (
    ENTRY_BYTES,
    HEADER_BYTES,
    RECORD_BYTES,
    Entry,
    PageCodec,
    PageHeader,
    PageState,
    PageType,
    Record,
    RecordType,
    StoredPage,
    pack_records,
    pack_summary,
    summary_pages,
    unpack_records,
    unpack_summary,
)
from storage_engine.flash_state import DriveState, Gap, TaskState

HEADER = PageHeader(PageType.DATA, 0x0102, 0x0304, 0x05060708, 0x1122334455667788, 0x99AABBCCDDEEFF)
U16, U32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


def test_a_header_byte_by_byte():
    stored = CODEC.encode(HEADER, np.zeros(256, np.uint8))
    chunks = stored.reshape(2, BCH.chunk_bytes)
    owner = np.concatenate([chunks[0, 128:144], chunks[1, 128:140]]).tobytes()
    assert owner.hex(" ") == (
        "4e 44 01 01 02 01 04 03 08 07 06 05 88 77 66 55 44 33 22 11 ff ee dd cc bb aa 99 00"
    )
    assert HEADER_BYTES == len(owner) == 28
    assert CODEC.decode(stored).header == HEADER


def test_a_page_comes_back_with_wrong_bits():
    payload = np.random.default_rng(0).integers(0, 256, 256, dtype=np.uint8)
    stored = CODEC.encode(HEADER, payload).copy()
    stored[[3, 160]] ^= 0x41
    page = CODEC.decode(stored)
    assert (page.payload == payload).all()
    assert page.header == HEADER and page.corrected == 4


def test_blank_and_unreadable_pages():
    stored = np.full(BCH.stored_bytes, 0xFF, np.uint8)
    assert CODEC.decode(stored) is PageState.BLANK
    stored[[5, 70, 200]] ^= 4  # an erased page has wrong bits too
    assert CODEC.decode(stored) is PageState.BLANK
    stored[100:140] = 0
    assert CODEC.decode(stored) is PageState.UNREADABLE
    strange = PageCodec(BCH).encode(HEADER._replace(kind=9), np.zeros(256, np.uint8))
    assert CODEC.decode(strange) is PageState.UNREADABLE


def test_no_page_is_taken_for_an_erased_one():
    """Not even one whose content is all ones."""
    ones = PageHeader(PageType.DATA, *(0xFFFF, 0xFFFF, 2**32 - 1, 2**64 - 1, 2**64 - 1))
    for config in (BCH, BchConfig(), BchConfig(chunks=16)):
        codec = PageCodec(config)
        stored = codec.encode(ones, np.full(config.page_bytes, 0xFF, np.uint8))
        assert codec.decode(stored).header == ones
        stored[0] ^= 1
        assert codec.decode(stored).header == ones


def test_a_code_needs_room_for_the_header():
    message = "a page has 12 bytes for its owner; the header needs 28, take a larger tag_bytes"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        PageCodec(BchConfig(data_bytes=128, tag_bytes=8, t=4, chunks=2))


@settings(max_examples=40)
@given(st.lists(st.tuples(U64, st.integers(0, 2**31), U16, U16), min_size=1, max_size=40))
def test_a_summary_comes_back(fields):
    entries = [
        Entry(page, address, (7 << 32) + 5 + offset * (page > 0), tokens, generation)
        for page, (address, offset, tokens, generation) in enumerate(fields)
    ]
    payloads = pack_summary(entries, 256)
    each = 256 // ENTRY_BYTES
    pages = [
        StoredPage(
            PageHeader(PageType.SUMMARY, len(entries[n * each :][:each]), 0, 0, (7 << 32) + 5, 0),
            payload,
            0,
        )
        for n, payload in enumerate(payloads)
    ]
    assert unpack_summary(pages) == entries


@pytest.mark.parametrize(
    ("pages_per_block", "payload_bytes", "count"),
    [(8, 256, 1), (17, 256, 1), (18, 256, 2), (256, 4096, 1), (512, 4096, 2), (256, 16384, 1)],
)
def test_pages_of_a_summary(pages_per_block, payload_bytes, count):
    assert summary_pages(pages_per_block, payload_bytes) == count


def test_a_record_byte_by_byte():
    ((count, payload),) = pack_records([Record(RecordType.RECLAIMED, 0x102, 0x3040506, 7)], 256)
    assert count == 1 and RECORD_BYTES == 16
    expected = "04 00 02 01 06 05 04 03 07 00 00 00 00 00 00 00"
    assert payload[:16].tobytes().hex(" ") == expected
    assert not payload[16:].any()


STATES = st.builds(
    DriveState,
    committed=U64,
    gaps=st.lists(st.builds(Gap, U64, U32), max_size=5),
    tasks=st.dictionaries(st.integers(0, 4095), st.builds(TaskState, U16, U64), max_size=9),
    bad=st.sets(U32, max_size=5),
    erases=st.dictionaries(U32, st.integers(1, 2**64 - 1), max_size=40),
    shape=st.tuples(U16, U32, U64),
)


@settings(max_examples=40)
@given(STATES)
def test_a_state_comes_back_from_its_records(state):
    state.erases = {block: n for block, n in state.erases.items() if block not in state.bad}
    pages = [
        StoredPage(PageHeader(PageType.LOG, count, 0, 0, 0, 0), payload, 0)
        for count, payload in pack_records(state.records(), 256)
    ]
    found = DriveState()
    found.apply(unpack_records(pages))
    assert found.whole
    found.whole = False
    assert found == state
    assert len(state.records()) <= state.record_count

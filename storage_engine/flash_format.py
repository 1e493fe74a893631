"""What stands in flash: a page's header in its spare bytes, a block's summary, the log's records.

All is little-endian. docs/flash-management.md has the formats byte by byte. A page is stored with
its BCH code and CRC (`golden/page_crc.py`); the header takes the first 28 of the owner's bytes.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from golden.page_crc import read_page, store_page
from golden.spec.bch import BchConfig
from golden.spec.errors import ConfigError
from storage_engine.flash_device import ERASED

MAGIC = 0x444E  # "ND"
VERSION = 1

_HEADER = struct.Struct("<HBBHHIQQ")
_ENTRY = struct.Struct("<QIHH")
_RECORD = struct.Struct("<BBHIQ")
HEADER_BYTES = _HEADER.size
ENTRY_BYTES = _ENTRY.size
RECORD_BYTES = _RECORD.size


class PageType(IntEnum):
    """What a page is. DATA: keys and values. SUMMARY: of its block's data. LOG: records."""

    DATA = 1
    SUMMARY = 2
    LOG = 3


class PageHeader(NamedTuple):
    """What a page says of itself.

    Attributes:
        kind: its type. tokens: that it holds; of a log, records; of a summary, entries.
        generation: of its task, 0 to 65535: how often that was reclaimed. Of a log: the copy.
        erases: of its block. address: a packed `KvAddress`; of a summary, that of its first entry;
            of a log, the log's number (32 bits) and below it the page's place (32 bits).
        sequence: each page has a larger one than all pages before it.
    """

    kind: PageType
    tokens: int
    generation: int
    erases: int
    address: int
    sequence: int


@dataclass(frozen=True)
class StoredPage:
    """A page that could be read.

    Attributes:
        header: what it says of itself. payload: uint8 [payload_bytes].
        corrected: wrong bits that were corrected.
    """

    header: PageHeader
    payload: np.ndarray
    corrected: int


class PageState(IntEnum):
    """What a page is that has no content. BLANK: erased. UNREADABLE: torn, or lost."""

    BLANK = 0
    UNREADABLE = 1


class PageCodec:
    """Pages to and from what is stored.

    Attributes:
        config: the error correction; its `page_bytes` are the payload.

    Raises:
        ConfigError: there are too few bytes for the header.
    """

    def __init__(self, config: BchConfig) -> None:
        if config.owner_bytes < HEADER_BYTES:
            raise ConfigError(
                f"a page has {config.owner_bytes} bytes for its owner; the header needs "
                f"{HEADER_BYTES}, take a larger tag_bytes"
            )
        self.config = config

    @property
    def payload_bytes(self) -> int:
        """Bytes of a page's content."""
        return self.config.page_bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes of a page in flash."""
        return self.config.stored_bytes

    def encode(self, header: PageHeader, payload: np.ndarray) -> np.ndarray:
        """Return a page as stored, uint8 [stored_bytes]."""
        packed = _HEADER.pack(MAGIC, VERSION, *header)
        owner = np.zeros(self.config.owner_bytes, np.uint8)
        owner[:HEADER_BYTES] = np.frombuffer(packed, np.uint8)
        return store_page(self.config, payload, owner)

    def decode(self, stored: np.ndarray) -> StoredPage | PageState:
        """Return the page that was read as uint8 [stored_bytes]."""
        used = np.count_nonzero(stored != ERASED)
        if used == 0:
            return PageState.BLANK
        page = read_page(self.config, stored)
        if page.lost:
            # An erased page is no codeword; it may have a few wrong bits too.
            few = self.config.t * self.config.chunks
            return PageState.BLANK if used <= few else PageState.UNREADABLE
        magic, version, kind, *fields = _HEADER.unpack(page.owner[:HEADER_BYTES].tobytes())
        if (magic, version) != (MAGIC, VERSION) or kind not in list(PageType):
            return PageState.UNREADABLE
        header = PageHeader(PageType(kind), *fields)
        return StoredPage(header, page.data, int(page.corrected.sum()))


class Entry(NamedTuple):
    """A page of a block, as the block's summary lists it.

    Attributes:
        page: its place in the block. address, sequence, tokens, generation: of its header.
    """

    page: int
    address: int
    sequence: int
    tokens: int
    generation: int


def summary_pages(pages_per_block: int, payload_bytes: int) -> int:
    """Return how many of a block's pages, its last ones, list the others."""
    each = payload_bytes // ENTRY_BYTES
    return next(n for n in range(1, pages_per_block + 1) if n * each >= pages_per_block - n)


def pack_summary(entries: Sequence[Entry], payload_bytes: int) -> list[np.ndarray]:
    """Return the payloads of a summary's pages; a sequence counts from that of the first entry."""
    first = entries[0].sequence
    packed = [_ENTRY.pack(e.address, e.sequence - first, e.tokens, e.generation) for e in entries]
    each = payload_bytes // ENTRY_BYTES
    chunks = [packed[start : start + each] for start in range(0, len(packed), each)]
    return [padded(b"".join(chunk), payload_bytes) for chunk in chunks]


def unpack_summary(pages: Sequence[StoredPage]) -> list[Entry]:
    """Return the entries of a block's summary; `pages` are all pages of it."""
    found: list[Entry] = []
    first = pages[0].header.address
    for page in pages:
        for at in range(page.header.tokens):
            fields = _ENTRY.unpack_from(page.payload.tobytes(), at * ENTRY_BYTES)
            address, sequence, tokens, generation = fields
            found.append(Entry(len(found), address, first + sequence, tokens, generation))
    return found


class RecordType(IntEnum):
    """What a record of the log says; 0 is the end of a page's records.

    SHAPE: pages of a block (a), blocks (b), bytes of a payload (c): the first record of a log.
    COMMITTED: all pages up to sequence c count, but for those in gaps.
    GAP: the b pages from sequence c on never count.
    RECLAIMED: pages of task a up to sequence c do not count; its generation is b from then on.
    BAD: block b is bad. ERASES: block b was erased c times. END: the log's beginning is whole.
    """

    SHAPE = 1
    COMMITTED = 2
    GAP = 3
    RECLAIMED = 4
    BAD = 5
    ERASES = 6
    END = 7


class Record(NamedTuple):
    """A record of the log: 16 bytes."""

    kind: RecordType
    a: int = 0
    b: int = 0
    c: int = 0


def pack_records(records: Sequence[Record], payload_bytes: int) -> list[tuple[int, np.ndarray]]:
    """Return the pages that hold the records: how many are in each, and its payload."""
    each = payload_bytes // RECORD_BYTES
    pages = []
    for start in range(0, len(records), each):
        some = records[start : start + each]
        packed = b"".join(_RECORD.pack(r.kind, 0, r.a, r.b, r.c) for r in some)
        pages.append((len(some), padded(packed, payload_bytes)))
    return pages


def unpack_records(pages: Iterable[StoredPage]) -> Iterator[Record]:
    """Yield the records of the log's pages."""
    for page in pages:
        content = page.payload.tobytes()
        for at in range(page.header.tokens):
            kind, _, a, b, c = _RECORD.unpack_from(content, at * RECORD_BYTES)
            yield Record(RecordType(kind), a, b, c)


def padded(content: bytes, size: int) -> np.ndarray:
    """Return `content` with zeros behind it, uint8 [size]."""
    return np.frombuffer(content.ljust(size, b"\0"), np.uint8)

"""Random pages for the bench of the front end, and how much of it they cover."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from golden.bch import bch_code
from golden.page_crc import read_page, store_page
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import ADDRESS_FIELDS, KvKind
from storage_engine.bch_cases import WRONG
from storage_engine.engine_layouts import FRACTION_BITS, RequestKind
from storage_engine.flash_format import PageCodec, PageHeader, PageType
from storage_engine.kv_address import KvAddress, SequenceId, channel_index
from storage_engine.kv_layout import KvLayout
from storage_engine.page_elements import Request


class Wanted(Enum):
    """What is asked for."""

    PAIRS = "pairs"
    KEYS = "keys of pairs"
    CHANNELS = "channels"


class Kept(Enum):
    """Which entries of a page are kept."""

    NONE = "none"
    ONE = "one"
    SOME = "some"
    ALL = "all"


class Fault(Enum):
    """What is wrong with a page. Below BEYOND nothing is that could not be corrected."""

    NONE = "none"
    FEW = "few wrong bits"
    MANY = "t wrong bits"
    BEYOND = "beyond t"
    CRC = "wrong CRC"
    ADDRESS = "address of another page"
    TYPE = "type"
    MAGIC = "magic"
    VERSION = "version"
    SHORT = "fewer tokens"


class Content(Enum):
    """FP16 elements: sizes as of a model, finite ones, all but one finite, any bits."""

    MODEL = "model"
    FINITE = "finite"
    ONE_INFINITE = "one infinite"
    ANY = "any"


Cross = tuple[Wanted, Kept, Fault, bool, bool]
"""What is wanted of a page, and kept, its fault, idle sources, stalling sinks."""


@dataclass(frozen=True)
class Page:
    """A page of a case.

    Attributes:
        request: for it. stored: as it comes from flash, uint8 [stored_bytes].
        written: as it was written, uint8 [page_bytes]. right: its CRC and header are right.
    """

    request: Request
    stored: np.ndarray
    written: np.ndarray
    right: bool


@dataclass(frozen=True)
class Case:
    """Pages that a front end reads one after the other.

    Attributes:
        name: what a person calls it.
        config: of the front end.
        pages: in their order.
        hit: the crosses of the pages.
        idle: the sources pause at random; stall: the sinks do.
        bytes_per_cycle: rate at which flash delivers, if it does not pause at random; 0 for a word
            in each cycle.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: DriveEngineConfig
    pages: tuple[Page, ...]
    hit: tuple[Cross, ...] = ()
    idle: bool = False
    stall: bool = False
    bytes_per_cycle: float = 0.0
    reset_after: int = 0


def crosses() -> list[Cross]:
    """Return every combination that there is."""
    return [
        (wanted, kept, fault, idle, stall)
        for wanted in Wanted
        for kept in Kept
        for fault in Fault
        for idle in (False, True)
        for stall in (False, True)
    ]


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    return len({cross for case in cases for cross in case.hit}) / len(crosses())


def random_cases(
    config: DriveEngineConfig, seed: int, *, pages: int = 8, share: float = 1.0
) -> list[Case]:
    """Return cases of up to `pages` pages each that hit `share` of the crosses.

    A quarter of them begins with a try that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    every = crosses()
    order = random.permutation(len(every))[: round(share * len(every))]
    by_pauses: dict[tuple[bool, bool], list[Cross]] = {}
    for number in order:
        by_pauses.setdefault(every[number][3:], []).append(every[number])
    return [
        _case(config, random, mine[begin : begin + pages])
        for mine in by_pauses.values()
        for begin in range(0, len(mine), pages)
    ]


def random_page(
    config: DriveEngineConfig,
    random: np.random.Generator,
    wanted: Wanted,
    kept: Kept,
    fault: Fault,
    content: Content | None = None,
) -> Page:
    """Return a random page with such a fault, and a request for it."""
    layout = config.layout
    request = _request(config, random, wanted, kept, fault)
    held = layout.span_tokens if wanted is Wanted.CHANNELS else layout.group_tokens
    if wanted is not Wanted.CHANNELS:
        held = int(random.integers(min(request.tokens, held), held + 1))
    written = _payload(config, random, wanted, held, content)
    stored, wrong_crc = _stored(config, random, request, written, held, fault), fault is Fault.CRC
    _disturb(config, random, stored, fault)
    right = not wrong_crc and fault in (Fault.NONE, Fault.FEW, Fault.MANY, Fault.BEYOND)
    return Page(request, stored, written, right)


def _case(config: DriveEngineConfig, random: np.random.Generator, hit: list[Cross]) -> Case:
    pages = tuple(random_page(config, random, *cross[:3]) for cross in hit)
    words = len(pages) * config.code.chunks * config.code.chunk_words
    reset_after = int(random.integers(1, words)) if random.random() < 0.25 else 0
    name = f"{len(pages)} pages, the first: {', '.join(e.value for e in hit[0][:3])}"
    return Case(name, config, pages, tuple(hit), *hit[0][3:], reset_after=reset_after)


def _request(
    config: DriveEngineConfig,
    random: np.random.Generator,
    wanted: Wanted,
    kept: Kept,
    fault: Fault,
) -> Request:
    layout = config.layout
    is_span = wanted is Wanted.CHANNELS
    entries = layout.channels_per_page if is_span else layout.group_tokens
    most = layout.span_tokens if is_span else layout.group_tokens
    # Sometimes whole, sometimes a few; a page with fewer tokens than wanted needs 2.
    tokens = most if random.random() < 0.5 else int(random.integers(1, most + 1))
    tokens = max(tokens, 2) if fault is Fault.SHORT else tokens
    sequence = SequenceId(
        *(int(random.integers(ADDRESS_FIELDS[name].values)) for name in SequenceId._fields)
    )
    if is_span:
        span = int(random.integers(config.attention.max_context // most))
        index = channel_index(span, int(random.integers(layout.channel_groups)))
        first = span * most
    else:
        index = int(random.integers(config.attention.max_context // most))
        first = index * most
    fractions = random.integers(0, 20, 2)
    if random.random() < 0.5:
        fractions = random.integers(-(1 << FRACTION_BITS - 1), 1 << FRACTION_BITS - 1, 2)
    return Request(
        RequestKind.KEY_CHANNELS if is_span else RequestKind.PAIRS,
        first,
        tokens,
        _keep(random, kept, entries, tokens if not is_span else entries),
        wanted is Wanted.KEYS,
        KvAddress(*sequence, KvKind.KEY_CHANNELS if is_span else KvKind.PAIRS, index).pack(),
        *map(int, fractions),
    )


def _keep(random: np.random.Generator, kept: Kept, entries: int, there: int) -> int:
    """Return a mask; now and then it has entries that are not there."""
    if kept is Kept.NONE:
        # What lies behind the tokens that there are is not kept.
        return int(random.integers(2)) * ((1 << entries) - (1 << there))
    if kept is Kept.ONE:
        return 1 << int(random.integers(there))
    if kept is Kept.ALL:
        return (1 << entries) - 1
    return int.from_bytes(random.bytes(-(-entries // 8)), "little") & (1 << entries) - 1


def _payload(
    config: DriveEngineConfig,
    random: np.random.Generator,
    wanted: Wanted,
    tokens: int,
    content: Content | None,
) -> np.ndarray:
    layout = KvLayout(config.layout)
    content = content or list(Content)[int(random.integers(len(Content)))]
    if wanted is Wanted.CHANNELS:
        count = config.layout.span_tokens * config.layout.channels_per_page
        return _elements(config, random, content, count).view(np.uint8)
    parts = _elements(config, random, content, 2 * tokens * config.head_size)
    return layout.pack_group(*parts.reshape(2, tokens, config.head_size))


def _elements(
    config: DriveEngineConfig, random: np.random.Generator, content: Content, count: int
) -> np.ndarray:
    if config.kv_bits == 8:
        return random.integers(-128, 128, count, dtype=np.int8)
    if content is Content.MODEL:
        sizes = random.normal(0, 2.0 ** random.integers(-3, 4), count)
        return sizes.astype("<f2").view("<u2")
    bits = random.integers(0, 1 << 16, count, dtype=np.uint16)
    if content is not Content.ANY:
        bits = np.where(bits >> 10 & 31 == 31, bits ^ 1 << 10 + int(random.integers(5)), bits)
    if content is Content.ONE_INFINITE:
        bits[random.integers(count)] = 31 << 10 | int(random.integers(2)) << 15
    return bits.astype("<u2")


def _stored(
    config: DriveEngineConfig,
    random: np.random.Generator,
    request: Request,
    written: np.ndarray,
    held: int,
    fault: Fault,
) -> np.ndarray:
    """Return a page as it was stored, before bits of it became wrong."""
    codec = PageCodec(config.code)
    numbers = (int(random.integers(1 << bits)) for bits in (16, 32, 62))
    generation, erases, sequence = numbers
    header = PageHeader(PageType.DATA, held, generation, erases, request.address, sequence)
    if fault is Fault.ADDRESS:
        header = header._replace(address=request.address ^ 1 << int(random.integers(64)))
    if fault is Fault.TYPE:
        header = header._replace(kind=random.choice([PageType.SUMMARY, PageType.LOG]))
    if fault is Fault.SHORT:
        header = header._replace(tokens=int(random.integers(1, request.tokens)))
    stored = codec.encode(header, written)
    if fault in (Fault.MAGIC, Fault.VERSION):
        owner = read_page(config.code, stored).owner.copy()
        place = 2 if fault is Fault.VERSION else int(random.integers(2))
        owner[place] ^= 1 << int(random.integers(8))
        return store_page(config.code, written, owner)
    return stored


def _disturb(
    config: DriveEngineConfig, random: np.random.Generator, stored: np.ndarray, fault: Fault
) -> None:
    """Make bits of a page wrong, in place."""
    code = config.code
    chunks = stored.reshape(code.chunks, code.chunk_bytes)
    one = int(random.integers(code.chunks))
    if fault is Fault.CRC:
        # A page whose chunks are all right and whose CRC is not.
        message = chunks[:, : code.message_bytes].copy()
        message[one, int(random.integers(code.message_bytes))] ^= 1 << int(random.integers(8))
        chunks[:] = bch_code(code).encode(message)
    few = [kind for kind in WRONG if kind not in ("beyond t", "zero sum")]
    for number, chunk in enumerate(chunks):
        kind = "none"
        if fault is Fault.MANY:
            kind = "t"
        elif fault is not Fault.NONE and random.random() < 0.5:
            kind = str(random.choice(few))
        if fault is Fault.BEYOND and number == one:
            kind = "beyond t"
        for bit in WRONG[kind](code, random):
            chunk[bit // 8] ^= 1 << bit % 8

"""Formatting a flash, and mounting it: finding out what counts, from what stands in flash alone."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from golden.spec.errors import ConfigError
from storage_engine.flash_blocks import BlockUse
from storage_engine.flash_device import Flash
from storage_engine.flash_errors import DriveFullError, DriveStatus, NotFormattedError
from storage_engine.flash_format import (
    Entry,
    PageState,
    PageType,
    StoredPage,
    summary_pages,
    unpack_summary,
)
from storage_engine.flash_log import FoundLog, find_log
from storage_engine.flash_manager import FlashManager
from storage_engine.flash_reader import PageReader
from storage_engine.flash_state import DriveState, Gap, TaskState
from storage_engine.flash_writer import Located
from storage_engine.kv_address import task_of

EPOCH_BITS = 32
"""A mount begins an epoch: sequences whose lower 32 bits count from 1."""


@dataclass
class BlockScan:
    """What a block has.

    Attributes:
        entries: its readable data. log: its readable pages of a log. erases: the most that a page
            of it says. unreadable: pages. first: the state of its first page, if that was read.
    """

    entries: list[Entry] = field(default_factory=list)
    log: list[StoredPage] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    erases: int = 0
    first: PageState | None = None

    @property
    def logs(self) -> set[int]:
        """Numbers of the logs that it has pages of."""
        return {page.header.address >> 32 for page in self.log}


@dataclass(frozen=True)
class MountReport:
    """What a mount found.

    Attributes:
        pages_read: retries counted.
        log_corrupt: records of the log are lost: a task that was reclaimed may be back.
        unreadable: blocks and pages that hold neither a page nor nothing: torn by a cut, or lost.
    """

    pages_read: int
    log_corrupt: bool
    unreadable: list[tuple[int, int]]

    @property
    def status(self) -> DriveStatus:
        """What the host is told of the mount."""
        return DriveStatus.LOG_CORRUPT if self.log_corrupt else DriveStatus.OK


def format_drive(reader: PageReader) -> FlashManager:
    """Make an empty drive of a flash; all that was in it is gone.

    Blocks of a log go first: a format that was cut leaves no drive, or one with a corrupt log.

    Raises:
        DriveFullError: there are too few good blocks.
        ConfigError: a field of the flash's shape is too large for its formats.
    """
    flash = reader.flash
    _check_shape(flash)
    state = DriveState(shape=_shape_of(reader))
    manager = FlashManager(reader, state, log_number=0, sequence=1)
    blocks = [block for block in range(flash.shape.blocks) if not flash.is_factory_bad(block)]
    for block in sorted(blocks, key=lambda block: not _is_log(reader, block)):
        manager.blocks.wipe(block)
    manager.log.begin()
    return manager


def mount_drive(reader: PageReader) -> tuple[FlashManager, MountReport]:
    """Return the drive that is in a flash, with all that counts in it, and what was found.

    Raises:
        NotFormattedError: there is no log of a drive.
        ConfigError: the drive was made with other sizes.
    """
    before = reader.counters.reads
    scans = scan_flash(reader)
    found = find_log([page for scan in scans.values() for page in scan.log])
    if not found.number and not any(scan.entries for scan in scans.values()):
        raise NotFormattedError("there is no drive in this flash; format it")
    state = _state_of(reader, found, scans)
    last = max([state.committed, *(e.sequence for scan in scans.values() for e in scan.entries)])
    epoch = _close_epoch(state, scans, last)
    manager = FlashManager(reader, state, found.number, (epoch << EPOCH_BITS) + 1)
    manager.log.adopt([block for block, scan in scans.items() if found.used in scan.logs])
    manager.adopt(_counting(state, scans))
    for block in _dirty(manager, scans):
        manager.blocks.wipe(block)
    # Without a free block the drive can still be read.
    with suppress(DriveFullError):
        manager.log.begin()
    unreadable = [(block, page) for block, scan in scans.items() for page in scan.unreadable]
    return manager, MountReport(reader.counters.reads - before, found.corrupt, unreadable)


def scan_flash(reader: PageReader) -> dict[int, BlockScan]:
    """Return what each block has, but those that were bad from the beginning."""
    flash = reader.flash
    blocks = (block for block in range(flash.shape.blocks) if not flash.is_factory_bad(block))
    return {block: _scan_block(reader, block) for block in blocks}


def _scan_block(reader: PageReader, block: int) -> BlockScan:
    """Read a block's summary; if it has none, its pages up to the first blank one."""
    scan = BlockScan()
    pages = reader.flash.shape.pages_per_block
    data_pages = pages - summary_pages(pages, reader.codec.payload_bytes)
    summary = [reader.read(block, page) for page in range(data_pages, pages)]
    readable = [page for page in summary if isinstance(page, StoredPage)]
    whole = len(readable) == len(summary)
    if whole and all(page.header.kind is PageType.SUMMARY for page in readable):
        scan.erases = readable[0].header.erases
        scan.entries = unpack_summary(readable)
        return scan
    for number in range(pages):
        page = reader.read(block, number)
        if isinstance(page, PageState):
            if number == 0:
                scan.first = page
            if page is PageState.BLANK:
                break
            scan.unreadable.append(number)
            continue
        header = page.header
        scan.erases = max(scan.erases, header.erases)
        if header.kind is PageType.LOG:
            scan.log.append(page)
        elif header.kind is PageType.DATA:
            scan.entries.append(
                Entry(number, header.address, header.sequence, header.tokens, header.generation)
            )
    return scan


def _state_of(reader: PageReader, found: FoundLog, scans: dict[int, BlockScan]) -> DriveState:
    """Return the state that the log gives."""
    state = found.state or DriveState()
    if found.corrupt:
        _guess(state, scans)
        state.shape = _shape_of(reader)
    if state.shape != _shape_of(reader):
        raise ConfigError(
            f"the drive was made with {state.shape} pages of a block, blocks and bytes of a page; "
            f"the flash has {_shape_of(reader)}"
        )
    for block, scan in scans.items():
        state.erases[block] = max(state.erases.get(block, 0), scan.erases)
    return state


def _guess(state: DriveState, scans: dict[int, BlockScan]) -> None:
    """Take for records that are lost what the pages say: all that is whole counts.

    A task's newest page tells its generation.
    """
    for _, entry in sorted(_entries(scans), key=lambda pair: pair[1].sequence):
        task = task_of(entry.address)
        state.tasks[task] = TaskState(entry.generation, state.task(task).reclaimed)
        state.committed = max(state.committed, entry.sequence)


def _close_epoch(state: DriveState, scans: dict[int, BlockScan], last: int) -> int:
    """Rule out for ever what was being written when the power was cut; return the new epoch.

    A gap is kept as long as a block may hold pages of it: one that has some, or one that has pages
    of the gap's epoch and others that cannot be read now, or no page that can be read.
    """
    epoch = (last >> EPOCH_BITS) + 1
    first = state.committed + 1
    state.gaps.append(Gap(first, (epoch << EPOCH_BITS) - first))
    for gap in state.gaps:
        for block, scan in scans.items():
            if block not in state.bad and _may_hold(gap, scan):
                gap.blocks.add(block)
    state.gaps = [gap for gap in state.gaps if gap.blocks]
    state.committed = epoch << EPOCH_BITS
    return epoch


def _may_hold(gap: Gap, scan: BlockScan) -> bool:
    if any(gap.covers(entry.sequence) for entry in scan.entries):
        return True
    epochs = {entry.sequence >> EPOCH_BITS for entry in scan.entries}
    return bool(scan.unreadable) and epochs <= {gap.first >> EPOCH_BITS}


def _entries(scans: dict[int, BlockScan]) -> Iterator[tuple[int, Entry]]:
    for block, scan in scans.items():
        for entry in scan.entries:
            yield block, entry


def _counting(state: DriveState, scans: dict[int, BlockScan]) -> dict[int, Located]:
    """Return where the newest page that counts is, by address."""
    table: dict[int, Located] = {}
    for block, entry in _entries(scans):
        task = task_of(entry.address)
        if block in state.bad or not state.counts(task, entry.generation, entry.sequence):
            continue
        known = table.get(entry.address)
        if known is None or known.sequence < entry.sequence:
            table[entry.address] = Located(block, entry.page, entry.sequence, entry.tokens)
    return table


def _dirty(manager: FlashManager, scans: dict[int, BlockScan]) -> list[int]:
    """Return free blocks that begin with a torn page, or have pages of another log.

    A torn page might be read some day, and be taken for one of the log that is begun now.
    """
    return [
        block
        for block, scan in scans.items()
        if (scan.first is PageState.UNREADABLE or scan.log)
        and manager.blocks.use[block] == BlockUse.FREE
    ]


def _is_log(reader: PageReader, block: int) -> bool:
    page = reader.read(block, 0)
    return isinstance(page, StoredPage) and page.header.kind is PageType.LOG


def _shape_of(reader: PageReader) -> tuple[int, int, int]:
    shape = reader.flash.shape
    return shape.pages_per_block, shape.blocks, reader.codec.payload_bytes


def _check_shape(flash: Flash) -> None:
    shape = flash.shape
    if shape.pages_per_block >= 1 << 16 or shape.pages_per_block < 2:
        raise ConfigError(
            f"pages_per_block is {shape.pages_per_block}; allowed are 2 to 65535 here"
        )

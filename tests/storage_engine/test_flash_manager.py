"""What a drive does when flash fails, is full, or its log is lost."""

import re

import numpy as np
import pytest
from flash_trials import CODEC, LAYOUT, A, B, C, device, holds, mounted, new_drive, tokens

from golden.spec.bch import BchConfig
from golden.spec.errors import ConfigError
from storage_engine.flash_blocks import BlockUse
from storage_engine.flash_device import FlashDevice, FlashMisuse, FlashShape, PageProgram
from storage_engine.flash_errors import (
    DamagedError,
    DriveFullError,
    DriveStatus,
    MissingError,
    NotFormattedError,
    UncorrectableError,
)
from storage_engine.flash_format import PageCodec, PageState
from storage_engine.flash_mount import mount_drive
from storage_engine.flash_reader import FlashPolicy, PageReader
from storage_engine.flash_writer import PageWrite
from storage_engine.kv_address import KvAddress, SequenceId
from storage_engine.kv_layout import KvKind
from storage_engine.kv_store import Acknowledge, StorePolicy

BUFFERS = {"flush_pages": 6, "buffer_pages": 24}


def append(store, sequence, count, version=0):
    parts = tokens(sequence, store.tokens(sequence), count, version, store.layout)
    store.append(sequence, *parts)


def destroy(flash, block, page):
    flash.cells[block, page] ^= np.random.default_rng(page).integers(
        0, 256, flash.cells.shape[2], dtype=np.uint8
    )


def fill(store, sequences, step=8):
    """Append to sequences in turn until the drive is full."""
    with pytest.raises(DriveFullError):
        while True:
            for sequence in sequences:
                append(store, sequence, step)


def test_blocks_that_fail_while_writing():
    flash = device(blocks_per_unit=60, seed=3, factory_bad=0.1, program_fails=0.02, erase_fails=0.1)
    store = new_drive(flash, **BUFFERS)
    for _ in range(25):
        for sequence in (A, B, C):
            append(store, sequence, 7)
    store.flush()
    assert store.manager.counters.failed >= 5
    assert store.manager.counters.moved >= 5
    for drive in (store, mounted(flash, **BUFFERS)[0]):
        assert [holds(drive, sequence) for sequence in (A, B, C)] == [175] * 3
    bad = {block for block in flash.broken if drive.manager.blocks.use[block] != BlockUse.BAD}
    assert all(drive.manager.blocks.live[block] == 0 for block in bad)
    assert len(flash.broken) - len(bad) > 15


def test_a_program_fails_below_a_new_version():
    """What replaces a page is not replaced by the old one that is moved at the same time."""
    for failing in range(4):
        flash = device()
        store = new_drive(flash, **BUFFERS)
        append(store, A, 3)
        store.flush()
        append(store, A, 2)
        programs, calls = flash.program, []

        def program(pages, flash=flash, programs=programs, failing=failing, calls=calls):
            calls.append(pages)
            if len(calls) == failing:
                flash.broken.add(pages[0].block)
            return programs(pages)

        flash.program = program
        store.flush()
        del flash.program
        assert holds(store, A) == 5
        assert holds(mounted(flash, **BUFFERS)[0], A) == 5


def test_a_full_drive_keeps_what_it_has_and_serves_again():
    flash = device(blocks_per_unit=10)
    store = new_drive(flash, **BUFFERS)
    fill(store, [A, C])
    held = {sequence: store.acknowledged(sequence) for sequence in (A, C)}
    assert min(held.values()) > 100
    for _ in range(3):
        with pytest.raises(DriveFullError, match=r"pages are to be written and there is room for"):
            store.flush()
            fill(store, [A])
    assert holds(store, A) >= held[A]
    store.reclaim(A.task)
    append(store, B, 40)
    store.flush()
    for drive in (store, mounted(flash, **BUFFERS)[0]):
        assert holds(drive, B) == 40
        assert holds(drive, C) >= held[C]
        assert drive.tokens(A) == 0


def test_blocks_run_out_within_a_write():
    """The write is given up: nothing of it counts, now or after a mount."""
    flash = device(blocks_per_unit=8)
    store = new_drive(flash, **BUFFERS)
    append(store, C, 40)
    store.flush()
    append(store, A, 30)
    flash.faults = type(flash.faults)(program_fails=0.9)
    with pytest.raises(DriveFullError):
        store.flush()
    flash.faults = type(flash.faults)()
    assert store.manager.counters.aborted
    assert holds(store, C) == 40
    assert holds(store, A) == 30  # in memory
    drive, _ = mounted(flash.copy(), **BUFFERS)
    assert holds(drive, C) == 40
    assert holds(drive, A) == store.acknowledged(A) == 16


def test_pages_of_a_write_given_up_never_count():
    """Not when another write counts behind them."""
    flash = device(blocks_per_unit=12)
    store = new_drive(flash, **BUFFERS)
    append(store, A, 5)
    store.flush()
    append(store, A, 1, version=9)  # a partial group, of which the second page finds no room
    take, calls = store.manager.writer.open_block, []

    def open_block(write, reserve):
        calls.append(write)
        if len(calls) == 3:
            raise DriveFullError("no block is free; reclaim a task")
        return take(write, reserve)

    store.manager.writer.open_block = open_block
    append(store, C, 8)
    with pytest.raises(DriveFullError):
        store.flush()
    store.manager.writer.open_block = take
    other = KvAddress(*B, KvKind.KEYS, 0).pack()
    store.manager.write([PageWrite(other, 0, np.zeros(256, np.uint8), 8)])
    drive, _ = mounted(flash, **BUFFERS)
    assert holds(drive, A) == 5
    assert drive.tokens(C) == 0


def test_reclaim_while_writing():
    flash = device(blocks_per_unit=16)
    store = new_drive(flash, **BUFFERS)
    for life in range(40):
        for _ in range(6):
            append(store, A, 9, life)
            append(store, C, 1)
        store.reclaim(A.task)
        assert store.tokens(A) == 0
        with pytest.raises(MissingError):
            store.read(A, 0, 1)
    assert holds(store, C) == 240
    store.flush()
    assert holds(mounted(flash, **BUFFERS)[0], C) == 240


def test_flushes_of_partial_groups_are_compacted():
    """A flush for each token writes eight pages for one; what is superseded is given free."""
    flash = device(blocks_per_unit=12)
    store = new_drive(flash, **BUFFERS)
    for _ in range(160):
        append(store, A, 1)
        store.flush()
    assert store.manager.counters.written > flash.shape.blocks * flash.shape.pages_per_block
    assert holds(store, A) == 160
    assert holds(mounted(flash, **BUFFERS)[0], A) == 160


def test_many_mounts_do_not_fill_a_drive():
    flash = device(blocks_per_unit=10)
    store = new_drive(flash, **BUFFERS)
    for _ in range(60):
        append(store, A, 1)
        store.flush()
        store, _ = mounted(flash, **BUFFERS)
    assert holds(store, A) == 60


def test_wear_is_spread():
    """One task stays for ever, another is written and reclaimed again and again."""
    policy = FlashPolicy(wear_spread=4, spare_blocks=2)
    flash = device(blocks_per_unit=12)
    store = new_drive(flash, policy, **BUFFERS)
    append(store, C, 200)
    store.flush()
    for life in range(150):
        append(store, A, 60, life)
        store.flush()
        store.reclaim(A.task)
        if life % 50 == 49:
            store, _ = mounted(flash, policy, **BUFFERS)
    assert holds(store, C) == 200
    assert flash.erases.min() > 30
    assert np.ptp(flash.erases) <= policy.wear_spread + 2


def test_erases_are_known_after_a_mount():
    flash = device()
    store = new_drive(flash, **BUFFERS)
    for life in range(20):
        append(store, A, 60, life)
        store.flush()
        store.reclaim(A.task)
    store, _ = mounted(flash, **BUFFERS)
    known = [store.manager.blocks.erases(block) for block in range(flash.shape.blocks)]
    assert (np.array(known) == flash.erases).all()


def test_read_retries():
    flash = device(seed=1, weak_pages=0.3, bit_errors=1e-4)
    store = new_drive(flash, FlashPolicy(spare_blocks=2), **BUFFERS)
    append(store, A, 100)
    store.flush()
    assert holds(store, A) == 100
    counters = store.manager.counters
    assert counters.retried > 10 and counters.corrected > 10 and not counters.uncorrectable


def test_a_lost_page_is_reported_with_its_place():
    flash = device()
    store = new_drive(flash, **BUFFERS)
    append(store, A, 64)
    append(store, C, 24)
    store.flush()
    lost = KvAddress(*A, KvKind.VALUES, 1).pack()
    block, page, *_ = store.manager.table[lost]
    assert store.manager.blocks.use[block] == BlockUse.CLOSED
    destroy(flash, block, page)
    where = flash.shape.describe(block, page)
    assert re.fullmatch(r"channel [01], die 0, plane 0, block \d+, page \d", where)
    # The block's summary knows what was there: a mount does not take an older page for it.
    for drive in (store, mounted(flash, **BUFFERS)[0]):
        with pytest.raises(UncorrectableError, match=f"it is at {where}$") as caught:
            drive.read(A, 0, 64)
        assert (caught.value.block, caught.value.page) == (block, page)
        assert caught.value.status is DriveStatus.UNCORRECTABLE
        assert (drive.read(A, 16, 64)[0] == tokens(A, 16, 48)[0]).all()
        assert holds(drive, C) == 24


def test_a_lost_page_of_an_open_block_damages_its_sequence_only():
    flash = device()
    store = new_drive(flash, **BUFFERS)
    append(store, A, 5)
    append(store, C, 24)
    store.flush()
    block, page, *_ = store.manager.table[KvAddress(*A, KvKind.KEYS, 0).pack()]
    assert store.manager.blocks.use[block] == BlockUse.OPEN
    destroy(flash, block, page)
    drive, report = mounted(flash, **BUFFERS)
    assert report.unreadable == [(block, page)]
    assert drive.damaged == [A]
    with pytest.raises(DamagedError, match=r"^a part of SequenceId\(.*\) was lost; reclaim its"):
        append(drive, A, 1)
    append(drive, C, 8)
    assert holds(drive, C) == 32
    drive.reclaim(A.task)
    append(drive, A, 9, version=1)
    drive.flush()
    again, _ = mounted(flash, **BUFFERS)
    assert (holds(again, A, 1), holds(again, C), again.damaged) == (9, 32, [])


def log_pages(flash, store, copies=(0, 1)):
    """Return the places of the log's pages."""
    found = []
    for block in store.manager.blocks.of_use(BlockUse.LOG):
        for page in range(flash.shape.pages_per_block):
            stored = CODEC.decode(flash.cells[block, page])
            if not isinstance(stored, PageState) and stored.header.generation in copies:
                found.append((block, page))
    return found


def written_drive():
    flash = device()
    store = new_drive(flash, **BUFFERS)
    append(store, A, 20)
    append(store, C, 20)
    store.flush()
    append(store, C, 20)
    store.flush()
    return flash, store


@pytest.mark.parametrize("copy", [0, 1])
def test_one_copy_of_the_log_is_enough(copy):
    flash, store = written_drive()
    places = log_pages(flash, store, [copy])
    assert len(places) >= 3
    for place in places:
        destroy(flash, *place)
    drive, report = mounted(flash, **BUFFERS)
    assert not report.log_corrupt
    assert (holds(drive, A), holds(drive, C)) == (20, 40)


@pytest.mark.parametrize("lost", ["one record", "the beginning", "all"])
def test_a_corrupt_log_is_told_and_the_drive_serves(lost):
    flash, store = written_drive()
    places = log_pages(flash, store)
    first = {page for _, page in places if page < 3} - {0}
    pages = {"one record": {3}, "the beginning": first, "all": set(range(8))}[lost]
    for block, page in places:
        if page in pages:
            destroy(flash, block, page)
    drive, report = mounted(flash, **BUFFERS)
    assert report.log_corrupt
    assert (holds(drive, A), holds(drive, C)) == (20, 40)
    append(drive, C, 5)
    drive.flush()
    assert report.status is DriveStatus.LOG_CORRUPT
    drive, report = mounted(flash, **BUFFERS)
    assert report.status is DriveStatus.OK
    assert holds(drive, C) == 45


def test_a_lost_record_of_a_reclaim_does_not_mix_lives():
    """The task was reclaimed and has a new life; the old one's longer tail must not show."""
    flash, store = written_drive()
    store.reclaim(C.task)
    append(store, C, 9, version=1)
    store.flush()
    for place in log_pages(flash, store):
        destroy(flash, *place)
    drive, report = mounted(flash, **BUFFERS)
    assert report.log_corrupt
    assert (holds(drive, A), holds(drive, C, 1)) == (20, 9)


def test_capacitors_keep_what_is_in_memory():
    flash = device(blocks_per_unit=12)
    safe = {"acknowledge": Acknowledge.BUFFERED, **BUFFERS}
    store = new_drive(flash, **safe)
    for round_ in range(12):
        for sequence in (A, B, C):
            append(store, sequence, 1 + round_ % 7)
        store.power_fail()
        held = {sequence: store.acknowledged(sequence) for sequence in (A, B, C)}
        store, _ = mounted(flash, **safe)
        assert {sequence: holds(store, sequence) for sequence in held} == held


def test_capacitors_always_find_room():
    """Tokens that could not be saved are refused, not acknowledged."""
    flash = device(blocks_per_unit=10)
    safe = {"acknowledge": Acknowledge.BUFFERED, **BUFFERS}
    store = new_drive(flash, **safe)
    sequences = [SequenceId(task, 0, 0, 0) for task in range(9)]
    fill(store, sequences, 3)
    held = {sequence: store.acknowledged(sequence) for sequence in sequences}
    store.power_fail()
    store, _ = mounted(flash, **safe)
    assert {sequence: holds(store, sequence) for sequence in sequences} == held


def test_more_partial_groups_than_memory():
    flash = device(blocks_per_unit=20)
    store = new_drive(flash, flush_pages=4, buffer_pages=8)
    sequences = [SequenceId(1, batch, 0, 0) for batch in range(9)]
    for _ in range(21):
        for sequence in sequences:
            append(store, sequence, 1)
            assert store.buffered_pages <= 8 + LAYOUT.config.channel_groups
    assert all(holds(store, sequence) == 21 for sequence in sequences)


def test_a_flash_without_a_drive():
    with pytest.raises(NotFormattedError, match=r"^there is no drive in this flash; format it$"):
        mounted(device())


def test_a_drive_of_other_sizes_is_refused():
    flash, _ = written_drive()
    shape = FlashShape(2, 1, 1, 15, 8, CODEC.stored_bytes)
    smaller = FlashDevice(shape)
    smaller.cells[:] = flash.cells[: shape.blocks]
    message = (
        "the drive was made with (8, 32, 256) pages of a block, blocks and bytes of a page; the "
        "flash has (8, 30, 256)"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        mounted(smaller)
    with pytest.raises(ConfigError, match=r"^a page of the flash has 304 bytes; its code makes"):
        mount_drive(PageReader(flash, PageCodec(BchConfig())))


def test_policies_are_checked():
    for make, message in (
        (lambda: FlashPolicy(retries=16), "retries is 16; allowed are 0 to 15"),
        (lambda: FlashPolicy(wear_spread=0), "wear_spread is 0; 1 or more is needed"),
        (lambda: StorePolicy(flush_pages=0), "flush_pages is 0; 1 or more is needed"),
        (
            lambda: StorePolicy(flush_pages=8, buffer_pages=9),
            "buffer_pages is 9; flush_pages + 2, which is 10, or more is needed",
        ),
    ):
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            make()


def test_the_model_tells_misuse():
    flash = device()
    page = np.zeros(CODEC.stored_bytes, np.uint8)
    with pytest.raises(FlashMisuse, match="page 1 of block 0; next is 0"):
        flash.program([PageProgram(0, 1, page)])
    with pytest.raises(FlashMisuse, match="not on different units"):
        flash.program([PageProgram(0, 0, page), PageProgram(2, 0, page)])

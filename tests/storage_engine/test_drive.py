"""The drive's commands: what they do, and what each wrong one is answered with."""

import struct

import numpy as np
import pytest
import torch
from drive_trials import CONFIG, FRACTIONS, SEQUENCE, device, host_of, queries, store_of, tokens

from golden.attention_engine import dense, outputs, sparf
from golden.attention_engine_formats import from_half, to_half, to_queries
from golden.spec.errors import ConfigError
from storage_engine.drive_commands import (
    CommandStatus,
    Completion,
    Opcode,
    QueuePair,
    Submission,
    sequence_field,
)
from storage_engine.drive_host import Attend, CommandError
from storage_engine.flash_errors import DriveError, NotFormattedError
from storage_engine.kv_address import SequenceId
from storage_engine.kv_store import KvStore


def golden(keys, values, asked):
    attention = CONFIG.attention
    kv = from_half(torch.from_numpy(keys), torch.from_numpy(values), 12, 12)
    given, context = (
        to_queries(attention, torch.from_numpy(asked.queries)),
        torch.tensor(asked.tokens),
    )
    if asked.sparf:
        partial, _ = sparf(attention, given, kv, context)
    else:
        partial = dense(attention, given, kv, context)
    return to_half(attention, outputs(attention, partial), 12).numpy()


@pytest.fixture
def host():
    return host_of(store_of(device()))


def test_what_was_written_is_attended_to(host):
    keys, values = tokens(1, 300)
    host.write(SEQUENCE, keys[:100], values[:100])
    host.write(SEQUENCE, keys[100:], values[100:])
    asked = [
        Attend(SEQUENCE, queries(2), 300, **FRACTIONS),
        Attend(SEQUENCE, queries(3), 300, sparf=True, **FRACTIONS),
        Attend(SEQUENCE, queries(4), 57, **FRACTIONS),
    ]
    for each, found in zip(asked, host.attend(*asked), strict=True):
        np.testing.assert_array_equal(found, golden(keys, values, each))


def test_configure_changes_what_is_kept(host):
    keys, values = tokens(1, 256)
    host.write(SEQUENCE, keys, values)
    asked = Attend(SEQUENCE, queries(2), 256, sparf=True, **FRACTIONS)
    (before,) = host.attend(asked)
    host.configure(k=200, local=0)
    (after,) = host.attend(asked)
    assert (before != after).any()


def test_a_ring_turns_many_times(host):
    keys, values = tokens(1, 40)
    host.write(SEQUENCE, keys, values)
    asked = [Attend(SEQUENCE, queries(n), 40, **FRACTIONS) for n in range(100)]
    found = host.attend(*asked)
    np.testing.assert_array_equal(found[99], golden(keys, values, asked[99]))


def test_health_tells_what_happened(host):
    keys, values = tokens(1, 64)
    host.write(SEQUENCE, keys, values)
    host.flush()
    health = host.health()
    assert health.written == 2
    assert health.free_pages > 0


def test_a_reclaimed_task_is_gone(host):
    keys, values = tokens(1, 64)
    other = SequenceId(4, 0, 0, 0)
    for sequence in (SEQUENCE, other):
        host.write(sequence, keys, values)
    host.reclaim(SEQUENCE.task)
    with pytest.raises(CommandError, match="needs 64 tokens; the drive has 0") as error:
        host.attend(Attend(SEQUENCE, queries(2), 64))
    assert error.value.status is CommandStatus.MISSING
    assert len(host.attend(Attend(other, queries(2), 64))) == 1


WRONG = {
    "opcode": (Submission(0x7F), CommandStatus.INVALID_OPCODE),
    "sequence": (Submission(Opcode.WRITE_KV, sequence=1, tokens=1), CommandStatus.INVALID_FIELD),
    "no token": (Submission(Opcode.WRITE_KV), CommandStatus.INVALID_FIELD),
    "bytes": (Submission(Opcode.WRITE_KV, tokens=2, buffer_bytes=9), CommandStatus.INVALID_FIELD),
    "buffer": (
        Submission(Opcode.WRITE_KV, tokens=1, buffer_bytes=128, buffer=1 << 40),
        CommandStatus.INVALID_BUFFER,
    ),
    "no context": (Submission(Opcode.ATTEND, buffer_bytes=128), CommandStatus.INVALID_FIELD),
    "long context": (
        Submission(Opcode.ATTEND, buffer_bytes=128, tokens=1025),
        CommandStatus.INVALID_FIELD,
    ),
    "missing": (Submission(Opcode.ATTEND, buffer_bytes=128, tokens=10), CommandStatus.MISSING),
    "k above the context": (
        Submission(Opcode.ATTEND, flags=1, buffer_bytes=128, tokens=10, k=10),
        CommandStatus.INVALID_FIELD,
    ),
    "fraction": (
        Submission(Opcode.ATTEND, buffer_bytes=128, tokens=10, key_fraction=90),
        CommandStatus.INVALID_FIELD,
    ),
    "queries": (Submission(Opcode.ATTEND, buffer_bytes=64, tokens=1), CommandStatus.INVALID_FIELD),
    "configuration": (Submission(Opcode.CONFIGURE, k=1 << 20), CommandStatus.INVALID_FIELD),
    "health": (Submission(Opcode.HEALTH, buffer_bytes=8), CommandStatus.INVALID_FIELD),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_command_gets_its_status_and_the_next_one_is_served(host, name):
    command, status = WRONG[name]
    (completion,) = host.submit([command])
    assert completion.status == status
    keys, values = tokens(1, 40)
    host.write(SEQUENCE, keys, values)
    asked = Attend(SEQUENCE, queries(2), 40, **FRACTIONS)
    np.testing.assert_array_equal(host.attend(asked)[0], golden(keys, values, asked))


def test_wrong_and_right_commands_between_each_other(host):
    keys, values = tokens(1, 40)
    host.write(SEQUENCE, keys, values)
    right = Attend(SEQUENCE, queries(2), 40, **FRACTIONS)
    wrong = Attend(SEQUENCE, queries(2), 41, **FRACTIONS)
    found = host.try_attend(wrong, right, wrong, right)
    assert [isinstance(each, CommandError) for each in found] == [True, False, True, False]
    np.testing.assert_array_equal(found[3], golden(keys, values, right))


def test_a_full_drive_says_so_and_still_serves():
    host = host_of(store_of(device(blocks_per_unit=5, pages_per_block=8)))
    keys, values = tokens(1, 256)
    written = 0
    with pytest.raises(CommandError, match="full; reclaim a task"):
        for batch in range(40):
            host.write(SequenceId(0, batch, 0, 0), keys, values)
            host.flush()
            written = batch + 1
    assert written
    asked = Attend(SequenceId(0, written - 1, 0, 0), queries(2), 256, **FRACTIONS)
    np.testing.assert_array_equal(host.attend(asked)[0], golden(keys, values, asked))
    host.reclaim(0)
    host.write(SequenceId(1, 0, 0, 0), keys, values)


def test_a_page_that_cannot_be_read_is_named():
    flash = device()
    store = store_of(flash)
    host = host_of(store)
    keys, values = tokens(1, 64)
    host.write(SEQUENCE, keys, values)
    host.flush()
    located = next(iter(store.manager.table.values()))
    flash.read = lambda block, page, retry, read=flash.read: (
        np.zeros(CONFIG.code.stored_bytes, np.uint8)
        if (block, page) == (located.block, located.page)
        else read(block, page, retry)
    )
    channel, page = flash.shape.on_channel(located.block, located.page)
    where = rf"page {page} of flash channel {channel} cannot"
    with pytest.raises(CommandError, match=where) as error:
        host.attend(Attend(SEQUENCE, queries(2), 64))
    assert error.value.status is CommandStatus.UNCORRECTABLE
    assert len(host.health()) == 12


@pytest.mark.parametrize("error", [NotFormattedError, DriveError])
def test_an_error_that_no_command_should_meet_is_an_internal_one(host, monkeypatch, error):
    def flush(_):
        raise error("of what nobody thought")

    monkeypatch.setattr(KvStore, "flush", flush)
    with pytest.raises(CommandError, match="INTERNAL"):
        host.flush()
    assert len(host.health()) == 12


def test_what_is_not_finite_is_reported(host):
    keys, values = tokens(1, 40)
    bad = queries(2)
    bad[0, 3] = np.inf
    host.write(SEQUENCE, keys, values)
    with pytest.raises(CommandError, match="infinite or no number"):
        host.attend(Attend(SEQUENCE, bad, 40, **FRACTIONS))


def test_entries_go_there_and_back():
    command = Submission(*range(1, 13))
    assert len(command.pack()) == 64
    assert Submission.unpack(command.pack()) == command
    completion = Completion(1, 2, 3, 4, 5, 1)
    assert len(completion.pack()) == 16
    assert Completion.unpack(completion.pack()) == completion
    assert struct.unpack_from("<Q", Submission(0xC1, sequence=7).pack(), 8) == (7,)


def test_a_queue_needs_two_entries():
    with pytest.raises(ConfigError, match="entries is 1; allowed are 2 to 65536"):
        QueuePair(1)


def test_a_sequence_is_named_by_its_address():
    assert sequence_field(SEQUENCE) == 0x0030010200000000

"""The host's driver against the RTL in Verilator: through flash, firmware and engine."""

import dataclasses

import numpy as np
import pytest
from drive_trials import CONFIG, FRACTIONS, SEQUENCE, device, host_of, queries, store_of, tokens

from storage_engine.drive_attend import GoldenEngine
from storage_engine.drive_host import Attend, CommandError
from storage_engine.drive_rtl import RtlEngine
from storage_engine.kv_address import SequenceId
from storage_engine.kv_store import StorePolicy

OTHER = SequenceId(5, 0, 0, 1)
BYTES = dataclasses.replace(CONFIG, kv_bits=8)


def fill(host, config=CONFIG):
    """Write two sequences, the first of them in three parts."""
    for sequence, count, seed in ((SEQUENCE, 300, 1), (OTHER, 40, 2), (SEQUENCE, 81, 3)):
        keys, values = tokens(seed, count)
        if config.kv_bits == 8:
            keys, values = ((x * 40).clip(-127, 127).astype(np.int8) for x in (keys, values))
        host.write(sequence, keys, values)


def asked(config=CONFIG):
    fractions = FRACTIONS if config.kv_bits == 16 else {}
    infinite = queries(9, config)
    infinite[1, 1] = np.nan
    return [
        Attend(SEQUENCE, queries(1, config), 381, **fractions),
        Attend(SEQUENCE, queries(2, config), 381, sparf=True, **fractions),
        Attend(OTHER, queries(3, config), 40, sparf=True, k=7, **fractions),
        Attend(OTHER, queries(4, config), 41, **fractions),
        Attend(OTHER, infinite, 40, **fractions),
        Attend(SEQUENCE, queries(5, config), 257, sparf=True, **fractions),
    ]


def answers(host, wanted):
    """Return outputs, and of what failed the status."""
    return [
        each.status if isinstance(each, CommandError) else each.view(np.int16).tolist()
        for each in host.try_attend(*wanted)
    ]


@pytest.mark.full
@pytest.mark.parametrize("config", [CONFIG, BYTES], ids=["FP16", "INT8"])
@pytest.mark.parametrize("flushed", [False, True], ids=["in memory", "in flash"])
def test_the_rtl_answers_as_golden(config, flushed):
    """Pages with wrong bits, tokens that are in the drive's memory only, wrong commands."""
    flash = device(config, bit_errors=2e-4, weak_pages=0.05, seed=3)
    store = store_of(flash, config, StorePolicy(flush_pages=4))
    host = host_of(store, GoldenEngine(config), config)
    fill(host, config)
    if flushed:
        host.flush()
    golden = answers(host, asked(config))
    assert answers(host_of(store, RtlEngine(config), config), asked(config)) == golden
    assert sum(isinstance(each, list) for each in golden) == 4


@pytest.mark.full
def test_a_lost_page_is_named_and_the_others_are_served():
    flash = device()
    store = store_of(flash)
    host = host_of(store, RtlEngine(CONFIG))
    fill(host)
    host.flush()
    address, located = next(
        (address, each) for address, each in store.manager.table.items() if address >> 52 == 5
    )
    assert address
    flash.read = lambda block, page, retry, read=flash.read: (
        np.full(CONFIG.code.stored_bytes, 0x5A, np.uint8)
        if (block, page) == (located.block, located.page)
        else read(block, page, retry)
    )
    asked = [
        Attend(OTHER, queries(1), 40, **FRACTIONS),
        Attend(SEQUENCE, queries(2), 381, **FRACTIONS),
        Attend(OTHER, queries(3), 40, sparf=True, **FRACTIONS),
    ]
    golden = host_of(store, GoldenEngine(CONFIG)).try_attend(*asked)
    lost, served, lost_too = host.try_attend(*asked)
    assert golden[0].completion.detail > 1
    assert str(lost) == str(lost_too) == str(golden[0])
    np.testing.assert_array_equal(served, golden[1])

"""Small drives for tests of commands: flash, store, firmware and the host's driver."""

import numpy as np

from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.drive import Drive, HostMemory
from storage_engine.drive_attend import GoldenEngine
from storage_engine.drive_host import DriveHost
from storage_engine.flash_device import FlashDevice, FlashFaults, FlashShape
from storage_engine.flash_format import PageCodec
from storage_engine.flash_mount import format_drive
from storage_engine.flash_reader import FlashPolicy, PageReader
from storage_engine.kv_address import SequenceId
from storage_engine.kv_layout import KvLayout
from storage_engine.kv_store import KvStore, StorePolicy

CONFIG = DriveEngineConfig(
    flash_channels=2,
    head_size=32,
    queries=2,
    channels_per_page=8,
    context_bits=10,
    ratio=4,
    local=4,
)
"""32 tokens to a page; spans of 256 tokens."""

SEQUENCE = SequenceId(3, 1, 2, 0)
FRACTIONS = {"key_fraction": 12, "value_fraction": 12}


def device(config=CONFIG, blocks_per_unit=16, pages_per_block=16, **faults):
    shape = FlashShape(
        channels=config.flash_channels,
        blocks_per_unit=blocks_per_unit,
        pages_per_block=pages_per_block,
        stored_bytes=config.code.stored_bytes,
    )
    return FlashDevice(shape, FlashFaults(**faults))


def store_of(flash, config=CONFIG, policy=None):
    reader = PageReader(flash, PageCodec(config.code), FlashPolicy(spare_blocks=2))
    return KvStore(KvLayout(config.layout), format_drive(reader), policy or StorePolicy())


def host_of(store, engine=None, config=CONFIG, room=1 << 20):
    drive = Drive(store, engine or GoldenEngine(config), HostMemory(bytearray(room)))
    return DriveHost.of(drive)


def tokens(seed, count, config=CONFIG):
    random = np.random.default_rng(seed)
    return random.normal(0, 1, (2, count, config.head_size)).astype(np.float16)


def queries(seed, config=CONFIG):
    random = np.random.default_rng(seed)
    return random.normal(0, 1, (config.queries, config.head_size)).astype(np.float16)

"""Small drives, and a model of what they must hold."""

import numpy as np

from golden.spec.attention_engine import KvFormat
from golden.spec.bch import BchConfig
from golden.spec.kv_layout import KvLayoutConfig
from storage_engine.flash_device import FlashDevice, FlashFaults, FlashShape
from storage_engine.flash_format import PageCodec
from storage_engine.flash_mount import format_drive, mount_drive
from storage_engine.flash_reader import FlashPolicy, PageReader
from storage_engine.kv_address import SequenceId
from storage_engine.kv_layout import KvLayout
from storage_engine.kv_store import KvStore, StorePolicy

BCH = BchConfig(data_bytes=128, tag_bytes=16, t=4, chunks=2)
"""Pages of 256 bytes: the formats of large ones, but quick."""

LAYOUT = KvLayout(
    KvLayoutConfig(
        page_bytes=256,
        head_size=16,
        kv_format=KvFormat.FP16,
        channels_per_page=8,
        flash_channels=2,
    )
)
"""Groups of 8 tokens; spans of 16 tokens, in two pages."""


class QuickCodec(PageCodec):
    """The same, but what was computed once is kept."""

    def __init__(self, config):
        super().__init__(config)
        self._encoded, self._decoded = {}, {}

    def encode(self, header, payload):
        key = header, payload.tobytes()
        if key not in self._encoded:
            self._encoded[key] = super().encode(header, payload)
        return self._encoded[key]

    def decode(self, stored):
        key = stored.tobytes()
        if key not in self._decoded:
            self._decoded[key] = super().decode(stored)
        return self._decoded[key]


CODEC = QuickCodec(BCH)


def device(blocks_per_unit=16, pages_per_block=8, channels=2, **faults):
    shape = FlashShape(
        channels=channels,
        blocks_per_unit=blocks_per_unit,
        pages_per_block=pages_per_block,
        stored_bytes=BCH.stored_bytes,
    )
    return FlashDevice(shape, FlashFaults(**faults))


def new_drive(flash, policy=None, layout=LAYOUT, **buffering):
    manager = format_drive(
        PageReader(flash, CODEC, policy or FlashPolicy(retries=2, spare_blocks=2))
    )
    return KvStore(layout, manager, StorePolicy(**buffering))


def mounted(flash, policy=None, layout=LAYOUT, **buffering):
    """Return the drive in a flash, and what its mount found."""
    reader = PageReader(flash, CODEC, policy or FlashPolicy(retries=2, spare_blocks=2))
    manager, report = mount_drive(reader)
    return KvStore(layout, manager, StorePolicy(**buffering)), report


def tokens(sequence, first, count, version=0, layout=LAYOUT):
    """Return keys and values that tell which tokens they are."""
    size, limit = layout.config.head_size, np.iinfo(layout.dtype)
    seed = hash((*sequence, version)) & 0xFFFF
    place = np.arange(first, first + count)[:, None] * 1009 + np.arange(size) * 31 + seed
    span = limit.max - limit.min + 1
    return tuple(((place * k) % span + limit.min).astype(layout.dtype) for k in (17, 29))


def holds(store, sequence, version=0):
    """Return whether all that a sequence has is right, in both copies; and how much it has."""
    count = store.tokens(sequence)
    if not count:
        return 0
    keys, values = tokens(sequence, 0, count, version, store.layout)
    found = store.read(sequence, 0, count)
    assert (found[0] == keys).all() and (found[1] == values).all(), sequence
    config = store.layout.config
    for span in range(count // config.span_tokens if config.channel_copy else 0):
        rows = store.read_channels(sequence, range(config.head_size), span)
        part = slice(span * config.span_tokens, (span + 1) * config.span_tokens)
        assert all((rows[c] == keys[part, c]).all() for c in rows), (sequence, span)
    return count


A, B, C = SequenceId(1, 0, 0, 0), SequenceId(1, 2, 3, 1), SequenceId(7, 0, 1, 0)

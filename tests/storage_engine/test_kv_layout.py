"""Addresses, pages and counts of keys and values."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.kv_pages import PageLayout, dense_reads, sparf_reads
from golden.spec.attention_engine import AttentionConfig, KvFormat
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.kv_layout import ADDRESS_FIELDS, INDEX_FIELDS, KvKind, KvLayoutConfig
from storage_engine.kv_address import KvAddress, SequenceId, channel_index, task_of
from storage_engine.kv_layout import KvLayout

SEQUENCE = SequenceId(3, 5, 7, 2)
LAYOUTS = st.builds(
    KvLayoutConfig,
    page_bytes=st.sampled_from([4096, 8192, 16384]),
    head_size=st.sampled_from([64, 80, 128]),
    kv_format=st.sampled_from(KvFormat),
    channels_per_page=st.sampled_from([1, 2, 4, 8]),
    paired=st.booleans(),
    flash_channels=st.sampled_from([3, 4, 8]),
    dies=st.sampled_from([1, 2]),
)


def test_the_fields_fill_64_bits_and_do_not_overlap():
    for fields, bits in ((ADDRESS_FIELDS, 64), (INDEX_FIELDS, ADDRESS_FIELDS["index"].bits)):
        taken = [field.low + bit for field in fields.values() for bit in range(field.bits)]
        assert sorted(taken) == list(range(bits))


def test_an_address_in_hexadecimal():
    address = KvAddress(0x123, 0x456, 0x78, 0x9A, KvKind.VALUES, 0xBCDEF)
    assert address.pack() == 0x123456789A2BCDEF
    channels = KvAddress(0, 0, 0, 1, KvKind.KEY_CHANNELS, channel_index(0x12, 0x34))
    assert channels.pack() == 0x0000_0000_0140_1234
    assert (channels.span, channels.channel_group) == (0x12, 0x34)


@given(st.tuples(*(st.integers(0, field.values - 1) for field in ADDRESS_FIELDS.values())))
def test_an_address_comes_back(fields):
    index, kind, head, layer, batch, task = fields
    address = KvAddress(task, batch, layer, head, KvKind(kind % 4 + 1), index)
    assert KvAddress.unpack(address.pack()) == address
    assert task_of(address.pack()) == task
    assert address.sequence == (task, batch, layer, head)


@given(LAYOUTS, st.integers(1, 5000))
def test_a_context_has_room_in_the_address(config, context):
    """Every page of the longest context can be addressed, and the engine's longest is shorter."""
    assert config.max_tokens >= 1 << 17
    last = config.max_tokens - 1
    KvAddress(*SEQUENCE, KvKind.KEYS, last // config.group_tokens)
    channel_index(last // config.span_tokens, config.channel_groups - 1)


@settings(max_examples=40)
@given(LAYOUTS, st.integers(1, 3000), st.integers(0, 99))
def test_pages_are_those_that_golden_counts(config, context, seed):
    layout = KvLayout(config)
    attention = AttentionConfig(config.head_size, 2, config.kv_format)
    pages = PageLayout(config.page_bytes, config.channels_per_page, config.paired)
    random = torch.Generator().manual_seed(seed)
    channels = torch.rand(1, 2, config.head_size, generator=random) < 0.1
    tokens = (torch.rand(1, 2, 3000, generator=random) < 0.02) & (torch.arange(3000) < context)
    kept = tokens.any(dim=1)[0].nonzero()[:, 0].tolist()
    rows = channels.any(dim=1)[0].nonzero()[:, 0].tolist()
    found = [
        page for kind in config.token_kinds for page in layout.token_pages(SEQUENCE, kind, kept)
    ]
    spans = context // config.span_tokens
    reads = sparf_reads(
        attention, pages, channels, tokens, torch.tensor([spans * config.span_tokens])
    )
    assert len(found) == len(set(found)) == int(reads.token_pages)
    assert len(layout.channel_pages(SEQUENCE, rows, context)) == int(reads.channel_pages)
    dense = dense_reads(attention, pages, torch.tensor([context]))
    assert layout.footprint(context).group_pages == int(dense.pages)


@given(LAYOUTS, st.integers(1, 40000))
def test_tokens_without_a_copy_by_channels_are_in_the_tail(config, context):
    layout = KvLayout(config)
    footprint = layout.footprint(context)
    covered = context - footprint.tail_tokens
    assert covered % config.span_tokens == 0
    assert footprint.tail_tokens < config.span_tokens
    groups = layout.tail_groups(context)
    tail = range(groups.start * config.group_tokens, groups.stop * config.group_tokens)
    assert not footprint.tail_tokens or (covered in tail and context - 1 in tail)
    assert footprint.span_pages == len(
        layout.channel_pages(SEQUENCE, range(config.head_size), context)
    )


def test_the_second_copy_makes_it_one_and_a_half():
    layout = KvLayout(KvLayoutConfig())
    assert (layout.config.group_tokens, layout.config.span_tokens) == (16, 1024)
    assert layout.footprint(4096).overhead == 1.5
    assert layout.footprint(1023).overhead == pytest.approx(1024 / 1023)
    partial = layout.footprint(1024 + 17)
    assert (partial.partial_tokens, partial.tail_tokens) == (1, 17)
    assert KvLayout(KvLayoutConfig(channel_copy=False)).footprint(4096).overhead == 1


@settings(max_examples=40)
@given(LAYOUTS, st.integers(0, 500), st.integers(1, 300), st.sampled_from([1, 2, 4]))
def test_any_run_of_pages_takes_as_many_from_each_unit(config, first, count, kind):
    layout = KvLayout(config)
    addresses = [KvAddress(*SEQUENCE, KvKind(kind), first + n) for n in range(count)]
    if kind == KvKind.KEY_CHANNELS:
        count = min(count, config.channel_groups)
        addresses = [
            KvAddress(*SEQUENCE, KvKind.KEY_CHANNELS, channel_index(first, group))
            for group in range(count)
        ]
    taken = Counter(layout.unit(address) for address in addresses)
    assert max(taken.values()) == -(-count // config.units)
    assert min(taken[unit] for unit in range(config.units)) == count // config.units


@settings(max_examples=40)
@given(LAYOUTS, st.integers(0, 99), st.data())
def test_groups_and_spans_come_back(config, seed, data):
    layout = KvLayout(config)
    random = np.random.default_rng(seed)
    count = data.draw(st.integers(1, config.group_tokens))
    parts = some(random, layout, (1 + config.paired, count))
    page = layout.pack_group(*parts)
    assert page.shape == (config.page_bytes,) and page.dtype == np.uint8
    assert (np.stack(layout.unpack_group(page, count)) == parts).all()
    keys = some(random, layout, (config.span_tokens,))
    pages = layout.pack_span(keys)
    assert pages.shape == (config.channel_groups, config.page_bytes)
    rows = np.concatenate([layout.unpack_span(page) for page in pages])
    assert (rows == keys.T).all()


def some(random, layout, shape):
    size = (*shape, layout.config.head_size)
    return random.integers(-128, 128, size).astype(np.int16).astype(layout.dtype)


def test_bytes_of_pages():
    config = KvLayoutConfig(256, 16, channels_per_page=8)
    layout = KvLayout(config)
    keys = (np.arange(16 * 16) + 0x100).astype("<u2").reshape(16, 16)
    page = layout.pack_group(keys[:3])
    assert page[:4].tolist() == [0, 1, 1, 1]  # channels 0 and 1 of token 0
    assert page[32:34].tolist() == [16, 1]  # channel 0 of token 1
    assert not page[96:].any()
    channels = layout.pack_span(keys)
    assert channels[1, :4].tolist() == [8, 1, 24, 1]  # channel 8 of tokens 0 and 1
    assert channels[1, 32:34].tolist() == [9, 1]  # channel 9 of token 0
    paired = KvLayout(KvLayoutConfig(256, 16, channels_per_page=8, paired=True))
    page = paired.pack_group(keys[:2], keys[4:6])
    assert page[128:130].tolist() == [64, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"page_bytes": 5000},
            "page_bytes is 5000; allowed are the powers of 2 from 256 to 65536",
        ),
        (
            {"head_size": 12},
            "head_size is 12; allowed are the multiples of 8 from 16 to 256",
        ),
        (
            {"kv_format": "fp16"},
            "kv_format is 'fp16'; allowed are KvFormat.INT8 and KvFormat.FP16",
        ),
        ({"channels_per_page": 3}, "channels_per_page is 3; allowed are 1, 2, 4 and 8"),
        ({"planes": 0}, "planes is 0; allowed are 1 to 64"),
        (
            {"page_bytes": 256, "head_size": 256},
            "page_bytes is 256; a token takes 512 bytes of a page, take larger pages",
        ),
    ],
)
def test_a_layout_is_checked(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        KvLayoutConfig(**fields)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: KvAddress(4096, 0, 0, 0, KvKind.KEYS, 0),
            "task is 4096; allowed are 0 to 4095",
        ),
        (lambda: channel_index(0, 256), "channel_group is 256; allowed are 0 to 255"),
        (
            lambda: KvAddress.unpack(1 << 64),
            f"address is {1 << 64}; allowed are 0 to {(1 << 64) - 1}",
        ),
        (
            lambda: KvAddress.unpack(0),
            "address 0x0000000000000000 has kind 0; allowed are 1 (KEYS), 2 (VALUES), 3 (PAIRS), "
            "4 (KEY_CHANNELS)",
        ),
        (
            lambda: KvLayout(KvLayoutConfig()).footprint(0),
            "context is 0; allowed are 1 to 4194304 tokens",
        ),
    ],
)
def test_addresses_are_checked(make, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        make()


def test_arrays_are_checked():
    layout = KvLayout(KvLayoutConfig())
    keys = np.zeros((17, 128), "<u2")
    message = (
        "keys or values are uint16 of shape [17, 128]; uint16 of shape [1 to 16, 128] are needed"
    )
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        layout.pack_group(keys)
    with pytest.raises(ShapeError, match=r"^2 arrays make a group; 1 are needed$"):
        layout.pack_group(keys[:1], keys[:1])
    with pytest.raises(ShapeError, match=r"^17 tokens make a span; 1024 are needed$"):
        layout.pack_span(keys)
    with pytest.raises(ShapeError, match=r"^keys or values are float16 of shape"):
        layout.pack_group(keys[:1].astype(np.float16))

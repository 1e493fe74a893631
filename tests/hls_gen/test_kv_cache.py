"""Where the bytes of keys and values lie, and which words the products take."""

import re

import numpy as np
import pytest

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from hls_gen.kv_cache import KvLayout

KV_HEADS, POSITIONS = 2, 70
CORES = [(1, 8, 4), (2, 16, 4), (3, 8, 2), (32, 8, 4)]
"""Chains, m, strips."""


def layouts():
    for chains, m, strips in CORES:
        for heads in (m, 3 * m, 8 * m):
            config = CoreConfig(chains=chains, m=m, strips=strips)
            if heads <= 2 * m * chains * strips:
                yield KvLayout(config, KV_HEADS, heads, POSITIONS)


@pytest.fixture(
    params=layouts(), ids=lambda one: f"{one.config.chains}x{one.config.m}-{one.head_size}"
)
def layout(request):
    return request.param


def numbers_in(mask):
    return [bit for bit in range(32) if mask >> bit & 1]


def runs(fields):
    """The channel and first byte of each run, in their order."""
    counts = [range(fields.get(f"count_{level}", 1)) for level in (2, 1)]
    strides = [fields.get(f"stride_{level}", 0) for level in (2, 1)]
    return [
        (channel, fields["offset"] + second * strides[0] + first * strides[1])
        for channel in numbers_in(fields["channels"])
        for second in counts[0]
        for first in counts[1]
    ]


def filled(layout, random):
    """Channels into which the stores have put random keys and values, and those."""
    cache = np.zeros((layout.config.chains, layout.layer_bytes), np.uint8)
    shape = (POSITIONS, KV_HEADS, layout.head_size)
    keys, values = random.integers(0, 256, (2, *shape)).astype(np.uint8)
    for position in range(POSITIONS):
        stores = [(keys[position].reshape(-1), layout.keys(0), layout.store_keys(position))]
        for head in range(KV_HEADS):
            for first, words, fields in layout.store_values(position):
                m = layout.config.m
                mine = values[position, head, first * m : (first + words) * m]
                stores.append((mine, layout.values(head), fields))
        for source, offset, fields in stores:
            places = runs(fields)
            assert len(source) == len(places) * fields["length"]
            for (channel, start), data in zip(places, source.reshape(len(places), -1), strict=True):
                start += offset
                cache[channel, start : start + len(data)] = data
    return cache, keys, values


def test_every_byte_lies_where_the_page_says(layout):
    random = np.random.default_rng(0)
    cache, keys, values = filled(layout, random)
    m, chains, columns = layout.config.m, layout.config.chains, layout.columns
    for _ in range(300):
        t, head, k = (int(random.integers(n)) for n in keys.shape)
        pair, j, lane = t // (2 * m), t % m, t // m % 2
        word = (pair // chains * columns + k // m) * m + j
        place = head * layout.key_bytes + word * 2 * m + lane * m + k % m
        assert cache[pair % chains, place] == keys[t, head, k]
        pair, r, lane = k // (2 * m), k % m, k // m % 2
        word = (t // m * layout.addresses + pair // chains) * m + r
        place = KV_HEADS * layout.key_bytes + head * layout.value_bytes + word * 2 * m
        assert cache[pair % chains, place + lane * m + t % m] == values[t, head, k]


def matrix(layout, cache, part, offset):
    """The rows that a product has, by their strips."""
    m = layout.config.m
    fields = part.load | {"offset": offset + part.load.get("offset", 0)}
    size = part.load["length"] * 2 * m
    strips = {}
    for channel in numbers_in(part.load["channels"]):
        mine = [a for c, a in runs(fields) if c == channel]
        words = np.concatenate([cache[channel, a : a + size] for a in mine])
        assert len(words) == part.product["words"] * 2 * m
        blocks = words.reshape(part.product["columns"], part.product["addresses"], m, 2, m)
        for address in range(part.product["addresses"]):
            for lane in range(2):
                strip = 2 * (address * layout.config.chains + channel) + lane
                strips[strip + part.first_strip] = blocks[:, address, :, lane]
    assert max(strips) + 1 == part.first_strip + part.written
    return {strip: each.transpose(1, 0, 2).reshape(m, -1) for strip, each in strips.items()}


@pytest.mark.parametrize("tokens", [1, 8, 9, 33, 70])
def test_products_take_what_was_stored(layout, tokens):
    cache, keys, values = filled(layout, np.random.default_rng(tokens))
    m = layout.config.m
    for head in range(KV_HEADS):
        rows = {}
        for part in layout.key_parts(tokens):
            assert part.product["addresses"] <= layout.config.strips
            rows |= matrix(layout, cache, part, layout.keys(head))
        assert len(rows) <= layout.score_words(tokens)
        for token in range(tokens):
            assert (rows[token // m][token % m] == keys[token, head]).all()
        part = layout.value_part(tokens)
        rows = matrix(layout, cache, part, layout.values(head))
        for channel in range(layout.head_size):
            mine = rows[channel // m][channel % m]
            assert (mine[:tokens] == values[:tokens, head, channel]).all()


@pytest.mark.parametrize(
    ("head_size", "positions", "message"),
    [
        (24, 10, "a head has 24 elements; a core with m = 16 needs a multiple"),
        (32, 2049, "max_positions is 2049; a product takes 1 to 2048 tokens"),
        (32, 0, "max_positions is 0; a product takes 1 to 2048 tokens"),
        (160, 10, "a head has 160 elements; 2 chains of 2 strips hold 128"),
    ],
)
def test_a_cache_that_no_product_takes(head_size, positions, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        KvLayout(CoreConfig(chains=2, strips=2), 1, head_size, positions)

"""Where the bytes of keys and values lie, and which words the products take."""

import re
from itertools import product

import numpy as np
import pytest

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from hls_gen.kv_cache import KvLayout

KV_HEADS, POSITIONS = 2, 70
CORES = [(1, 8, 4, 1024), (1, 8, 4, 64), (2, 16, 4, 64), (3, 8, 2, 128), (32, 8, 4, 64)]
"""Chains, m, strips, words that a chain keeps."""


def layouts():
    for chains, m, strips, words in CORES:
        for heads in (m, 3 * m, 8 * m):
            config = CoreConfig(chains=chains, m=m, strips=strips, replay_words=words)
            if heads <= 2 * m * chains * strips:
                yield KvLayout(config, KV_HEADS, heads, POSITIONS)


@pytest.fixture(
    params=layouts(),
    ids=lambda one: f"{one.config.chains}x{one.config.m}-{one.head_size}-{one.config.replay_words}",
)
def layout(request):
    return request.param


def numbers_in(mask):
    return [bit for bit in range(32) if mask >> bit & 1]


def runs(fields):
    """The channel and first byte of each run, in their order."""
    counts = [range(fields.get(f"count_{level}", 1)) for level in (3, 2, 1)]
    strides = [fields.get(f"stride_{level}", 0) for level in (3, 2, 1)]
    return [
        (channel, fields["offset"] + sum(n * s for n, s in zip(loops, strides, strict=True)))
        for channel in numbers_in(fields["channels"])
        for loops in product(*counts)
    ]


def filled(layout, random):
    """Channels into which the stores have put random keys and values, and those."""
    cache = np.zeros((layout.config.chains, layout.layer_bytes), np.uint8)
    shape = (POSITIONS, KV_HEADS, layout.head_size)
    keys, values = random.integers(0, 256, (2, *shape)).astype(np.uint8)
    sizes = iter(random.integers(1, 9, POSITIONS))
    first = 0
    while first < POSITIONS:
        count = min(next(sizes), POSITIONS - first)
        for tokens, fields in layout.store_keys(first, count):
            mine = keys[first + tokens.start : first + tokens.stop]
            put(cache, mine, layout.keys(0), fields)
        first += count
    for position in range(POSITIONS):
        for head in range(KV_HEADS):
            for first, words, fields in layout.store_values(position):
                m = layout.config.m
                mine = values[position, head, first * m : (first + words) * m]
                put(cache, mine, layout.values(head), fields)
    return cache, keys, values


def put(cache, source, offset, fields):
    """Store bytes as ST does."""
    places = runs(fields)
    assert source.size == len(places) * fields["length"]
    for (channel, start), data in zip(places, source.reshape(len(places), -1), strict=True):
        start += offset
        cache[channel, start : start + len(data)] = data


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
    channels = numbers_in(part.product["channels"])
    strips = {}
    for channel in channels:
        words = []
        for load in part.loads:
            fields = load | {"offset": offset + load["offset"], "channels": 1 << channel}
            size = load["length"] * 2 * m
            words += [cache[channel, a : a + size] for _, a in runs(fields)]
        words = np.concatenate(words)
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
    check_products(layout, [range(tokens)])


@pytest.mark.parametrize(
    "blocks", [(0, 2), (0, 1, 2), (1,), (0, 2, 3, 5, 6), (4, 6), (0, 3, 6), (1, 2, 3, 4, 5)]
)
def test_products_take_some_blocks_of_what_was_stored(layout, blocks):
    """Each of a pair of strips; the last one is cut short."""
    size = 2 * layout.config.m
    most = (POSITIONS - 3) // size
    runs = [range(block * size, (block + 1) * size) for block in blocks if block < most]
    runs.append(range(most * size, POSITIONS - 3))
    check_products(layout, runs)
    loaded = sum(
        load["length"] * load.get("count_1", 1) * load.get("count_2", 1) * len(chains)
        for part in layout.key_parts(runs)
        for load in part.loads
        for chains in [numbers_in(part.product["channels"])]
    )
    rows = {run.start // size // layout.config.chains for run in runs}
    assert loaded <= len(runs) * layout.head_size + (len(rows) > 1) * layout.head_size * (
        layout.config.chains - 1
    )


def check_products(layout, runs):
    """Products have the keys and values of some runs of tokens: values side by side."""
    cache, keys, values = filled(layout, np.random.default_rng(len(runs)))
    m = layout.config.m
    seen = [token for run in runs for token in run]
    columns = [column for run in runs for column in range(run.start // m, -(-run.stop // m))]
    for head in range(KV_HEADS):
        rows = {}
        for part in layout.key_parts(runs):
            addresses, words = part.product["addresses"], part.product["words"]
            assert addresses <= layout.config.strips
            assert words <= layout.config.replay_words or addresses == 1
            mine = matrix(layout, cache, part, layout.keys(head))
            assert rows.keys().isdisjoint(mine)
            rows |= mine
        assert max(rows) < layout.score_words(runs)
        for token in seen:
            assert (rows[token // m][token % m] == keys[token, head]).all()
        part = layout.value_part(runs)
        rows = matrix(layout, cache, part, layout.values(head))
        for channel in range(layout.head_size):
            mine = rows[channel // m][channel % m].reshape(-1, m)
            for column, given in zip(columns, mine, strict=True):
                wanted = values[column * m : (column + 1) * m, head, channel]
                assert (given[: len(wanted)] == wanted).all()


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

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from sim.memory_formats import CacheFormat, WeightFormat, deal
from sim.operators import ATTENTION, FEED_FORWARD, Operator

CHAIN = SparseChainConfig()
MATRIX = Operator("w", FEED_FORWARD, rows=32, inputs=256)  # 2 x 16 blocks, 2 groups of 128


@pytest.mark.parametrize(
    ("bits", "keep", "block"),
    [
        (8, {}, 1 + 256),
        (8, {16: 1}, 1 + 256),  # dense blocks need no indices
        (4, {8: 1}, 1 + 16 * 8 * (4 + 4) // 8),
        (8, {2: 1}, 1 + 16 * 2 * (8 + 4) // 8),
    ],
)
def test_block_bytes(bits, keep, block):
    weights = WeightFormat(bits=bits, group_size=128, keep=keep)
    assert weights.block_bytes(MATRIX, CHAIN) == 32 * block + 32 * 2 * 2


def test_block_bytes_of_a_mix():
    weights = WeightFormat(bits=4, group_size=128, keep={2: 0.25, 16: 0.75})
    blocks = 8 * (1 + 16 * 2) + 24 * (1 + 128)
    assert weights.block_bytes(MATRIX, CHAIN) == blocks + 32 * 2 * 2


def test_block_bytes_are_padded_to_whole_blocks():
    odd = Operator("w", FEED_FORWARD, rows=17, inputs=136)  # 2 x 9 blocks, 2 groups
    weights = WeightFormat(bits=8, group_size=128)
    assert weights.block_bytes(odd, CHAIN) == 18 * 257 + 17 * 2 * 2


def test_cache_bytes():
    keys = Operator("k", ATTENTION, rows=10, inputs=64, matrices=3, vectors=2, cached=30)
    assert CacheFormat(bits=16).bytes(keys) == 10 * 64 * 3 * 2
    assert CacheFormat(bits=8, scale_bits=16).bytes(keys) == 10 * 64 * 3 + 30 * 2


def mixes():
    shares = st.dictionaries(st.sampled_from(CHAIN.keeps), st.floats(0.01, 1), min_size=1)
    return shares.map(lambda s: {n: share / sum(s.values()) for n, share in s.items()})


@given(mixes(), st.integers(0, 3000))
def test_a_mix_is_dealt_to_the_block(mix, blocks):
    counts = deal(mix, blocks)
    assert sum(counts.values()) == blocks
    for n, share in mix.items():
        assert abs(counts[n] - share * blocks) < 1 + 1e-9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 17}, "bits is 17; input should be less than or equal to 16"),
        ({}, "bits is missing"),
        ({"bits": 8, "group_size": 0}, "group_size is 0; input should be greater than 0"),
        (
            {"bits": 8, "keep": {2: 0.5, 4: 0.6}},
            "keep is {2: 0.5, 4: 0.6}; its shares add up to 1.1, not to 1",
        ),
        ({"bits": 8, "keep": {2: -1}}, "keep.2 is -1; input should be greater than or equal to 0"),
    ],
)
def test_errors(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        WeightFormat(**fields)

import re

import pytest

from golden.spec.errors import ConfigError
from sim.catalogue import load_system
from sim.gpu import TILE_BYTES
from sim.memory_formats import WeightFormat
from sim.operators import ATTENTION, FEED_FORWARD, Operator

A100 = load_system("gpu-a100-sxm-80gb")
MATRIX = Operator("w", FEED_FORWARD, rows=11008, inputs=4096)


def test_tiles_hold_all_bytes_and_all_operations():
    tiles = A100.tiles(MATRIX, A100.weights)
    assert sum(tile.bytes for tile in tiles) == 11008 * 4096 * 2
    assert max(tile.bytes for tile in tiles) <= TILE_BYTES
    assert sum(tile.seconds for tile in tiles) == pytest.approx(2 * 11008 * 4096 / 312e12)
    assert all(tile.cycles == 0 for tile in tiles)


def test_the_kv_cache_is_read_in_its_own_format():
    keys = Operator("scores", ATTENTION, 100, 128, matrices=8, vectors=4, cached=800)
    eight_bits = WeightFormat(bits=8)
    assert A100.bytes_read(keys, eight_bits) == 100 * 128 * 8 * 2
    assert A100.bytes_read(MATRIX, eight_bits) == 11008 * 4096


def test_label():
    assert A100.label(A100.weights) == "A100 SXM 80 GB, FP16"
    assert A100.label(WeightFormat(bits=4, group_size=32)) == "A100 SXM 80 GB, INT4"


def test_sparse_blocks_are_refused():
    message = "keep is {8: 1.0}; gpu-a100-sxm-80gb takes dense weights only"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        A100.check(WeightFormat(bits=16, keep={8: 1}))

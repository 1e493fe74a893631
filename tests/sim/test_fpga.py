import re

import pytest

from golden.spec.errors import ConfigError
from hw.sparse_chain import SparseChain
from sim.catalogue import load_system
from sim.fpga import FpgaSystem
from sim.memory_formats import WeightFormat
from sim.operators import ATTENTION, FEED_FORWARD, Operator

U280 = load_system("flightllm-u280")
ONE_EACH = Operator("w", FEED_FORWARD, rows=16 * 192, inputs=128)  # one unit for each chain


def fields_of(system, **changes):
    return {name: getattr(system, name) for name in type(system).model_fields} | changes


def test_flightllm_does_3072_products_per_cycle():
    assert U280.chains * U280.chain.m == 3072


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_one_unit_per_chain_is_one_job_of_8_blocks(n):
    weights = WeightFormat(bits=8, group_size=128, keep={n: 1})
    (tile,) = U280.with_weights(weights).tiles(ONE_EACH)
    beats = 8 * n if n < 16 else 8 * n // 2  # two rows of a dense matrix share an activation
    assert tile.cycles == SparseChain.cycles(U280.chain, [beats])
    assert tile.seconds == pytest.approx(tile.cycles / 225e6)
    assert tile.bytes == U280.with_weights(weights).bytes_read(ONE_EACH)


def test_a_job_fills_the_pipeline_once():
    five_rounds = Operator("w", FEED_FORWARD, rows=16 * 192, inputs=128 * 5)
    tiles = U280.tiles(five_rounds)
    assert sum(tile.cycles for tile in tiles) == SparseChain.cycles(U280.chain, [16 * 40 // 2])
    assert tiles[0].cycles > tiles[1].cycles == tiles[4].cycles


def test_a_unit_more_than_chains_takes_another_round():
    one_strip_more = Operator("w", FEED_FORWARD, rows=16 * 192 + 1, inputs=128)
    tiles = U280.tiles(one_strip_more)
    total = U280.bytes_read(one_strip_more)
    assert [tile.bytes for tile in tiles] == [total * 192 // 193, total - total * 192 // 193]
    assert sum(tile.cycles for tile in tiles) == SparseChain.cycles(U280.chain, [16 * 16 // 2])


def test_the_last_group_of_a_row_may_be_short():
    short = Operator("w", FEED_FORWARD, rows=16 * 192, inputs=128 + 40)  # 8 blocks, then 3
    tiles = U280.tiles(short)
    assert sum(tile.cycles for tile in tiles) == SparseChain.cycles(U280.chain, [16 * 11 // 2])


def test_a_mix_takes_the_sum_of_its_blocks():
    weights = WeightFormat(bits=8, group_size=128, keep={2: 0.25, 4: 0.25, 8: 0.25, 16: 0.25})
    (tile,) = U280.with_weights(weights).tiles(ONE_EACH)
    assert tile.cycles == SparseChain.cycles(U280.chain, [2 * (2 + 4 + 8 + 16)])


def test_the_kv_cache_is_dense_whatever_the_weights():
    keys = Operator("scores", ATTENTION, 16 * 12, 128, matrices=16, cached=16 * 16 * 12)
    sparse = WeightFormat(bits=4, group_size=128, keep={2: 1})
    assert U280.with_weights(sparse).tiles(keys) == U280.tiles(keys)
    (tile,) = U280.with_weights(sparse).tiles(keys)
    assert tile.cycles == SparseChain.cycles(U280.chain, [16 * 8 // 2])


def test_shared_keys_are_read_once_and_computed_for_each_head():
    once = Operator("scores", ATTENTION, 16 * 192, 128, matrices=1, cached=16 * 192)
    thrice = Operator("scores", ATTENTION, 16 * 192, 128, matrices=1, vectors=3, cached=16 * 192)
    alone, shared = U280.tiles(once), U280.tiles(thrice)
    assert sum(tile.bytes for tile in alone) == sum(tile.bytes for tile in shared)
    assert (len(alone), len(shared)) == (1, 3)


def test_labels():
    assert U280.label == "FlightLLM U280, INT8 dense"
    half = WeightFormat(bits=4, group_size=128, keep={4: 0.5, 8: 0.25, 16: 0.25})
    assert U280.with_weights(half).label == "FlightLLM U280, INT4 50% kept"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"bits": 16, "group_size": 128},
            "weights have 16 bits and the KV cache 8; the chain takes at most 8",
        ),
        (
            {"bits": 8, "group_size": 100},
            "group_size is 100; the chain needs a multiple of 16 inputs",
        ),
        ({"bits": 8}, "group_size is None; the chain needs a multiple of 16 inputs"),
        (
            {"bits": 8, "group_size": 128, "keep": {3: 1}},
            "keep has blocks of 3:16; allowed N are 0, 2, 4, 8, 16",
        ),
    ],
)
def test_weights_that_the_chain_cannot_take(weights, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        U280.with_weights(WeightFormat(**weights))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"chains": 565},
            "chains is 565; with 16 DSPs each, u280 with 9024 DSPs holds at most 564",
        ),
        ({"memory": "sram"}, "memory is 'sram'; u280 has hbm, ddr"),
        ({"board": "u281"}, "board: there is no board 'u281'; known are u280"),
        ({"clock_mhz": 0}, "clock_mhz is 0; input should be greater than 0"),
        ({"chain": {"m": 5}}, "chain: m is 5; allowed here are 4, 8, 16 or 32"),
        ({"colour": "red"}, "colour is 'red'; extra inputs are not permitted"),
    ],
)
def test_systems_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        FpgaSystem(**fields_of(U280, **changes))

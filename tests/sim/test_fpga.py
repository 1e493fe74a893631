"""What a system on an FPGA can be, and how it cuts a matrix product."""

import re

import pytest

from golden.spec.errors import ConfigError
from hw.sparse_chain import SparseChain
from sim.catalogue import load_system
from sim.fpga import FpgaSystem
from sim.fpga_tiles import Mode, Product
from sim.memory_formats import WeightFormat
from sim.operators import ATTENTION, FEED_FORWARD, Operator

U280 = load_system("flightllm-u280")
FILL = SparseChain.cycles(U280.chain, [0])


def fields_of(system, **changes):
    return {name: getattr(system, name) for name in type(system).model_fields} | changes


def product(operator, mode=U280.vector, size=0, keep=16, finish=lambda outputs: 0.0):
    """A product whose seconds are cycles, with channels of one byte per cycle."""
    return Product(operator, mode, size, keep, U280.chain, 1.0, 1.0, 8, finish)


def test_flightllm_does_3072_products_per_cycle_in_a_step_and_12288_in_a_prompt():
    m = U280.chain.m
    assert U280.cores * U280.vector.chains * m * U280.vector.products == 3072
    assert U280.cores * U280.matrix.chains * m * U280.matrix.products == 12288
    assert U280.cores * U280.matrix.chains * m == 6144  # DSPs of the paper's table 3


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_an_instruction_takes_n_beats_for_a_block(n):
    blocks = (512 // 16) * (2048 // 16)
    assert U280.vector.beats(16, 2048, n, 1) == blocks * n // 64
    # 128 tokens, two for each DSP.
    assert U280.matrix.beats(16, 2048, n, 128) == (2048 // 16) * n * 64 // 128


def test_the_authors_tile_takes_1024_cycles():
    # 512 x 2048 products, 1,024 per cycle.
    (tile,) = product(Operator("w", FEED_FORWARD, rows=512, inputs=2048)).tiles(0, 1)
    assert tile.compute == 1024 + FILL == SparseChain.cycles(U280.chain, [1024])


def test_instructions_are_dealt_to_the_cores_in_turn():
    # 4,096 rows are 8 instructions: cores get 3, 3 and 2 of them, so a sixth of a core is idle.
    operator = Operator("w", FEED_FORWARD, rows=4096, inputs=4096)
    cut = product(operator, size=4096 * 4096)
    tiles = [cut.tiles(core, 3) for core in range(3)]
    assert [len(each) for each in tiles] == [6, 6, 4]
    assert sum(tile.bytes for each in tiles for tile in each) == 4096 * 4096
    assert sum(tile.compute for tile in tiles[0]) == 6 * 1024 + FILL
    assert tiles[0][0].load == 512 * 2048 / 8  # eight channels


def test_the_last_instruction_loads_what_there_is_and_computes_all_rows():
    operator = Operator("w", FEED_FORWARD, rows=512 + 16, inputs=2048 + 32)
    tiles = product(operator, size=528 * 2080, finish=float).tiles(0, 1)
    assert [tile.bytes for tile in tiles] == [512 * 2048, 512 * 32, 16 * 2048, 16 * 32]
    assert [tile.compute for tile in tiles] == [1024, 16, 1024, 16 + FILL]
    assert [tile.finish for tile in tiles] == [0, 512, 0, 16]


def test_heads_are_dealt_to_the_cores_whole():
    keys = Operator("scores", ATTENTION, 600, 128, matrices=4, cached=2400)
    cut = product(keys, size=4 * 600 * 128)
    assert [len(cut.tiles(core, 3)) for core in range(3)] == [4, 2, 2]
    assert sum(tile.bytes for tile in cut.tiles(0, 3)) == 2 * 600 * 128
    assert cut.tiles(0, 8)[:1] and cut.tiles(7, 8) == ()


def test_shared_keys_are_read_once_and_computed_for_each_head():
    once = Operator("scores", ATTENTION, 512, 128, cached=512)
    thrice = Operator("scores", ATTENTION, 512, 128, vectors=3, cached=512)
    (alone,), (shared,) = (product(one, size=512 * 128).tiles(0, 1) for one in (once, thrice))
    assert alone.bytes == shared.bytes
    assert shared.compute - FILL == 3 * (alone.compute - FILL)


def test_a_prompt_reads_the_matrix_again_for_every_128_tokens():
    operator = Operator("w", FEED_FORWARD, rows=32, inputs=2048, vectors=300)
    tiles = product(operator, U280.matrix, size=32 * 2048).tiles(0, 1)
    assert len(tiles) == 3 * (1 + 2)  # vectors, then two instructions
    assert [tile.bytes for tile in tiles[::3]] == [128 * 2048, 128 * 2048, 44 * 2048]
    assert tiles[0].load == 128 * 2048 / 8
    assert tiles[1].load == 16 * 2048  # one channel
    assert tiles[1].compute == 16 * 2048 * 128 / 4096
    assert tiles[7].compute == 16 * 2048 * 44 / 4096


def test_the_kv_cache_is_dense_whatever_the_weights():
    keys = Operator("scores", ATTENTION, 128, 128, matrices=32, cached=32 * 128)
    sparse = U280.with_weights(WeightFormat(bits=4, group_size=128, keep={2: 1}))
    assert sparse.bytes_read(keys) == U280.bytes_read(keys) == 32 * 128 * (128 + 2)


def test_a_technique_says_bits_and_blocks():
    plain = Operator("w", FEED_FORWARD, rows=256, inputs=256)
    half = Operator("w", FEED_FORWARD, rows=256, inputs=256, bits=3.0, kept=0.5, pattern=(8, 16))
    assert U280.bytes_read(half) == 256 * 256 // 2 * (3 + 4) // 8
    assert U280.bytes_read(plain) == 256 * 256 // 2 + 256 + 256 * 2 * 2


def test_labels():
    assert U280.label == "FlightLLM U280, INT4 dense"
    half = WeightFormat(bits=3.5, group_size=128, keep={4: 0.5, 8: 0.25, 16: 0.25})
    assert U280.with_weights(half).label == "FlightLLM U280, INT3.5 50% kept"


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
            {"cores": 5},
            "cores is 5; with 2048 DSPs each, u280 with 9024 DSPs holds at most 4",
        ),
        (
            {"cores": 4, "vector": Mode(**dict(U280.vector) | {"channels": 9})},
            "cores is 4; with 9 channels each, hbm with 32 channels feeds at most 3",
        ),
        ({"memory": "sram"}, "memory is 'sram'; u280 has hbm, ddr"),
        ({"instructions": "tape"}, "instructions is 'tape'; u280 has hbm, ddr"),
        ({"board": "u281"}, "board: there is no board 'u281'; known are u280, vhk158"),
        ({"clock_mhz": 0}, "clock_mhz is 0; input should be greater than 0"),
        ({"chain": {"m": 5}}, "chain: m is 5; allowed here are 4, 8, 16 or 32"),
        ({"colour": "red"}, "colour is 'red'; extra inputs are not permitted"),
    ],
)
def test_systems_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        FpgaSystem(**fields_of(U280, **changes))

import re

import pytest

from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig


def test_the_default_engine():
    config = MatrixEngineConfig()
    assert config.chain == SparseChainConfig()
    assert (config.lanes, config.tile_rows) == (64, 256)
    assert (config.expansion.lanes, config.expansion.word_bits) == (32, 256)


def largest_product(fraction_bits):
    return (-128 * 2**fraction_bits - 127) * -128


@pytest.mark.parametrize("fraction_bits", range(5))
@pytest.mark.parametrize("bits", range(21, 28))
def test_no_sum_of_a_group_can_overflow(bits, fraction_bits):
    config = MatrixEngineConfig(accumulator_bits=bits, zero_fraction_bits=fraction_bits)
    assert config.max_group_inputs >= config.m
    assert config.max_group_inputs * largest_product(0) < 2 ** (bits - 1)
    assert config.max_group_inputs * largest_product(fraction_bits) < 2**26
    assert config.max_group_inputs * 128 < 2 ** (config.offset_bits - 1)


def test_fraction_bits_of_zero_points_make_groups_shorter():
    most = [MatrixEngineConfig(zero_fraction_bits=f).max_group_inputs for f in range(5)]
    assert most == [2047, 1365, 819, 455, 240]


@pytest.mark.parametrize("fraction_bits", range(5))
@pytest.mark.parametrize("bits", [1, 8, 16, 17])
def test_no_output_can_overflow(bits, fraction_bits):
    config = MatrixEngineConfig(scale_bits=bits, zero_fraction_bits=fraction_bits)
    assert config.max_inputs * largest_product(fraction_bits) * (2**bits - 1) < 2**47


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chains": 0}, "chains is 0; allowed here are 1 to 64"),
        ({"chains": 2.0}, "chains is 2.0; allowed here are 1 to 64"),
        ({"m": 12}, "m is 12; allowed here are 4, 8, 16 or 32"),
        ({"chain_length": 4}, "chain_length is 4; the engine needs 8 or more"),
        ({"m": 4}, "chain_length is 4; the engine needs 8 or more"),
        ({"group_length": 3}, "group_length is 3; allowed here are 2, 4 or 8"),
        # A buffer that is too small for what it must hold.
        ({"activation_depth": 16}, "activation_depth is 16; allowed here are 32 to 16384"),
        ({"activation_depth": 40}, "activation_depth is 40; a multiple of 16 is needed"),
        (
            {"word_bits": 128},
            "word_bits is 128; 32 lanes need a multiple of 256, at most 1024",
        ),
        ({"weight_depth": 1}, "weight_depth is 1; allowed here are 2 to 1024"),
        ({"index_depth": 8}, "index_depth is 8; allowed here are 16 to 1024"),
        ({"pass_depth": 1}, "pass_depth is 1; allowed here are 2 to 1024"),
        ({"accumulator_bits": 20}, "accumulator_bits is 20; allowed here are 21 to 27"),
        ({"accumulator_bits": 28}, "accumulator_bits is 28; allowed here are 21 to 27"),
        ({"scale_bits": 18}, "scale_bits is 18; allowed here are 1 to 17"),
        ({"scale_shift": 0}, "scale_shift is 0; allowed here are 1 to 40"),
        ({"output_bits": 3}, "output_bits is 3; allowed here are 4 to 32"),
        ({"output_bits": True}, "output_bits is True; allowed here are 4 to 32"),
        ({"zero_fraction_bits": -1}, "zero_fraction_bits is -1; allowed here are 0 to 4"),
        ({"zero_fraction_bits": 5}, "zero_fraction_bits is 5; allowed here are 0 to 4"),
    ],
)
def test_what_no_engine_can_be(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        MatrixEngineConfig(**fields)

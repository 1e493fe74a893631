import re
from dataclasses import FrozenInstanceError

import pytest

from golden.spec.dsp48e2 import LANE_BITS
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig

SIZES = (4, 8, 16, 32)
SHAPES = [
    (m, length, group)
    for m in SIZES
    for group in (2, 4, 8)
    for length in (2, 4, 8, 16, 32)
    if group <= length <= m
]


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


def fits(value, bits):
    return -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


def test_the_default_chain():
    config = SparseChainConfig()
    assert (config.m, config.chain_length, config.group_length) == (16, 16, 2)
    assert (config.activation_bits, config.weight_bits) == (8, 8)
    assert config.keeps == config.beats_of_pass == (2, 4, 8, 16)
    assert (config.index_bits, config.groups, config.segments) == (4, 8, 1)
    assert (config.lanes, config.sum_bits, config.residue_bits) == (32, 20, 1)


@pytest.mark.parametrize(("m", "length", "group"), SHAPES)
def test_keeps_and_beats_are_the_powers_of_two_from_a_group_on(m, length, group):
    config = SparseChainConfig(m, length, group)
    powers = [n for n in range(group, m + 1) if n & (n - 1) == 0]
    assert config.keeps == tuple(powers)
    assert config.beats_of_pass == tuple(n for n in powers if n <= length)
    assert len(config.beats_of_pass) <= 2**config.code_bits
    assert config.groups * group == length
    assert config.segments * length == m


def test_a_chain_is_as_long_as_a_block_by_default():
    assert SparseChainConfig(m=8) == SparseChainConfig(m=8, chain_length=8)


def test_sum_bits_are_the_fewest_that_hold_a_pass():
    for length in SIZES:
        for activation in range(2, 9):
            for weight in range(2, 9):
                config = SparseChainConfig(32, length, 2, 2, activation, weight)
                highest = length * 2 ** (activation + weight - 2)
                assert fits(highest, config.sum_bits)
                assert not fits(highest, config.sum_bits - 1)


def test_residue_bits_tell_every_low_sum_apart():
    for length in SIZES:
        for bits in range(2, 9):
            config = SparseChainConfig(32, length, 2, 2, bits, bits)
            half = 2 ** (LANE_BITS - 1 + config.residue_bits)
            largest, product = config.largest_sum, 2 ** (bits - 1)
            # The lowest sum: all products of opposite extremes.
            assert largest <= half and length * product * (product - 1) < half
    assert SparseChainConfig(products_per_dsp=1).residue_bits == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"m": 5}, "m is 5; allowed here are 4, 8, 16 or 32"),
        ({"m": 64}, "m is 64; allowed here are 4, 8, 16 or 32"),
        ({"m": "16"}, "m is '16'; allowed here are 4, 8, 16 or 32"),
        ({"m": True}, "m is True; allowed here are 4, 8, 16 or 32"),
        # N is at least a group: it has to divide m.
        ({"group_length": 3}, "group_length is 3; allowed here are 2, 4 or 8"),
        ({"m": 4, "group_length": 8}, "group_length is 8; allowed here are 2 or 4"),
        ({"chain_length": 1}, "chain_length is 1; allowed here are 2, 4, 8 or 16"),
        ({"chain_length": 12}, "chain_length is 12; allowed here are 2, 4, 8 or 16"),
        (
            {"chain_length": 2, "group_length": 4},
            "chain_length is 2; allowed here are 4, 8 or 16",
        ),
        ({"m": 8, "chain_length": 16}, "chain_length is 16; allowed here are 2, 4 or 8"),
        ({"m": 8, "group_length": 8, "chain_length": 4}, "chain_length is 4; allowed here are 8"),
        ({"products_per_dsp": 3}, "products_per_dsp is 3; allowed here are 1 or 2"),
        (
            {"activation_bits": 1},
            "activation_bits is 1; allowed here are 2, 3, 4, 5, 6, 7 or 8 bits",
        ),
        ({"weight_bits": 9}, "weight_bits is 9; allowed here are 2, 3, 4, 5, 6, 7 or 8 bits"),
        ({"weight_bits": 7.5}, "weight_bits is 7.5; allowed here are 2, 3, 4, 5, 6, 7 or 8 bits"),
        ({"strips": 1}, "strips is 1; allowed here are 2, 4, 8, 16, 32 or 64"),
        ({"strips": 128}, "strips is 128; allowed here are 2, 4, 8, 16, 32 or 64"),
    ],
)
def test_what_no_chain_can_be(fields, message):
    with refuses(message):
        SparseChainConfig(**fields)


def test_a_configuration_is_a_value():
    config = SparseChainConfig(m=8)
    assert config == SparseChainConfig(m=8) != SparseChainConfig(m=4)
    assert len({config, SparseChainConfig(m=8)}) == 1
    with pytest.raises(FrozenInstanceError):
        config.m = 4

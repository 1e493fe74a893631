import re
from dataclasses import FrozenInstanceError

import pytest

from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig

SIZES = (4, 8, 16, 32)
OPERANDS = [(m, a, w) for m in SIZES for a in range(2, 9) for w in range(2, 9)]


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


def fits(value, bits):
    return -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


def worst_products(config):
    """The largest and the smallest product of two signed operands."""
    low_a, low_w = -(2 ** (config.activation_bits - 1)), -(2 ** (config.weight_bits - 1))
    return low_a * low_w, min(low_a * (-low_w - 1), low_w * (-low_a - 1))


def narrowest(*operands):
    """The chain with the shortest legal accumulator."""
    return SparseChainConfig(*operands, SparseChainConfig(*operands).cascade_bits)


def test_the_default_chain():
    config = SparseChainConfig()
    assert (config.m, config.activation_bits, config.weight_bits) == (16, 8, 8)
    assert config.keeps == (2, 4, 8, 16)
    assert config.index_bits == 4
    assert config.groups == 8
    assert config.product_bits == 16
    assert config.cascade_bits == 20
    assert config.accumulator_bits == 32
    assert config.max_terms == 131071


@pytest.mark.parametrize("m", SIZES)
def test_keeps_are_the_powers_of_two_from_2_to_dense(m):
    config = SparseChainConfig(m=m)
    assert config.keeps == tuple(n for n in range(2, m + 1) if n & (n - 1) == 0)
    assert 2**config.index_bits == m
    assert config.groups * 2 == m


def test_cascade_bits_are_the_fewest_that_hold_m_products():
    for operands in OPERANDS:
        config = SparseChainConfig(*operands)
        highest, lowest = worst_products(config)
        assert fits(highest, config.product_bits) and fits(lowest, config.product_bits)
        assert fits(config.m * highest, config.cascade_bits)
        assert fits(config.m * lowest, config.cascade_bits)
        assert not fits(config.m * highest, config.cascade_bits - 1)


def test_max_terms_is_the_most_that_cannot_overflow():
    for operands in OPERANDS:
        for config in (SparseChainConfig(*operands), narrowest(*operands)):
            highest, lowest = worst_products(config)
            assert fits(config.max_terms * highest, config.accumulator_bits)
            assert fits(config.max_terms * lowest, config.accumulator_bits)
            assert not fits((config.max_terms + 1) * highest, config.accumulator_bits)
            assert config.max_terms >= config.m


@pytest.mark.parametrize("m", [0, 1, 2, 3, 5, 12, 64, -4, "16", None])
def test_m_that_no_chain_has(m):
    with refuses(f"m is {m!r}; a block is 4, 8, 16 or 32 inputs wide"):
        SparseChainConfig(m=m)


@pytest.mark.parametrize("field", ["activation_bits", "weight_bits"])
@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 7.5, "8", None])
def test_operands_are_2_to_8_bits(field, bits):
    with refuses(f"{field} is {bits!r}; allowed are 2 to 8 bits"):
        SparseChainConfig(**{field: bits})


@pytest.mark.parametrize("bits", [0, 19, 49, 32.5, "32"])
def test_accumulator_bits_that_are_too_few_or_too_many(bits):
    with refuses(f"accumulator_bits is {bits!r}; a chain of 16 needs 20 to 48 bits"):
        SparseChainConfig(accumulator_bits=bits)


@pytest.mark.parametrize("bits", [20, 48])
def test_the_ends_of_the_accumulators_range(bits):
    assert SparseChainConfig(accumulator_bits=bits).accumulator_bits == bits


def test_a_configuration_is_a_value():
    config = SparseChainConfig(m=8)
    assert config == SparseChainConfig(m=8) != SparseChainConfig(m=4)
    assert len({config, SparseChainConfig(m=8)}) == 1
    with pytest.raises(FrozenInstanceError):
        config.m = 4

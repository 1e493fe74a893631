"""Over 200 random configurations of the chain and the engine: bit-exact, cycles as contracted."""

import numpy as np
import pytest

from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from hw import engine_cases, verify_chain, verify_engine

CHAINS, ENGINES = 160, 50
PARTS = 10


def different(draw, count, seed):
    """Return so many different configurations; `draw` may give fields that do not fit."""
    random = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        try:
            found[draw(random)] = True
        except ConfigError:
            continue
    return list(found)


def choice(random, *values, p=None):
    return int(random.choice(values, p=p))


def a_chain(random):
    return SparseChainConfig(
        m=choice(random, 4, 8, 16, 32, p=(0.35, 0.35, 0.25, 0.05)),
        chain_length=choice(random, 0, 2, 4, 8, 16),
        group_length=choice(random, 2, 4, 8),
        products_per_dsp=choice(random, 1, 2),
        activation_bits=choice(random, *range(2, 9)),
        weight_bits=choice(random, *range(2, 9)),
        strips=choice(random, 2, 4, 8, 16, 32, 64),
    )


def an_engine(random):
    m = choice(random, 8, 16, 32, p=(0.7, 0.25, 0.05))
    length = choice(random, 8, m)
    products = choice(random, 1, 2)
    return MatrixEngineConfig(
        chains=choice(random, 1, 2, 3),
        m=m,
        chain_length=length,
        group_length=choice(random, 2, 4, 8),
        products_per_dsp=products,
        strips=choice(random, 2, 4, 16, 64),
        activation_depth=m * choice(random, 2, 3, 8, 64),
        word_bits=8 * length * products * choice(random, 1, 2, 3),
        weight_depth=choice(random, 2, 5, 32),
        index_depth=length + choice(random, 0, 3, 32),
        pass_depth=choice(random, 2, 3, 32),
        accumulator_bits=choice(random, 22, 24, 27),
        scale_bits=choice(random, 1, 9, 17),
        scale_shift=choice(random, 1, 12, 24, 40),
        output_bits=choice(random, 4, 8, 13, 32),
        zero_fraction_bits=choice(random, 0, 0, 3, 4),
    )


@pytest.mark.full
@pytest.mark.parametrize("part", range(PARTS))
def test_every_chain_keeps_sums_and_contract(part):
    for config in different(a_chain, CHAINS, seed=1)[part::PARTS]:
        results = verify_chain.run_cases(verify_chain.random_cases(config, 10, seed=part))
        assert [result for result in results if not result.passed] == [], config


@pytest.mark.full
@pytest.mark.parametrize("part", range(PARTS))
def test_every_engine_keeps_outputs_and_contract(part):
    for config in different(an_engine, ENGINES, seed=2)[part::PARTS]:
        results = verify_engine.run_cases(engine_cases.random_cases(config, 20, seed=part))
        assert [result for result in results if not result.passed] == [], config

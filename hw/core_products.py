"""Counts the useful products of a core, from the strips that a monitor has seen."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from golden.core_effects import Effect
from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import PRODUCTS, Unit, Weights
from hw.core_cases import Packed
from hw.core_monitor import CoreLog


def useful_products(
    config: CoreConfig,
    program: Sequence[Instruction],
    matrices: Sequence[Packed],
    effects: Sequence[Effect],
    log: CoreLog,
) -> int:
    """Return how many weights that are there were multiplied for the strips in the log.

    Args:
        program: of a core; each of its products has one load. matrices: that it loads.
        effects: golden's, of its instructions. log: of this program alone.
    """
    at, total = dict.fromkeys(PRODUCTS, 0), 0
    made = [effect for effect in effects if effect.unit in PRODUCTS]
    for effect, worth in zip(made, _worth(config, program, matrices), strict=True):
        assert effect.vector is not None
        start = at[effect.unit]
        at[effect.unit] += len(effect.vector.addresses)
        strips = log.vectors[effect.unit].address[start : at[effect.unit]]
        total += int(worth[strips].sum())
    return total


def _worth(
    config: CoreConfig, program: Sequence[Instruction], matrices: Sequence[Packed]
) -> Iterator[np.ndarray]:
    """Yield of each product how many weights a strip has that goes to each word.

    These are int64 [vector_depth].
    """
    kept: Mapping[int, tuple[int, ...]] = {one.load["offset"]: one.kept for one in matrices}
    products = [one for one in program if one.unit in PRODUCTS]
    loads = [one for one in program if one.unit is Unit.LD and one["channels"]]
    for product, load in zip(products, loads, strict=True):
        if product["weights"] == Weights.RAW:
            yield np.full(config.vector_depth, config.m**2 * product["columns"])
            continue
        worth, weights = np.zeros(config.vector_depth, np.int64), kept[load["offset"]]
        is_matrix = product.unit is Unit.MM
        for token in range(product["tokens"] if is_matrix else 1):
            start = product["out"] + (token * product["out_step"] if is_matrix else 0)
            worth[(start + np.arange(len(weights))) % config.vector_depth] = weights
        yield worth

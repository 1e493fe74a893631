"""A first end-to-end estimate: one decode step of a language model, in SimPy."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import simpy

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim.memory_formats import WeightFormat
from sim.operators import decode_step
from sim.system import System, Tile

COMMON_ASSUMPTIONS = (
    "An upper bound on tokens/s: main memory streams at its datasheet bandwidth, without latency.",
    "Softmax, norms, RoPE, SiLU and additions take no time, nor do the host and instructions.",
    "Embedding look-up, sampling and the token's own place in the KV cache are left out.",
)


@dataclass(frozen=True)
class DecodeEstimate:
    """One decode step (one token, batch 1) at a given context length.

    Attributes:
        system, model: their names; label: the system and its weight format as a chart shows them.
        context: tokens already in the KV cache.
        tpot_ms: time per output token.
        decode_tokens_per_s: 1000 / tpot_ms.
        bytes_per_token: bytes read from main memory (weights, indices, KV cache).
        bandwidth_used: bytes_per_token / tpot / peak bandwidth, 0 to 1.
        cycles_per_token: cycles of the busiest compute unit by its timing contract; 0 where the
            system has none (a GPU).
        bottleneck: the resource that was busy longest ("memory" or "compute").
        breakdown: milliseconds per operator class, in order of use; sums to tpot_ms.
        published_tokens_per_s: a measured figure to set beside the estimate, with published_source;
            None where there is none.
        assumptions: what the estimate leaves out, one sentence each.
    """

    system: str
    model: str
    label: str
    context: int
    tpot_ms: float
    decode_tokens_per_s: float
    bytes_per_token: int
    bandwidth_used: float
    cycles_per_token: int
    bottleneck: str
    breakdown: dict[str, float] = field(default_factory=dict)
    published_tokens_per_s: float | None = None
    published_source: str = ""
    assumptions: tuple[str, ...] = ()


def estimate_decode(
    system: System, model: ModelShape, context: int, weights: WeightFormat | None = None
) -> DecodeEstimate:
    """Simulate one decode step of `model` on `system`, with `context` tokens in the KV cache.

    Args:
        weights: the weights' format, where it is not the system's own.

    Raises:
        ConfigError: the context is empty, the system cannot take the weights, or its memory cannot
            hold what the step reads.
    """
    if context < 1:
        raise ConfigError(f"context is {context}; a decode step follows at least 1 token")
    weights = weights or system.weights
    system.check(weights)
    operators = decode_step(model, context)
    bytes_read = sum(system.bytes_read(operator, weights) for operator in operators)
    system.check_fits(bytes_read)

    # Layers repeat, so every distinct operator is cut into tiles once.
    tiles_of = {operator: system.tiles(operator, weights) for operator in set(operators)}
    step = [tiles_of[operator] for operator in operators]
    tiles = [tile for each in step for tile in each]
    bytes_per_s = system.main_memory.bytes_per_s
    finished = simulate(step, bytes_per_s)
    breakdown: dict[str, float] = {}
    for operator, (before, now) in zip(operators, pairwise([0.0, *finished]), strict=True):
        breakdown[operator.part] = breakdown.get(operator.part, 0.0) + (now - before) * 1e3
    tpot = finished[-1]
    compute_bound = sum(tile.seconds for tile in tiles) > bytes_read / bytes_per_s
    published = system.published_at(model.name, context)
    return DecodeEstimate(
        system=system.name,
        model=model.name,
        label=system.label(weights),
        context=context,
        tpot_ms=tpot * 1e3,
        decode_tokens_per_s=1 / tpot,
        bytes_per_token=bytes_read,
        bandwidth_used=bytes_read / tpot / bytes_per_s,
        cycles_per_token=sum(tile.cycles for tile in tiles),
        bottleneck="compute" if compute_bound else "memory",
        breakdown=breakdown,
        published_tokens_per_s=published.tokens_per_s if published else None,
        published_source=published.source if published else "",
        assumptions=COMMON_ASSUMPTIONS + system.assumptions,
    )


def simulate(step: Sequence[Sequence[Tile]], bytes_per_s: float) -> list[float]:
    """Return the second in which each operator of `step` is finished.

    One process streams every tile from memory into a double buffer, another computes the tiles in
    order. So the memory runs ahead, over operators' boundaries too, until both halves are taken.
    """
    env = simpy.Environment()
    free_halves = simpy.Container(env, capacity=2, init=2)
    loaded = simpy.Store(env)
    finished: list[float] = []

    def load() -> Generator[Any, Any, None]:
        for tiles in step:
            for tile in tiles:
                yield free_halves.get(1)
                yield env.timeout(tile.bytes / bytes_per_s)
                loaded.put(tile)

    def compute() -> Generator[Any, Any, None]:
        for tiles in step:
            for _ in tiles:
                tile = yield loaded.get()
                yield env.timeout(tile.seconds)
                free_halves.put(1)
            finished.append(env.now)

    env.process(load())
    env.process(compute())
    env.run()
    return finished

"""A core for a board and a model: as many chains as the board's memory feeds, and room on the chip.

Every chain takes a word of 2 m bytes per cycle. So the board's large memory and the clock say how
many there are; they are dealt to a core per die (SLR). The depths of the memories on the chip are
the smallest that hold the model, which `hls_gen.buffers` tells.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from golden.model_shapes import ModelShape
from golden.spec.core import MAX_CORES, CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import CHANNELS
from golden.spec.special_function_unit import WIDE_BITS
from hls_gen.compiler import Compiled
from hls_gen.plan import ModelPlan
from hls_gen.shape_plan import WeightShape, check_architecture, shape_plan
from hw.board import Board, Memory

CLOCK_MHZ = 225.0
"""FlightLLM's on U280 (arXiv 2401.03868, table 3)."""

MEMORY = "hbm"
"""The board's memory that holds weights and cache; without it the first one that it has."""

_BRAM36_BYTES, _URAM_BYTES = 4096, 32768
"""Of data, without parity bits (UltraScale+ data sheet DS890)."""


def core_of(
    board: Board,
    shape: ModelShape,
    max_positions: int,
    chunk: int,
    weights: WeightShape,
    settings: dict[str, Any] | None = None,
) -> CoreConfig:
    """Return the cores that run a model on a board.

    Args:
        max_positions, chunk: as in `hls_gen.compiler.compile_model`.
        settings: fields of the configuration that are given.

    Raises:
        ConfigError: the model has an architecture that no program computes, or needs more memory
            than the board has, on the chip or beside it.
    """
    check_architecture(shape)
    given = settings or {}
    config = replace(CoreConfig(cores=min(board.slrs, MAX_CORES)), **given)
    if "chains" not in given:
        config = replace(config, chains=chains_of(board, config))
    config = replace(config, **(_depths(config, shape, max_positions, chunk, weights) | given))
    plan = shape_plan(shape, config, max_positions, chunk, weights)
    check_board(board, plan)
    return config


def chains_of(board: Board, config: CoreConfig) -> int:
    """Return the chains of each core that the board's memory feeds, a power of two.

    Rows of matrices are mostly such numbers of strips; others would leave chains without rows.
    """
    words_per_cycle = _large_memory(board).bytes_per_s / (CLOCK_MHZ * 1e6 * config.word_bytes)
    most = min(int(words_per_cycle / config.cores), CHANNELS)
    return 1 << max(most.bit_length() - 1, 0)


def _depths(
    config: CoreConfig, shape: ModelShape, max_positions: int, chunk: int, weights: WeightShape
) -> dict[str, int]:
    """Return the depths of the memories on the chip."""
    m = config.m
    inputs = max(shape.hidden, shape.heads * shape.head_size, shape.feed_forward, max_positions)
    found = {"input_depth": -(-inputs // m) * m}
    largest = dict.fromkeys(("replay_words", "vector_depth", "activation_depth"), 1 << 16)

    def try_program(depths: dict[str, int]) -> None:
        """Make a program, or raise ConfigError."""
        plan = shape_plan(shape, replace(config, **depths), max_positions, chunk, weights)
        Compiled(plan, ()).program(max_positions - chunk, tokens=chunk, layers=())

    def fits(depths: dict[str, int]) -> bool:
        with suppress(ConfigError):
            try_program(depths)
            return True
        return False

    try_program(largest | found)
    # With the others as large as they can be, each one's least is found alone.
    for name, most in largest.items():
        depths = (1 << k for k in range(6, most.bit_length()))
        found[name] = next(depth for depth in depths if fits(largest | found | {name: depth}))
    return found


def check_board(board: Board, plan: ModelPlan) -> None:
    """Refuse a model for which the board has too little memory.

    Raises:
        ConfigError: what is needed, and what there is.
    """
    memory, config = plan.memory, plan.memory.config
    on_chip = config.cores * chip_bytes(config)
    there = board.bram36 * _BRAM36_BYTES + board.urams * _URAM_BYTES
    for what, needed, limit in (
        ("weights and cache", config.all_chains * memory.channel_bytes, _large_memory(board).bytes),
        ("memories on the chip", on_chip, there),
    ):
        if needed > limit:
            raise ConfigError(
                f"{memory.shape.name} needs {needed / 2**20:,.0f} MiB for {what}; {board.name} has "
                f"{limit / 2**20:,.0f}: take fewer bits, positions or tokens of a chunk"
            )


def _large_memory(board: Board) -> Memory:
    """Return the memory that holds weights and cache."""
    return board.memories.get(MEMORY) or next(iter(board.memories.values()))


def chip_bytes(config: CoreConfig) -> int:
    """Return the bytes of a core's memories on the chip."""
    vectors = config.vector_depth * config.m * WIDE_BITS // 8
    activations = config.activation_depth * 2 * config.m
    words = config.chains * (config.replay_words + config.buffer_words) * config.word_bytes
    inputs = 2 * config.input_depth
    return vectors + activations + words + inputs

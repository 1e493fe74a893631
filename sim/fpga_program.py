"""What an FPGA's instructions take of memory, as FlightLLM's authors encode them.

Sizes are those of the instruction generator that they released (`profile/inst_gen/isa.py`), before
eight loads, one for each channel, are merged into one.
"""

from sim.double_buffer import Stage, Tile

LOAD, STORE, PRODUCT, FUNCTION, SYNC = 28, 12, 16, 12, 4
"""Bytes of LD, ST, MM or MV, MISC and SYS."""

LOADS_OF_TILE = 10
"""A tile's loads: its weights from eight channels, their indices, and the blocks' N."""

LOADS_OF_STAGE = 3
"""A stage's other loads: of 89,554 for 8,830 tiles in 418 stages (docs/systems/flightllm.md)."""


def instruction_bytes(stage: Stage) -> int:
    """Return the bytes of one core's instructions for a stage."""
    return sum(map(_of_tile, stage.cores[0])) + LOADS_OF_STAGE * LOAD + STORE + SYNC


def _of_tile(tile: Tile) -> int:
    product = (LOADS_OF_TILE * LOAD + PRODUCT) if tile.compute else 0
    return product + (FUNCTION if tile.finish else 0)

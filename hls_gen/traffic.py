"""What programs move over the memory ports, by what it is of."""

from collections.abc import Sequence
from math import prod

from golden.spec.instruction import Instruction
from golden.spec.isa import Unit
from hls_gen.memory_map import Base

TRAFFIC = {
    Base.TABLES: "norms_and_rotations",
    Base.ROTATIONS: "norms_and_rotations",
    Base.ROW: "embedding",
    Base.OUTPUTS: "logits",
    Base.WEIGHTS: "weights",
    **dict.fromkeys((Base.CACHE, Base.NEW_KEYS, Base.NEW_VALUES), "kv_cache"),
}
"""What the programs move, by base register. Nothing else is in the memories."""


def offchip_bytes(instructions: Sequence[Instruction], word_bytes: int) -> dict[str, int]:
    """Return the bytes that a program's loads and stores move, by what they are of."""
    moved = dict.fromkeys(TRAFFIC.values(), 0)
    for one in instructions:
        if one.unit not in (Unit.LD, Unit.ST):
            continue
        ports = max(one["channels"].bit_count(), 1)
        size = word_bytes if one.unit is Unit.LD else 1
        moved[TRAFFIC[Base(one["base"])]] += ports * _length(one) * size
    return moved


def channel_words(loads: Sequence[Instruction], channels: int) -> list[int]:
    """Return the words that some loads read from each channel."""
    words = [0] * channels
    for load in loads:
        for channel in range(channels):
            if load["channels"] >> channel & 1:
                words[channel] += _length(load)
    return words


def _length(one: Instruction) -> int:
    """Return the words of a load, or the bytes of a store, of one port."""
    return prod(one[name] for name in ("length", "count_1", "count_2", "count_3"))

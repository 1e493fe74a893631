"""Which passes a sparse chain does, and in which order: the tiles, and the list without weights."""

from dataclasses import dataclass

import numpy as np

from golden.spec.sparse_chain import SparseChainConfig


@dataclass(frozen=True, eq=False)
class Plan:
    """What a chain has at its addresses, before it is put in order.

    Attributes:
        keep: N of each slot in each column, int64 [slots, columns]; a slot is what an address
            holds in one tile: a strip, or two with `two_rows`.
        tiles: first slot of each tile, and the end of the last one, int64 [tiles + 1].
        columns_per_group: columns that share a scale; the last group may have fewer.
        two_rows: each slot has two strips, all dense.
    """

    config: SparseChainConfig
    keep: np.ndarray
    tiles: np.ndarray
    columns_per_group: int
    two_rows: bool


def cut_into_tiles(slots: int, strips: int) -> np.ndarray:
    """Return the bounds of the fewest tiles of at most `strips` slots, of nearly equal size.

    Equal, because a short tile has too few beats in a column to hide the loading of the next one.
    """
    return np.linspace(0, slots, -(-slots // strips) + 1).astype(np.int64)


def list_passes(plan: Plan) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return (first, fields): for each block with weights its first pass, and what a pass is.

    first: int64 [slots, columns], -1 where a block has no weights of its own.
    fields: arrays [passes], as `golden.passes.Passes` describes them; `slot` is beside them.
    """
    config = plan.config
    stand_in = _stand_ins(plan)
    parts = np.where(stand_in, 1, -(-plan.keep // config.chain_length))
    tile_of_slot = np.repeat(np.arange(len(plan.tiles) - 1), np.diff(plan.tiles))
    # Blocks in hardware order: tile by tile, in it column by column, in it slot by slot.
    slot, column = np.indices(plan.keep.shape).reshape(2, -1)
    order = np.lexsort((slot, column, tile_of_slot[slot]))
    order = order[parts.reshape(-1)[order] > 0]
    count = parts.reshape(-1)[order]
    start = np.cumsum(count) - count
    block = np.repeat(order, count)
    slot, column = slot[block], column[block]
    keep, is_zero = plan.keep.reshape(-1)[block], stand_in.reshape(-1)[block]
    smallest = config.chain_length if plan.two_rows else config.group_length
    beats = np.where(is_zero, smallest, np.minimum(keep, config.chain_length))
    dense = plan.two_rows | (np.where(is_zero, beats, keep) == config.m)
    part = np.arange(len(block)) - np.repeat(start, count)
    first_pass = np.full(plan.keep.size, -1)
    first_pass[order] = start
    first_pass[stand_in.reshape(-1)] = -1
    fields = {
        "tile": tile_of_slot[slot],
        "column": column,
        "group": column // plan.columns_per_group,
        "slot": slot,
        "strip": slot - plan.tiles[tile_of_slot[slot]],
        "n": beats,
        "code": np.log2(beats // config.group_length).astype(np.int64),
        "dense": dense,
        "two_rows": np.full(len(block), plan.two_rows),
        "segment": np.where(dense, part, 0),
    }
    return first_pass.reshape(plan.keep.shape), fields | _marks(fields)


def _stand_ins(plan: Plan) -> np.ndarray:
    """Return bool [slots, columns]: where a pass of zeros is needed.

    A strip without weights in a scale group gets one in the column of fewest beats, so that it
    costs least; a column that is then still without a pass gets one in its first slot.
    """
    needed = np.zeros(plan.keep.shape, bool)
    columns = plan.keep.shape[1]
    for begin, end in zip(plan.tiles[:-1], plan.tiles[1:], strict=True):
        keep = plan.keep[begin:end]
        beats = keep.sum(axis=0)
        for left in range(0, columns, plan.columns_per_group):
            right = min(left + plan.columns_per_group, columns)
            absent = ~keep[:, left:right].any(axis=1)
            needed[begin:end, left + beats[left:right].argmin()] |= absent
        needed[begin] |= ~(keep > 0).any(axis=0) & ~needed[begin:end].any(axis=0)
    return needed


def _marks(fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return where a strip's sum, a column and a scale group begin and end."""
    tile, column, group, slot = (fields[name] for name in ("tile", "column", "group", "slot"))
    # One group's passes of one strip, in their order, side by side.
    order = np.lexsort((group, slot))
    changes = np.diff(slot[order], prepend=-1) | np.diff(group[order], prepend=-1)
    first = np.zeros(len(slot), bool)
    first[order] = changes != 0
    last = np.zeros(len(slot), bool)
    last[order] = np.roll(changes, -1) != 0
    end_group = (np.diff(tile, append=-1) != 0) | (np.diff(group, append=-1) != 0)
    end_column = end_group | (np.diff(column, append=-1) != 0)
    return {"first": first, "last": last, "end_column": end_column, "end_group": end_group}

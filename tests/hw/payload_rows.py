"""Constants of a layout as payloads of the player."""

import numpy as np


def to_bytes(layout, rows):
    """Return uint8 [rows, bytes] of rows, each a mapping of the layout's fields."""
    size = -(-layout.size // 8)
    values = [layout.const(row).as_value().value.to_bytes(size, "little") for row in rows]
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), size)

"""How a drive is: what HEALTH answers with."""

import struct
from typing import NamedTuple, Self

from storage_engine.flash_manager import FlashManager

_HEALTH = struct.Struct("<10Q2I")


class Health(NamedTuple):
    """A drive's health since it was powered on, and its wear since it was made.

    Attributes:
        written, moved, summaries, failed, aborted, reads, retried, corrected, uncorrectable: of
            `FlashCounters`; so the raw bit errors are `corrected` over the bits of `reads`.
        free_pages: that can be written.
        bad_blocks: of all. most_erases: of a block.
    """

    written: int
    moved: int
    summaries: int
    failed: int
    aborted: int
    reads: int
    retried: int
    corrected: int
    uncorrectable: int
    free_pages: int
    bad_blocks: int
    most_erases: int

    def pack(self) -> bytes:
        """Return it in bytes, little-endian."""
        return _HEALTH.pack(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Return what was packed."""
        return cls(*_HEALTH.unpack(packed))


HEALTH_BYTES = _HEALTH.size


def health_of(manager: FlashManager) -> Health:
    """Return a drive's health."""
    state = manager.state
    return Health(
        **vars(manager.counters),
        free_pages=manager.free_pages,
        bad_blocks=len(state.bad),
        most_erases=max(state.erases.values(), default=0),
    )

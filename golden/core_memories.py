"""The memories behind a core's ports, as arrays of bytes, and the runs that LD and ST name."""

from collections.abc import Mapping, Sequence

import numpy as np

from golden.core_effects import CoreStopped
from golden.spec.core import CoreConfig
from golden.spec.errors import ShapeError
from golden.spec.instruction import Instruction
from golden.spec.isa import ADDRESS_BITS, ErrorCode, Unit

GENERAL = "general"
"""Name of the general port; the others are `channel_0`, `channel_1` and so on."""


def channel(number: int) -> str:
    """Return the name of a channel's port."""
    return f"channel_{number}"


def numbers_in(mask: int) -> list[int]:
    """Return the numbers of the bits that are 1, the lowest first."""
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def ports_of(one: Instruction) -> list[str]:
    """Return the ports that an LD or ST names."""
    return [channel(number) for number in numbers_in(one["channels"])] or [GENERAL]


def check_memories(config: CoreConfig, memories: Mapping[str, np.ndarray]) -> None:
    """Raise ShapeError unless each port that a core has beside `program` has a row of bytes."""
    needed = {GENERAL, *map(channel, range(config.chains))}
    if set(memories) != needed:
        raise ShapeError(
            f"the memories are {', '.join(sorted(memories))}; "
            f"a core of {config.chains} chains has {', '.join(sorted(needed))}"
        )
    for port, data in memories.items():
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ShapeError(
                f"the memory of {port} is {data.dtype} {list(data.shape)}; a row of uint8 is needed"
            )


def runs(
    pc: int, one: Instruction, bases: Sequence[int], length: int, size: int, unit_bytes: int = 1
) -> np.ndarray:
    """Return the first byte of each run of an LD or ST, int64 [runs], in their order.

    Args:
        length: of each run, in bytes. size: of the memory.
        unit_bytes: runs begin at multiples of this.

    Raises:
        CoreStopped: at the first run that is not aligned or does not lie in the memory.
    """
    starts = []
    # Round by round, so that loops without sense end before they fill the memory.
    for third in range(one["count_3"]):
        start = bases[one["base"]] + one["offset"] + third * one["stride_3"]
        inner = np.arange(one["count_1"]) * one["stride_1"]
        steps = np.arange(one["count_2"])[:, None] * one["stride_2"] + inner
        starts.append((start + steps.reshape(-1)) % (1 << ADDRESS_BITS))
        _check(pc, one, starts[-1], length, size, unit_bytes)
    return np.concatenate(starts)


def _check(
    pc: int, one: Instruction, starts: np.ndarray, length: int, size: int, unit_bytes: int
) -> None:
    unaligned, beyond = starts % unit_bytes != 0, starts + length > size
    (bad,) = np.nonzero(unaligned | beyond)
    if not len(bad):
        return
    first = int(starts[bad[0]])
    if unaligned[bad[0]]:
        message = f"a run begins at byte {first:#x}; words have {unit_bytes} bytes"
        raise CoreStopped(ErrorCode.UNALIGNED_ADDRESS, pc, message)
    code = ErrorCode.READ_ERROR if one.unit is Unit.LD else ErrorCode.WRITE_ERROR
    message = f"a run of {length} bytes begins at {first:#x}; the memory has {size}"
    raise CoreStopped(code, pc, message)

"""The registers of the query unit, and what it is at."""

from enum import Enum

from amaranth.hdl import Const, Signal, Value, signed
from amaranth.lib import data

from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.engine_layouts import FRACTION_BITS, SCALE_EXPONENT_BITS, scale_layout
from storage_engine.half_to_fixed import BITS
from storage_engine.query_scale import total_bits


class State(Enum):
    """What the unit is at."""

    JOB = 0
    LOAD = 1
    CONVERT = 2
    SEARCH = 3
    MASK = 4
    SCALE = 5
    CHANNELS = 6
    ROWS = 7


def size_bits(config: DriveEngineConfig) -> int:
    """Return the bits of a channel's |q|, added up over the group."""
    return BITS - 1 + (config.queries - 1).bit_length()


class QueryRegisters:
    """The unit's registers, and a few signals that several of its parts read.

    `largest`: magnitude, of all queries. `exponent`: of the whole scores' scale. `least`: |q| of
    the last channel that is chosen; `bit`: of it, that is being tried; `room`: for equal ones.
    `totals`, `chosen`: sums of |q|. `issued`: all rows are on their way to fixed point.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        rows, queries = range(config.rows), range(max(config.queries, 2))
        self.place_layout = data.StructLayout(
            {"row": rows, "query": queries, "valid": 1, "last": 1}
        )
        self.state = Signal(State, name="state")
        self.sparf, self.issued, self.masked = (
            Signal(name=name) for name in ("sparf", "issued", "masked")
        )
        self.row, self.query = Signal(rows, name="row"), Signal(queries, name="query")
        self.key_fraction = Signal(signed(FRACTION_BITS), name="key_fraction")
        self.exponent = Signal(signed(SCALE_EXPONENT_BITS), name="exponent")
        self.largest = Signal(BITS - 1, name="largest")
        bits = size_bits(config)
        self.least, self.bit = Signal(bits, name="least"), Signal(bits, name="bit")
        self.room = Signal(range(config.head_size + 1), name="room")
        self.channels = Signal(config.head_size, name="channels")
        total = total_bits(config)
        self.totals, self.chosen = (
            [Signal(total, name=f"{name}_{q}") for q in range(config.queries)]
            for name in ("total", "chosen")
        )
        self.scales = [Signal(scale_layout(), name=f"scale_{q}") for q in range(config.queries)]
        self.scaled, self.gives, self.ends_rows = (
            Signal(name=name) for name in ("scaled", "gives", "ends_rows")
        )
        self.ends: Value = Const(0)

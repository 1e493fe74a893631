"""What data sheets say of a memory and of an FPGA board (`hw/boards/*.yaml`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt

import hw
from golden.spec.records import Record, load_fields, make, names

BOARDS = Path(hw.__file__).parent / "boards"


class Memory(Record):
    """A memory: its capacity, its peak bandwidth and the channels that share it."""

    gib: PositiveFloat
    gb_per_s: PositiveFloat
    channels: PositiveInt = 1

    @property
    def bytes(self) -> int:
        """How many bytes it holds."""
        return int(self.gib * 2**30)

    @property
    def bytes_per_s(self) -> float:
        """Peak bytes per second of all channels together."""
        return self.gb_per_s * 1e9


class Board(Record):
    """An FPGA board: the resources of its device, and the memories around it."""

    name: str
    source: str
    dsps: PositiveInt
    luts: PositiveInt
    flip_flops: PositiveInt
    bram36: PositiveInt
    urams: NonNegativeInt
    slrs: PositiveInt
    memories: dict[str, Memory]


def board_names() -> list[str]:
    """Return the names of the boards that have a file."""
    return names(BOARDS)


def load_board(name: str) -> Board:
    """Return the board called `name`.

    Raises:
        ConfigError: there is no such board, or its file is wrong.
    """
    return make(Board, name, load_fields(BOARDS, "board", name))


def _by_name(load: Callable[[str], Record]) -> BeforeValidator:
    """Return a validator that replaces a name by the record it stands for."""
    return BeforeValidator(lambda value: load(value) if isinstance(value, str) else value)


NamedBoard = Annotated[Board, _by_name(load_board)]

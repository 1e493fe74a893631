"""ECP5 boards that images are built for (`bitstreams/boards/*.yaml`): part, clock and pins."""

import difflib
from pathlib import Path

from pydantic import PositiveFloat, PositiveInt

import bitstreams
from golden.spec.errors import ConfigError
from golden.spec.records import Record, load_fields, make, names

BOARDS = Path(bitstreams.__file__).parent / "boards"


class Part(Record):
    """A device as nextpnr names it: its size (an option), its package and its speed grade."""

    size: str
    package: str
    speed: PositiveInt


class Oscillator(Record):
    """Where the board's clock enters, and its frequency."""

    pin: str
    mhz: PositiveFloat
    io: str


class Leds(Record):
    """The LEDs' pins, bit 0 first; `inverted` ones shine at 0."""

    pins: tuple[str, ...]
    io: str
    inverted: bool


class Uart(Record):
    """The pin on which the FPGA sends to the host."""

    pin: str
    io: str


class Resources(Record):
    """What a part has: multipliers, blocks of RAM, look-up tables and flip-flops."""

    dsp: PositiveInt
    bram: PositiveInt
    lut: PositiveInt
    ff: PositiveInt


class Board(Record):
    """A board of the open flow.

    Attributes:
        source: where pins and resources are from.
        loader: the board's name for openFPGALoader.
    """

    name: str
    title: str
    source: str
    family: str
    part: Part
    oscillator: Oscillator
    leds: Leds
    uart: Uart
    resources: Resources
    loader: str


def board_names() -> list[str]:
    """Return the names of the boards of the open flow."""
    return names(BOARDS)


def load_board(name: str) -> Board:
    """Return the board called `name`.

    Raises:
        ConfigError: there is none; the message says which names are near.
    """
    check_name("board", name, board_names())
    return make(Board, name, load_fields(BOARDS, "board", name))


def check_name(what: str, name: str, known: list[str]) -> None:
    """Raise ConfigError unless `name` is known; the message begins with what is nearest to it."""
    if name in known:
        return
    near = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.4)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(f"there is no {what} {name!r}; {guess}known are {', '.join(known)}")

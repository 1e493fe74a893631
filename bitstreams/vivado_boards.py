"""Boards of the vendor flow (`bitstreams/boards/vivado/*.yaml`): part, clock and pins."""

from pydantic import PositiveFloat

from bitstreams.boards import BOARDS, Leds, Resources, Uart, check_name
from golden.spec.records import Record, load_fields, make, names

FOLDER = BOARDS / "vivado"


class Oscillator(Record):
    """Where the board's differential clock enters, and its frequency."""

    pin: str
    pin_n: str
    mhz: PositiveFloat
    io: str


class VivadoBoard(Record):
    """A board of the vendor flow.

    Attributes:
        source: where pins and part are from. target: as of `hw.synth.TARGETS`.
    """

    name: str
    title: str
    source: str
    part: str
    target: str
    oscillator: Oscillator
    leds: Leds
    uart: Uart
    resources: Resources


def vivado_board_names() -> list[str]:
    """Return the names of the boards of the vendor flow."""
    return names(FOLDER)


def load_vivado_board(name: str) -> VivadoBoard:
    """Return the board called `name`.

    Raises:
        ConfigError: there is none; the message says which names are near.
    """
    check_name("board of the flow vivado", name, vivado_board_names())
    return make(VivadoBoard, name, load_fields(FOLDER, "board", name))

"""The designs that images are built of, by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bitstreams.boards import Resources, check_name
from bitstreams.sparse_chain_selftest import SelfTestConfig, SparseChainSelfTest
from golden.spec.errors import ConfigError


class Sized(Protocol):
    """A board of any flow: its name, and what its part has."""

    @property
    def name(self) -> str:
        """As its file is called."""

    @property
    def resources(self) -> Resources:
        """Of its part."""


@dataclass(frozen=True)
class ImageDesign:
    """A design with LEDs and a serial port.

    Attributes:
        config: class of its configuration, which has `clock_mhz`. component: what is emitted.
        multipliers: that a configuration takes.
        size: the field of the configuration that makes it larger.
    """

    config: type[Any]
    component: Callable[..., Any]
    multipliers: Callable[[Any], int]
    size: str


DESIGNS = {
    "sparse-chain-selftest": ImageDesign(
        SelfTestConfig,
        SparseChainSelfTest,
        lambda config: config.chains * config.chain_length,
        "chains",
    ),
}


def find_design(name: str) -> ImageDesign:
    """Return the design called `name`.

    Raises:
        ConfigError: there is none; the message says which names are near.
    """
    check_name("design", name, list(DESIGNS))
    return DESIGNS[name]


def check_multipliers(board: Sized, design: ImageDesign, config: Any) -> None:
    """Raise ConfigError if the multipliers of a design are more than the board has.

    That can be said before synthesis, and exactly; see `check_fits` for the rest.
    """
    needed, there = design.multipliers(config), board.resources.dsp
    if needed <= there:
        return
    size = getattr(config, design.size)
    fitting = [
        n
        for n in range(1, size)
        if design.multipliers(replace(config, **{design.size: n})) <= there
    ]
    raise ConfigError(_too_large(board, "dsp", needed, design.size, fitting[-1] if fitting else 0))


def check_fits(board: Sized, design: ImageDesign, config: Any, used: dict[str, int]) -> None:
    """Raise ConfigError if a synthesised design takes more than the board has.

    The largest that fits is by proportion: what a design takes beside its chains is little.

    Args:
        used: by the names of the board's resources.
    """
    parts = {name: used[name] / getattr(board.resources, name) for name in used}
    worst = max(parts, key=lambda name: parts[name])
    if parts[worst] > 1:
        fitting = int(getattr(config, design.size) / parts[worst])
        raise ConfigError(_too_large(board, worst, used[worst], design.size, fitting))


def _too_large(board: Sized, resource: str, needed: int, size: str, fitting: int) -> str:
    kinds = {
        "dsp": "multipliers",
        "bram": "blocks of RAM",
        "lut": "look-up tables",
        "ff": "flip-flops",
    }
    there = getattr(board.resources, resource)
    largest = f"the largest that fits has {size}={fitting}" if fitting else "none of this kind fits"
    return (
        f"the design needs {needed} {kinds[resource]}, {needed - there} more than the {there} of "
        f"the board {board.name}; {largest}"
    )

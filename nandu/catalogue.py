"""What there is, by kind: the items of `nandu list`."""

from collections.abc import Callable
from typing import Any

from golden import model_shapes
from golden.spec.errors import ConfigError
from nandu.blocks import BLOCKS
from sim.catalogue import load_system, system_names
from sim.hardware import board_names, device_names, load_board, load_device


def items(kind: str) -> list[dict[str, Any]]:
    """Return the items of one kind, each with its `name` and what tells it from the others.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no list of {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind]()


def _blocks() -> list[dict[str, Any]]:
    return [{"name": name, "summary": block.summary} for name, block in BLOCKS.items()]


def _systems() -> list[dict[str, Any]]:
    return [{"name": name, "title": load_system(name).title} for name in system_names()]


def _models() -> list[dict[str, Any]]:
    return [model_shapes.load(name).model_dump(exclude={"source"}) for name in model_shapes.names()]


def _devices() -> list[dict[str, Any]]:
    return [{"name": name, "source": load_device(name).source} for name in device_names()]


def _boards() -> list[dict[str, Any]]:
    return [{"name": name, "source": load_board(name).source} for name in board_names()]


KINDS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "blocks": _blocks,
    "systems": _systems,
    "models": _models,
    "devices": _devices,
    "boards": _boards,
    "techniques": list,
}

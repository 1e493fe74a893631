"""What there is, by kind: the items of `nandu list`."""

from collections.abc import Callable, Collection
from typing import Any

from golden import model_shapes
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from hls_gen.hls.blocks import HLS_BLOCKS
from hw.board import board_names, load_board
from nandu.blocks import BLOCKS
from sim import treat
from sim.catalogue import load_system, system_names
from sim.devices import Device, device_names, load_device
from sim.techniques import techniques


def items(kind: str) -> list[dict[str, Any]]:
    """Return the items of one kind, each with its `name` and what tells it from the others.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no list of {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind]()


def _blocks() -> list[dict[str, Any]]:
    summaries = {name: block.summary for name, block in HLS_BLOCKS.items()}
    summaries |= {name: block.summary for name, block in BLOCKS.items()}
    backends: dict[str, Collection[str]] = {"rtl": BLOCKS, "hls": HLS_BLOCKS}
    return [
        {
            "name": name,
            "summary": summary,
            "backends": ", ".join(each for each, blocks in backends.items() if name in blocks),
        }
        for name, summary in summaries.items()
    ]


def _systems() -> list[dict[str, Any]]:
    return [{"name": name, "title": load_system(name).title} for name in system_names()]


def _models() -> list[dict[str, Any]]:
    return [_model(model_shapes.load(name)) for name in model_shapes.names()]


def _model(model: ModelShape) -> dict[str, Any]:
    return model.model_dump(exclude={"source", "aliases"}) | {"aliases": ", ".join(model.aliases)}


def _devices() -> list[dict[str, Any]]:
    return [_device(load_device(name)) for name in device_names()]


def _device(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "fp16_tflops": device.fp16_tflops,
        "int8_tops": device.int8_tops,
        "memory_gib": device.memory.gib,
        "gb_per_s": device.memory.gb_per_s,
        "source": device.source,
    }


def _boards() -> list[dict[str, Any]]:
    return [{"name": name, "source": load_board(name).source} for name in board_names()]


def _techniques() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "title": record.title,
            "options": treat.options(record()),
            "source": record.source,
        }
        for name, record in techniques().items()
    ]


KINDS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "blocks": _blocks,
    "systems": _systems,
    "models": _models,
    "devices": _devices,
    "boards": _boards,
    "techniques": _techniques,
}

"""The drawing of docs/flash-model.md is what the model does."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import simpy

from sim.flash_backend import FlashBackend
from tests.sim.flash_cases import flash

DRAWING = Path(__file__).parents[2] / "docs" / "drawings" / "flash-reads.svg"
SVG = "{http://www.w3.org/2000/svg}"
LEFT, PIXELS_PER_US, ROW = 100, 12, 24

DIES = {"dies_per_channel": 3, "page_bytes": 4000}  # 10 us of sense, 4 us on the bus
PANELS = {
    "plain": ("Commands first: a die senses again as soon as its page has left", flash(**DIES), 9),
    "data-first": (
        "Data first: no die is told to sense while pages wait",
        flash(**DIES, commands_first=False),
        9,
    ),
    "together": (
        "Two planes together: one sense, two pages",
        flash(**DIES, planes_per_die=2, plane_reads="together"),
        12,
    ),
    "cache-read": (
        "One die with cache read: senses beside transfers, after a copy of 1 µs",
        flash(page_bytes=4000, cache_read=True, cache_busy_us=1),
        4,
    ),
}


def run(some, pages):
    env = simpy.Environment()
    backend = FlashBackend(env, some, trace=True)
    env.run(backend.read(range(pages)))
    return backend.spans


def boxes_of(some, spans):
    """Return (row, kind, start and end in us, pages) of each box that a panel has."""
    bus, boxes = some.geometry.dies_per_channel, []
    for span in spans:
        if span.end > span.start:
            pages = " ".join(
                str(plane + some.geometry.planes_per_die * (span.unit + bus * span.row))
                for plane in span.planes
            )
            row = bus if span.what == "transfer" else span.unit
            boxes.append((row, span.what, span.start / 1e6, span.end / 1e6, pages))
    return sorted(boxes)


@pytest.mark.parametrize("name", PANELS)
def test_the_drawing_shows_the_model(name):
    _, some, pages = PANELS[name]
    panel = ElementTree.parse(DRAWING).find(f".//*[@id='{name}']")
    boxes = panel.findall(f"{SVG}rect")
    labels = [text.text for text in panel.findall(f"{SVG}text") if text.get("class") == "page"]
    top = min(float(box.get("y")) for box in boxes)
    drawn = []
    for box, label in zip(boxes, labels, strict=True):
        start = (float(box.get("x")) - LEFT) / PIXELS_PER_US
        end = start + float(box.get("width")) / PIXELS_PER_US
        drawn.append(
            (round((float(box.get("y")) - top) / ROW), box.get("class"), start, end, label)
        )
    assert sorted(drawn) == [
        (row, kind, pytest.approx(start), pytest.approx(end), label)
        for row, kind, start, end, label in boxes_of(some, run(some, pages))
    ]

"""The drawing of `bitstreams.quality`: frequency and size over the number of chains, as SVG."""

from collections.abc import Sequence
from typing import Protocol

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 110, 30, 34
COLOURS = ("#3366aa", "#cc6633", "#338855", "#884499", "#777777", "#aa3344")


class Measured(Protocol):
    """What a row must have."""

    @property
    def chains(self) -> int:
        """On the x axis."""

    @property
    def largest_n(self) -> int:
        """A line for each N and each width."""

    @property
    def weight_bits(self) -> int:
        """A line for each N and each width."""

    @property
    def fmax_mhz(self) -> float:
        """Drawn on the left."""

    @property
    def lut_per_mac(self) -> float:
        """Drawn on the right."""


def draw(rows: Sequence[Measured]) -> str:
    """Return two plots side by side, a line for each N and width of the weights."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{2 * WIDTH}" height="{HEIGHT}" fill="white"/>',
            *_plot(rows, "fmax_mhz", "MHz on an LFE5U-85F, speed 6", 0),
            *_plot(rows, "lut_per_mac", "look-up tables per multiplier", WIDTH),
            "</svg>\n",
        ]
    )


def _plot(rows: Sequence[Measured], what: str, title: str, left: int) -> list[str]:
    chains = sorted({row.chains for row in rows})
    top = max(getattr(row, what) for row in rows) * 1.1

    def x(value: int) -> float:
        step = (WIDTH - LEFT - RIGHT) / max(len(chains) - 1, 1)
        return left + LEFT + chains.index(value) * step

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    floor = y(0)
    parts = [f'<text x="{left + LEFT}" y="18" font-size="13">{title}</text>']
    for value in (0.0, top / 3, 2 * top / 3, top):
        parts.append(
            f'<line x1="{left + LEFT}" y1="{y(value):.1f}" x2="{left + WIDTH - RIGHT}" '
            f'y2="{y(value):.1f}" stroke="#dddddd"/>'
            f'<text x="{left + LEFT - 5}" y="{y(value) + 4:.1f}" text-anchor="end">'
            f"{value:.0f}</text>"
        )
    for value in chains:
        label = f"{value} chain{'s' * (value > 1)}"
        parts.append(
            f'<text x="{x(value):.1f}" y="{floor + 16}" text-anchor="middle">{label}</text>'
        )
    lines = sorted({(row.largest_n, row.weight_bits) for row in rows})
    for number, key in enumerate(lines):
        mine = sorted(
            (row.chains, getattr(row, what))
            for row in rows
            if (row.largest_n, row.weight_bits) == key
        )
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in mine)
        height = TOP + 14 * number + 10
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{left + WIDTH - RIGHT + 8}" y="{height}" fill="{colour}">'
            f"N to {key[0]}, {key[1]} bits</text>"
        )
    return parts

"""Levels of logic on the longest path between registers of a mapped design.

No tool here can time an UltraScale+ part; the levels between two registers are what can be known of
its clock. A look-up table counts 1, used as logic or read as memory. A carry chain counts 1 from
where it is entered, however long it is; on UltraScale+ a look-up table stands in front of it, so an
adder has 2 levels there, and 1 on ECP5, whose carry cells hold their look-up tables. The muxes that
join look-up tables of a slice count 0. Paths begin and end at registers, DSPs, block RAMs and ports
of the design; a DSP without any register is no end but a level of its own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from golden.spec.errors import ToolError

Cell = Mapping[str, Any]
Bit = int | str
"""A net of one bit by its number; Yosys writes constants as "0", "1" and "x"."""

Way = tuple[Bit, int]
"""A bit that another one follows without a clock, and the levels between them."""

_LOGIC = {
    **dict.fromkeys(("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV"), 1),
    **dict.fromkeys(("MUXF7", "MUXF8", "MUXF9", "PFUMX", "L6MUX21"), 0),
}
# What is read of a memory, and its address, as patterns of pins.
_BANKS = tuple((f"DO{port}", f"ADDR{port}") for port in "ABCDEFGH")
_TWO_PORTS = (("DPO", "DPRA.?"), ("SPO", "A.?"))
_READS = {
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM32M16", "RAM64M8", "RAM32X16DR8"), _BANKS),
    **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM128X1D", "RAM256X1D"), _TWO_PORTS),
    **{f"RAM{depth}X1S": (("O", "A.?"),) for depth in (32, 64, 128, 256, 512)},
    **dict.fromkeys(("SRL16E", "SRLC32E"), (("Q", "A.?"),)),
    "RAM64X8SW": (("O", "A"),),
    "TRELLIS_DPR16X4": (("DO", "RAD"),),
}
_MULTIPLIERS = {"DSP48E2": "[AB]", "MULT18X18D": "[AB][0-9]+"}
_REGISTERS = re.compile("[ABMP]REG|REG_.*_CLK")


@dataclass(frozen=True)
class Path:
    """A longest path: its levels, and the names of the signals where it begins and ends."""

    levels: int
    begin: str
    end: str


def longest_path(module: Cell) -> Path:
    """Return the longest path of a flat mapped module, in the form of Yosys' JSON.

    Raises:
        ToolError: the module has a combinational loop.
    """
    ways: dict[Bit, list[Way]] = {}
    ends: dict[Bit, str] = {}
    names = _names(module)
    for name, cell in module["cells"].items():
        through = dict(_ways(cell))
        ways |= through
        if not through or cell["type"] in _READS:
            given = [names[bit] for bit in _pins(cell, "output") if bit in names]
            ends |= dict.fromkeys(_pins(cell, "input"), given[0] if given else name)
    for name, port in module["ports"].items():
        if port["direction"] == "output":
            ends |= dict.fromkeys(_nets(port["bits"]), name)
    if not ends:
        return Path(0, "", "")
    levels = _levels(ways, ends, names)
    end = begin = max(ends, key=lambda bit: levels[bit])
    while ways.get(begin):
        begin = max(ways[begin], key=lambda way: levels[way[0]] + way[1])[0]
    return Path(levels[end], names.get(begin, str(begin)), ends[end])


def _levels(
    ways: Mapping[Bit, list[Way]], ends: Iterable[Bit], names: Mapping[Bit, str]
) -> dict[Bit, int]:
    """Return how many levels lie in front of every bit on the way to `ends`."""
    levels: dict[Bit, int] = {}
    entered: set[Bit] = set()
    stack = list(ends)
    while stack:
        bit = stack[-1]
        missing = [before for before, _ in ways.get(bit, ()) if before not in levels]
        if missing:
            entered.add(bit)
            if entered.intersection(missing):
                raise ToolError(f"a combinational loop goes through {names.get(bit, 'a signal')}")
            stack += missing
        else:
            before = (levels[before] + own for before, own in ways.get(bit, ()))
            levels[bit] = max(before, default=0)
            entered.discard(bit)
            stack.pop()
    return levels


def _ways(cell: Cell) -> Iterator[tuple[Bit, list[Way]]]:
    """Yield every output of a cell that follows inputs without a clock."""
    kind = cell["type"]
    if kind in _LOGIC:
        yield from _all_ways(_pins(cell, "output"), _pins(cell, "input"), _LOGIC[kind])
    elif kind in _READS:
        for read, address in _READS[kind]:
            yield from _all_ways(_pins(cell, "output", read), _pins(cell, "input", address), 1)
    elif kind in ("CARRY4", "CARRY8"):
        yield from _carry_ways(cell)
    elif kind == "CCU2C":
        entered = [(bit, 1) for bit in _pins(cell, "input", "[A-D]0")]
        entered += [(bit, 0) for bit in _pins(cell, "input", "CIN")]
        yield from ((bit, entered) for bit in _pins(cell, "output", "S0"))
        entered = entered + [(bit, 1) for bit in _pins(cell, "input", "[A-D]1")]
        yield from ((bit, entered) for bit in _pins(cell, "output", "S1|COUT"))
    elif kind in _MULTIPLIERS and not _is_registered(cell):
        yield from _all_ways(_pins(cell, "output"), _pins(cell, "input", _MULTIPLIERS[kind]), 1)


def _all_ways(
    outputs: Iterable[Bit], inputs: Iterable[Bit], levels: int
) -> Iterator[tuple[Bit, list[Way]]]:
    ways = [(bit, levels) for bit in inputs]
    return ((bit, ways) for bit in outputs)


def _carry_ways(cell: Cell) -> Iterator[tuple[Bit, list[Way]]]:
    """Yield what a carry cell's bits follow: what enters beside them or below, or the chain."""
    pins = cell["connections"]
    entered = [(bit, 0) for bit in _pins(cell, "input", "CI")]
    entered += [(bit, 1) for bit in _pins(cell, "input", "CYINIT|CI_TOP")]
    for place, beside in enumerate(zip(pins["S"], pins["DI"], strict=True)):
        entered = entered + [(bit, 1) for bit in _nets(beside)]
        for output in ("O", "CO"):
            yield from ((bit, entered) for bit in _nets(pins.get(output, [])[place : place + 1]))


def _is_registered(cell: Cell) -> bool:
    """Return whether a multiplier holds a register on the way of its product."""
    registers = (value for name, value in cell["parameters"].items() if _REGISTERS.fullmatch(name))
    return any(value != "NONE" and set(str(value)) != {"0"} for value in registers)


def _pins(cell: Cell, direction: str, pattern: str = ".*") -> list[Bit]:
    """Return the nets of the cell's pins whose name is of `pattern`."""
    return [
        bit
        for pin, bits in cell["connections"].items()
        if cell["port_directions"][pin] == direction and re.fullmatch(pattern, pin)
        for bit in _nets(bits)
    ]


def _nets(bits: Iterable[Bit]) -> list[Bit]:
    return [bit for bit in bits if isinstance(bit, int)]


def _names(module: Cell) -> dict[Bit, str]:
    """Return a name for every net, a person's where there is one."""
    names: dict[Bit, str] = {}
    for name, net in sorted(module["netnames"].items(), key=lambda item: -item[1]["hide_name"]):
        bits = net["bits"]
        names |= {bit: f"{name}[{i}]" if len(bits) > 1 else name for i, bit in enumerate(bits)}
    return names

"""Writes down what happens in a core in simulation: starts and ends, and every word written.

The monitors are bound to the ports of units inside the core. So the core needs nothing for them,
and what they say does not hang on its own counters. Cycles count from the start of the simulation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction
from golden.spec.isa import PC_BITS, PRODUCTS, Unit
from golden.spec.special_function_unit import BYTE_BITS, WIDE_BITS
from hw.emit import Design
from hw.isa import instruction_layout, port_name
from hw.load_unit import vector_write_layout
from hw.player import read_hex
from hw.word_mover import address_bits, write_layout

CYCLE_BITS = 32

_WRITERS = {"load": "o_vector", "product": "o", "functions": "o"}
"""What writes the vector buffer: instances in a core, and their streams."""

_MODULES = {"load": "load_unit", "product": "product_unit", "functions": "function_unit"}


@dataclass(frozen=True)
class Events:
    """Starts or ends of one unit's instructions.

    Attributes:
        cycle: int64 [events]. pc: of starts, int64 [events].
    """

    cycle: np.ndarray
    pc: np.ndarray


@dataclass(frozen=True)
class Writes:
    """Words written to a memory on the chip.

    Attributes:
        cycle, address, lane: int64 [words]; lanes are those of the activation memory.
        elements: int64 [words, m].
    """

    cycle: np.ndarray
    address: np.ndarray
    lane: np.ndarray
    elements: np.ndarray

    def where(self, chosen: np.ndarray) -> "Writes":
        """Return some of the words, bool [words]."""
        return Writes(*(values[chosen] for values in vars(self).values()))


@dataclass(frozen=True)
class CoreLog:
    """What one core did, in the order of time.

    Attributes:
        starts, ends: of each unit's instructions.
        vectors: words of the vector buffer, by the unit that gave them.
        columns: words of the activation memory.
    """

    starts: dict[Unit, Events]
    ends: dict[Unit, Events]
    vectors: dict[Unit, Writes]
    columns: Writes


@dataclass(frozen=True)
class InstructionTimes:
    """When a program's instructions ran, by unit, in the program's order.

    Attributes:
        pc, start, end: int64 [instructions].
    """

    pc: dict[Unit, np.ndarray]
    start: dict[Unit, np.ndarray]
    end: dict[Unit, np.ndarray]

    @property
    def first_start(self) -> int:
        """The cycle in which the first one starts."""
        return min(int(starts[0]) for starts in self.start.values() if len(starts))

    def end_of(self, unit: Unit, pcs: Sequence[int]) -> list[int]:
        """Return the cycles in which a unit's instructions with these program counters end."""
        return self.end[unit][np.searchsorted(self.pc[unit], pcs)].tolist()


def instruction_times(
    log: CoreLog, programs: Sequence[Sequence[Instruction]]
) -> list[InstructionTimes]:
    """Return the times of each of some programs that ran to their ends, one after the other."""
    at = dict.fromkeys(Unit, 0)
    times = []
    for program in programs:
        mine = {}
        for unit in Unit:
            count = sum(one.unit is unit for one in program)
            mine[unit] = slice(at[unit], at[unit] + count)
            at[unit] += count
        times.append(
            InstructionTimes(
                {unit: log.starts[unit].pc[part] for unit, part in mine.items()},
                {unit: log.starts[unit].cycle[part] for unit, part in mine.items()},
                {unit: log.ends[unit].cycle[part] for unit, part in mine.items()},
            )
        )
    return times


def with_monitors(design: Design, config: CoreConfig) -> Design:
    """Return the design with monitors in each of its cores."""
    width = vector_write_layout(config).size
    text = [_LOG]
    for instance, port in _WRITERS.items():
        text.append(_on_stream(design, _MODULES[instance], "vectors_log", width, port))
    column = write_layout(config.m * BYTE_BITS, config.activation_depth).size
    text.append(_on_stream(design, "function_unit", "columns_log", 1 + column, "o_byte", "lane, "))
    for unit in Unit:
        port, name = port_name("o", unit), unit.name.lower()
        low = instruction_layout(unit)["pc"].offset
        pc = f"{port}__payload[{low + PC_BITS - 1}:{low}]"
        text.append(_bind(design, "scoreboard", f"start_{name}", PC_BITS, _moves(port), pc))
        ends = f"\\end [{unit}] & running[{unit}]"
        text.append(_bind(design, "scoreboard", f"end_{name}", 1, ends, "1'b0"))
    return replace(design, verilog=design.verilog + "".join(text))


def read_log(folder: Path, config: CoreConfig, core: str) -> CoreLog:
    """Return what the core whose units are called `core` left in the simulation's folder."""
    load, product, functions = (
        _read_writes(
            _find(folder, core, instance, "vectors_log"), config.vector_depth, config.m, WIDE_BITS
        )
        for instance in _WRITERS
    )
    starts = {unit: _read_events(folder, core, "start", unit, PC_BITS) for unit in Unit}
    columns = _find(folder, core, "functions", "columns_log")
    return CoreLog(
        starts,
        {unit: _read_events(folder, core, "end", unit, 1) for unit in Unit},
        {Unit.LD: load, **_strips(product, starts), Unit.MISC: functions},
        _read_writes(columns, config.activation_depth, config.m, BYTE_BITS),
    )


def _strips(writes: Writes, starts: Mapping[Unit, Events]) -> dict[Unit, Writes]:
    """Return which strips are of which unit: of the one whose instruction started last.

    One instruction of both units together is in work at a time.
    """
    cycles = {unit: starts[unit].cycle for unit in PRODUCTS}
    last = [
        np.append(-1, cycles[unit])[np.searchsorted(cycles[unit], writes.cycle, side="right")]
        for unit in PRODUCTS
    ]
    owner = np.argmax(last, axis=0)
    return {unit: writes.where(owner == number) for number, unit in enumerate(PRODUCTS)}


def _moves(port: str) -> str:
    return f"{port}__valid & {port}__ready"


def _on_stream(
    design: Design, kind: str, name: str, width: int, port: str, beside: str = ""
) -> str:
    payload = f"{{{beside}{port}__payload}}"
    return _bind(design, kind, name, width, _moves(port), payload)


def _bind(design: Design, kind: str, name: str, width: int, taken: str, payload: str) -> str:
    """Return a monitor of every instance of the module whose name begins with `kind`."""
    (module,) = (each for each in design.modules if each.startswith(f"{kind}_"))
    ports = f".clk(clk), .taken({taken}), .payload({payload})"
    return f"bind {module} nandu_log #(.WIDTH({width})) {name}({ports});\n"


def _find(folder: Path, core: str, instance: str, name: str) -> Path:
    """Return a monitor's file; the simulator calls it by its path in the design."""
    (path,) = folder.glob(f"*.{core}.{instance}.{name}.log")
    return path


def _read_events(folder: Path, core: str, what: str, unit: Unit, bits: int) -> Events:
    path = _find(folder, core, "scoreboard", f"{what}_{unit.name.lower()}")
    fields = _fields(read_hex(path, CYCLE_BITS + bits), [bits, CYCLE_BITS])
    return Events(fields[1], fields[0])


def _read_writes(path: Path, depth: int, m: int, bits: int) -> Writes:
    """Return the words of a `hw.word_mover.write_layout`, a lane above it."""
    lane = [1] if bits == BYTE_BITS else []
    widths = [address_bits(depth), *[bits] * m, *lane, CYCLE_BITS]
    address, *elements, cycle = _fields(read_hex(path, sum(widths)), widths)
    lanes = elements.pop() if lane else np.zeros_like(cycle)
    half = 1 << (bits - 1)
    signed = (np.stack(elements, axis=1).reshape(-1, m) + half) % (2 * half) - half
    return Writes(cycle, address, lanes, signed)


def _fields(rows: np.ndarray, widths: list[int]) -> list[np.ndarray]:
    """Return the fields of payloads, the lowest first: int64 [payloads] each."""
    bits = np.unpackbits(rows, axis=1, bitorder="little").astype(np.int64)
    fields, low = [], 0
    for width in widths:
        fields.append(bits[:, low : low + width] @ (1 << np.arange(width, dtype=np.int64)))
        low += width
    return fields


_LOG = """
module nandu_log #(parameter WIDTH = 1) (
  input clk, input taken, input [WIDTH-1:0] payload
);
  integer file;
  reg [31:0] cycle = 0;
  initial file = $fopen($sformatf("%m.log"), "w");
  always @(posedge clk) begin
    cycle <= cycle + 1;
    if (taken) $fwrite(file, "%h\\n", {cycle, payload});
  end
  final $fclose(file);
endmodule
"""

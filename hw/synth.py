"""Resources of a design by Yosys: what it maps to on a target, before placement."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from golden.spec.errors import ConfigError
from hw import yosys
from hw.emit import Design

Cells = Mapping[str, int]


@dataclass(frozen=True)
class Target:
    """How a family is mapped, and what its cells count as.

    Attributes:
        command: what maps a flat design; "{top}" is its top module.
        dsp: the cell of a multiplier.
        luts: cells that take a look-up table, and how many each; ffs: cells that take a flip-flop.
        bram, uram: cells of block RAM, in units of the family's largest, and of UltraRAM.
    """

    command: str
    dsp: str
    luts: Mapping[str, int]
    ffs: tuple[str, ...]
    bram: Mapping[str, float]
    uram: tuple[str, ...] = ()


TARGETS = {
    "ultrascale+": Target(
        command="synth_xilinx -family xcup -noiopad -noclkbuf -top {top}",
        dsp="DSP48E2",
        # A shift register is a look-up table that is used as memory.
        luts={**{f"LUT{n}": 1 for n in range(1, 7)}, "INV": 1, "SRL16E": 1, "SRLC32E": 1},
        ffs=("FDRE", "FDSE", "FDCE", "FDPE"),
        bram={"RAMB36E2": 1, "RAMB18E2": 0.5},
        uram=("URAM288",),
    ),
    "ecp5": Target(
        command="synth_ecp5 -top {top}",
        dsp="MULT18X18D",
        # A carry cell is two look-up tables with their carry chain.
        luts={"LUT4": 1, "CCU2C": 2},
        ffs=("TRELLIS_FF",),
        bram={"DP16KD": 1},
    ),
}


@dataclass(frozen=True)
class Resources:
    """What a design takes. Multipliers that Yosys built from look-up tables show in `lut`."""

    dsp: int
    lut: int
    ff: int
    bram: float
    uram: int
    cells: Cells

    @property
    def lut_per_dsp(self) -> float:
        """Look-up tables for each multiplier; 0 where there is none."""
        return self.lut / self.dsp if self.dsp else 0.0


def check_target(target: str) -> None:
    """Raise ConfigError unless `target` is known."""
    if target not in TARGETS:
        raise ConfigError(f"there is no target {target!r}; known are {', '.join(TARGETS)}")


def synthesise(design: Design, target: str) -> Resources:
    """Map `design` to `target` and count.

    Raises:
        ConfigError: unknown target. ToolError: Yosys failed.
    """
    check_target(target)
    about = TARGETS[target]
    with tempfile.TemporaryDirectory() as name:
        source, counted = Path(name, "design.v"), Path(name, "cells.json")
        source.write_text(design.verilog, encoding="utf-8")
        yosys.run(
            f"read_verilog {source}",
            f"hierarchy -top {design.top}",
            "proc",
            "flatten",
            "opt_clean -purge",  # abc9 stops at names of wires that look like bits of others
            about.command.format(top=design.top),
            f"tee -q -o {counted} stat -json",
        )
        cells: Cells = json.loads(counted.read_text())["design"]["num_cells_by_type"]
    return count(cells, about)


def count(cells: Cells, target: Target) -> Resources:
    """Return the resources of mapped cells."""

    def weigh(weights: Mapping[str, float]) -> float:
        return sum(number * weights.get(cell, 0) for cell, number in cells.items())

    return Resources(
        dsp=cells.get(target.dsp, 0),
        lut=int(weigh(target.luts)),
        ff=int(weigh(dict.fromkeys(target.ffs, 1))),
        bram=weigh(target.bram),
        uram=int(weigh(dict.fromkeys(target.uram, 1))),
        cells=cells,
    )

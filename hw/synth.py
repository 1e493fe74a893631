"""Resources of a design by Yosys: what it maps to on a target, before placement."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from golden.spec.errors import ConfigError
from hw import logic_depth, yosys
from hw.emit import Design

Cells = Mapping[str, int]

SCALE = "group_scale"
"""A submodule whose name begins so holds scales and requantisation; its DSPs are counted apart."""

REST = "rest"
"""The part of what is in no other one."""

_PORTS = "ABCDEFGH"

_ZEROS = re.compile(r"^  initial begin\n(?:    \w+\[\d+\] = \d+'h0+;\n)+  end\n", re.MULTILINE)
"""What a memory holds at first, if that is 0 everywhere, as it is without being said; Yosys reads a
minute at that of a large memory."""


@dataclass(frozen=True)
class Target:
    """How a family is mapped, and what its cells count as.

    Attributes:
        command: what maps a flat design; "{top}" is its top module.
        dsp: the cell of a multiplier.
        luts: cells that take a look-up table, and how many each; ffs: cells that take a flip-flop.
        memories: cells of LUT memory, and the look-up tables of a whole one.
        bram, uram: cells of block RAM, in units of the family's largest, and of UltraRAM.
    """

    command: str
    dsp: str
    luts: Mapping[str, int]
    memories: Mapping[str, int]
    ffs: tuple[str, ...]
    bram: Mapping[str, float]
    uram: tuple[str, ...] = ()


TARGETS = {
    "ultrascale+": Target(
        # Without -widemux: its MUXF cells need look-up tables in front, which nothing counts.
        # Large memories go to UltraRAM.
        command="synth_xilinx -family xcup -noiopad -noclkbuf -uram -top {top}",
        dsp="DSP48E2",
        # A shift register is a look-up table that is used as memory.
        luts={**{f"LUT{n}": 1 for n in range(1, 7)}, "INV": 1, "SRL16E": 1, "SRLC32E": 1},
        memories={
            **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8},
            **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8},
            **{"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8},
            **{"RAM32X16DR8": 8, "RAM64X8SW": 8},
        },
        ffs=("FDRE", "FDSE", "FDCE", "FDPE"),
        bram={"RAMB36E2": 1, "RAMB18E2": 0.5},
        uram=("URAM288",),
    ),
    "ecp5": Target(
        command="synth_ecp5 -top {top}",
        dsp="MULT18X18D",
        # A carry cell is two look-up tables with their carry chain.
        luts={"LUT4": 1, "CCU2C": 2},
        # Two slices of two look-up tables hold the bits; a third one gives them its write port
        # (Lattice FPGA-DS-02012, distributed memory: PDPR16X4 takes 3 slices).
        memories={"TRELLIS_DPR16X4": 6},
        ffs=("TRELLIS_FF",),
        bram={"DP16KD": 1},
    ),
}


@dataclass(frozen=True)
class Counts:
    """What cells take of a target.

    Attributes:
        dsp: multipliers, without those of scales and requantisation, which are `scale_dsp`.
        lut: look-up tables as logic, shift registers and memory; lut_memory: those of memories.
            Of a memory cell with a read port per look-up table, those count that are read, and the
            one whose address writes them all (AMD UG574); the others are free for logic.
        ff, bram, uram: flip-flops and blocks of memory.
        cells: what was counted.
    """

    dsp: int
    scale_dsp: int
    lut: int
    lut_memory: int
    ff: int
    bram: float
    uram: int
    cells: Cells


@dataclass(frozen=True)
class Resources(Counts):
    """What a design takes of a target.

    Attributes:
        soft_multipliers: multiplications that had to be built from look-up tables; of modules that
            were mapped apart, those of one instance each.
        path: the longest path between registers, as `hw.logic_depth` counts it.
        parts: of the design, and REST for what is in none of them.
    """

    soft_multipliers: int
    path: logic_depth.Path
    parts: Mapping[str, Counts]

    @property
    def lut_per_dsp(self) -> float:
        """Look-up tables for each multiplier; 0 where there is none."""
        return self.lut / self.dsp if self.dsp else 0.0

    @property
    def logic_depth(self) -> int:
        """Levels of logic on the longest path between registers."""
        return self.path.levels


def check_target(target: str) -> None:
    """Raise ConfigError unless `target` is known."""
    if target not in TARGETS:
        raise ConfigError(f"there is no target {target!r}; known are {', '.join(TARGETS)}")


def synthesise(
    design: Design,
    target: str,
    apart: Sequence[str] = (),
    parts: Mapping[str, str] = MappingProxyType({}),
) -> Resources:
    """Map `design` to `target` and count.

    Args:
        apart: modules whose names begin so are mapped once each, however many instances there are,
            and nothing is optimised across their ports: a large design takes minutes so, and not
            hours. What is counted, and the longest path, are those of the whole.
        parts: that are counted one by one: patterns of what the names of their cells begin with,
            which are those of instances in each other, with points between. The first one counts.

    Raises:
        ConfigError: unknown target. ToolError: Yosys failed, or there is a combinational loop.
    """
    check_target(target)
    about = TARGETS[target]
    kept = [name for name in design.modules if apart and name.startswith(tuple(apart))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = yosys.run_flat(
            _ZEROS.sub("", design.verilog),
            design.top,
            "opt_clean -purge",  # abc9 stops at names of wires that look like bits of others
            # What follows `check` would give cells new names, without their place in the design.
            f"{about.command.format(top=design.top)} -run begin:check",
            "blackbox =A:whitebox",
            *(f"setattr -mod -unset keep_hierarchy {name}" for name in kept),
            *(["flatten"] if kept else []),
            f"select {design.top}",
            "write_json -selected mapped.json",
            folder=folder,
            apart=kept,
        )
        mapped = json.loads((folder / "mapped.json").read_text(encoding="utf-8"))
    module = mapped["modules"][design.top]
    return count(module, about, soft_multipliers(log), parts)


def soft_multipliers(log: str) -> int:
    """Return how many multiplications Yosys made sums of, by its log of a synthesis.

    Its last pass over arithmetic comes when all that fit in DSPs have gone there.
    """
    last = log.rpartition("Executing ALUMACC pass")[2]
    return len(re.findall(r"creating \$macc model for \S+ \(\$mul\)", last))


def count(
    module: Mapping[str, Any],
    target: Target,
    soft_multipliers: int = 0,
    parts: Mapping[str, str] = MappingProxyType({}),
) -> Resources:
    """Return the resources of a flat mapped module, in the form of Yosys' JSON."""
    used = _used_bits(module)
    counts = {part: _count(cells, target, used) for part, cells in _by_part(module, parts).items()}
    return Resources(
        **vars(_count(module["cells"], target, used)),
        soft_multipliers=soft_multipliers,
        path=logic_depth.longest_path(module),
        parts=counts,
    )


def _count(named: Mapping[str, Any], target: Target, used: set[object]) -> Counts:
    """Return what cells take, by their names.

    Args:
        used: nets that a cell of the whole design reads.
    """
    kinds = Counter(cell["type"] for cell in named.values())

    def weigh(weights: Mapping[str, float]) -> float:
        return sum(number * weights.get(kind, 0) for kind, number in kinds.items())

    multipliers = [name for name, cell in named.items() if cell["type"] == target.dsp]
    scale_dsp = sum(bool(re.search(rf"(?<!\w){SCALE}", name)) for name in multipliers)
    memory = sum(
        _memory_luts(cell, target.memories[cell["type"]], used)
        for cell in named.values()
        if cell["type"] in target.memories
    )
    return Counts(
        dsp=len(multipliers) - scale_dsp,
        scale_dsp=scale_dsp,
        lut=int(weigh(target.luts)) + memory,
        lut_memory=memory,
        ff=int(weigh(dict.fromkeys(target.ffs, 1))),
        bram=weigh(target.bram),
        uram=int(weigh(dict.fromkeys(target.uram, 1))),
        cells=dict(kinds),
    )


def _by_part(module: Mapping[str, Any], parts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the cells of each part by their names; of a part that has none too."""
    if not parts:
        return {}
    found: dict[str, dict[str, Any]] = {part: {} for part in (*parts, REST)}
    for name, cell in module["cells"].items():
        # Yosys writes the names that it gives itself so where a module becomes a part of another.
        place = name.replace("$flatten", "").replace("\\", "")
        owner = (part for part, pattern in parts.items() if re.match(pattern, place))
        found[next(owner, REST)][name] = cell
    return found


def _used_bits(module: Mapping[str, Any]) -> set[object]:
    """Return the nets that a cell or a port of the module reads."""
    used: set[object] = set()
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "input":
                used.update(bits)
    for port in module["ports"].values():
        if port["direction"] == "output":
            used.update(port["bits"])
    return used


def _memory_luts(cell: Mapping[str, Any], whole: int, used: set[object]) -> int:
    """Return the look-up tables of a LUT memory: those of its ports that are read, and one more."""
    pins: Mapping[str, Iterable[object]] = cell["connections"]
    ports = _PORTS[:whole]
    if not re.fullmatch("RAM[0-9]+M[0-9]*", cell["type"]):
        return whole
    read = {port for port in ports if not used.isdisjoint(pins.get(f"DO{port}", []))}
    return len(read | {ports[-1]})

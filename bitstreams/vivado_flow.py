"""The vendor flow: a project folder that Vivado builds an image of, where there is a licence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitstreams.designs import ImageDesign, check_multipliers
from bitstreams.sparse_chain_selftest import expected_line
from bitstreams.ultrascale_top import UltrascaleTop
from bitstreams.vivado_boards import VivadoBoard
from golden.spec.errors import ToolError
from golden.spec.files import make_folder, write_text
from hw.emit import emit
from hw.synth import synthesise

FILES = ("image.v", "pins.xdc", "build.tcl", "read_line.py", "README.md")
PACKAGES = ("amaranth", "pyosys")


def write_project(
    board: VivadoBoard,
    design: ImageDesign,
    config: Any,
    folder: Path,
    step: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Write a project to `folder`; return what it takes by Yosys' mapping.

    Raises:
        ConfigError: the design does not fit, or no MMCM makes its clock.
        ToolError: Yosys failed, or maps another number of multipliers than the design plans.
    """
    check_multipliers(board, design, config)
    make_folder(folder)
    step("Emit")
    emitted = emit(UltrascaleTop, board, design.component, config, target=board.target)
    step("Map with Yosys")
    found = synthesise(emitted, board.target)
    if found.dsp != design.multipliers(config):
        raise ToolError(
            f"Yosys maps the design to {found.dsp} multipliers, {design.multipliers(config)} were "
            "planned; report this with the configuration"
        )
    texts = (emitted.verilog, constraints(board), build_script(board), _host(config), _about(board))
    for name, text in zip(FILES, texts, strict=True):
        write_text(folder / name, text)
    return {"lut": found.lut, "ff": found.ff, "bram": int(found.bram), "dsp": found.dsp}


def constraints(board: VivadoBoard) -> str:
    """Return the pins and the clock of the board, for Vivado."""
    oscillator = board.oscillator
    pins = [("oscillator", oscillator.pin, oscillator.io)]
    pins += [("oscillator_n", oscillator.pin_n, oscillator.io)]
    pins += [(f"leds[{k}]", pin, board.leds.io) for k, pin in enumerate(board.leds.pins)]
    pins += [("uart", board.uart.pin, board.uart.io)]
    lines = [
        f"set_property -dict {{PACKAGE_PIN {pin} IOSTANDARD {io}}} [get_ports {{{port}}}]"
        for port, pin, io in pins
    ]
    period = 1000 / oscillator.mhz
    lines += [
        f"create_clock -name oscillator -period {period:.3f} [get_ports {{oscillator}}]",
        "# Nobody outside has a clock of ours.",
        "set_false_path -to [get_ports {leds[*] uart}]",
    ]
    return "\n".join(lines) + "\n"


def build_script(board: VivadoBoard) -> str:
    """Return the script that makes the image and its reports, and fails where timing does."""
    return _BUILD.format(part=board.part)


def _host(config: Any) -> str:
    return _HOST.format(baud=config.baud, line=expected_line(config).strip())


def _about(board: VivadoBoard) -> str:
    return _README.format(title=board.title, part=board.part)


_BUILD = """# Builds the image: vivado -mode batch -source build.tcl
set folder [file dirname [file normalize [info script]]]
read_verilog [file join $folder image.v]
read_xdc [file join $folder pins.xdc]
synth_design -top image -part {part}
opt_design
place_design
phys_opt_design
route_design
report_utilization -file [file join $folder utilisation.txt]
report_timing_summary -file [file join $folder timing.txt]
set slack [get_property SLACK [get_timing_paths -max_paths 1]]
write_bitstream -force [file join $folder image.bit]
if {{$slack < 0}} {{
  puts stderr "timing is not met: the slack is $slack ns, see timing.txt"
  exit 1
}}
"""

_HOST = '''"""Reads the self-test's lines, with pyserial: python read_line.py /dev/ttyUSB2"""

import sys

import serial

EXPECTED = "{line}"

with serial.Serial(sys.argv[1], {baud}, timeout=5) as port:
    port.readline()  # may have begun in the middle
    line = port.readline().decode("ascii", "replace").strip()
print(line or "nothing came")
sys.exit(line != EXPECTED)
'''

_README = """# The sparse chain's self-test for the {title}

Part {part}. `vivado -mode batch -source build.tcl` writes image.bit, utilisation.txt and timing.txt
beside this file, and fails where timing is not met. `python read_line.py PORT` then compares what
the board sends with golden's line.
"""

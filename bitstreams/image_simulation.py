"""Runs an image's RTL, or its mapped netlist, in Verilator, and reads what it sends.

Both have the same ports, and the same bench: it records LEDs and serial line in every cycle. The
netlist is simulated with Yosys' models of the ECP5's cells, and own ones of the block RAM, the
multiplier and the PLL, for which Yosys has none.
"""

import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

import bitstreams
from golden.spec.errors import ToolError
from hw import player, yosys
from hw.emit import Design, Port

MODELS = Path(bitstreams.__file__).parent / "primitives"
"""Models of cells, beside those of `hw.cosim`."""

_LATTICE = "share/lattice"


@dataclass(frozen=True)
class Recording:
    """What the pins did, cycle by cycle from the power-on: uint8 [cycles] each."""

    leds: np.ndarray
    uart: np.ndarray

    def same_as(self, other: "Recording") -> bool:
        """Whether every pin was the same in every cycle."""
        return np.array_equal(self.leds, other.leds) and np.array_equal(self.uart, other.uart)


def record_pins(verilog: str, cycles: int, leds: int = 8) -> Recording:
    """Return what the pins of an image's Verilog do in its first cycles.

    Args:
        verilog: of the module `image`, RTL or netlist. leds: how many it has, up to 8.

    Raises:
        ToolError: a tool is missing or failed.
    """
    design = _bench(_with_models(verilog), leds)
    trace = player.play(design, [player.Case(inputs={}, outputs={"o": cycles})])[0]
    payloads = trace.outputs["o"][:cycles]
    return Recording(payloads[:, 0], payloads[:, 1] & 1)


def received(uart: np.ndarray, bit_cycles: int) -> str:
    """Return the characters on a serial line, uint8 [cycles], as a host reads them.

    Raises:
        ToolError: a character has no stop bit.
    """
    text, at = [], 0
    while True:
        starts = np.flatnonzero(uart[at:] == 0)
        if not len(starts):
            break
        # In the middle of each bit: the start bit, 8 bits, the stop bit.
        middles = at + starts[0] + bit_cycles // 2 + bit_cycles * np.arange(10)
        if middles[-1] >= len(uart):
            break
        bits = uart[middles]
        if bits[0] or not bits[-1]:
            raise ToolError(f"the serial line has no character at cycle {at + starts[0]}")
        text.append(chr(int(np.packbits(bits[1:9], bitorder="little")[0])))
        at = int(middles[-1])
    return "".join(text)


def _with_models(verilog: str) -> str:
    """Return Verilog in which the ECP5's cells are their models, flattened."""
    lattice = files("pyosys") / _LATTICE
    models = sorted(MODELS.glob("*.v"))
    with tempfile.TemporaryDirectory(prefix="nandu-") as name:
        folder = Path(name)
        (folder / "given.v").write_text(verilog, encoding="utf-8")
        yosys.run(
            "read_verilog given.v",
            # The multiplier stays a cell: `hw.cosim` has its model, which checks itself.
            f"read_verilog -lib {lattice}/cells_bb_ecp5.v",
            f"read_verilog -overwrite -DNO_INCLUDES -I{lattice} {lattice}/cells_sim_ecp5.v",
            *(f"delete ={model.stem}" for model in models),
            *(f"read_verilog -defer {model}" for model in models),
            "hierarchy -check -top image",
            "proc",
            "flatten",
            "opt",
            "opt_clean -purge",
            "memory_collect",
            "write_verilog -noattr flat.v",
            folder=folder,
        )
        return (folder / "flat.v").read_text(encoding="utf-8")


def _bench(verilog: str, leds: int) -> Design:
    """Return the image with its pins as a stream that gives them in every cycle."""
    ports = (
        Port("clk", "input", 1),
        Port("rst", "input", 1),
        Port("o__payload", "output", 9),
        Port("o__valid", "output", 1),
    )
    return Design("image_bench", verilog + _BENCH.format(top=leds - 1), ("image",), ports)


_BENCH = """
module image_bench(input clk, input rst, output [8:0] o__payload, output o__valid);
  wire [{top}:0] leds;
  wire uart;
  image image(.oscillator(clk), .leds(leds), .uart(uart));
  assign o__payload = {{uart, 8'd0 | leds}};
  assign o__valid = 1;
  wire unused = rst;
endmodule
"""

"""The top of an image: a design with LEDs and a serial port, its clock and its reset."""

from collections.abc import Callable
from typing import Any

from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitstreams.boards import Leds
from hw.emit import add

RESET_CYCLES = 16
"""That the design is held in reset after its clock is steady."""


class BoardTop(wiring.Component):
    """A design on a board; it runs at its configuration's `clock_mhz`.

    A class for each family says how that clock is made, in `add_clock`.

    Members:
        oscillator: the board's clock, and what `clocks` names beside it. leds: as the pins are,
            inverted where the board inverts. uart: the serial line to the host.
    """

    clocks: tuple[str, ...] = ("oscillator",)

    def __init__(self, leds: Leds, design: Callable[..., Any], config: Any) -> None:
        self.inverted = leds.inverted
        self.design = design
        self.config = config
        inputs = {name: In(1) for name in self.clocks}
        super().__init__({**inputs, "leds": Out(len(leds.pins)), "uart": Out(1)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "image"

    def add_clock(self, m: Module, clock: Signal, locked: Signal) -> None:
        """Drive `clock` with the design's clock, and `locked` with whether it is steady."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        """One clock drives all; that it is steady, taken into that clock, ends the reset."""
        m = Module()
        m.domains.boot = boot = ClockDomain(reset_less=True)
        m.domains.sync = sync = ClockDomain()
        clock = Signal()
        locked = Signal()
        m.d.comb += [boot.clk.eq(clock), sync.clk.eq(clock)]
        self.add_clock(m, clock, locked)

        caught = Signal()
        seen = Signal()
        left = Signal(range(RESET_CYCLES), init=RESET_CYCLES - 1)
        reset = Signal(init=1)
        m.d.boot += [caught.eq(locked), seen.eq(caught), reset.eq(left != 0)]
        with m.If(~seen):
            m.d.boot += left.eq(RESET_CYCLES - 1)
        with m.Elif(left != 0):
            m.d.boot += left.eq(left - 1)
        m.d.comb += sync.rst.eq(reset)

        design = add(m, platform, "design", self.design, self.config)
        m.d.comb += self.leds.eq(~design.leds if self.inverted else design.leds)
        m.d.comb += self.uart.eq(design.uart)
        return m

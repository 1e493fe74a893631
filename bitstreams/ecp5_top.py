"""The top of an image for an ECP5: its clock comes from an EHXPLLL."""

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Const, Instance, Module, Signal

from bitstreams.board_top import BoardTop
from bitstreams.boards import Board
from bitstreams.pll import find_pll


class Ecp5Top(BoardTop):
    """A design on a board with an ECP5.

    Raises:
        ConfigError: no PLL makes the clock.
    """

    def __init__(self, board: Board, design: Callable[..., Any], config: Any) -> None:
        self.pll = find_pll(board.oscillator.mhz, config.clock_mhz)
        super().__init__(board.leds, design, config)

    def add_clock(self, m: Module, clock: Signal, locked: Signal) -> None:
        """Add the PLL; its first output goes back to it."""
        pll = self.pll
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=pll.input_divider,
            p_CLKFB_DIV=pll.feedback,
            p_CLKOP_DIV=pll.output_divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=pll.output_divider - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=self.oscillator,
            i_CLKFB=clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )

"""The top of an image for an UltraScale+: its clock comes from an MMCM."""

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Const, Instance, Module, Signal

from bitstreams.board_top import BoardTop
from bitstreams.pll import find_mmcm
from bitstreams.vivado_boards import VivadoBoard


class UltrascaleTop(BoardTop):
    """A design in the programmable logic of an UltraScale+.

    Members:
        oscillator, oscillator_n: the board's clock, differential.

    Raises:
        ConfigError: no MMCM makes the clock.
    """

    clocks = ("oscillator", "oscillator_n")

    def __init__(self, board: VivadoBoard, design: Callable[..., Any], config: Any) -> None:
        self.period_ns = 1000 / board.oscillator.mhz
        self.factors = find_mmcm(board.oscillator.mhz, config.clock_mhz)
        super().__init__(board.leds, design, config)

    def add_clock(self, m: Module, clock: Signal, locked: Signal) -> None:
        """Add a differential buffer, the MMCM, and a global buffer behind it."""
        buffered = Signal()
        made = Signal()
        feedback = Signal()
        multiplier, divider = self.factors
        m.submodules.input_buffer = Instance(
            "IBUFDS", i_I=self.oscillator, i_IB=self.oscillator_n, o_O=buffered
        )
        m.submodules.mmcm = Instance(
            "MMCME4_BASE",
            p_CLKIN1_PERIOD=self.period_ns,
            p_CLKFBOUT_MULT_F=float(multiplier),
            p_CLKOUT0_DIVIDE_F=float(divider),
            i_CLKIN1=buffered,
            i_CLKFBIN=feedback,
            i_PWRDWN=Const(0),
            i_RST=Const(0),
            o_CLKFBOUT=feedback,
            o_CLKOUT0=made,
            o_LOCKED=locked,
        )
        m.submodules.global_buffer = Instance("BUFG", i_I=made, o_O=clock)

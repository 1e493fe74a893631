import importlib

import pytest

from bitstreams.boards import board_names, load_board
from bitstreams.open_flow import pins
from bitstreams.pll import LEAST_COMPARED_MHZ, VCO_MHZ, find_pll
from golden.spec.errors import ConfigError

PLATFORMS = {
    "ulx3s-85f": ("ulx3s", "ULX3S_85F_Platform"),
    "ecp5-evn": ("ecp5_5g_evn", "ECP55GEVNPlatform"),
}


def resource(platform, name, number=0):
    return platform.resources[name, number]


def io_type(platform, attributes):
    value = attributes["IO_TYPE"]
    return value(platform) if callable(value) else value


@pytest.mark.parametrize("name", board_names())
def test_a_boards_pins_are_those_of_amaranth_boards(name):
    module, kind = PLATFORMS[name]
    platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), kind)()
    board = load_board(name)
    oscillator = resource(platform, platform.default_clk)
    assert oscillator.ios[0].names == [board.oscillator.pin]
    assert oscillator.clock.frequency == board.oscillator.mhz * 1e6
    for number, pin in enumerate(board.leds.pins):
        led = resource(platform, "led", number)
        assert led.ios[0].names == [pin]
        assert led.ios[0].invert == board.leds.inverted
        assert io_type(platform, led.attrs) == board.leds.io
    uart = resource(platform, "uart")
    (sends,) = [io for io in uart.ios if io.name == "tx"]
    assert (sends.ios[0].dir, sends.ios[0].names) == ("o", [board.uart.pin])
    assert io_type(platform, uart.attrs) == board.uart.io
    assert platform.package.removeprefix("BG") == board.part.package.removeprefix("CABGA")
    assert int(platform.speed) == board.part.speed


def test_constraints_name_every_pin_once():
    board = load_board("ulx3s-85f")
    sites = [line.split('"')[3] for line in pins(board).splitlines() if "LOCATE" in line]
    assert sites == [board.oscillator.pin, *board.leds.pins, board.uart.pin]


def test_an_unknown_board_is_answered_with_near_names():
    message = r"^there is no board 'ulx3s'; did you mean ulx3s-85f\? known are ecp5-evn, ulx3s-85f$"
    with pytest.raises(ConfigError, match=message):
        load_board("ulx3s")


@pytest.mark.parametrize(("oscillator", "clock"), [(25, 100), (12, 100), (12, 96), (25, 125)])
def test_a_plls_factors_make_the_clock_and_keep_to_its_limits(oscillator, clock):
    pll = find_pll(oscillator, clock)
    compared = oscillator / pll.input_divider
    assert compared * pll.feedback == clock
    assert compared >= LEAST_COMPARED_MHZ
    assert VCO_MHZ[0] <= clock * pll.output_divider <= VCO_MHZ[1]


def test_a_clock_that_no_pll_makes_is_refused():
    with pytest.raises(ConfigError, match=r"^clock_mhz is 101; no PLL factors make it"):
        find_pll(25, 101)

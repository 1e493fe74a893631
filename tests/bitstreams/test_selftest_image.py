import re
from dataclasses import replace

import pytest
from small_image import SMALL, netlist, rtl

from bitstreams import chain_tester
from bitstreams.chain_pattern import chain_pattern
from bitstreams.image_simulation import received, record_pins
from bitstreams.sparse_chain_selftest import SelfTestConfig, expected_line
from golden.spec.errors import ConfigError


def lines(config, verilog, rounds=1):
    """Return what an image sends in its first rounds, and what its pins did."""
    pins = record_pins(verilog, rounds * config.report_cycles + 100)
    return received(pins.uart, config.bit_cycles), pins


def test_rtl_and_mapped_netlist_pass_and_are_the_same_in_every_cycle():
    sent, pins = lines(SMALL, rtl().verilog)
    assert sent.startswith(expected_line(SMALL))
    assert pins.leds[-1] & 0b11 == 0b01
    again, mapped = lines(SMALL, netlist())
    assert again == sent
    assert mapped.same_as(pins)


def test_chains_with_a_fault_fail_and_are_named(monkeypatch):
    config = SelfTestConfig(chains=3, m=4, chain_length=2, baud=1_000_000)

    def faulty(chain, number):
        pattern = chain_pattern(chain, number)
        if number == 1:
            first, *others = pattern.weights
            return replace(pattern, weights=(first ^ 1, *others))
        return replace(pattern, cycles=pattern.cycles + (number == 2))

    monkeypatch.setattr(chain_tester, "chain_pattern", faulty)
    sent, pins = lines(config, rtl(config).verilog)
    assert sent[:6] == "FAIL 6"
    assert sent[6:] != expected_line(config)[6:]
    assert pins.leds[-1] & 0b11 == 0b10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chains": 0}, "chains is 0; allowed here are 1 to 64"),
        ({"baud": 300}, "baud is 300; allowed here are 9600 to 1000000"),
        ({"chain_length": 7}, "chain_length is 7; allowed here are 2, 4, 8 or 16"),
    ],
)
def test_a_configuration_outside_its_range_is_refused(settings, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        SelfTestConfig(**settings)


@pytest.mark.full
def test_four_chains_of_eight_with_block_ram_are_the_same_when_mapped():
    config = SelfTestConfig(baud=1_000_000)
    sent, pins = lines(config, rtl(config).verilog)
    assert sent == expected_line(config)
    again, mapped = lines(config, netlist(config))
    assert again == sent
    assert mapped.same_as(pins)

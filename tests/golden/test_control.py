"""The register map of a core, and what a host writes to start a program."""

import re

import pytest

from golden.spec.control import (
    COUNTERS,
    COUNTERS_OFFSET,
    REGISTER_BITS,
    REGISTERS,
    SPACE_BITS,
    start_sequence,
)
from golden.spec.errors import ConfigError


def test_every_register_has_a_place_of_its_own():
    offsets = [register.offset for register in REGISTERS.values()]
    assert sorted(set(offsets)) == offsets
    assert all(offset % 4 == 0 and offset < 1 << SPACE_BITS for offset in offsets)
    assert all(1 <= register.bits <= REGISTER_BITS for register in REGISTERS.values())


def test_the_high_half_of_a_number_follows_the_low_one():
    for name, register in REGISTERS.items():
        if name.endswith("_HIGH"):
            low = REGISTERS[name.replace("_HIGH", "_LOW")]
            assert (low.offset + 4, low.access, low.bits) == (register.offset, register.access, 32)
            assert low.offset % 8 == 0


def test_counters_stand_side_by_side():
    found = [REGISTERS[f"{name}_LOW"].offset for name in COUNTERS]
    assert found == [COUNTERS_OFFSET + 8 * number for number in range(len(COUNTERS))]


def test_every_bit_of_commands_and_state_has_a_meaning():
    for name in ("CONTROL", "STATUS"):
        flags = REGISTERS[name].flags
        assert [int(flag) for flag in flags] == [1 << bit for bit in range(REGISTERS[name].bits)]


def test_a_start_comes_last():
    writes = start_sequence((1 << 34) - 32, 1 << 23, {15: 0x2_1234_5678, 0: 4})
    named = {register.offset: name for name, register in REGISTERS.items()}
    assert [(named[offset], value) for offset, value in writes] == [
        ("PROGRAM_WORDS", 1 << 23),
        ("INTERRUPT_ENABLE", 0),
        ("PROGRAM_ADDRESS_LOW", 0xFFFF_FFE0),
        ("PROGRAM_ADDRESS_HIGH", 3),
        ("BASE_15_LOW", 0x1234_5678),
        ("BASE_15_HIGH", 2),
        ("BASE_0_LOW", 4),
        ("BASE_0_HIGH", 0),
        ("CONTROL", 1),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, {}), "words is 0; allowed are 1 to 8388608"),
        ((0, 8388609, {}), "words is 8388609; allowed are 1 to 8388608"),
        ((0, True, {}), "words is True; allowed are 1 to 8388608"),
        ((1 << 34, 1, {}), "PROGRAM_ADDRESS is 17179869184; allowed are 0 to 17179869183"),
        ((0, 1, {16: 0}), "base register is 16; allowed are 0 to 15"),
        ((0, 1, {3: -1}), "BASE_3 is -1; allowed are 0 to 17179869183"),
    ],
)
def test_what_no_register_holds_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        start_sequence(*arguments)

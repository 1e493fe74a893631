"""The payloads of the streams of the special function unit."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from golden.spec.special_function_unit import (
    BYTE_BITS,
    EXPONENT_BITS,
    FACTOR_BITS,
    FRACTION_FIELD_BITS,
    LENGTH_BITS,
    REGISTERS,
    SHIFT_BITS,
    SLOT_BITS,
    SUM_BITS,
    SpecialFunctionUnitConfig,
)

OPERATION_BITS = 4
REGISTER_BITS = (REGISTERS - 1).bit_length()


def job_layout() -> data.StructLayout:
    """One job; the fields are those of `golden.spec.special_function_unit.Job`.

    `more_elements` is its length - 1. Operations 7, 14 and 15 are none: what they do is undefined.
    """
    return data.StructLayout(
        {
            "operation": unsigned(OPERATION_BITS),
            "more_elements": unsigned(LENGTH_BITS),
            "first": signed(FACTOR_BITS),
            "second": signed(FACTOR_BITS),
            "shift": signed(SHIFT_BITS),
            "scaled": unsigned(1),
            "scale": unsigned(REGISTER_BITS),
            "other": unsigned(REGISTER_BITS),
            "target": unsigned(REGISTER_BITS),
            "source": unsigned(2),
            "minus": unsigned(1),
            "fraction_bits": unsigned(FRACTION_FIELD_BITS),
            "wide": unsigned(1),
            "byte": unsigned(2),
            "reduction": unsigned(2),
            "carry": unsigned(1),
        }
    )


def wide_layout(config: SpecialFunctionUnitConfig) -> data.ArrayLayout:
    """One word of wide elements, each sign-extended to 32 bits."""
    return data.ArrayLayout(signed(SLOT_BITS), config.lanes)


def byte_layout(config: SpecialFunctionUnitConfig) -> data.ArrayLayout:
    """One word of INT8 elements."""
    return data.ArrayLayout(signed(BYTE_BITS), config.lanes)


def scalar_layout() -> data.StructLayout:
    """What a scalar register holds."""
    return data.StructLayout({"value": signed(SUM_BITS), "exponent": signed(EXPONENT_BITS)})


def write_layout() -> data.StructLayout:
    """A scalar and the register that it goes to."""
    return data.StructLayout({"target": unsigned(REGISTER_BITS), "scalar": scalar_layout()})

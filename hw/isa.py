"""The instruction set in hardware: what a unit gets of an instruction, and which are illegal.

All of it follows from the field table in `golden/spec/isa.py`.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Shape, Value, signed, unsigned
from amaranth.lib import data

from golden.spec.axi import AxiConfig
from golden.spec.isa import FORMATS, PC_BITS, WORD_BITS, ErrorCode, Field, Unit
from golden.spec.special_function_unit import Operation, Second

MAX_WORDS = max(form.words for form in FORMATS.values())
"""Words of the longest instruction."""

LOAD_SHIFT_BITS = 5
"""LOAD shifts by 0 to 31."""


def port_name(prefix: str, unit: Unit) -> str:
    """Return the name of a unit's own port."""
    return f"{prefix}_{unit.name.lower()}"


def word_layout() -> data.StructLayout:
    """A word of a program. `last`: of the whole program."""
    return data.StructLayout({"word": unsigned(WORD_BITS), "last": unsigned(1)})


def error_layout() -> data.StructLayout:
    """An `ErrorCode`, and the program counter that goes with it."""
    code = unsigned((len(ErrorCode) - 1).bit_length())
    return data.StructLayout({"code": code, "pc": unsigned(PC_BITS)})


def instruction_layout(unit: Unit) -> data.StructLayout:
    """What a unit gets: the fields of its instruction, and `pc`, the number of its first word."""
    fields = {field.name: _shape(field) for field in FORMATS[unit].fields}
    return data.StructLayout({**fields, "pc": unsigned(PC_BITS)})


def run_layout(config: AxiConfig) -> data.StructLayout:
    """A run of words in memory: a job of `hw.axi_reader`, and whether it is the instruction's last.

    Raises:
        ConfigError: see `AxiConfig`.
    """
    return data.StructLayout(
        {"address": config.address_bits, "more_words": config.length_bits, "last": 1}
    )


def _shape(field: Field) -> Shape:
    return signed(field.bits) if field.signed else unsigned(field.bits)


def unpack(unit: Unit, words: Sequence[Value], pc: Value) -> Value:
    """Return the bits of `instruction_layout` from an instruction's words."""
    parts = [words[p.word][p.shift : p.shift + p.bits] for p in FORMATS[unit].pieces]
    return Cat(*parts, pc)


def is_illegal(unit: Unit, words: Sequence[Value], found: data.View, channels: int) -> Value:
    """Return whether an instruction is one that `golden.spec.instruction` refuses.

    Args:
        words: of the instruction; found: its fields; channels: that the core has.
    """
    form = FORMATS[unit]
    reasons = [words[form.words - 1][: form.spare_bits] != 0]
    reasons += [_is_outside(field, found[field.name]) for field in form.fields]
    if "channels" in found.shape().members:
        reasons.append(found.channels[channels:] != 0)
    if unit is Unit.MISC:
        reasons += _no_job(found)
    return _any(reasons)


def _is_outside(field: Field, value: Value) -> Value:
    """Return whether a field has a value that is not allowed."""
    low, high = field.span
    if field.codes is not None:
        missing = [code for code in range(low, high + 1) if code not in field.allowed]
        return _any(value == code for code in missing)
    return _any([value < field.allowed[0]] * (field.allowed[0] > low))


def _no_job(found: data.View) -> list[Value]:
    """Return the reasons for which a job refuses fields; see `golden.spec.instruction`."""
    is_step = found.op >= Operation.LOAD
    rotates = found.op == Operation.ROTATE
    takes_vector = found.source == Second.VECTOR
    return [
        (found.op == Operation.LOAD) & (found.shift[LOAD_SHIFT_BITS:] != 0),
        (found.op == Operation.PRODUCT) & takes_vector,
        rotates & (found.scaled | (found.source != Second.NONE) | found.length[0]),
        is_step & (found.length != 1),
        (is_step | rotates) & found.extended,
    ]


def _any(reasons: Iterable[Value]) -> Value:
    return reduce(or_, reasons, Value.cast(0))

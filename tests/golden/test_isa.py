"""The field table, and instructions as words: by hand, and by property."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.spec.errors import ConfigError
from golden.spec.instruction import (
    IllegalInstruction,
    Instruction,
    decode,
    instruction,
    mask_of,
    units_of,
    walk,
)
from golden.spec.isa import FORMATS, ErrorCode, SystemOperation, Unit, Weights
from golden.spec.special_function_unit import Byte, Job, Operation, Reduction, Second

END = instruction(Unit.SYS, op=SystemOperation.END)


def field_values(field):
    if field.codes:
        return st.sampled_from(sorted(field.codes))
    ends = st.sampled_from([field.allowed[0], field.allowed[-1]])
    return ends | st.integers(field.allowed[0], field.allowed[-1])


@st.composite
def instructions(draw, units=tuple(Unit)):
    unit = draw(st.sampled_from(units))
    values = {f.name: draw(field_values(f)) for f in FORMATS[unit].fields}
    try:
        return instruction(unit, **values)
    except ConfigError:  # fields of MISC that do not go together
        return instruction(unit, **{**values, "op": Operation.SQUARES})


def test_word_0_begins_with_opcode_and_masks():
    one = instruction(Unit.SYS, wait=0b10101, release=0b01011, op=2, interrupt=1)
    assert one.encode() == [15 << 28 | 0b10101 << 23 | 0b01011 << 18 | 2 << 16 | 1 << 15]
    opcodes = {"LD": 1, "ST": 2, "MM": 3, "MV": 4, "MISC": 5, "SYS": 15}
    assert {unit.name: instruction(unit).encode()[0] >> 28 for unit in Unit} == opcodes


def test_a_field_that_is_split_has_its_low_part_first():
    words = instruction(Unit.LD, base=5, channels=0xABCDE123, out=0xBEEF).encode()
    assert words[0] == 1 << 28 | 5 << 14 | 0xABCDE123 & 0x3FFF
    assert words[1] == (0xABCDE123 >> 14) << 14 | 0xBEEF & 0x3FFF
    assert words[2] >> 30 == 0xBEEF >> 14


def test_a_negative_stride_is_in_twos_complement():
    words = instruction(Unit.LD, stride_1=-1, count_1=1).encode()
    assert words[4] & 0x3FFFFFFF == 0x3FFFFFFF
    assert words[5] >> 28 == 0xF


@pytest.mark.parametrize("unit", Unit, ids=lambda unit: unit.name)
def test_every_bit_of_every_word_belongs_to_one_field(unit):
    form = FORMATS[unit]
    taken = [(0, bit) for bit in range(28, 32)]
    taken += [(p.word, p.shift + k) for p in form.pieces for k in range(p.bits)]
    taken += [(form.words - 1, bit) for bit in range(form.spare_bits)]
    assert sorted(taken) == [(word, bit) for word in range(form.words) for bit in range(32)]
    for field in form.fields:
        parts = [(p.low, p.bits) for p in form.pieces if p.field is field]
        assert [k for low, bits in parts for k in range(low, low + bits)] == [*range(field.bits)]


def test_no_name_is_there_twice():
    for form in FORMATS.values():
        names = [field.name for field in form.fields]
        assert len(set(names)) == len(names)
        assert names[:2] == ["wait", "release"]


@given(st.lists(instructions(), max_size=8))
def test_what_is_encoded_is_decoded(program):
    program = [one for one in program if not one.is_end] + [END]
    words = [word for one in program for word in one.encode()]
    assert decode([*words, 0, 1, 2]) == program
    counters = [pc for pc, _ in walk(words)]
    assert counters == [sum(one.format.words for one in program[:k]) for k in range(len(program))]


@given(st.lists(st.integers(0, (1 << 32) - 1) | st.sampled_from(END.encode()), max_size=20))
def test_any_words_are_a_program_or_an_error_with_its_place(words):
    try:
        program = decode(words)
    except IllegalInstruction as error:
        assert error.code in (1, 2, 3)
        assert 0 <= error.pc <= len(words)
        assert str(error).startswith(f"word {error.pc}: ")
    else:
        encoded = [word for one in program for word in one.encode()]
        assert encoded == words[: len(encoded)]


def test_fields_that_are_left_out_have_defaults():
    load = instruction(Unit.LD)
    assert [load[name] for name in ("base", "offset", "length", "count_3", "stride_3")] == [
        *(0, 0, 1, 1, 0)
    ]
    assert instruction(Unit.MV)["weights"] == Weights.PACKED


@pytest.mark.parametrize("unit", Unit, ids=lambda unit: unit.name)
def test_masks_name_the_other_units_in_their_order(unit):
    others = [other for other in Unit if other is not unit]
    assert [mask_of(unit, [other]) for other in others] == [1, 2, 4, 8, 16]
    for mask in range(32):
        assert mask_of(unit, units_of(unit, mask)) == mask
    one = instruction(unit, wait=0b00110, release=0b11000)
    assert (one.waits, one.releases) == (tuple(others[1:3]), tuple(others[3:]))


def test_a_misc_holds_a_job():
    job = Job(
        Operation.EXP,
        length=100,
        first=-131071,
        second=131071,
        shift=-128,
        scaled=True,
        scale=15,
        other=14,
        target=13,
        source=Second.SCALAR,
        minus=True,
        fraction_bits=15,
        wide=False,
        byte=Byte.HIGH,
        reduction=Reduction.SUM,
        carry=True,
    )
    fields = {**vars(job), "op": job.operation, "a": 7}
    del fields["operation"]
    fields = {name: int(value) for name, value in fields.items()}
    assert instruction(Unit.MISC, **fields).job() == job
    assert replace(job, carry=False) != job


@pytest.mark.parametrize(
    ("unit", "fields", "message"),
    [
        ("LD", {"length": 0}, "LD length is 0; allowed are 1 to 1048575 words of memory"),
        ("LD", {"offset": 1 << 34}, "LD offset is 17179869184; allowed are 0 to 17179869183 bytes"),
        ("ST", {"stride_2": -(1 << 33) - 1}, "ST stride_2 is -8589934593; allowed are -8589934592"
         " to 8589934591 bytes"),
        ("MV", {"strips": 1.0}, "MV strips is 1.0; allowed are 1 to 131071 strips"),
        ("MV", {"strips": True}, "MV strips is True; allowed are 1 to 131071 strips"),
        ("SYS", {"op": 4}, "SYS op is 4; allowed are SYNC (0), BARRIER (1), CLEAR (2), END (3)"),
        ("MV", {"tokens": 1}, "MV has no field 'tokens'; its fields are wait, release, weights, "
         "paired, channels, words, strips, activation, columns, group, sweeps, addresses, scale, "
         "out"),
        ("MISC", {"op": Operation.ROTATE, "scaled": 1},
         "MISC: ROTATE has its factors in stream b; scaled and source must be unset"),
        ("MISC", {"first": -(1 << 17)}, "MISC first is -131072; allowed are -131071 to 131071"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(unit, fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        instruction(Unit[unit], **fields)


@pytest.mark.parametrize(
    ("words", "code", "pc", "message"),
    [
        ([], "PAST_END", 0, "the program has no end; it ends with SYS op=END"),
        ([0], "ILLEGAL_OPCODE", 0, "the opcode is 0; allowed are 1, 2, 3, 4, 5, 15"),
        ([0xF << 28, 0x1 << 28], "PAST_END", 1, "LD has 8 words; the program has 1 more"),
        ([0xF << 28, 0xF << 28 | 1], "ILLEGAL_FIELD", 1,
         "SYS has 0x1 behind its last field; allowed is 0"),
        ([0x4 << 28, 0, 0, 0, 0, 0], "ILLEGAL_FIELD", 0,
         "MV words is 0; allowed are 1 to 16777215 words of memory"),
        (instruction(Unit.ST, channels=0x90).encode(), "ILLEGAL_FIELD", 0,
         "ST channels is 0x90; the core has 7 channels"),
    ],
)  # fmt: skip
def test_what_stops_a_core_is_said(words, code, pc, message):
    with pytest.raises(IllegalInstruction, match=f"^word {pc}: {re.escape(message)}$") as found:
        decode(words, channels=7)
    assert (found.value.code, found.value.pc) == (ErrorCode[code], pc)


def test_a_unit_is_no_other_of_itself():
    message = "a mask of LD names LD; only other units can be named"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        mask_of(Unit.LD, [Unit.MV, Unit.LD])
    with pytest.raises(ConfigError, match=r"^LD has no job of the special function unit$"):
        Instruction(Unit.LD, instruction(Unit.LD).values).job()

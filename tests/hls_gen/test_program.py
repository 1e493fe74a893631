"""Programs as text and as bytes."""

import contextlib
import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.spec.errors import ConfigError
from golden.spec.instruction import instruction
from golden.spec.isa import PC_BITS, SystemOperation, Unit
from hls_gen.program import Program, assemble, disassemble
from hw.random_programs import random_program

TEXT = """\
base weights = 3
base kv=4   # an old one

LD channels=0xff base=weights length=64 release=MV+MISC  # comment
MV wait=LD columns=36 group=36 strips=36 weights=RAW
MISC wait=LD op=SILU shift=-3 first=-0x10
ST base=kv memory=ACTIVATION offset=0x40 stride_1=-64
SYS interrupt=1 op=END wait=MV
"""

END = instruction(Unit.SYS, op=SystemOperation.END)


def test_a_text_is_a_program():
    program = assemble(TEXT)
    load, product, misc, store, end = program.instructions
    assert (load["channels"], load["base"], load["length"]) == (0xFF, 3, 64)
    assert (load.releases, product.waits) == ((Unit.MV, Unit.MISC), (Unit.LD,))
    assert (misc["first"], misc["shift"]) == (-16, -3)
    assert (store["base"], store["memory"], store["stride_1"]) == (4, 1, -64)
    assert end.is_end
    assert program.counters == (0, 8, 14, 20, 29)


def test_a_program_is_a_text():
    assert disassemble(assemble(TEXT), {"weights": 3, "kv": 4}) == (
        "base weights = 3\n"
        "base kv = 4\n"
        "LD release=MV+MISC base=weights channels=0xff length=64  # 0\n"
        "MV wait=LD weights=RAW strips=36 columns=36 group=36  # 8\n"
        "MISC wait=LD op=SILU shift=-3 first=-16  # 14\n"
        "ST memory=ACTIVATION base=kv offset=0x40 stride_1=-64  # 20\n"
        "SYS wait=MV op=END interrupt=1  # 29\n"
    )


programs = st.builds(
    lambda seed, count: Program(tuple(random_program(np.random.default_rng(seed), count))),
    st.integers(0, 10**6),
    st.integers(1, 30),
)
labels = st.dictionaries(
    st.from_regex(r"[a-z_]\w{0,5}", fullmatch=True), st.integers(0, 15), max_size=8
)


@given(programs, labels)
def test_text_and_bytes_give_the_program_again(program, bases):
    by_register = {register: label for label, register in bases.items()}
    bases = {label: register for register, label in by_register.items()}
    text = disassemble(program, bases)
    assert assemble(text) == program
    assert disassemble(assemble(text), bases) == text
    data = program.to_bytes()
    assert Program.from_bytes(data) == program
    assert len(data) == 12 + 4 * sum(one.format.words for one in program.instructions)


def test_the_bytes_are_little_endian_behind_a_header():
    assert Program((END,)).to_bytes() == b"NDPG" + bytes([2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0xF0])


@given(programs, st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_file_is_a_program_or_refused(program, place, change):
    data = bytearray(program.to_bytes())
    data[place % len(data)] ^= change
    with contextlib.suppress(ConfigError):
        assert Program.from_bytes(bytes(data)).to_bytes() == data


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("LOAD", "there is no instruction 'LOAD'; known are LD, ST, MM, MV, MISC, SYS"),
        ("LD length=0", "LD length is 0; allowed are 1 to 1048575 words of memory"),
        ("LD length", "'length' is no field; write NAME=VALUE without spaces"),
        ("LD length=", "'length=' is no field; write NAME=VALUE without spaces"),
        ("LD length=1 length=2", "LD length is given twice"),
        ("LD length=x", "LD length is 'x', a number is needed"),
        ("LD length=1.5", "LD length is '1.5', a number is needed"),
        ("LD base=kv", "LD base is 'kv', a number is needed"),
        ("LD strips=1", "LD has no field 'strips'; its fields are wait, release, base, channels, "
         "out, length, offset, count_1, stride_1, count_2, stride_2, count_3, stride_3"),
        ("SYS op=STOP", "SYS op is 'STOP'; known are SYNC, BARRIER, CLEAR, END"),
        ("SYS wait=LD+XX", "there is no unit 'XX'; known are LD, ST, MM, MV, MISC, SYS"),
        ("SYS wait=SYS", "a mask of SYS names SYS; only other units can be named"),
        ("base kv", "'base kv' is no label; write `base NAME = NUMBER`"),
        ("base 2 = 2", "'base 2 = 2' is no label; write `base NAME = NUMBER`"),
        ("base kv = 16", "the base register is 16; allowed are 0 to 15"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line_is_said(line, message):
    with pytest.raises(ConfigError, match=f"^line 2: {re.escape(message)}$"):
        assemble(f"# a program\n{line}\nSYS op=END\n")


def test_a_label_is_there_once():
    message = "line 2: 'kv' is the label of base register 1 already"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        assemble("base kv = 1\nbase kv = 2\nSYS op=END")


def test_a_program_ends_with_its_only_end():
    with pytest.raises(ConfigError, match=r"^the program has no END; add SYS op=END$"):
        assemble("LD")
    with pytest.raises(ConfigError, match=r"^instruction 0 is an END and 2 instructions are there"):
        Program((END, END))


def test_a_program_that_no_counter_counts_is_refused():
    many = (1 << PC_BITS) // 8
    with pytest.raises(ConfigError, match=r"^the program has 8388609 words; at most 8388608 can"):
        Program((instruction(Unit.LD),) * many + (END,))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file begins with b''; a program begins with b'NDPG'"),
        (b"ELF!" + bytes(8), "the file begins with b'ELF!'; a program begins with b'NDPG'"),
        (struct.pack("<4sII", b"NDPG", 1, 0), "the program has version 1; version 2 can be read"),
        (Program((END,)).to_bytes() + b"x",
         "the program file has 17 bytes; a header and 1 words have 16"),
        (struct.pack("<4sIIII", b"NDPG", 2, 2, *END.encode() * 2),
         "the program ends after 1 words; the file has 2"),
        (struct.pack("<4sIII", b"NDPG", 2, 1, 0),
         "word 0: the opcode is 0; allowed are 1, 2, 3, 4, 5, 15"),
    ],
)  # fmt: skip
def test_what_is_no_program_file_is_refused(data, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Program.from_bytes(data)

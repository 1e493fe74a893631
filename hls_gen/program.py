"""Programs: a text that people read and write, and the bytes that a core fetches.

One instruction per line: its unit, then `name=value` in any order. A field that is left out has its
default value. Masks name units, joined by "+"; codes have names; numbers are decimal or hexadecimal
("0x"). Behind "#" there is a comment.

    base weights = 3                          # a label for base register 3
    LD channels=0xff base=weights length=64 release=MV
    MV wait=LD columns=36 group=36 strips=36 release=SYS
    SYS op=END wait=MV interrupt=1
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction, decode, encode, instruction, mask_of, units_of
from golden.spec.isa import BASES, FORMATS, PC_BITS, WORD_BITS, Field, Unit

MAGIC = b"NDPG"
VERSION = 2
HEADER = struct.Struct("<4sII")
"""Magic, version, and the number of words behind it."""

_HEXADECIMAL = ("offset", "channels")
_MASKS = ("wait", "release")


@dataclass(frozen=True)
class Program:
    """Instructions, of which the last one and no other is an END.

    Raises:
        ConfigError: there is no END, or one in the middle; or a program counter cannot count them.
    """

    instructions: tuple[Instruction, ...]

    def __post_init__(self) -> None:
        ends = [number for number, one in enumerate(self.instructions) if one.is_end]
        if not ends:
            raise ConfigError("the program has no END; add SYS op=END")
        if ends[0] != len(self.instructions) - 1:
            raise ConfigError(
                f"instruction {ends[0]} is an END and {len(self.instructions)} instructions are "
                "there; a program ends with its only one"
            )
        if self.counters[-1] >> PC_BITS:
            raise ConfigError(
                f"the program has {self.counters[-1] + 1} words; at most {1 << PC_BITS} can be run"
            )

    @property
    def counters(self) -> tuple[int, ...]:
        """The program counter of each instruction."""
        counters = [0]
        for one in self.instructions[:-1]:
            counters.append(counters[-1] + one.format.words)
        return tuple(counters)

    def encode(self) -> list[int]:
        """Return the words that a core decodes."""
        return encode(self.instructions)

    def to_bytes(self) -> bytes:
        """Return the file: a header, and the words; all little-endian."""
        words = self.encode()
        header = HEADER.pack(MAGIC, VERSION, len(words))
        return header + struct.pack(f"<{len(words)}I", *words)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Program":
        """Return the program of a file.

        Raises:
            ConfigError: it is no program file of this version, or its words are no program.
        """
        words = _words(data)
        program = cls(tuple(decode(words)))
        if len(program.encode()) != len(words):
            raise ConfigError(
                f"the program ends after {len(program.encode())} words; the file has {len(words)}"
            )
        return program


def _words(data: bytes) -> tuple[int, ...]:
    """Return the words of a file."""
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise ConfigError(f"the file begins with {data[:4]!r}; a program begins with {MAGIC!r}")
    _, version, count = HEADER.unpack_from(data)
    if version != VERSION:
        raise ConfigError(f"the program has version {version}; version {VERSION} can be read")
    if len(data) != HEADER.size + count * WORD_BITS // 8:
        raise ConfigError(
            f"the program file has {len(data)} bytes; "
            f"a header and {count} words have {HEADER.size + count * WORD_BITS // 8}"
        )
    return struct.unpack_from(f"<{count}I", data, HEADER.size)


def assemble(text: str) -> Program:
    """Return the program that a text describes.

    Raises:
        ConfigError: a line is wrong; the message begins with its number.
    """
    bases: dict[str, int] = {}
    instructions = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        try:
            if words[:1] == ["base"]:
                _add_base(bases, words)
            elif words:
                instructions.append(_parse(words, bases))
        except ConfigError as error:
            raise ConfigError(f"line {number}: {error}") from None
    return Program(tuple(instructions))


def _add_base(bases: dict[str, int], words: list[str]) -> None:
    """Note the label of a line `base NAME = NUMBER`."""
    found = re.fullmatch(r"base ([A-Za-z_]\w*) ?= ?(\d+)", " ".join(words))
    if not found:
        raise ConfigError(f"{' '.join(words)!r} is no label; write `base NAME = NUMBER`")
    name, register = found[1], int(found[2])
    if name in bases:
        raise ConfigError(f"{name!r} is the label of base register {bases[name]} already")
    if register >= BASES:
        raise ConfigError(f"the base register is {register}; allowed are 0 to {BASES - 1}")
    bases[name] = register


def _parse(words: list[str], bases: Mapping[str, int]) -> Instruction:
    """Return the instruction of a line's words."""
    name, *assignments = words
    if name not in Unit.__members__:
        known = ", ".join(Unit.__members__)
        raise ConfigError(f"there is no instruction {name!r}; known are {known}")
    unit = Unit[name]
    values: dict[str, int] = {}
    for assignment in assignments:
        field_name, equals, value = assignment.partition("=")
        if not equals or not value:
            raise ConfigError(f"{assignment!r} is no field; write NAME=VALUE without spaces")
        if field_name in values:
            raise ConfigError(f"{name} {field_name} is given twice")
        values[field_name] = _value(unit, FORMATS[unit].field(field_name), value, bases)
    return instruction(unit, **values)


def _value(unit: Unit, field: Field, text: str, bases: Mapping[str, int]) -> int:
    """Return the value that a text gives a field."""
    if re.fullmatch(r"-?(\d+|0x[0-9a-fA-F]+)", text):
        return int(text, 0) if "x" in text else int(text)
    if field.name in _MASKS:
        return mask_of(unit, [_unit(name) for name in text.split("+")])
    names = {code.name: code.value for code in field.codes or ()}
    if field.name == "base":
        names = dict(bases)
    if text not in names:
        known = f"; known are {', '.join(names)}" if names else ", a number is needed"
        raise ConfigError(f"{unit.name} {field.name} is {text!r}{known}")
    return names[text]


def _unit(name: str) -> Unit:
    if name not in Unit.__members__:
        raise ConfigError(f"there is no unit {name!r}; known are {', '.join(Unit.__members__)}")
    return Unit[name]


def disassemble(program: Program, bases: Mapping[str, int] | None = None) -> str:
    """Return the text of a program, each line with its program counter; `assemble` reads it.

    Args:
        bases: labels of base registers, at most one for each.
    """
    labels = {register: label for label, register in (bases or {}).items()}
    lines = [f"base {label} = {register}" for register, label in labels.items()]
    for counter, one in zip(program.counters, program.instructions, strict=True):
        fields = zip(one.format.fields, one.values, strict=True)
        parts = [_text(one.unit, f, value, labels) for f, value in fields if value != f.default]
        lines.append(f"{' '.join([one.unit.name, *parts])}  # {counter}")
    return "\n".join(lines) + "\n"


def _text(unit: Unit, field: Field, value: int, labels: Mapping[int, str]) -> str:
    """Return a field as it stands in a program's text."""
    shown = str(value)
    if field.name in _MASKS:
        shown = "+".join(other.name for other in units_of(unit, value))
    elif field.codes:
        shown = field.codes(value).name
    elif field.name == "base":
        shown = labels.get(value, shown)
    elif field.name in _HEXADECIMAL:
        shown = hex(value)
    return f"{field.name}={shown}"

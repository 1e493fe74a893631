"""Instructions: made from fields, encoded into words, and decoded as a core does."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache
from typing import Any

from golden.spec.errors import ConfigError
from golden.spec.isa import (
    BASES,
    CHANNELS,
    FORMATS,
    LENGTH_BASE,
    OPCODE_BITS,
    UNIT_OF_OPCODE,
    WORD_BITS,
    ErrorCode,
    Format,
    SystemOperation,
    Unit,
)
from golden.spec.special_function_unit import LENGTH_BITS, Job, Operation

JOB_FIELDS = tuple(field.name for field in fields(Job))
"""The fields of a job of the special function unit; MISC has them too, `operation` as `op`."""


class IllegalInstruction(ConfigError):
    """Words that are no program.

    Attributes:
        code: the error with which a core stops there.
        pc: the program counter that it then shows: the number of the instruction's first word, or
            of the word that is missing.
    """

    def __init__(self, code: ErrorCode, pc: int, message: str) -> None:
        super().__init__(f"word {pc}: {message}")
        self.code = code
        self.pc = pc


@dataclass(frozen=True)
class Instruction:
    """One instruction; `instruction` makes it from named fields.

    Attributes:
        unit: what executes it.
        values: of its fields, in their order in `FORMATS`.

    Raises:
        ConfigError: a value is outside its range, or values do not go together.
    """

    unit: Unit
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        for field, value in zip(self.format.fields, self.values, strict=True):
            self.format.check(field, value)
        if self.unit is Unit.MISC:
            self._check_extended(self.job())

    @property
    def format(self) -> Format:
        """Its fields."""
        return FORMATS[self.unit]

    def __getitem__(self, name: str) -> int:
        if name not in self.format.numbers:
            self.format.field(name)  # says what there is
        return self.values[self.format.numbers[name]]

    @property
    def waits(self) -> tuple[Unit, ...]:
        """The units that it waits for."""
        return units_of(self.unit, self["wait"])

    @property
    def releases(self) -> tuple[Unit, ...]:
        """The units that it releases."""
        return units_of(self.unit, self["release"])

    @property
    def is_end(self) -> bool:
        """The program ends with it."""
        return self.unit is Unit.SYS and self["op"] == SystemOperation.END

    def job(self, bases: Sequence[int] = (0,) * BASES) -> Job:
        """Return a MISC instruction's job of the special function unit.

        Args:
            bases: the base registers, from one of which an extended length counts.

        Raises:
            ConfigError: it is no MISC, or its fields do not go together.
        """
        if self.unit is not Unit.MISC:
            raise ConfigError(f"{self.unit.name} has no job of the special function unit")
        given: dict[str, Any] = {
            field.name: field.codes(value) if field.codes else value
            for field, value in zip(self.format.fields, self.values, strict=True)
        }
        same = {name: given[name] for name in JOB_FIELDS if name != "operation"}
        if given["extended"]:
            same["length"] = (given["length"] - 1 + bases[LENGTH_BASE]) % (1 << LENGTH_BITS) + 1
        try:
            return Job(given["op"], **same)
        except ConfigError as error:
            raise ConfigError(f"MISC: {error}") from None

    def _check_extended(self, job: Job) -> None:
        """Refuse a length that counts from a base register where it would say nothing."""
        if self["extended"] and (not job.operation.is_pass or job.operation is Operation.ROTATE):
            raise ConfigError(f"MISC extended is 1; {job.operation.name} has a length of its own")

    def encode(self) -> list[int]:
        """Return its words."""
        return [*self._words]

    @cached_property
    def _words(self) -> tuple[int, ...]:
        words = [0] * self.format.words
        words[0] = self.format.opcode << (WORD_BITS - OPCODE_BITS)
        values = dict(zip(self.format.fields, self.values, strict=True))
        for piece in self.format.pieces:
            part = values[piece.field] >> piece.low & ((1 << piece.bits) - 1)
            words[piece.word] |= part << piece.shift
        return tuple(words)


def instruction(unit: Unit, **given: int) -> Instruction:
    """Return an instruction; a field that is left out has its default value.

    Raises:
        ConfigError: the unit has no such field, a value is outside its range, or values do not go
            together.
    """
    form = FORMATS[unit]
    values = [*form.defaults]
    for name, value in given.items():
        if name not in form.numbers:
            form.field(name)  # says what there is
        values[form.numbers[name]] = value
    return _checked(unit, *values)


@lru_cache(maxsize=1 << 16, typed=True)
def _checked(unit: Unit, *values: int) -> Instruction:
    """Return an instruction: programs have many that are the same, which are checked once.

    The cache tells 1 from True, which is no value.
    """
    return Instruction(unit, values)


def encode(program: Sequence[Instruction]) -> list[int]:
    """Return the words that a core decodes."""
    return [word for one in program for word in one.encode()]


def mask_of(unit: Unit, others: Collection[Unit]) -> int:
    """Return the mask with which `unit` names `others`.

    Raises:
        ConfigError: it names itself.
    """
    if unit in others:
        raise ConfigError(f"a mask of {unit.name} names {unit.name}; only other units can be named")
    return sum(1 << unit.others.index(other) for other in set(others))


@cache
def units_of(unit: Unit, mask: int) -> tuple[Unit, ...]:
    """Return the units that a mask of `unit` names."""
    return tuple(other for bit, other in enumerate(unit.others) if mask >> bit & 1)


def decode(words: Sequence[int], channels: int = CHANNELS) -> list[Instruction]:
    """Return the instructions of a program, up to its SYS END; what follows that is not looked at.

    Args:
        channels: that the core has.

    Raises:
        IllegalInstruction: an instruction is illegal, or the words end before the program does.
    """
    return [found for _, found in walk(words, channels)]


def walk(words: Sequence[int], channels: int = CHANNELS) -> Iterator[tuple[int, Instruction]]:
    """Yield what `decode` returns, each with its program counter, up to the first error."""
    pc, is_end = 0, False
    while not is_end:
        found = _decode_at(words, pc, channels)
        yield pc, found
        pc, is_end = pc + found.format.words, found.is_end


def _decode_at(words: Sequence[int], pc: int, channels: int) -> Instruction:
    """Return the instruction that begins with word `pc`."""
    if pc >= len(words):
        code = ErrorCode.PAST_END
        raise IllegalInstruction(code, pc, "the program has no end; it ends with SYS op=END")
    opcode = words[pc] >> (WORD_BITS - OPCODE_BITS)
    if opcode not in UNIT_OF_OPCODE:
        known = ", ".join(map(str, UNIT_OF_OPCODE))
        code = ErrorCode.ILLEGAL_OPCODE
        raise IllegalInstruction(code, pc, f"the opcode is {opcode}; allowed are {known}")
    form = FORMATS[UNIT_OF_OPCODE[opcode]]
    mine = words[pc : pc + form.words]
    if len(mine) < form.words:
        left = f"{form.unit.name} has {form.words} words; the program has {len(mine)} more"
        raise IllegalInstruction(ErrorCode.PAST_END, pc, left)
    try:
        found = Instruction(form.unit, _values(form, mine))
        _check_rest(found, mine, channels)
    except ConfigError as error:
        raise IllegalInstruction(ErrorCode.ILLEGAL_FIELD, pc, str(error)) from None
    return found


def _values(form: Format, words: Sequence[int]) -> tuple[int, ...]:
    """Return the values of the fields in an instruction's words."""
    bits = dict.fromkeys(form.fields, 0)
    for piece in form.pieces:
        part = words[piece.word] >> piece.shift & ((1 << piece.bits) - 1)
        bits[piece.field] |= part << piece.low
    return tuple(
        value - (1 << field.bits) if value > field.span[1] else value
        for field, value in bits.items()
    )


def _check_rest(found: Instruction, words: Sequence[int], channels: int) -> None:
    """Refuse set bits behind the last field, and channels that the core does not have."""
    name = found.unit.name
    if spare := words[-1] & ((1 << found.format.spare_bits) - 1):
        raise ConfigError(f"{name} has {spare:#x} behind its last field; allowed is 0")
    has_channels = any(field.name == "channels" for field in found.format.fields)
    if has_channels and found["channels"] >> channels:
        raise ConfigError(
            f"{name} channels is {found['channels']:#x}; the core has {channels} channels"
        )

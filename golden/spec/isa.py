"""The instruction set of a core: every field once, for all that read or write programs.

An instruction is some words of 32 bits. Word 0 begins, from its highest bit downwards, with the
opcode and the masks of the units that the instruction waits for and releases; the unit's own fields
follow, downwards in each word. A field that does not fit into what is left of a word has its low
part there and the rest on top of the next word. Bits behind the last field are 0.

The units, their queues and the tokens between them are FlightLLM's (arXiv 2401.03868, table 1, and
the generator that its authors released); the fields are our own.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from golden.spec.errors import ConfigError
from golden.spec.special_function_unit import (
    FACTOR_BITS,
    MAX_FRACTION_BITS,
    SHIFT_BITS,
    Byte,
    Operation,
    Reduction,
    Second,
)

WORD_BITS = 32
OPCODE_BITS = 4
ADDRESS_BITS = 34
"""Bits of a byte's address in memory."""

CHANNELS = 32
"""Most memory channels of a core, beside its general port."""

BASES = 16
"""Base registers, from which addresses in memory count."""

LENGTH_BASE = 1
"""The base register that MISC's lengths can count from."""

TOKEN_BITS = 6
"""Bits of a token counter: up to 63 tokens lie between two units."""

PC_BITS = 23
"""Bits of a program counter, the number of a word in its program."""


class Unit(IntEnum):
    """The units of a core, in the order in which masks name them."""

    LD = 0
    ST = 1
    MM = 2
    MV = 3
    MISC = 4
    SYS = 5

    @property
    def others(self) -> tuple["Unit", ...]:
        """The units that a mask of this one names, from bit 0 on."""
        return _OTHERS[self]


PRODUCTS = (Unit.MM, Unit.MV)
"""The units that take words of the weight streams, in the order of a program."""


class ErrorCode(IntEnum):
    """Why a core has stopped."""

    NONE = 0
    ILLEGAL_OPCODE = 1
    ILLEGAL_FIELD = 2
    PAST_END = 3
    TOKEN_OVERFLOW = 4
    UNALIGNED_ADDRESS = 5
    READ_ERROR = 6
    WRITE_ERROR = 7


class Memory(IntEnum):
    """Where ST reads: the vector buffer, or the activation memory."""

    VECTOR = 0
    ACTIVATION = 1


class Weights(IntEnum):
    """What MM and MV find in the weight streams: a matrix and all about it, or its INT8 only."""

    PACKED = 0
    RAW = 1


_OTHERS = {unit: tuple(other for other in Unit if other is not unit) for unit in Unit}


class SystemOperation(IntEnum):
    """What SYS does."""

    SYNC = 0
    BARRIER = 1
    CLEAR = 2
    END = 3


@dataclass(frozen=True)
class Field:
    """A field of an instruction.

    Attributes:
        name: as in a program's text.
        bits: its width.
        meaning: what it says, for the manual.
        unit: what it counts in.
        least: the smallest value that is allowed, where that is not the smallest of its bits.
        signed: in two's complement.
        codes: the names of its values; others are not allowed.
    """

    name: str
    bits: int
    meaning: str
    unit: str = ""
    least: int | None = None
    signed: bool = False
    codes: type[IntEnum] | None = None

    @property
    def span(self) -> tuple[int, int]:
        """The smallest and the largest value that its bits hold."""
        low = -(1 << (self.bits - 1)) if self.signed else 0
        return low, low + (1 << self.bits) - 1

    @cached_property
    def allowed(self) -> range | tuple[int, ...]:
        """The values that are allowed."""
        if self.codes is not None:
            return tuple(self.codes)
        low, high = self.span
        return range(low if self.least is None else self.least, high + 1)

    @property
    def default(self) -> int:
        """The value where a program's text leaves it out: 0, or the least that is allowed."""
        return max(self.allowed[0], 0)

    def describe_allowed(self) -> str:
        """Return the allowed values in words."""
        if self.codes is not None:
            return ", ".join(f"{code.name} ({code.value})" for code in self.codes)
        return f"{self.allowed[0]} to {self.allowed[-1]}{f' {self.unit}' if self.unit else ''}"


@dataclass(frozen=True)
class Piece:
    """A part of a field in one word: `bits` bits, from bit `low` of the field at bit `shift`."""

    field: Field
    low: int
    bits: int
    word: int
    shift: int


@dataclass(frozen=True)
class Format:
    """An instruction's fields, `wait` and `release` first."""

    unit: Unit
    opcode: int
    meaning: str
    fields: tuple[Field, ...]

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """Where the fields stand in the words, in their order."""
        pieces, word, free = [], 0, WORD_BITS - OPCODE_BITS
        for field in self.fields:
            low = 0
            while low < field.bits:
                if free == 0:
                    word, free = word + 1, WORD_BITS
                taken = min(free, field.bits - low)
                free -= taken
                pieces.append(Piece(field, low, taken, word, free))
                low += taken
        return tuple(pieces)

    @property
    def words(self) -> int:
        """Words of the instruction."""
        return self.pieces[-1].word + 1

    @property
    def spare_bits(self) -> int:
        """Bits behind the last field."""
        return self.pieces[-1].shift

    @cached_property
    def defaults(self) -> tuple[int, ...]:
        """The default value of each field."""
        return tuple(field.default for field in self.fields)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each field, by name."""
        return {field.name: number for number, field in enumerate(self.fields)}

    def field(self, name: str) -> Field:
        """Return the field of that name.

        Raises:
            ConfigError: there is none.
        """
        if name in self.numbers:
            return self.fields[self.numbers[name]]
        known = ", ".join(field.name for field in self.fields)
        raise ConfigError(f"{self.unit.name} has no field {name!r}; its fields are {known}")

    def check(self, field: Field, value: int) -> None:
        """Refuse a value that is not allowed.

        Raises:
            ConfigError: the value is no integer, or outside the field's range.
        """
        if isinstance(value, bool) or not isinstance(value, int) or value not in field.allowed:
            raise ConfigError(
                f"{self.unit.name} {field.name} is {value!r}; "
                f"allowed are {field.describe_allowed()}"
            )


_WAIT = Field("wait", 5, "units of each of which a token is taken before the start")
_RELEASE = Field("release", 5, "units to each of which a token is given at the end")
_BASE = Field("base", 4, "base register that the address in memory counts from")
_OFFSET = Field("offset", ADDRESS_BITS, "added to the base register, modulo 2^34", "bytes")
_VECTOR_WORDS = "words of the vector buffer"
_ACTIVATION_WORDS = "words of the activation memory"
_SCALE_UNITS = "units of 2^(zero_fraction_bits - scale_shift)"
_EXTENDED = (
    f"1: base register {LENGTH_BASE} is added to `length` - 1, modulo 2^16; passes but no ROTATE"
)
_FACTOR_LEAST = 1 - (1 << (FACTOR_BITS - 1))


def _loops() -> tuple[Field, ...]:
    """Return the fields of three nested loops of runs, the innermost first."""
    fields = []
    for level, what in ((1, "runs"), (2, "rounds of loop 1"), (3, "rounds of loop 2")):
        step = f"from one to the next of them, modulo 2^{ADDRESS_BITS}"
        fields += [
            Field(f"count_{level}", 10, what, "times", least=1),
            Field(f"stride_{level}", ADDRESS_BITS, step, "bytes", signed=True),
        ]
    return tuple(fields)


def _product(*fields: Field) -> tuple[Field, ...]:
    """Return the fields that MM and MV share, and `fields`."""
    return (
        _WAIT,
        _RELEASE,
        Field("weights", 1, "what the weight streams hold", codes=Weights),
        Field("paired", 1, "1: rows leave in pairs, one in each lane (one token, sparse matrix)"),
        Field("channels", CHANNELS, "chains whose strips count and that have words; 0: all"),
        Field("words", 24, "words that each chain takes", "words of memory", least=1),
        Field("strips", 17, "strips that come out of all chains", "strips", least=1),
        Field("activation", 16, "where the activations begin", _ACTIVATION_WORDS),
        Field("columns", 10, "inputs of the job", "columns of m inputs", least=1),
        Field("group", 10, "inputs of a scale group", "columns of m inputs", least=1),
        Field("sweeps", 16, "times that all inputs are given: tiles", "times", least=1),
        Field("addresses", 7, "of strips in each chain, for a raw matrix", "addresses", least=1),
        Field(
            "scale",
            17,
            "scale of all rows of a raw matrix",
            "units of 2^(zero_fraction_bits - scale_shift)",
        ),
        Field("out", 16, "where strip 0 of the outputs goes", _VECTOR_WORDS),
        *fields,
    )


_LD = (
    _WAIT,
    _RELEASE,
    _BASE,
    Field(
        "channels",
        CHANNELS,
        "channels that read, each at the same address, into their chains' weight streams; "
        "0: the general port reads into the vector buffer",
    ),
    Field("out", 16, "where it goes in the vector buffer", _VECTOR_WORDS),
    Field("length", 20, "a run: what lies side by side", "words of memory", least=1),
    _OFFSET,
    *_loops(),
)

_ST = (
    _WAIT,
    _RELEASE,
    Field("memory", 1, "what is read, without gaps", codes=Memory),
    Field("token", 7, "whose lane of the activation memory is read"),
    _BASE,
    Field(
        "channels",
        CHANNELS,
        "channels that are written, each at the same address, with successive parts of what is "
        "read; 0: the general port writes",
    ),
    Field("start", 16, "where reading begins", "words of that memory"),
    Field("length", 20, "a run: what lies side by side", "bytes", least=1),
    _OFFSET,
    *_loops(),
)

_MM = _product(
    Field("tokens", 8, "tokens of the product", "tokens", least=1),
    Field("step", 16, "from one token's activations to the next one's", _ACTIVATION_WORDS),
    Field("out_step", 16, "from one token's outputs to the next one's", _VECTOR_WORDS),
)

_MISC = (
    _WAIT,
    _RELEASE,
    Field("op", 4, "operation; this and what follows up to `length` is a job", codes=Operation),
    Field("source", 2, "the second product's element", codes=Second),
    Field("byte", 2, "what goes to the activation memory", codes=Byte),
    Field("reduction", 2, "what goes to register `target`", codes=Reduction),
    Field("scaled", 1, "1: register `scale` counts"),
    Field("minus", 1, "1: the second factor is minus the first one"),
    Field("wide", 1, "1: outputs go to the vector buffer"),
    Field("carry", 1, "1: the reduction begins with what is in register `target`"),
    Field("scale", 4, "scalar register"),
    Field("other", 4, "scalar register"),
    Field("target", 4, "scalar register"),
    Field("fraction_bits", MAX_FRACTION_BITS.bit_length(), "of EXP's outputs", "bits"),
    Field("shift", SHIFT_BITS, "to the right", "bits", signed=True),
    Field("first", FACTOR_BITS, "first factor", least=_FACTOR_LEAST, signed=True),
    Field("second", FACTOR_BITS, "second factor", least=_FACTOR_LEAST, signed=True),
    Field("length", 16, "of a vector", "elements", least=1),
    Field("extended", 1, _EXTENDED),
    Field("a", 16, "where stream a begins", _VECTOR_WORDS),
    Field("b", 16, "where stream b begins", _VECTOR_WORDS),
    Field("out", 16, "where the outputs begin", _VECTOR_WORDS),
    Field("out_byte", 16, "where the bytes begin", _ACTIVATION_WORDS),
    Field("token", 7, "whose lane of the activation memory the bytes go to"),
)

_SYS = (
    _WAIT,
    _RELEASE,
    Field("op", 2, "operation", codes=SystemOperation),
    Field("interrupt", 1, "1: END raises the interrupt"),
)

FORMATS = {
    form.unit: form
    for form in (
        Format(Unit.LD, 1, "Memory to the vector buffer, or to the chains' weight streams.", _LD),
        Format(Unit.ST, 2, "On-chip memory to memory, byte by byte.", _ST),
        Format(Unit.MM, 3, "Product of a matrix with several tokens.", _MM),
        Format(Unit.MV, 4, "Product of a matrix with one token.", _product()),
        Format(Unit.MISC, 5, "A pass or a step of the special function unit.", _MISC),
        Format(Unit.SYS, 15, "Order of units, cores and the host.", _SYS),
    )
}
"""The format of each unit's instruction."""

UNIT_OF_OPCODE = {form.opcode: form.unit for form in FORMATS.values()}
"""The unit of each opcode."""

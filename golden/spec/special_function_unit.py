"""The special function unit's configuration and its jobs, read by generator, golden and simulator.

A **wide** element is a signed integer of 27 bits, a **factor** one of 18 bits without the least:
the two inputs of a DSP48E2's multiplier. What a wide element's least bit is worth is chosen when a
program is made. A scalar register holds an integer and an exponent; it is worth value * 2**exponent
in units of the least bit.
"""

from dataclasses import dataclass
from enum import IntEnum

from golden.spec.errors import ConfigError

WIDE_BITS, FACTOR_BITS, BYTE_BITS = 27, 18, 8
"""Bits of a wide element, of a factor, and of a quantised element; all signed."""

SLOT_BITS = 32
"""Bits in which a wide element is stored, sign-extended."""

FACTOR_FRACTION_BITS = 16
"""A vector's factor, a table's value and a rotation's cosine count in units of 2**-16."""

MAX_SHIFT = 47
"""The longest shift to the right; a shift outside 0 to 47 counts as the nearer end."""

REGISTERS = 16
"""Scalar registers."""

SUM_BITS = 52
"""Bits of a scalar register's signed value: the sum of 2**16 squares of factors fits."""

EXPONENT_BITS = 9
"""Bits of a scalar register's signed exponent."""

MANTISSA_BITS = 16
"""A normalised scalar's value lies in [2**15, 2**16], or is 0."""

LENGTH_BITS = 16
"""A job has up to 2**16 elements."""

SHIFT_BITS, FRACTION_FIELD_BITS = 8, 4
"""Bits of a job's signed shift, and of its `fraction_bits`."""

MAX_FRACTION_BITS = 15
"""Most fraction bits of a probability."""


class Operation(IntEnum):
    """What a job does; up to `SQUARES` a pass over vectors, from `LOAD` on a step on scalars.

    A pass computes u = (a * first + other * second) >> shift, rounded and saturated to 27 bits, and
    from it the output; see `golden.special_functions.passes`.
    """

    LINEAR = 0
    PRODUCT = 1
    ROTATE = 2
    SILU = 3
    GELU = 4
    EXP = 5
    SQUARES = 6
    LOAD = 8
    SHIFT = 9
    NORMALISE = 10
    RECIPROCAL = 11
    QUANTISER = 12
    INVERSE_ROOT = 13

    @property
    def is_pass(self) -> bool:
        """True for a pass over vectors."""
        return self < Operation.LOAD


class Second(IntEnum):
    """The second product's element: none, that of stream b, or a scalar register's value."""

    NONE = 0
    VECTOR = 1
    SCALAR = 2


class Byte(IntEnum):
    """What goes to the byte stream: nothing, the output saturated, or a half of its 14 bits."""

    NONE = 0
    SATURATED = 1
    HIGH = 2
    LOW = 3


class Reduction(IntEnum):
    """What a pass leaves in register `target`: of its outputs, or for SQUARES of u * u."""

    NONE = 0
    MAXIMUM = 1
    MAGNITUDE = 2
    SUM = 3


@dataclass(frozen=True)
class Job:
    """One pass over vectors, or one step on scalar registers.

    Attributes:
        operation: what is done.
        length: elements of a pass, 1 to 2**16.
        first, second: factors, signed 18 bits without the least. With `scaled` the first is the low
            bits of register `scale` instead.
        shift: signed 8 bits; what is shifted is `shift - exponent of register scale`. For SQUARES
            it is `shift + max(exponent, 0)`: the same elements need fewer bits. A step takes it for
            LOAD (to the left, 0 to 31) and SHIFT (to the right).
        scaled: register `scale` counts.
        scale, other, target: numbers of scalar registers. `other` is the second product's element
            where `source` is SCALAR, and then the second factor is minus the first one if `minus`.
            Steps read `scale` (INVERSE_ROOT also `other`, which is added) and write `target`.
        source: where the second product's element comes from.
        minus: the second factor is minus the first one.
        fraction_bits: of EXP's outputs, 0 to 15.
        wide: the outputs go to stream o. byte: what goes to stream o_byte.
        reduction: what goes to register `target`. carry: it begins with what is there.

    Raises:
        ConfigError: a field is outside its range, or goes with no such operation.
    """

    operation: Operation
    length: int = 1
    first: int = 1
    second: int = 0
    shift: int = 0
    scaled: bool = False
    scale: int = 0
    other: int = 0
    target: int = 0
    source: Second = Second.NONE
    minus: bool = False
    fraction_bits: int = 0
    wide: bool = True
    byte: Byte = Byte.NONE
    reduction: Reduction = Reduction.NONE
    carry: bool = False

    def __post_init__(self) -> None:
        most_factor = 2 ** (FACTOR_BITS - 1) - 1
        most_shift = 2 ** (SHIFT_BITS - 1)
        for field, low, high in (
            ("length", 1, 2**LENGTH_BITS),
            ("first", -most_factor, most_factor),
            ("second", -most_factor, most_factor),
            ("shift", -most_shift, most_shift - 1),
            ("fraction_bits", 0, MAX_FRACTION_BITS),
            *((register, 0, REGISTERS - 1) for register in ("scale", "other", "target")),
        ):
            _check_range(field, getattr(self, field), low, high)
        operation, source = self.operation, self.source
        if operation is Operation.LOAD:
            _check_range("shift of LOAD", self.shift, 0, 31)
        needs_b = operation in (Operation.PRODUCT, Operation.ROTATE)
        if needs_b and source is Second.VECTOR:
            raise ConfigError(f"{operation.name} takes stream b itself; source must not be VECTOR")
        if operation is Operation.ROTATE and (self.scaled or source is not Second.NONE):
            raise ConfigError("ROTATE has its factors in stream b; scaled and source must be unset")
        if operation is Operation.ROTATE and self.length % 2:
            raise ConfigError(f"length is {self.length!r}; ROTATE needs pairs, an even length")
        if not operation.is_pass and self.length != 1:
            raise ConfigError(f"length is {self.length!r}; a step on scalars has length 1")

    @property
    def takes_b(self) -> bool:
        """True when a word of stream b goes with each word of stream a."""
        return self.operation.is_pass and (
            self.source is Second.VECTOR or self.operation in (Operation.PRODUCT, Operation.ROTATE)
        )

    @property
    def gives(self) -> bool:
        """True for a pass that writes to an output stream."""
        return self.operation.is_pass and (self.wide or self.byte is not Byte.NONE)

    @property
    def reads(self) -> tuple[int, ...]:
        """The scalar registers that the job reads."""
        operation = self.operation
        registers: list[int] = []
        if operation.is_pass:
            registers += [self.scale] * self.scaled
            registers += [self.other] * (self.source is Second.SCALAR)
            registers += [self.target] * self.carry * (self.reduction is not Reduction.NONE)
        elif operation is not Operation.LOAD:
            registers.append(self.scale)
            registers += [self.other] * (operation is Operation.INVERSE_ROOT)
        return tuple(dict.fromkeys(registers))

    @property
    def writes(self) -> tuple[int, ...]:
        """The scalar register that the job writes, if any."""
        if self.operation.is_pass and self.reduction is Reduction.NONE:
            return ()
        return (self.target,)


@dataclass(frozen=True)
class SpecialFunctionUnitConfig:
    """A unit that works on `lanes` elements per cycle.

    Attributes:
        lanes: 2, 4, 8, 16 or 32; a rotation needs both elements of a pair in one word.
        table_bits: a function's table has 2**table_bits segments, 5 to 10.

    Raises:
        ConfigError: a field is outside its range.
    """

    lanes: int = 16
    table_bits: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.lanes, bool) or self.lanes not in (2, 4, 8, 16, 32):
            raise ConfigError(f"lanes is {self.lanes!r}; allowed are 2, 4, 8, 16 and 32")
        _check_range("table_bits", self.table_bits, 5, 10)

    def words(self, length: int) -> int:
        """Return the words of a vector of `length` elements."""
        return -(-length // self.lanes)


def _check_range(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{field} is {value!r}; allowed here are {low} to {high}")

"""The control and status registers of a core: each once, for hardware, hosts and manual.

Registers have 32 bits and stand at multiples of 4 bytes. Bits that a register does not have read 0,
and what is written there is lost. A number of more than 32 bits stands in two registers, the low
half first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from typing import Any

from golden.spec.errors import ConfigError
from golden.spec.isa import ADDRESS_BITS, BASES, PC_BITS, ErrorCode, Unit

REGISTER_BITS = 32

SPACE_BITS = 12
"""Bits of a register's byte address: a page of 4096 bytes for each core."""

COUNTER_BITS = 64

COUNTERS_OFFSET = 0x100
"""Where the first counter stands; the others follow it without gaps."""

IDENTITY = 0x4E44_0001
"""What IDENTITY holds: "ND", and the version of this register map."""

MAX_PROGRAM_WORDS = 1 << PC_BITS
"""Words of 32 bits of the longest program."""


class Control(IntFlag):
    """The bits of CONTROL."""

    START = 1
    STOP = 2


class Status(IntFlag):
    """The bits of STATUS."""

    BUSY = 1
    DONE = 2
    ERROR = 4
    INTERRUPT = 8


class Access(Enum):
    """What a host may do with a register; anything else is answered SLVERR, and does nothing."""

    READ = "R"
    WRITE = "RW"
    SETTING = "RW, W only while not busy"
    COMMAND = "W: 1 does it; reads 0"
    CLEAR = "R; W: 1 sets it to 0"


@dataclass(frozen=True)
class Register:
    """A register.

    Attributes:
        name: in capitals; those of a pair end with _LOW and _HIGH.
        offset: its byte address.
        access: what a host may do with it.
        meaning: what it holds, for the manual; the same for both of a pair.
        bits: how many it has, from bit 0 on.
        flags: of a register of single bits, what each one says.
    """

    name: str
    offset: int
    access: Access
    meaning: str
    bits: int = REGISTER_BITS
    flags: Mapping[Any, str] = field(default_factory=dict)


_CONTROL = {
    Control.START: "start the program; refused while busy, together with STOP, or if "
    f"PROGRAM_WORDS is not 1 to 2^{PC_BITS}",
    Control.STOP: "break the program off; without effect while not busy",
}

_STATUS = {
    Status.BUSY: "a program runs; writing it has no effect",
    Status.DONE: "a program has come to its END; a start sets it to 0",
    Status.ERROR: "an error has stopped a program; a start sets it to 0",
    Status.INTERRUPT: "an error, or an END with `interrupt`, waits for the host; a start sets it "
    "to 0",
}

_COUNTERS = {
    "CYCLES": "cycles",
    "WORDS": "cycles in which some chain takes a word of weights",
    "STARVED": "cycles in which the matrix unit has a job, and no chain takes a word",
    **{f"BUSY_{unit.name}": f"cycles in which {unit.name} executes" for unit in Unit},
    **{
        f"WAITING_{unit.name}": f"cycles in which {unit.name}'s next instruction waits for tokens"
        for unit in Unit
    },
}

COUNTERS = tuple(_COUNTERS)
"""The names of the counters, each a pair of registers."""


def _pair(name: str, offset: int, access: Access, meaning: str, bits: int) -> list[Register]:
    """Return the two registers of a number of more than 32 bits."""
    high = bits - REGISTER_BITS
    return [
        Register(f"{name}_LOW", offset, access, meaning),
        Register(f"{name}_HIGH", offset + 4, access, meaning, high),
    ]


def _registers() -> list[Register]:
    """Return all registers, in the order of their offsets."""
    read, setting = Access.READ, Access.SETTING
    code_bits = (len(ErrorCode) - 1).bit_length()
    bases = [
        register
        for number in range(BASES)
        for register in _pair(
            f"BASE_{number}",
            0x80 + 8 * number,
            setting,
            f"base register {number}, a byte address",
            ADDRESS_BITS,
        )
    ]
    counters = [
        register
        for number, (name, meaning) in enumerate(_COUNTERS.items())
        for register in _pair(name, COUNTERS_OFFSET + 8 * number, read, meaning, COUNTER_BITS)
    ]
    return [
        Register("IDENTITY", 0x0, read, f"{IDENTITY:#x}: `ND`, version of this map"),
        Register("CONTROL", 0x4, Access.COMMAND, "commands", len(Control), _CONTROL),
        Register("STATUS", 0x8, Access.CLEAR, "state", len(Status), _STATUS),
        Register(
            "INTERRUPT_ENABLE", 0xC, Access.WRITE, "1: the interrupt follows STATUS.INTERRUPT", 1
        ),
        Register("ERROR_CODE", 0x10, read, "why the program was stopped", code_bits),
        Register("ERROR_PC", 0x14, read, "at which of its words", PC_BITS),
        Register("PROGRAM_WORDS", 0x18, setting, "words of the program", PC_BITS + 1),
        *_pair("PROGRAM_ADDRESS", 0x20, setting, "byte address of its first word", ADDRESS_BITS),
        *bases,
        *counters,
    ]


REGISTERS = {register.name: register for register in _registers()}
"""All registers by name, in the order of their offsets."""


def start_sequence(
    program: int, words: int, bases: Mapping[int, int], *, interrupt: bool = False
) -> list[tuple[int, int]]:
    """Return what a host writes to start a program: (offset, value), in this order.

    Args:
        program: byte address of its first word; words: of 32 bits, 1 to 2**23.
        bases: base registers that are set, by number; the others keep what they hold.
        interrupt: whether an error, and an END that asks for it, raises the interrupt.

    Raises:
        ConfigError: an address, a number of words or of a base register is outside its range.
    """
    _check("words", words, range(1, MAX_PROGRAM_WORDS + 1))
    addresses = {"PROGRAM_ADDRESS": program}
    for number, address in bases.items():
        _check("base register", number, range(BASES))
        addresses[f"BASE_{number}"] = address
    values = {"PROGRAM_WORDS": words, "INTERRUPT_ENABLE": int(interrupt)}
    for name, address in addresses.items():
        _check(name, address, range(1 << ADDRESS_BITS))
        values |= {f"{name}_LOW": address % (1 << REGISTER_BITS)}
        values |= {f"{name}_HIGH": address >> REGISTER_BITS}
    values["CONTROL"] = Control.START
    return [(REGISTERS[name].offset, int(value)) for name, value in values.items()]


def _check(name: str, value: int, allowed: range) -> None:
    """Raise ConfigError where a value is not in its range."""
    if isinstance(value, bool) or value not in allowed:
        raise ConfigError(f"{name} is {value!r}; allowed are {allowed[0]} to {allowed[-1]}")

"""The tables of the control registers' manual, from the register map.

`python -m golden.spec.control_manual docs/control.md` writes them anew into the page.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from golden.spec import manual
from golden.spec.control import REGISTERS, Register
from golden.spec.files import write_text

BEGIN = manual.begin_mark("python -m golden.spec.control_manual docs/control.md")


def tables() -> str:
    """Return the tables of all registers and of their bits, in Markdown."""
    lines = ["", "| offset | register | bits | access | holds |", "|---|---|---|---|---|"]
    lines += [_row(registers) for registers in _groups()]
    for register in REGISTERS.values():
        if register.flags:
            lines += ["", f"### Bits of {register.name}", "", *_flags(register)]
    return "\n".join(lines) + "\n\n"


def _groups() -> list[list[Register]]:
    """Return what has a row of its own: a register, or the two halves of a number."""
    groups: list[list[Register]] = []
    for register in REGISTERS.values():
        if register.name.endswith("_HIGH"):
            groups[-1].append(register)
        else:
            groups.append([register])
    return groups


def _row(registers: list[Register]) -> str:
    """Return the row of a register, or of the two halves of a number."""
    first = registers[0]
    offsets = ", ".join(f"0x{register.offset:03x}" for register in registers)
    names = ", ".join(f"`{register.name}`" for register in registers)
    bits = " + ".join(str(register.bits) for register in registers)
    return f"| {offsets} | {names} | {bits} | {first.access.value} | {first.meaning} |"


def _flags(register: Register) -> Iterator[str]:
    """Yield the table of a register's bits."""
    yield "| bit | name | says |"
    yield "|---|---|---|"
    for flag, meaning in register.flags.items():
        yield f"| {flag.bit_length() - 1} | `{flag.name}` | {meaning} |"


def main() -> None:
    """Write the tables into the page that the command line names."""
    page = Path(sys.argv[1])
    write_text(page, manual.with_tables(page.read_text(encoding="utf-8"), BEGIN, tables()))


if __name__ == "__main__":
    main()

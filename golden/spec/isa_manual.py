"""The tables of the instruction manual, from the field table.

`python -m golden.spec.isa_manual docs/isa.md` writes them anew into the page.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from golden.spec import manual
from golden.spec.files import write_text
from golden.spec.isa import FORMATS, ErrorCode, Field, Format, Piece, Unit

BEGIN = manual.begin_mark("python -m golden.spec.isa_manual docs/isa.md")


def with_tables(page: str) -> str:
    """Return the page with the tables of today between its two marks.

    Raises:
        ConfigError: a mark is missing.
    """
    return manual.with_tables(page, BEGIN, tables())


def tables() -> str:
    """Return the tables of all instructions, fields and error codes, in Markdown."""
    lines = ["", "| instruction | opcode | words | does |", "|---|---|---|---|"]
    for form in FORMATS.values():
        name = form.unit.name
        lines.append(
            f"| [{name}](#{name.lower()}) | {form.opcode} | {form.words} | {form.meaning} |"
        )
    for form in FORMATS.values():
        lines += ["", f"### {form.unit.name}", "", *_fields(form)]
    lines += ["", "### Masks", "", *_masks()]
    lines += ["", "### Error codes", "", "| code | name |", "|---|---|"]
    lines += [f"| {code.value} | `{code.name}` |" for code in ErrorCode]
    return "\n".join(lines) + "\n\n"


def _fields(form: Format) -> Iterator[str]:
    """Yield the table of an instruction's fields."""
    yield "| field | bits | where | allowed | says |"
    yield "|---|---|---|---|---|"
    for field in form.fields:
        bits = f"{field.bits}, signed" if field.signed else str(field.bits)
        where = ", ".join(_place(piece) for piece in form.pieces if piece.field is field)
        yield f"| `{field.name}` | {bits} | {where} | {_allowed(field)} | {field.meaning} |"


def _place(piece: Piece) -> str:
    """Return a word and the bits in it, the lowest one last."""
    top = f"{piece.shift + piece.bits - 1}:" if piece.bits > 1 else ""
    return f"{piece.word}[{top}{piece.shift}]"


def _allowed(field: Field) -> str:
    """Return the allowed values of a field, short."""
    if field.codes is not None:
        return ", ".join(f"{code.value} `{code.name}`" for code in field.codes)
    unit = f" {field.unit}" if field.unit else ""
    return f"{_number(field.allowed[0])} to {_number(field.allowed[-1])}{unit}"


def _number(value: int) -> str:
    """Return a number; one of many digits that is near a power of two, as that."""
    near = [(0, ""), (1, " - 1"), (-1, " + 1")]
    for less, text in near:
        power = (abs(value + less)).bit_length() - 1
        if power >= 16 and abs(value + less) == 1 << power:
            return f"{'-' * (value < 0)}2^{power}{text}"
    return str(value)


def _masks() -> Iterator[str]:
    """Yield which unit each bit of a mask names."""
    yield f"| unit | {' | '.join(f'bit {bit}' for bit in range(len(Unit) - 1))} |"
    yield "|---" * len(Unit) + "|"
    for unit in Unit:
        yield f"| {unit.name} | {' | '.join(other.name for other in unit.others)} |"


def main() -> None:
    """Write the tables into the page that the command line names."""
    page = Path(sys.argv[1])
    write_text(page, with_tables(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

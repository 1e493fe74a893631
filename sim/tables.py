"""Tables of figures that come with the project (`sim/data/*.csv`), or that a user gives."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from golden.spec.errors import ConfigError

FOLDER = Path(__file__).parent / "data"


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every row of a CSV file by its columns' names, with where it stands ("a.csv:2").

    Raises:
        ConfigError: the file cannot be read, or a column is missing from it or from a row.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            missing = [name for name in columns if name not in (rows.fieldnames or ())]
            if missing:
                raise ConfigError(
                    f"{path.name} has no column {missing[0]!r}; "
                    f"its first line must name {', '.join(columns)}"
                )
            for row in rows:
                where = f"{path.name}:{rows.line_num}"
                if None in row or None in row.values():
                    raise ConfigError(f"{where} has not as many fields as the first line")
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read the table {str(path)!r} ({reason})") from None


def number(where: str, name: str, text: str) -> float | None:
    """Return a field as a number, or None where it is empty.

    Raises:
        ConfigError: it is neither; or it is negative, infinite or no number.
    """
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{where}: {name} is {text!r}; a number from 0 up is needed, or nothing")
    return value

"""A study as a Parquet file: a row for each point, flat columns."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from golden.spec.errors import OutputError
from golden.spec.files import make_folder
from sim.explore.study import Stored, Study


def write_parquet(study: Study, path: Path, best: Collection[int] = ()) -> None:
    """Write a study's points; the file is there as a whole or not at all.

    Columns: number, state, feasible, front (whether the number is among `best`), command, error,
    `set.` and each parameter (texts, where its values are not all numbers), and every number of the
    record; those in tables have the table's name before theirs.

    Raises:
        OutputError: it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    rows = [_row(one, one.number in best) for one in study.points()]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: pa.array(_alike([row.get(name) for row in rows])) for name in names}
    make_folder(path.parent)
    aside = path.parent / f".{path.name}.part"
    try:
        parquet.write_table(pa.table(columns), aside)
        aside.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r} ({error.strerror or error})") from None
    finally:
        aside.unlink(missing_ok=True)


def _row(one: Stored, best: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "number": one.number,
        "state": one.state,
        "feasible": one.outcome.feasible,
        "front": best,
        "command": one.command,
        "error": one.outcome.error,
    }
    row |= {f"set.{name}": value for name, value in one.configuration.items()}
    for name, value in (one.outcome.record or {}).items():
        entries = value if isinstance(value, dict) else {"": value}
        for key, each in entries.items():
            if isinstance(each, bool | int | float | str):
                row[f"{name}.{key}" if key else name] = each
    return row


def _alike(values: list[Any]) -> list[Any]:
    """Return values of one type: all numbers, all truths, or all texts."""
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) <= 1 and kinds <= {bool, int, float, str}:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]

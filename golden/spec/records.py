"""Records read from YAML files: frozen, checked when made, with errors of one sentence."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from golden.spec.errors import ConfigError


class Record(BaseModel):
    """A frozen set of named fields.

    Raises:
        ConfigError: a field is unknown, missing or outside its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """Return the first of a record's errors: where, the value, and what is allowed."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{where} is missing"
    own = first.get("ctx", {}).get("error")
    if isinstance(own, ConfigError):
        return f"{where}: {own}" if where else str(own)
    allowed = first["msg"]
    return f"{where} is {first['input']!r}; {allowed[0].lower()}{allowed[1:]}"


RecordType = TypeVar("RecordType", bound=Record)


def names(folder: Path) -> list[str]:
    """Return the names of the YAML files in `folder`."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_fields(folder: Path, what: str, name: str) -> dict[str, Any]:
    """Return the fields in `folder`'s YAML file called `name`, which describes a `what`.

    Raises:
        ConfigError: there is no such file, or it is not a YAML mapping.
    """
    if name not in names(folder):
        raise ConfigError(f"there is no {what} {name!r}; known are {', '.join(names(folder))}")
    return read_fields(folder / f"{name}.yaml", what)


def read_fields(path: Path, what: str) -> dict[str, Any]:
    """Return the fields in a YAML file, which describes a `what`.

    Raises:
        ConfigError: it cannot be read, or is not a YAML mapping.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the {what} {str(path)!r} ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{path.name} holds {fields!r}; a {what} is a mapping of named fields")
    return fields


def make(record: type[RecordType], name: str, fields: dict[str, Any]) -> RecordType:
    """Return the record that the file called `name` describes by `fields`.

    Raises:
        ConfigError: they are not a `record`; the message begins with the file's name.
    """
    try:
        if "name" in fields:
            raise ConfigError("name is a field; a file is named by its own name")
        return record(name=name, **fields)
    except ConfigError as error:
        raise ConfigError(f"{name}.yaml: {error}") from None

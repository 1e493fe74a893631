"""A study: an SQLite file with a space and what came of its points, each committed on its own.

Tables: `about` (key, value: the space's text and digest, the seed) and `points` (number, state,
configuration, command, feasible, record, error). States are "done" and "failed". Configurations and
records are JSON. `PRAGMA user_version` is the version of this format.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from golden.spec.errors import ConfigError, OutputError
from golden.spec.files import make_folder
from sim.explore.point import Outcome, Point
from sim.explore.space import Space, parse_space

VERSION = 1
APPLICATION = 0x4E414E44
"""SQLite's mark of what a file is for: "NAND"."""

DONE, FAILED = "done", "failed"

SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE points (
    number INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    configuration TEXT NOT NULL,
    command TEXT NOT NULL,
    feasible INTEGER NOT NULL,
    record TEXT,
    error TEXT
);
"""


@dataclass(frozen=True)
class Stored:
    """A point of a study.

    Attributes:
        number: its place in the search, from 0. state: DONE or FAILED.
        configuration: its parameters. command: what simulates it.
    """

    number: int
    state: str
    configuration: Point
    command: str
    outcome: Outcome


class Study:
    """A study's file; open it with `create` or `read`, and close it as a context manager.

    Attributes:
        path: of the file. space, seed: what it searches.
    """

    def __init__(self, path: Path, database: sqlite3.Connection, lock: FileLock | None) -> None:
        self.path, self._database, self._lock = path, database, lock
        about = dict(database.execute("SELECT key, value FROM about"))
        self.space: Space = parse_space(about["space"], path.name)
        self.seed = int(about["seed"])

    @classmethod
    def create(cls, path: Path, space: Space, text: str, seed: int) -> "Study":
        """Return the study in a file to write to; a new one where there is none.

        Raises:
            ConfigError: the file is no study, a study of another space, seed or version, or
                somebody else writes it. OutputError: it cannot be written.
        """
        make_folder(path.parent)
        lock = FileLock(path.parent / f".{path.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"{path} is being written by another exploration") from None
        try:
            _check_size(path)
            with _clear(path):
                database = _connect(path)
                if _is_empty(database):
                    _fill(database, text, seed)
                _check(database, path)
                study = cls(path, database, lock)
            if study.space.digest() != space.digest():
                raise ConfigError(f"{path} is a study of another space; name another file")
            if study.seed != seed:
                raise ConfigError(f"{path} was begun with seed {study.seed}, not {seed}")
        except BaseException:
            lock.release()
            raise
        return study

    @classmethod
    def read(cls, path: Path) -> "Study":
        """Return the study in a file, to read it.

        Raises:
            ConfigError: there is none, or it is of another version.
        """
        if not path.exists():
            raise ConfigError(f"there is no study {str(path)!r}; `nandu explore` makes one")
        _check_size(path)
        with _clear(path):
            database = _connect(path)
            _check(database, path)
            return cls(path, database, None)

    def __enter__(self) -> "Study":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._database.close()
        if self._lock is not None:
            self._lock.release()

    def add(self, number: int, point: Point, command: str, outcome: Outcome) -> None:
        """Store what came of a point, for good.

        Raises:
            OutputError: it cannot be written, as where the disk is full.
        """
        state = FAILED if outcome.record is None else DONE
        record = None if outcome.record is None else json.dumps(outcome.record)
        row = (number, state, json.dumps(point), command, outcome.feasible, record, outcome.error)
        with _clear(self.path), self._database:
            self._database.execute("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def points(self, first: int = 0, before: int | None = None) -> Iterator[Stored]:
        """Yield the points in their order: those from `first` on, up to `before`."""
        until = 2**62 if before is None else before
        query = (
            "SELECT number, state, configuration, command, feasible, record, error FROM points "
            "WHERE number >= ? AND number < ? ORDER BY number"
        )
        with _clear(self.path):
            for number, state, point, command, feasible, record, error in self._database.execute(
                query, (first, until)
            ):
                outcome = Outcome(record and json.loads(record), error, bool(feasible))
                yield Stored(number, state, json.loads(point), command, outcome)

    def point(self, number: int) -> Stored:
        """Return a point.

        Raises:
            ConfigError: the study has none of that number.
        """
        for one in self.points(number, number + 1):
            return one
        count = sum(self.counts().values())
        raise ConfigError(f"{self.path} has no point {number}; it has {count:,}, numbered from 0")

    def counts(self) -> dict[str, int]:
        """Return how many points have each state."""
        found = dict.fromkeys((DONE, FAILED), 0)
        query = "SELECT state, COUNT(*) FROM points GROUP BY state"
        return found | dict(self._database.execute(query))

    def first_error(self) -> str | None:
        """Return the error of the first point that failed; None where none did."""
        query = "SELECT error FROM points WHERE state = ? ORDER BY number LIMIT 1"
        found = self._database.execute(query, (FAILED,)).fetchone()
        return found and str(found[0])


def read_point(name: str) -> tuple[Space, Stored]:
    """Return the point that `STUDY#POINT` names, and the space that it is of.

    Raises:
        ConfigError: there is no such study or point.
    """
    path, _, number = name.rpartition("#")
    if not path or not number.isdecimal():
        raise ConfigError(f"{name!r} names no point; write STUDY#POINT, as out/u280.study#12")
    with Study.read(Path(path)) as study:
        return study.space, study.point(int(number))


def _is_empty(database: sqlite3.Connection) -> bool:
    """Return whether a file is new, or was left before anything was in it."""
    (tables,) = database.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    return tables == 0


def _fill(database: sqlite3.Connection, text: str, seed: int) -> None:
    """Make a study of an empty file, as a whole or not at all."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            database.execute(statement)
        about = {"space": text, "seed": str(seed)}
        database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")


def _check(database: sqlite3.Connection, path: Path) -> None:
    """Raise ConfigError unless the file is a whole study of this version."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise ConfigError(f"{path} is not a study; name a file that `nandu explore` may make")
    if version != VERSION:
        raise ConfigError(
            f"{path} is a study of version {version}; this Nandu reads version {VERSION}: name "
            "another file, or use the Nandu that made it"
        )
    (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)


def _check_size(path: Path) -> None:
    """Raise ConfigError for a file that SQLite would take, but that is no whole database."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        head = file.read(18)
    if not head.startswith(b"SQLite format 3\0"):
        raise ConfigError(f"{path} is no study; name a file that `nandu explore` may make")
    # What an interrupted commit left is still in the log beside it.
    page = int.from_bytes(head[16:18], "big")
    logged = path.with_name(f"{path.name}-wal").exists()
    if not logged and (not page or path.stat().st_size % page):
        raise ConfigError(f"{path} is no study, or a truncated one; remove it or name another file")


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection whose commits survive the death of this process, and are quick."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    return database


@contextmanager
def _clear(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into sentences."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"cannot write the study {str(path)!r} ({error}); the points that it has are kept: "
            "free some space or mend the folder, and run the same command again"
        ) from None
    except (sqlite3.DatabaseError, json.JSONDecodeError, KeyError) as error:
        raise ConfigError(
            f"{path} is no study, or a truncated one ({error}); remove it or name another file"
        ) from None

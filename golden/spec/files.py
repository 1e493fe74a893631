"""Writing results so that a reader never sees half of one: aside first, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from golden.spec.errors import OutputError


def make_folder(folder: Path) -> Path:
    """Return `folder`, created with its parents where missing, and shown to be writable.

    Raises:
        OutputError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write to the folder {str(folder)!r} ({error.strerror}); "
            "name one that can be written"
        ) from None
    return folder


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step: it holds the old content or the new, nothing between.

    Raises:
        OutputError: the folder cannot be written, or `path` is a folder.
    """
    make_folder(path.parent)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r} ({error.strerror})") from None
    finally:
        Path(aside).unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return where Nandu keeps what it can make again: $NANDU_CACHE or ~/.cache/nandu."""
    if chosen := os.environ.get("NANDU_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nandu"


def cached(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the cache; `fill` makes it the first time.

    It is filled aside and renamed when whole, by one process at a time: an interrupted `fill`
    leaves nothing behind.

    Raises:
        OutputError: the cache cannot be written.
    """
    folder = cache_folder() / name
    if folder.exists():
        return folder
    make_folder(folder.parent)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                fill(aside)
                aside.replace(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return folder

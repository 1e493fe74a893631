"""What the code says that makes something: a digest of modules and of all that they import."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

import golden

ROOT = Path(golden.__file__).parent.parent
"""Where the rooms are."""


def code_digest(*modules: str) -> str:
    """Return a digest of the text of modules of this project, and of those that they import.

    Args:
        modules: as "golden.transformer".
    """
    digest = hashlib.sha256()
    for path in sorted(_reached(modules)):
        digest.update(f"{path.relative_to(ROOT)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _reached(modules: tuple[str, ...]) -> set[Path]:
    found: set[Path] = set()
    left = list(modules)
    while left:
        module = left.pop()
        if package := module.rpartition(".")[0]:
            left.append(package)
        path = _file(module)
        if path is not None and path not in found:
            found.add(path)
            left += _imports(path)
    return found


def _file(module: str) -> Path | None:
    """Return the file of a module, or None where it is none of this project."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imports(path: Path) -> Iterator[str]:
    """Yield the names that a file imports: modules, and what may be a module."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

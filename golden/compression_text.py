"""The texts that a model is compressed on: more than a calibration of ranges needs."""

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType

import torch

from golden.language_model import LanguageModel

TEXTS, TEXT_TOKENS = 8, 1024
"""How many texts, and the tokens of each."""

_MODULES = (
    *("argparse", "ast", "collections", "configparser", "contextlib", "csv", "dataclasses"),
    *("datetime", "decimal", "difflib", "dis", "doctest", "email", "enum", "fractions"),
    *("functools", "heapq", "inspect", "json", "locale", "logging", "optparse", "pickle"),
    *("random", "shutil", "statistics", "string", "subprocess", "textwrap", "threading"),
)
"""More than those of `golden.perplexity.calibration_text`."""


def compression_text() -> str:
    """Return docstrings of modules of CPython's library, their classes, methods and functions."""
    modules = (importlib.import_module(name) for name in _MODULES)
    return "\n".join(text for module in modules for text in _docstrings(module))


def compression_texts(model: LanguageModel) -> torch.Tensor:
    """Return texts that lie equally far apart in it, int64 [`TEXTS`, `TEXT_TOKENS`]."""
    text = compression_text()
    # No token stands for more than 16 letters on average.
    starts = (len(text) * number // TEXTS for number in range(TEXTS))
    parts = (text[start : start + 16 * TEXT_TOKENS] for start in starts)
    return torch.cat([model.tokens(part)[:, :TEXT_TOKENS] for part in parts])


def _docstrings(module: ModuleType) -> Iterator[str]:
    yield module.__doc__ or ""
    for name, member in sorted(vars(module).items()):
        home = getattr(member, "__module__", None) or ""
        if name.startswith("_") or not home.startswith(module.__name__):
            continue
        if inspect.isroutine(member) or inspect.isclass(member):
            yield _docstring(member)
        if inspect.isclass(member):
            methods = (each for _, each in sorted(vars(member).items()) if inspect.isroutine(each))
            yield from map(_docstring, methods)


def _docstring(member: object) -> str:
    return inspect.cleandoc(getattr(member, "__doc__", None) or "")

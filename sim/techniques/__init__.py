"""The techniques: every file of this folder is one, by its name with "-" for "_"."""

import inspect
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from sim.technique import Technique


@cache
def techniques() -> dict[str, type[Technique]]:
    """Return all techniques by name, in the alphabet's order."""
    found = {}
    for module in iter_modules(__path__):
        name = f"{__name__}.{module.name}"
        (record,) = (
            one
            for _, one in inspect.getmembers(import_module(name), inspect.isclass)
            if issubclass(one, Technique) and one.__module__ == name
        )
        found[record.name()] = record
    return dict(sorted(found.items()))

"""From what a user writes, as `sparf:ratio=4`, to a system that does the work differently."""

from collections.abc import Sequence
from typing import Any

import yaml

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import Record
from sim.system import System
from sim.technique import Technique
from sim.techniques import techniques
from sim.workload import Pass

SOME = 1024
"""A context at which a system is asked whether it can do the passes that techniques leave."""


def parse(text: str) -> Technique:
    """Return the technique that `NAME[:k=v,...]` means; a value is read as YAML.

    Raises:
        ConfigError: the name or an option is unknown, or a value is not allowed.
    """
    name, _, rest = text.partition(":")
    if name not in techniques():
        raise ConfigError(
            f"there is no technique {name!r}{nearest(name, techniques())}; "
            "`nandu list techniques` names all"
        )
    record = techniques()[name]
    try:
        return record(**read_options(record, rest))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def read_options(record: type[Record], text: str) -> dict[str, Any]:
    """Return options written as k=v,...; a value is read as YAML.

    Raises:
        ConfigError: one is unknown, given twice, or has no value.
    """
    known = record.model_fields
    found: dict[str, Any] = {}
    for option in text.split(",") if text else []:
        key, equals, value = option.partition("=")
        if not equals:
            usual = options(record()).partition(",")[0]
            raise ConfigError(f"an option is {option!r}; a key and a value are needed, as {usual}")
        if key not in known:
            names = ", ".join(known) or "none"
            raise ConfigError(f"there is no option {key!r}{nearest(key, known)}; known are {names}")
        if key in found:
            raise ConfigError(f"{key} is given twice")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"{key} is {value!r}, which is not a value") from None
    return found


def options(record: Record) -> str:
    """Return all options of a technique or a policy, with their values."""
    return ",".join(f"{key}={_shown(value)}" for key, value in record)


def described(technique: Technique) -> str:
    """Return a technique as a user writes it: its name, and the options that are not usual."""
    usual = dict(type(technique)())
    own = [f"{key}={_shown(value)}" for key, value in technique if value != usual[key]]
    return ":".join([technique.name(), *([",".join(own)] if own else [])])


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def treat(system: System, model: ModelShape, chosen: Sequence[Technique]) -> System:
    """Return a system that does its work with techniques, applied in their order.

    Raises:
        ConfigError: two change the same, or one makes no sense on this system or model.
    """
    for technique in chosen:
        for other in system.techniques:
            if other.touches == technique.touches:
                raise ConfigError(
                    f"{technique.name()} does not go with {other.name()}: both are about "
                    f"{technique.touches}"
                )
        reason = technique.refusal(system, model)
        treated = system.model_copy(update={"techniques": (*system.techniques, technique)})
        reason = reason or _cannot(treated, model)
        if reason:
            raise ConfigError(f"{technique.name()} is refused on {system.name}: {reason}")
        system = treated
    return system


def _cannot(system: System, model: ModelShape) -> str | None:
    verified = system.emission.verified
    jobs = (Pass(1, SOME, SOME, prompt=True), Pass(1, verified, SOME))
    return next(filter(None, (system.cannot(model, job) for job in jobs)), None)

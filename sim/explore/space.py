"""A design space: parameters, what goes together, what is wanted and how to search it.

A space is a YAML file:

```yaml
title: How many cores, and how fast
parameters:                       # a value, a list of choices, or a range
  system: flightllm-u280
  model: llama-2-7b
  prefill: 128
  cores: [1, 2, 3]
  clock_mhz: {from: 150, to: 300, step: 25}
  weights.bits: {choices: [4, 8], only_if: cores < 3}
where: [cores * clock_mhz < 800]  # points that are not looked at
limits: {dsp: 0.9, bram: 0.9}     # shares of the board that our blocks may take
objectives: {decode_tokens_per_s: max, joules_per_token: min}
constraints: [ttft_ms < 500]      # on results
search: grid                      # or random, nsga2, nsga3, tpe
```
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, PositiveFloat

from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import Record, read_fields
from sim.catalogue import KINDS, NOT_SET
from sim.explore import expressions
from sim.explore.expressions import Expression
from sim.explore.resources import RESOURCES
from sim.result import Result
from sim.techniques import techniques

Method = Literal["grid", "random", "nsga2", "nsga3", "tpe"]
METHODS: tuple[str, ...] = get_args(Method)

WORKLOAD = {"prefill": 128, "decode": 128, "batch": 1}
"""Parameters of the workload, with what they are where a space leaves them out."""

TECHNIQUES = "techniques"
"""The parameter that says which techniques are applied; behind a point, one of their options."""

MOST_VALUES = 1_000_000
"""Values of one parameter's range."""

NUMBERS = tuple(
    one.name
    for one in dataclasses.fields(Result)
    if one.type in (int, float, float | None) and one.name != "wall_s"
)
"""Fields of a result that can be objectives."""

TABLES = tuple(f"{one.name}." for one in dataclasses.fields(Result) if "dict" in str(one.type))


@dataclass(frozen=True)
class Parameter:
    """What a point chooses: one of `values`, or any number of a range without steps.

    Attributes:
        name: as in the space; values: empty for a range without steps.
        span: first and last of a range. log: whether it is walked through by factors.
        only_if: it is chosen only where that is true of the parameters before it.
    """

    name: str
    values: tuple[Any, ...] = ()
    span: tuple[float, float] | None = None
    log: bool = False
    only_if: Expression | None = None

    def counts(self, chosen: Mapping[str, Any]) -> bool:
        """Return whether it is chosen, given the values before it."""
        return self.only_if is None or bool(self.only_if.value(plain(chosen)))


class Choices(Record):
    """The fields of a parameter with choices."""

    choices: list[Any] = Field(min_length=1)
    only_if: str | None = None


class Range(Record):
    """The fields of a parameter with a range."""

    first: float = Field(alias="from")
    to: float
    step: PositiveFloat | None = None
    log: bool = False
    only_if: str | None = None


class Space(Record):
    """A design space as its file has it; see this module for an example.

    Raises:
        ConfigError: a name is unknown, a value not allowed, or no point can be in it.
    """

    title: str = ""
    parameters: dict[str, Any] = Field(min_length=1)
    where: tuple[str | bool, ...] = ()
    limits: dict[str, PositiveFloat] = Field(default={})
    objectives: dict[str, Literal["max", "min"]] = Field(
        default={"decode_tokens_per_s": "max"}, min_length=1
    )
    constraints: tuple[str | bool, ...] = ()
    search: Method = "grid"

    def model_post_init(self, _: Any) -> None:
        """Check what pydantic cannot."""
        known = [*self.names, *NUMBERS, "bottleneck", *(f"resources.{one}" for one in RESOURCES)]
        for name in self.objectives:
            expressions.read(name.replace("-", "_")).check_names(known, TABLES)
        for one in self.conditions:
            one.check_names(self.names)
        for one in self.wanted:
            one.check_names(known, TABLES)
        for name in self.limits:
            if name not in RESOURCES:
                raise ConfigError(
                    f"limits has {name!r}{nearest(name, RESOURCES)}; known are "
                    f"{', '.join(RESOURCES)}"
                )
        self._check_parameters()

    def _check_parameters(self) -> None:
        """Raise ConfigError for a parameter that no point could use."""
        for required in ("system", "model"):
            if required not in self.parameters:
                raise ConfigError(f"parameters has no {required}; every point needs one")
        fields = {name for kind in KINDS.values() for name in kind.model_fields} - NOT_SET
        known = {"system", "model", *WORKLOAD, TECHNIQUES, *fields}
        for number, one in enumerate(self.chosen):
            head, _, rest = one.name.partition(".")
            if head not in known:
                raise ConfigError(
                    f"there is no parameter {one.name!r}{nearest(head, known)}; a parameter is a "
                    "field of the system, system, model, prefill, decode, batch or techniques"
                )
            if head == TECHNIQUES and rest:
                _check_option(one.name, rest)
            if one.only_if:
                one.only_if.check_names(
                    {plain_name(before.name) for before in self.chosen[:number]}
                )

    @cached_property
    def chosen(self) -> tuple[Parameter, ...]:
        """The parameters, in the order of the file."""
        return tuple(parameter(name, fields) for name, fields in self.parameters.items())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names as expressions have them."""
        return (*map(plain_name, self.parameters), *WORKLOAD)

    @cached_property
    def conditions(self) -> tuple[Expression, ...]:
        """What is true of the parameters of every point."""
        return tuple(map(expressions.read, self.where))

    @cached_property
    def wanted(self) -> tuple[Expression, ...]:
        """What is true of every good point's result."""
        return tuple(map(expressions.read, self.constraints))

    def allows(self, point: Mapping[str, Any]) -> bool:
        """Return whether the parameters of a point go together.

        A condition on a parameter that the point does not have says nothing.
        """
        values = WORKLOAD | plain(point)
        found = (one.value(values) for one in self.conditions)
        return all(one is None or bool(one) for one in found)

    def point_of(self, choose: "Choose") -> dict[str, Any]:
        """Return the point that has what `choose` gives for each parameter that counts."""
        point: dict[str, Any] = {}
        for one in self.chosen:
            if one.counts(point):
                point[one.name] = choose(one)
        return point

    def digest(self) -> dict[str, Any]:
        """Return all that two equal spaces share: everything but the title."""
        return self.model_dump(mode="json", exclude={"title"})


Choose = Callable[[Parameter], Any]


def load_space(path: Path) -> tuple[Space, str]:
    """Return the space in a file, and the file's text.

    Raises:
        ConfigError: it cannot be read, or is no space.
    """
    fields = read_fields(path, "space")
    return make_space(fields, path.name), path.read_text(encoding="utf-8")


def parse_space(text: str, name: str) -> Space:
    """Return the space that a text describes, as `load_space` would."""
    return make_space(yaml.safe_load(text), name)


def make_space(fields: dict[str, Any], name: str) -> Space:
    """Return the space of these fields; errors begin with its name."""
    try:
        for key in fields:
            if key not in Space.model_fields:
                known = ", ".join(Space.model_fields)
                raise ConfigError(
                    f"there is no field {key!r}{nearest(str(key), Space.model_fields)}; known are "
                    f"{known}"
                )
        return Space(**fields)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def parameter(name: str, fields: Any) -> Parameter:
    """Return the parameter that a space describes.

    Raises:
        ConfigError: it has no value, or its range is wrong.
    """
    try:
        if isinstance(fields, list):
            fields = {"choices": fields}
        if not isinstance(fields, dict):
            return Parameter(name, (fields,))
        record = Range if "from" in fields or "to" in fields else Choices
        known = [info.alias or key for key, info in record.model_fields.items()]
        for key in fields:
            if key not in known:
                raise ConfigError(
                    f"there is no {key!r}{nearest(str(key), known)}; a range has from, to, step, "
                    "log and only_if, and choices are a list, or choices and only_if"
                )
        if record is Choices:
            some = Choices(**fields)
            return Parameter(name, tuple(some.choices), only_if=_condition(some.only_if))
        return _range(name, Range(**fields), fields)
    except ConfigError as error:
        raise ConfigError(f"parameter {name}: {error}") from None


def _condition(text: str | None) -> Expression | None:
    return None if text is None else expressions.read(text)


def _range(name: str, span: Range, fields: Mapping[str, Any]) -> Parameter:
    only_if = _condition(span.only_if)
    if span.first > span.to:
        raise ConfigError(f"from is {span.first:g} and to {span.to:g}; no number is between")
    if span.log and (span.first <= 0 or span.step is not None):
        raise ConfigError("a range with log begins above 0 and has no step")
    whole = all(isinstance(fields.get(key, 0), int) for key in ("from", "to", "step"))
    step = span.step or (1 if whole and not span.log else None)
    if step is None:
        return Parameter(name, (), (span.first, span.to), span.log, only_if)
    count = math.floor((span.to - span.first) / step + 1e-9) + 1
    if count > MOST_VALUES:
        raise ConfigError(f"its range has {count:,} values; {MOST_VALUES:,} are allowed")
    values = tuple(_rounded(span.first + step * place, whole) for place in range(count))
    return Parameter(name, values, only_if=only_if)


def _rounded(value: float, whole: bool) -> float:
    return round(value) if whole else float(f"{value:.12g}")


def _check_option(name: str, rest: str) -> None:
    technique, _, option = rest.partition(".")
    known = {key: sorted(record.model_fields) for key, record in techniques().items()}
    if technique not in known:
        raise ConfigError(f"{name}: there is no technique {technique!r}{nearest(technique, known)}")
    if option not in known[technique]:
        raise ConfigError(
            f"{name}: there is no option {option!r}{nearest(option, known[technique])}; "
            f"{technique} has {', '.join(known[technique]) or 'none'}"
        )


def plain_name(name: str) -> str:
    """Return a parameter's name as an expression has it."""
    return name.replace("-", "_")


def plain(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point's values by the names that expressions have."""
    return {plain_name(name): value for name, value in point.items()}


def size(space: Space) -> int | None:
    """Return at most how many points a grid has; None where a range has no steps."""
    counts: Iterable[int] = (len(one.values) for one in space.chosen)
    return math.prod(counts) or None

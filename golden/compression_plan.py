"""Compression plans: the bits and the sparsity of each decoder linear layer, in a file to edit.

A plan is YAML: a format for all layers, and exceptions. An exception's name is the path of a linear
layer, in which `*` stands for anything; where several fit a layer, each adds to those before it.

    model: smollm2-135m
    default: {bits: 4, group_size: 64, kept: 0.75}
    layers:
      "*.down_proj": {bits: 5}
      model.layers.0.self_attn.v_proj: {bits: 8, kept: 1.0}
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator, model_validator

from golden.integer_linear import ENGINE
from golden.sparsity import check_kept, parse_sparsity
from golden.spec.errors import ConfigError
from golden.spec.expansion import WEIGHT_WIDTHS
from golden.spec.files import write_text
from golden.spec.records import Record, read_fields
from golden.spec.sparse_chain import SparseChainConfig

MAX_GROUP = ENGINE.max_group_inputs // 16 * 16
"""Most inputs of a scale group, a multiple of 16; see `IntegerLinear`."""

Sizes = Mapping[str, int]
"""How many weights each decoder linear layer has, by path."""

_HEADER = """\
# How each decoder linear layer of a model is stored: bits of a weight, inputs that share a scale,
# and what pruning keeps: a fraction (kept), with an N for each 16x16 block, or one N for all blocks
# (sparsity: "8:16"). Names of exceptions may hold a *; later ones count. See docs/compression.md.
"""


class LinearFormat(Record):
    """How a linear layer's weights are stored.

    Attributes:
        bits: of a weight: 2, 3, 4, 5, 6 or 8.
        group_size: inputs that share a weight's scale, a multiple of 16, up to 448.
        sparsity: pattern of all blocks, as "8:16".
        kept: instead, the fraction of weights to keep, with an N for each block.
    """

    bits: int = 8
    group_size: int = 192
    sparsity: str | None = None
    kept: float | None = None

    @field_validator("sparsity", mode="before")
    @classmethod
    def _not_sixty(cls, value: object) -> object:
        """Take back what YAML makes of 8:16 without quotes: so many minutes and seconds."""
        return f"{value // 60}:{value % 60}" if isinstance(value, int) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bits not in WEIGHT_WIDTHS:
            allowed = ", ".join(map(str, WEIGHT_WIDTHS))
            raise ConfigError(f"bits is {self.bits!r}; allowed are {allowed}")
        if self.group_size not in range(16, MAX_GROUP + 1, 16):
            raise ConfigError(
                f"group_size is {self.group_size!r}; a multiple of 16 is needed, up to {MAX_GROUP}"
            )
        if self.sparsity is not None and self.kept is not None:
            raise ConfigError("sparsity and kept exclude each other; give one of them")
        if self.sparsity is not None:
            parse_sparsity(self.sparsity, SparseChainConfig())
        if self.kept is not None:
            check_kept(self.kept, SparseChainConfig())
        return self

    @property
    def kept_fraction(self) -> float:
        """Weights that are kept, over all."""
        if self.sparsity is not None:
            return parse_sparsity(self.sparsity, chain := SparseChainConfig()) / chain.m
        return 1.0 if self.kept is None else self.kept


class Budget(Record):
    """What a plan may use on average over all weights of the decoder layers.

    Attributes:
        average_bits: of a stored weight, without scales. kept_fraction: of the weights.
    """

    average_bits: float = Field(gt=0)
    kept_fraction: float = Field(gt=0, le=1)


class CompressionPlan(Record):
    """A format for each decoder linear layer of a model, and one for the head.

    Attributes:
        model: whose plan it is. budget: under which it was made.
        default: of all layers without an exception.
        layers: fields that exceptions change, by their name or a pattern of names.
        head: is rounded and never pruned.
        sensitivity: by which it was chosen: of each layer, the divergence that each format is
            expected to cause, in nats per token.

    Raises:
        ConfigError: a field is unknown or outside its range; of an exception, with its name.
    """

    model: str
    budget: Budget | None = None
    default: LinearFormat = LinearFormat()
    layers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    head: LinearFormat = LinearFormat()
    sensitivity: dict[str, dict[str, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, fields in self.layers.items():
            try:
                _merged(self.default, fields)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
        if self.head.kept_fraction < 1:
            raise ConfigError("head is pruned; the head keeps all its weights")
        return self

    def format_of(self, path: str) -> LinearFormat:
        """Return how a decoder linear layer's weights are stored, or the head's, "lm_head"."""
        if path == "lm_head":
            return self.head
        found = self.default
        for name, fields in self.layers.items():
            if name == path or fnmatchcase(path, name):
                found = _merged(found, fields)
        return found

    def check(self, sizes: Sizes) -> None:
        """Refuse the plan for a model that it does not fit.

        Raises:
            ConfigError: an exception fits no layer, or the layers take more than the budget.
        """
        paths = list(sizes)
        for name in self.layers:
            if not any(name == path or fnmatchcase(path, name) for path in paths):
                raise ConfigError(
                    f"the plan names the layer {name!r}, which {self.model} does not have; its "
                    f"layers run from {paths[0]!r} to {paths[-1]!r}"
                )
        if self.budget is not None:
            self._check_budget(sizes, self.budget)

    def _check_budget(self, sizes: Sizes, budget: Budget) -> None:
        formats = {path: self.format_of(path) for path in sizes}
        for name, used, limit, most in (
            (
                "average_bits",
                self.average_bits(sizes),
                budget.average_bits,
                max(sizes, key=lambda path: formats[path].bits),
            ),
            (
                "kept_fraction",
                self.kept_fraction(sizes),
                budget.kept_fraction,
                max(sizes, key=lambda path: formats[path].kept_fraction),
            ),
        ):
            if used > limit + 1e-6:
                raise ConfigError(
                    f"the plan needs {name} = {used:.4g}, its budget allows {limit:g}; "
                    f"{most!r} has the most, {formats[most].bits} bits and "
                    f"{formats[most].kept_fraction:g} kept: lower it, or raise the budget"
                )

    def average_bits(self, sizes: Sizes) -> float:
        """Return the bits of a stored weight, averaged over all weights, without scales."""
        total = sum(self.format_of(path).bits * size for path, size in sizes.items())
        return total / sum(sizes.values())

    def kept_fraction(self, sizes: Sizes) -> float:
        """Return the fraction of all weights that may be kept."""
        total = sum(self.format_of(path).kept_fraction * size for path, size in sizes.items())
        return total / sum(sizes.values())

    def text(self) -> str:
        """Return the plan's file."""
        fields = self.model_dump(exclude_defaults=True)
        for section in ("default", "head"):
            fields[section] = _fields(getattr(self, section))
        order = [name for name in type(self).model_fields if name in fields]
        ordered = {name: fields[name] for name in order}
        return _HEADER + yaml.safe_dump(
            ordered, default_flow_style=None, sort_keys=False, width=10**6
        )

    def write(self, path: Path) -> None:
        """Write the plan's file.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, self.text())


def read_plan(path: Path) -> CompressionPlan:
    """Return the plan in a file.

    Raises:
        ConfigError: it cannot be read, or is no plan; the message begins with the file's name.
    """
    fields = read_fields(path, "plan")
    try:
        return CompressionPlan(**{str(name): value for name, value in fields.items()})
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def _merged(base: LinearFormat, fields: dict[str, Any]) -> LinearFormat:
    """Return a format with other fields; a new kind of pruning takes the place of the old one."""
    mine = base.model_dump()
    if {"sparsity", "kept"} & set(fields):
        mine["sparsity"] = mine["kept"] = None
    return LinearFormat(**{**mine, **fields})


def _fields(layer: LinearFormat) -> dict[str, Any]:
    """Return the fields of a format that say something."""
    return {name: value for name, value in layer.model_dump().items() if value is not None}


def decoder_linears(paths: Iterable[str]) -> list[str]:
    """Return the linear layers among all of a model that are decoder layers'."""
    return [path for path in paths if path.startswith("model.layers.")]

"""Which layer gets how many bits, and how much of it is kept, under a budget for the average."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from golden.compression_plan import (
    Budget,
    CompressionPlan,
    LinearFormat,
    Sizes,
)
from golden.compression_sensitivity import FRACTIONS, Sensitivity
from golden.spec.errors import ConfigError
from golden.spec.expansion import WEIGHT_WIDTHS

Unit = TypeVar("Unit", int, float)

BITS_BELOW, KEPT_BELOW = 1, 0.125
"""No layer gets less than the average less this: prices are those of small changes, and say nothing
of a layer that hardly works any more."""


def choose_plan(
    model: str,
    sensitivities: Mapping[str, Sensitivity],
    sizes: Sizes,
    budget: Budget,
    group_size: int,
) -> CompressionPlan:
    """Return the plan that is expected to change the model's predictions least.

    Bits and kept fractions are chosen apart from each other: their losses add up.

    Args:
        sizes: weights of each decoder linear layer.

    Raises:
        ConfigError: the budget is below what all layers' smallest formats take.
    """
    check_budget(budget, sizes)
    least_bits = budget.average_bits - BITS_BELOW
    least_kept = budget.kept_fraction - KEPT_BELOW
    bits = allocate(
        {path: _from(sensitivities[path].bits, least_bits) for path in sizes},
        sizes,
        budget.average_bits,
    )
    kept = allocate(
        {path: _from(sensitivities[path].kept, least_kept) for path in sizes},
        sizes,
        budget.kept_fraction,
    )
    formats = {
        path: LinearFormat(bits=round(bits[path]), group_size=group_size, kept=kept[path])
        for path in sizes
    }
    default, exceptions = _shortened(formats)
    return CompressionPlan(
        model=model,
        budget=budget,
        default=default,
        layers=exceptions,
        sensitivity={path: sensitivities[path].named() for path in sizes},
    )


def _from(losses: Mapping[Unit, float], least: float) -> dict[Unit, float]:
    return {unit: loss for unit, loss in losses.items() if unit >= least}


def _shortened(
    formats: Mapping[str, LinearFormat],
) -> tuple[LinearFormat, dict[str, dict[str, Any]]]:
    """Return the format that most layers have, and what others change: kinds first, then layers."""
    default = _most_frequent(formats.values())
    exceptions: dict[str, dict[str, Any]] = {}
    kinds: dict[str, LinearFormat] = {}
    for kind in dict.fromkeys(path.rpartition(".")[2] for path in formats):
        mine = [own for path, own in formats.items() if path.endswith(f".{kind}")]
        kinds[kind] = _most_frequent(mine)
        exceptions[f"*.{kind}"] = _changes(default, kinds[kind])
    for path, own in formats.items():
        exceptions[path] = _changes(kinds[path.rpartition(".")[2]], own)
    return default, {name: fields for name, fields in exceptions.items() if fields}


def _most_frequent(formats: Iterable[LinearFormat]) -> LinearFormat:
    return Counter(formats).most_common(1)[0][0]


def _changes(base: LinearFormat, own: LinearFormat) -> dict[str, Any]:
    """Return the fields in which `own` differs from `base`."""
    return {name: value for name, value in own if value != getattr(base, name)}


def check_budget(budget: Budget, sizes: Sizes) -> None:
    """Refuse a budget below what all layers' smallest formats take; see `choose_plan`."""
    _check_limit("average_bits", budget.average_bits, WEIGHT_WIDTHS[0], "bits", sizes)
    _check_limit("kept_fraction", budget.kept_fraction, FRACTIONS[0], "kept", sizes)


def _check_limit(name: str, limit: float, least: float, field: str, sizes: Sizes) -> None:
    if limit < least:
        raise ConfigError(
            f"the budget {name} = {limit:g} cannot be met: {next(iter(sizes))!r} and all other "
            f"layers need {field} = {least:g} at least"
        )


def allocate(
    losses: Mapping[str, Mapping[int, float]] | Mapping[str, Mapping[float, float]],
    sizes: Sizes,
    average: float,
) -> dict[str, float]:
    """Return what each layer gets, so that the sum of losses is small and the average is met.

    All begin with the least. Then they take steps up in the order of the loss that a step saves per
    weight and unit. A layer's steps are those of the lower convex hull of its losses, so each saves
    no more per unit than the one before. What does not fit any more is left out.

    Args:
        losses: of each layer, by what a weight of it gets.
        average: over all weights.
    """
    chosen: dict[str, float] = {path: min(options) for path, options in losses.items()}
    left = average * sum(sizes.values()) - sum(chosen[path] * sizes[path] for path in chosen)
    steps = [
        (-saved / sizes[path], path, start, end)
        for path, options in losses.items()
        for saved, start, end in _hull(options)
    ]
    for _, path, start, end in sorted(steps, key=lambda step: step[0]):
        cost = (end - start) * sizes[path]
        if chosen[path] == start and cost <= left + 1e-6:
            chosen[path], left = end, left - cost
    return chosen


def _hull(losses: Mapping[int, float] | Mapping[float, float]) -> list[tuple[float, float, float]]:
    """Return the steps of the lower convex hull: the loss saved per unit, from where, to where."""
    points = sorted(losses.items())
    steps = []
    while len(points) > 1:
        here, loss = points[0]
        saved, _, index = max(
            ((loss - other) / (there - here), -index, index)
            for index, (there, other) in enumerate(points)
            if index
        )
        if saved <= 0:
            break
        steps.append((saved, here, points[index][0]))
        points = points[index:]
    return steps

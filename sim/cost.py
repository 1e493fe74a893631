"""What passes cost: sums of time, traffic and work, by who and what."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True)
class Cost:
    """The cost of passes; all of it adds up, and between two near passes it can be interpolated.

    Attributes:
        seconds: from begin to end.
        parts: seconds by class of operator; they add up to `seconds`.
        operators: the same by operator.
        busy: seconds for which each resource works, by the rate that it reaches.
        moved: bytes by level, all devices together: "memory", "link", ...
        streaming: seconds and bytes of the time in which the main memory is the limit.
        work: counts of other things: "operations", "cycles" of a timing contract, "launches".
    """

    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    operators: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    streaming: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of one after the other."""
        return total([(1, self), (1, other)])

    def __mul__(self, times: float) -> "Cost":
        """Return the cost of `times` such passes."""
        return total([(times, self)])

    def renamed(self, name: str) -> "Cost":
        """Return the same cost, all of its time under one name."""
        return replace(self, parts={name: self.seconds}, operators={name: self.seconds})


TABLES = [one.name for one in fields(Cost) if one.name != "seconds"]


def total(costs: Iterable[tuple[float, Cost]]) -> Cost:
    """Return the sum of costs, each as often as it says."""
    seconds = 0.0
    tables: dict[str, dict[str, float]] = {name: {} for name in TABLES}
    for times, cost in costs:
        seconds += times * cost.seconds
        for name, table in tables.items():
            for key, value in getattr(cost, name).items():
                table[key] = table.get(key, 0.0) + times * value
    return Cost(seconds, **tables)

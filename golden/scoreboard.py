"""Tokens between units: which programs can run to their end, and when their instructions start.

A unit executes its instructions in their order. One starts when each unit of its wait mask has
given a token that no instruction in front of it has taken; with its end it gives a token to each
unit of its release mask. So the n-th token from one unit to another is always given and taken by
the same two instructions, however long each instruction takes.

A program is legal if

- whoever gives a token stands in front of the instruction that takes it. Executed one after the
  other in their order, instructions then never wait; and since a core hands them out in that order,
  the first one that has not ended can always start: a legal program always ends.
- no counter of tokens can overflow, whatever the instructions' durations are.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import TOKEN_BITS, Unit

MAX_TOKENS = (1 << TOKEN_BITS) - 1
"""Most tokens between two units."""

Counts = tuple[int, ...]
"""Instructions of each unit."""


@dataclass(frozen=True)
class Schedule:
    """When the instructions of a program start and end, in cycles, in the program's order."""

    start: list[int]
    end: list[int]


def token_givers(program: Sequence[Instruction]) -> list[tuple[int, ...]]:
    """Return for each instruction the numbers of those whose tokens it takes.

    Raises:
        ConfigError: an instruction waits for a token that none in front of it gives.
    """
    given: dict[tuple[Unit, Unit], list[int]] = defaultdict(list)
    taken: dict[tuple[Unit, Unit], int] = defaultdict(int)
    givers = []
    for number, one in enumerate(program):
        mine = []
        for giver in one.waits:
            pair = giver, one.unit
            if taken[pair] == len(given[pair]):
                raise ConfigError(
                    f"instruction {number} ({one.unit.name}) waits for {giver.name}, which gives "
                    f"{len(given[pair])} tokens in front of it, all taken; release it earlier"
                )
            mine.append(given[pair][taken[pair]])
            taken[pair] += 1
        for taker in one.releases:
            given[one.unit, taker].append(number)
        givers.append(tuple(mine))
    return givers


def check_tokens(program: Sequence[Instruction], limit: int = MAX_TOKENS) -> None:
    """Refuse a program that is not legal; see above.

    For every instruction it follows how many of each unit's have certainly started by its end. Of
    the tokens that an instruction's unit has given, all but those that these took may still lie
    there.

    Raises:
        ConfigError: an instruction waits for a token that is not given in front of it, or more than
            `limit` tokens may lie between two units.
    """
    givers = token_givers(program)
    units = len(Unit)
    # Of each unit so many instructions: those that have certainly started by the end of each
    # instruction, and by the start and the end of each unit's last one.
    ends: list[Counts] = []
    started, ended = [(0,) * units] * units, [(0,) * units] * units
    # Tokens from one unit to another that the first instructions of the other take.
    taken = [[[0] for _ in Unit] for _ in Unit]
    given = [[0] * units for _ in Unit]
    for number, one in enumerate(program):
        unit, waits = one.unit, one.waits
        known = _latest(started[unit], *(ends[giver] for giver in givers[number]))
        started[unit] = (*known[:unit], known[unit] + 1, *known[unit + 1 :])
        ended[unit] = _latest(started[unit], ended[unit])
        ends.append(ended[unit])
        for giver in unit.others:
            count = taken[giver][unit]
            count.append(count[-1] + (giver in waits))
        for taker in one.releases:
            given[unit][taker] += 1
            certain = taken[unit][taker][ended[unit][taker]]
            if given[unit][taker] - certain > limit:
                raise ConfigError(
                    f"instruction {number} ({unit.name}) may give {taker.name} its token number "
                    f"{limit + 1} before one is taken; wait for {taker.name} earlier"
                )


def _latest(*counts: Counts) -> Counts:
    return tuple(map(max, *counts)) if len(counts) > 1 else counts[0]


def run(
    program: Sequence[Instruction],
    durations: Sequence[int],
    *,
    arrivals: Sequence[int] | None = None,
    ready: Sequence[int] | None = None,
    in_flight: int = 4,
) -> Schedule:
    """Return when the scoreboard (`hw/scoreboard.py`) starts each instruction, and when it ends.

    A unit ends one instruction per cycle, in their order.

    Args:
        durations: cycles from the start of each instruction to its end, 1 or more.
        arrivals: the cycles in which they come to the scoreboard; before cycle 0 by default.
        ready: the cycles from which on their units take them; always by default.
        in_flight: instructions that a unit has started and not ended, at most.

    Raises:
        ConfigError: an instruction waits for a token that none in front of it gives.
    """
    givers = token_givers(program)
    mine: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    start: list[int] = []
    end: list[int] = []
    for number, one in enumerate(program):
        before = mine[one.unit]
        earliest = [0 if arrivals is None else arrivals[number] + 1]
        earliest += [end[giver] + 1 for giver in givers[number]]
        earliest += [start[other] + 1 for other in before[-1:]]
        if len(before) >= in_flight:
            earliest.append(end[before[-in_flight]] + 1)
        if ready is not None:
            earliest.append(ready[number])
        start.append(max(earliest))
        end.append(max([start[-1] + durations[number], *(end[other] + 1 for other in before[-1:])]))
        before.append(number)
    return Schedule(start, end)

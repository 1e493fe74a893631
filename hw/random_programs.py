"""Random programs for the benches: legal ones with every field at its extremes, and broken ones."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction, instruction, mask_of
from golden.spec.isa import CHANNELS, FORMATS, Field, SystemOperation, Unit

UNITS = tuple(Unit)


def random_instruction(
    random: np.random.Generator, unit: Unit, fixed: Mapping[str, int], channels: int = CHANNELS
) -> Instruction:
    """Return a legal instruction; half of its fields have their least or their largest value.

    Args:
        fixed: fields that are given.
        channels: that the core has.
    """
    while True:
        values = {f.name: _value(random, f) for f in FORMATS[unit].fields}
        if "channels" in values:
            values["channels"] &= (1 << channels) - 1
        try:
            return instruction(unit, **{**values, **fixed})
        except ConfigError:  # fields of MISC that do not go together
            continue


def _value(random: np.random.Generator, field: Field) -> int:
    allowed = field.allowed
    places = {0: 0, 1: len(allowed) - 1}
    place = places.get(int(random.integers(4)), int(random.integers(len(allowed))))
    return int(allowed[place])


def random_program(
    random: np.random.Generator, count: int, channels: int = CHANNELS
) -> list[Instruction]:
    """Return a legal program of `count` instructions, the last one its END.

    An instruction waits only for tokens that others in front of it have given. With few hundred
    instructions no unit gives as many tokens as a counter holds.
    """
    program = []
    tokens: Counter[tuple[Unit, Unit]] = Counter()
    weights = random.dirichlet(np.full(len(UNITS), 2.0))
    for number in range(count):
        is_last = number == count - 1
        unit = Unit.SYS if is_last else UNITS[random.choice(len(UNITS), p=weights)]
        share = random.random()
        waits = [o for o in unit.others if tokens[o, unit] and random.random() < share]
        releases = [o for o in unit.others if random.random() < 0.3]
        masks = {"wait": mask_of(unit, waits), "release": mask_of(unit, releases)}
        if unit is Unit.SYS:
            end = SystemOperation.END
            masks["op"] = end if is_last else int(random.integers(end))
        program.append(random_instruction(random, unit, masks, channels))
        tokens.subtract((other, unit) for other in waits)
        tokens.update((unit, other) for other in releases)
    return program


def broken_words(random: np.random.Generator, words: list[int]) -> list[int]:
    """Return words with a few bits flipped, or without the last ones; most are no legal program."""
    words = list(words)
    if random.random() < 0.3:
        return words[: int(random.integers(len(words)))]
    for _ in range(int(random.integers(1, 4))):
        words[int(random.integers(len(words)))] ^= 1 << int(random.integers(32))
    return words

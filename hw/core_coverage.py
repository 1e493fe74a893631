"""Random cases for the bench of cores, and how much of what can happen they cover."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import PRODUCTS, Memory, SystemOperation, Unit, Weights
from golden.spec.special_function_unit import Operation
from hw.accelerator_cases import RandomPrograms, core_images
from hw.core_cases import BASES, Packed, RandomProgram
from hw.verify_core import Case, Pace
from hw.wrong_programs import wrong_programs

Cross = tuple[str, ...]
"""What it is about, and what of that; see `crosses`."""

INSTRUCTIONS = 24
"""Steps of a random program; some of them are a load and what takes it."""

RAW = "raw"
PATTERNS = ("uniform", "absent", "mixed")
LEVELS = (1, 2, 3)
STRIDES = ("back", "none", "forth")


def crosses(config: CoreConfig) -> list[Cross]:
    """Return all that the programs of cases may have.

    Units and kinds of products with each kind of memory; operations of MISC, and lengths of its own
    or extended ones; in both directions, loops of loads and stores; masks of channels; what ST
    reads; each unit that waits for each other one; and wrong programs.
    """
    paces = [pace.value for pace in Pace]
    works = ["LD", "LD channels", "ST", "MISC", "SYNC", *(["BARRIER"] if config.cores > 1 else [])]
    works += [f"{unit.name} {kind}" for unit in PRODUCTS for kind in (RAW, *PATTERNS)]
    masks = ["all"] + ["one"] * (config.chains > 1) + ["some"] * (config.chains > 2)
    found: list[Cross] = [("work", work, pace) for work in works for pace in paces]
    found += [("MISC", operation.name) for operation in Operation]
    found += [("MISC", "extended"), ("MISC", "not extended")]
    found += [
        ("loop", unit, str(level), stride)
        for unit in ("LD", "ST")
        for level in LEVELS
        for stride in STRIDES
    ]
    found += [
        ("channels", unit.name, mask) for unit in (Unit.LD, Unit.ST, *PRODUCTS) for mask in masks
    ]
    found += [("store", memory.name, place) for memory in Memory for place in ("whole", "ragged")]
    found += [
        ("wait", one.name, other.name)
        for one, other in permutations(Unit, 2)
        # What products write and others use in the vector buffer is behind a barrier.
        if config.cores == 1
        or not ({one, other} & {*PRODUCTS} and {one, other} & {Unit.LD, Unit.ST})
    ]
    return found + [("wrong", name) for name in wrong_programs(config)]


def random_cases(config: CoreConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; with as many as `crosses` it is unlikely that one is not hit.

    Raises:
        ConfigError: the vector buffer is too small for the strips of a product.
    """
    if config.vector_depth < config.raw_step:
        raise ConfigError(
            f"vector_depth is {config.vector_depth}; the random programs of {config.all_chains} "
            f"chains need {config.raw_step} or more"
        )
    random = np.random.default_rng(seed)
    memories, matrices = core_images(config, seed)
    every = crosses(config)
    order = random.permutation(len(every))
    cases = []
    for number in range(count):
        cross = every[order[number % len(every)]]
        wrong = cross[1] if cross[0] == "wrong" else ""
        pace = Pace(cross[2]) if cross[0] == "work" else list(Pace)[int(random.integers(len(Pace)))]
        name = f"random {number}: {' '.join(cross)}, {pace.value}"
        programs = _programs(config, matrices, (seed, number))
        cases.append(Case(name, config, memories, matrices, programs, pace, wrong))
    return cases


def _programs(
    config: CoreConfig, matrices: Sequence[Packed], seed: Sequence[int]
) -> tuple[list[int], ...]:
    if config.cores == 1:
        return (RandomProgram(config, matrices, seed).words(INSTRUCTIONS),)
    return tuple(RandomPrograms(config, matrices, seed).programs(INSTRUCTIONS))


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    every = set(crosses(cases[0].config))
    return len({cross for case in cases for cross in _hit(case)} & every) / len(every)


def _hit(case: Case) -> Iterator[Cross]:
    """Yield the crosses that a case hits, some of them several times."""
    if case.wrong:
        yield "wrong", case.wrong
    patterns = {matrix.load["offset"]: matrix.pattern for matrix in case.matrices}
    for program in case.decoded():
        streams: list[str] = []  # what is loaded and not yet taken
        for one in program:
            if one.unit is Unit.LD and one["channels"]:
                streams.append(patterns.get(one["offset"], RAW))
            work = _work(one, streams.pop(0) if one.unit in PRODUCTS else "")
            yield "work", work, case.pace.value
            yield from (("wait", one.unit.name, other.name) for other in one.waits)
            yield from _fields(one, case.config)


def _work(one: Instruction, pattern: str) -> str:
    """Return what an instruction does, in the words of `crosses`."""
    if one.unit is Unit.LD:
        return "LD channels" if one["channels"] else "LD"
    if one.unit is Unit.SYS:
        return SystemOperation(one["op"]).name
    return f"{one.unit.name} {pattern}".strip()


def _fields(one: Instruction, config: CoreConfig) -> Iterator[Cross]:
    """Yield the crosses of an instruction's own fields."""
    unit = one.unit
    if unit is Unit.MISC:
        yield "MISC", Operation(one["op"]).name
        yield "MISC", "extended" if one["extended"] else "not extended"
    if unit in (Unit.LD, Unit.ST):
        for level in LEVELS:
            if one[f"count_{level}"] > 1:
                stride = STRIDES[1 + int(np.sign(one[f"stride_{level}"]))]
                yield "loop", unit.name, str(level), stride
    if unit is Unit.ST:
        place = (BASES.get(one["base"], 0) + one["offset"]) | one["length"]
        whole = place % config.word_bytes == 0
        yield "store", Memory(one["memory"]).name, "whole" if whole else "ragged"
    is_plain = unit in PRODUCTS and one["weights"] == Weights.RAW
    if (unit in (Unit.LD, Unit.ST) or is_plain) and one["channels"]:
        bits = one["channels"].bit_count()
        mask = "one" if bits == 1 else "some"
        yield "channels", unit.name, "all" if bits == config.chains else mask

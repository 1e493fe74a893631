"""Programs that stop a core with an error: one for each thing that may be wrong."""

from collections.abc import Mapping

import numpy as np

from golden.core_effects import CoreStopped
from golden.scoreboard import MAX_TOKENS
from golden.spec.core import LANES, CoreConfig
from golden.spec.instruction import Instruction, instruction, mask_of
from golden.spec.isa import (
    FORMATS,
    LENGTH_BASE,
    PRODUCTS,
    ErrorCode,
    SystemOperation,
    Unit,
    Weights,
)
from golden.spec.special_function_unit import LENGTH_BITS, Byte, Operation
from hw.core_cases import BASES, SIZE, golden_core

END = instruction(Unit.SYS, op=SystemOperation.END, interrupt=1)

TOKENS = "tokens"
"""The name of a program with more tokens than a counter holds, which golden does not count."""


def words_of(*instructions: Instruction) -> list[int]:
    """Return the words of a program, which may have no end."""
    return [word for one in instructions for word in one.encode()]


def overload(config: CoreConfig) -> Instruction:
    """Return a load of words that no product takes: the next program must not find them."""
    return instruction(Unit.LD, channels=2**config.chains - 1, length=10, count_1=3, stride_1=32)


def plain_product(config: CoreConfig) -> dict[str, int]:
    """Return the fields of a product with plain words of all chains."""
    return {
        "weights": Weights.RAW,
        "columns": 2,
        "group": 2,
        "words": 2 * config.m,
        "strips": LANES * config.chains,
        "scale": 1,
    }


def wrong_programs(config: CoreConfig) -> dict[str, list[int]]:
    """Return the words of wrong programs by name; none of them writes on the chip.

    Each loads words first that nobody takes.
    """
    first, end = overload(config), words_of(END)
    last_channel, unaligned = 1 << (config.chains - 1), config.word_bytes // 2
    alone = {
        "opcode": [7 << 28, *end],
        "rest": [(15 << 28) + 1, *end],
        "field": [end[0] | 1, *end],
        "extended step": _extended(Operation.RECIPROCAL),
        "extended rotation": _extended(Operation.ROTATE, length=2),
        "no end": [],
        "half an instruction": words_of(first)[:-1],
        TOKENS: words_of(*[instruction(Unit.SYS, release=2)] * (MAX_TOKENS + 1), END),
        "unaligned": words_of(instruction(Unit.LD, offset=unaligned), END),
        "unaligned channel": words_of(
            instruction(Unit.LD, channels=last_channel, offset=SIZE + 1), END
        ),
        "read": words_of(instruction(Unit.LD, offset=SIZE - config.word_bytes, length=2), END),
        "write": words_of(instruction(Unit.ST, offset=SIZE, length=2), END),
        "write channel": words_of(instruction(Unit.ST, offset=SIZE, channels=last_channel), END),
        **_wrong_products(config),
        **_long_passes(config),
    }
    programs = {name: [*words_of(first), *words] for name, words in alone.items()}
    return {**programs, "read channel": _without_words(config, last_channel)}


def _wrong_products(config: CoreConfig) -> dict[str, list[int]]:
    """Return products with a field that the core does not have, or that does not go with others."""
    plain = plain_product(config)
    fields = {
        "columns": {"columns": 1023},
        "group": {"group": 3},
        "words": {"words": plain["words"] + 1},
        "strips": {"strips": plain["strips"] - 1},
        "sweeps": {"sweeps": 2},
        "paired": {"paired": 1},
        "addresses": {"addresses": config.strips + 1},
    }
    products = {
        f"{unit.name} {name}": instruction(unit, **plain | wrong)
        for unit in PRODUCTS
        for name, wrong in fields.items()
    }
    products |= {f"{unit.name} channels": instruction(unit, channels=1) for unit in PRODUCTS}
    products["MM replay"] = instruction(Unit.MM, tokens=2, words=config.replay_words + 1)
    return {name: words_of(product, END) for name, product in products.items()}


def _long_passes(config: CoreConfig) -> dict[str, list[int]]:
    """Return passes over more words than a memory has, as far as a field can say so many."""
    form = FORMATS[Unit.MISC].field("length")
    passes = {
        "MISC vector": (config.vector_depth, {}),
        "MISC bytes": (config.activation_depth, {"byte": Byte.LOW}),
    }
    longest = {name: depth * config.m for name, (depth, _) in passes.items()}
    plain = {
        name: instruction(Unit.MISC, length=longest[name] + 1, **fields)
        for name, (_, fields) in passes.items()
        if longest[name] + 1 in form.allowed
    }
    extended = {
        f"extended {name}": instruction(
            Unit.MISC,
            length=(longest[name] - BASES[LENGTH_BASE]) % (1 << LENGTH_BITS) + 1,
            extended=1,
            **passes[name][1],
        )
        for name in plain
    }
    return {name: words_of(one, END) for name, one in (plain | extended).items()}


def _extended(operation: Operation, **fields: int) -> list[int]:
    """Return a job that has no other length than its own, and a bit that says it has."""
    words = words_of(instruction(Unit.MISC, op=operation, **fields), END)
    (piece,) = (p for p in FORMATS[Unit.MISC].pieces if p.field.name == "extended")
    words[piece.word] |= 1 << piece.shift
    return words


def _without_words(config: CoreConfig, channel: int) -> list[int]:
    """Return a product whose words are not in memory."""
    product = {**plain_product(config), "channels": channel}
    return words_of(
        instruction(Unit.LD, channels=channel, offset=SIZE, length=product["words"]),
        instruction(Unit.MV, release=mask_of(Unit.MV, [Unit.SYS]), **product),
        instruction(Unit.SYS, op=SystemOperation.END, wait=mask_of(Unit.SYS, [Unit.MV])),
    )


def golden_stop(
    config: CoreConfig, name: str, words: list[int], memories: Mapping[str, np.ndarray]
) -> tuple[ErrorCode, int]:
    """Return the error with which a wrong program stops a core, and its program counter."""
    if name == TOKENS:
        return ErrorCode.TOKEN_OVERFLOW, overload(config).format.words + MAX_TOKENS
    try:
        golden_core(config, memories).run(words)
    except CoreStopped as stop:
        return stop.code, stop.pc
    raise AssertionError(f"golden runs the wrong program {name!r} to its end")

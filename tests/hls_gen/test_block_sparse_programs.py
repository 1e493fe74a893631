"""Programs of a block-sparse prompt in the golden core: the transformer's bits, and fewer bytes."""

import re
from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from core_order import any_order, ends
from tiny_models import tiny_model

from golden.accelerator_interpreter import Accelerator
from golden.block_sparse import BlockSparse
from golden.scoreboard import token_givers
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import Unit
from golden.transformer import Cache
from hls_gen.compiler import compile_model
from hls_gen.memory_map import Base
from hls_gen.traffic import offchip_bytes
from hw.weight_stream_reader import read_weight_stream

CORE = CoreConfig(chains=3, m=8, strips=4, vector_depth=2048, activation_depth=1024)
POSITIONS = 66
CASES = {
    "sink and local": (CORE, {"layers": 1}, BlockSparse(1, 1, 16), 8),
    "rows of one chain": (
        replace(CORE, chains=1),
        {"layers": 1, "head_size": 24, "heads": 2, "kv_heads": 2, "probability_bits": 7},
        BlockSparse(0, 2, 32),
        5,
    ),
    "named": (
        replace(CORE, chains=2),
        {"layers": 1, "heads": 4, "kv_heads": 2, "head_size": 8},
        BlockSparse(0, 1, 16, frozenset({(2, 0), (3, 1), (4, 0), (4, 2), (4, 3)})),
        6,
    ),
    "several cores": (
        replace(CORE, chains=2, cores=2),
        {"layers": 1, "kv_heads": 2},
        BlockSparse(1, 1, 16),
        8,
    ),
}
"""Cores, models, blocks, and tokens of a program."""


@cache
def compiled(case):
    config, fields, _, chunk = CASES[case]
    model = tiny_model(**fields, max_positions=128)
    return model, compile_model(model, config, POSITIONS, chunk)


def tokens_of(model):
    random = torch.Generator().manual_seed(5)
    return torch.randint(model.shape.vocabulary, (POSITIONS,), generator=random)


def parts_of(case, count):
    """The first token of each program and how many it has: also fewer, none beyond its block."""
    _, _, blocks, chunk = CASES[case]
    first, number = 0, 0
    while first < count:
        size = min((chunk, chunk - 2)[number % 2], count - first)
        size = min(size, blocks.block - first % blocks.block)
        yield first, size
        first, number = first + size, number + 1


def new_cores(made):
    images = [{port: data.copy() for port, data in mine.items()} for mine in made.core_images]
    config = made.plan.memory.config
    return Accelerator(config, images, [made.bases(0, [])] * len(images), read_weight_stream)


def run(golden, made, tokens, first, count, blocks):
    for core in golden.cores:
        core.bases = list(made.bases(first, tokens[first : first + count].tolist()))
    programs = made.programs(first, tokens=count, blocks=blocks, store_hidden=True, head=False)
    golden.run([program.encode() for program in programs])
    return made.hidden(golden.cores[0].memories["general"], count)


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_and_tokens_behind_it(case):
    """Those behind it see all of the prompt."""
    model, made = compiled(case)
    tokens, blocks, prompt = tokens_of(model), CASES[case][2], POSITIONS - 2
    seen = Cache()
    hidden = model.hidden(tokens[:prompt], seen, blocks=blocks)
    hidden = torch.cat([hidden, model.hidden(tokens[prompt:], seen)])
    golden = new_cores(made)
    parts = [(*part, blocks) for part in parts_of(case, prompt)]
    for first, count, of_it in [*parts, (prompt, 1, None), (prompt + 1, 1, None)]:
        given = run(golden, made, tokens, first, count, of_it)
        assert torch.equal(given, hidden[first : first + count]), (first, count)


@pytest.mark.parametrize("case", ["sink and local", "named"])
def test_units_may_run_at_any_pace(case):
    model, made = compiled(case)
    tokens, blocks = tokens_of(model), CASES[case][2]
    golden = new_cores(made)
    *parts, (first, count) = parts_of(case, 56)
    for part in parts:
        run(golden, made, tokens, *part, blocks)
    wanted = model.hidden(tokens[:56], blocks=blocks)[first:]
    program = made.program(first, tokens=count, blocks=blocks, store_hidden=True, head=False)
    givers = token_givers(program.instructions)
    random = np.random.default_rng(1)
    ranks = (lambda unit: unit is not Unit.MM, lambda unit: unit is Unit.MISC)
    for rank in (*ranks, lambda _: random.random()):
        core = deepcopy(golden.cores[0])
        core.bases = list(made.bases(first, tokens[first:56].tolist()))
        core.run(
            [word for one in any_order(program.instructions, givers, rank) for word in one.encode()]
        )
        assert torch.equal(made.hidden(core.memories["general"], count), wanted)


@pytest.mark.parametrize("case", CASES)
def test_programs_end_without_room_in_the_streams(case):
    config, _, blocks, _ = CASES[case]
    for first, count in parts_of(case, POSITIONS):
        if config.cores == 1:
            made = compiled(case)[1]
            assert ends(made.program(first, tokens=count, blocks=blocks).instructions)


def cached_bytes(made, first, count, blocks):
    program = made.program(first, tokens=count, blocks=blocks, head=False)
    loads = [one for one in program.instructions if one.unit is Unit.LD]
    assert all(one["channels"] for one in loads if one["base"] == Base.CACHE)
    return offchip_bytes(loads, made.plan.memory.config.word_bytes)["kv_cache"]


def test_only_blocks_that_are_seen_are_loaded():
    """Of the last of four blocks: a sink and its own, each with keys and values of 16 tokens."""
    _, made = compiled("sink and local")
    of_a_block = 2 * 16 * 16  # of a head of 16 channels
    sparse = cached_bytes(made, 56, 8, CASES["sink and local"][2])
    assert sparse == 2 * of_a_block
    # Four blocks of keys are two rows of three chains, which are loaded together.
    assert cached_bytes(made, 56, 8, None) == 4 * of_a_block + 2 * of_a_block // 2
    alone = BlockSparse(0, 1, 16)
    assert cached_bytes(made, 56, 8, alone) == of_a_block
    assert cached_bytes(made, 48, 1, alone) == of_a_block // 2 + of_a_block // 4


@pytest.mark.parametrize(
    ("first", "count", "block", "message"),
    [
        (14, 4, 16, "queries 14 to 17 are not of one block of 16; read them in parts"),
        (0, 4, 24, "block is 24; a core with m = 8 needs a multiple of 16"),
    ],
)
def test_blocks_that_no_program_takes(first, count, block, message):
    _, made = compiled("sink and local")
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        made.program(first, tokens=count, blocks=BlockSparse(1, 1, block))

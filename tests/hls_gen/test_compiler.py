"""Compiled programs in the golden core, against the integer transformer: equal, bit for bit."""

import re
from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from core_order import any_order, certain_order, ends, places
from tiny_models import tiny_model

from golden.core_interpreter import Core
from golden.scoreboard import token_givers
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.isa import PRODUCTS, Unit
from golden.special_functions.functions import rope_table
from golden.transformer_quantise import loadable
from hls_gen.compiler import compile_model
from hls_gen.layer_program import EPSILON, load_job
from hls_gen.memory_map import Base
from hls_gen.program import Program, assemble
from hw.weight_stream_reader import read_weight_stream

CORE = CoreConfig(chains=3, m=8, strips=4, vector_depth=512, activation_depth=256)
LARGE = replace(CORE, vector_depth=2048, activation_depth=1024)
POSITIONS = 41
CASES = {
    "tiny": (CORE, 1, {}),
    "tiny chunks": (LARGE, 8, {}),
    "wide": (replace(CORE, m=16, chains=2), 1, {"hidden": 48, "heads": 3, "head_size": 48}),
    "long": (replace(CORE, chains=1, strips=2), 1, {"layers": 1, "head_size": 24}),
    "long chunks": (
        replace(LARGE, chains=1, replay_words=128),
        5,
        {"layers": 1, "kv_heads": 2, "head_size": 40, "group_size": 40},
    ),
    "one chain": (
        replace(CORE, chains=1, vector_depth=1024),
        3,
        {"layers": 1, "head_size": 64, "probability_bits": 7, "hidden": 24},
    ),
    "zero points": (
        LARGE,
        4,
        {
            **{"layers": 1, "bits": 4, "zeros": True, "head_size": 8, "heads": 8, "kv_heads": 2},
            **{"hidden": 36, "feed_forward": 50},
        },
    ),
    "sparse": (LARGE, 4, {"layers": 1, "bits": 4, "kept": 2, "hidden": 36, "feed_forward": 90}),
    "many inputs": (
        replace(CORE, m=16, chains=2, input_depth=2304),
        1,
        {"layers": 1, "feed_forward": 2200, "group_size": 128},
    ),
    "no fractions": (
        replace(CORE, zero_fraction_bits=0),
        1,
        {"layers": 1, "head_size": 56, "hidden": 64, "group_size": 32},
    ),
    "many chains": (
        replace(LARGE, chains=32, m=16),
        8,
        {"layers": 1, "head_size": 64, "heads": 3, "kv_heads": 1, "vocabulary": 1500},
    ),
}
"""Cores, tokens of a program and models. Those of the long ones cross columns of 8, addresses of
16, products of 32; matrices of the second are cut, and values are loaded several times."""

COUNTS = {
    "tiny": 3,
    "tiny chunks": 27,
    "wide": 3,
    "long": POSITIONS,
    "long chunks": POSITIONS,
    "one chain": 11,
    "zero points": 12,
    "sparse": 10,
    "many inputs": 2,
    "no fractions": 3,
    "many chains": 9,
}
"""Tokens that are read."""


@cache
def compiled(case):
    config, chunk, fields = CASES[case]
    model = tiny_model(**fields)
    return model, compile_model(model, config, POSITIONS, chunk)


def tokens_of(model, count, seed=3):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(model.shape.vocabulary, (count,), generator=random)


def chunks_of(case, count):
    """The tokens of each program: full ones, single ones and others, in turn."""
    most, first, number = CASES[case][1], 0, 0
    while first < count:
        size = min((most, 1, max(most - 1, 1), most // 2 or 1)[number % 4], count - first)
        yield range(first, first + size)
        first, number = first + size, number + 1


def new_core(made):
    images = {port: image.copy() for port, image in made.images.items()}
    return Core(made.plan.memory.config, images, made.bases(0, []), read_weight_stream)


def run(core, made, tokens, position, **fields):
    core.bases = list(made.bases(position, tokens))
    core.run(made.program(position, tokens=len(tokens), **fields).encode())
    return core.memories["general"]


@pytest.mark.parametrize("case", CASES)
def test_tokens_one_after_the_other(case):
    model, made = compiled(case)
    tokens = tokens_of(model, COUNTS[case])
    hidden = model.hidden(tokens)
    logits = model.logits(hidden)
    core = new_core(made)
    for some in chunks_of(case, len(tokens)):
        mine = slice(some.start, some.stop)
        general = run(core, made, tokens[mine].tolist(), some.start, store_hidden=True)
        assert torch.equal(made.hidden(general, len(some)), hidden[mine]), some
        assert torch.equal(made.logits(general), logits[some[-1]]), some


def test_layers_alone():
    """Each begins with what the one before has stored."""
    model, made = compiled("tiny chunks")
    tokens, seen = tokens_of(model, 12), {}
    logits = model.forward(tokens, watch=seen.__setitem__)
    core, memory = new_core(made), made.plan.memory
    for some in chunks_of("tiny chunks", 12):
        first, count = some.start, len(some)
        mine = slice(some.start, some.stop)
        core.bases = list(made.bases(first, tokens[mine].tolist()))
        for layer in range(2):
            program = made.program(
                first, tokens=count, layers=[layer], head=False, store_hidden=True
            )
            core.run(program.encode())
            output = made.hidden(core.memories["general"], count)
            assert torch.equal(output, seen[f"layer {layer} output"][mine])
            for number in range(count):
                core.bases[Base.ROW + number] = memory.outputs + number * memory.vector_bytes(32)
        core.run(made.program(first, tokens=count, layers=[]).encode())
        assert torch.equal(made.logits(core.memories["general"]), logits[some[-1]])


def test_positions_of_a_bucket_have_one_program():
    _, made = compiled("tiny chunks")
    programs = [made.program(position).to_bytes() for position in range(32)]
    assert [programs.index(one) for one in programs] == [k // 8 * 8 for k in range(32)]
    bases = [made.bases(position, [0]) for position in range(32)]
    assert [one[Base.LENGTH] for one in bases] == [k % 8 for k in range(32)]
    # Of several tokens those that stay within the bucket.
    chunks = [made.program(position, tokens=3).to_bytes() for position in range(16)]
    own = (6, 7, 14, 15)
    assert [chunks.index(one) for one in chunks] == [
        k if k in own else k // 8 * 8 for k in range(16)
    ]


def test_a_model_may_lie_elsewhere():
    model, made = compiled("tiny")
    moved = {port: np.pad(image, (4096, 0)) for port, image in made.images.items()}
    bases = [base + 4096 for base in made.bases(0, [7])]
    bases[Base.LENGTH] = 0
    core = Core(CORE, moved, bases, read_weight_stream)
    core.run(made.program(0).encode())
    general = core.memories["general"][4096:]
    assert torch.equal(made.logits(general), model.forward(torch.tensor([7]))[0])


@cache
def at_position(case, position, count):
    """A core whose cache has so many tokens, a program of the next ones, and its logits."""
    model, made = compiled(case)
    tokens = tokens_of(model, position + count)
    core = new_core(made)
    most = CASES[case][1]
    for first in range(0, position, most):
        end = min(first + most, position)
        run(core, made, tokens[first:end].tolist(), first, head=False)
    core.bases = list(made.bases(position, tokens[position:].tolist()))
    program = made.program(position, tokens=count)
    return core, program.instructions, model.forward(tokens)[-1]


def logits_in_order(where, rank, forgotten=None):
    """The logits that a core gives; tokens of the `forgotten` pair of units keep no order."""
    core, instructions, _ = at_position(*where)
    core = deepcopy(core)
    givers = token_givers(instructions)
    if forgotten:
        for number, one in enumerate(instructions):
            kept = [n for n in givers[number] if (instructions[n].unit, one.unit) != forgotten]
            givers[number] = tuple(kept)
    ordered = any_order(instructions, givers, rank)
    core.run([word for one in ordered for word in one.encode()])
    return compiled(where[0])[1].logits(core.memories["general"])


@pytest.mark.parametrize(
    "where", [("tiny", 0, 1), ("tiny", 8, 1), ("tiny chunks", 13, 4), ("long chunks", 29, 3)]
)
def test_units_may_run_at_any_pace(where):
    random = np.random.default_rng(where[1])
    wanted = at_position(*where)[2]
    for unit in (Unit.LD, Unit.MV, Unit.MM, Unit.MISC, Unit.ST):
        assert torch.equal(logits_in_order(where, lambda other, u=unit: other is not u), wanted)
        assert torch.equal(logits_in_order(where, lambda other, u=unit: other is u), wanted)
    for _ in range(3):
        assert torch.equal(logits_in_order(where, lambda _: random.random()), wanted)


@pytest.mark.parametrize(
    ("giver", "taker"),
    [
        (Unit.MISC, Unit.MV),
        (Unit.MV, Unit.MISC),
        (Unit.MISC, Unit.MM),
        (Unit.MM, Unit.MISC),
        (Unit.LD, Unit.MISC),
        (Unit.MISC, Unit.ST),
        (Unit.ST, Unit.LD),
    ],
)
def test_without_its_tokens_a_program_goes_wrong(giver, taker):
    where = ("tiny chunks", 13, 4)
    try:
        given = logits_in_order(where, lambda unit: unit is not taker, forgotten=(giver, taker))
    except ShapeError:  # it has taken the words of another product
        return
    assert not torch.equal(given, at_position(*where)[2])


@pytest.mark.parametrize("case", CASES)
def test_all_that_meets_in_a_memory_is_kept_in_order(case):
    """By what instructions really read and write, whatever the compiler thinks of it."""
    _, made = compiled(case)
    chunk = CASES[case][1]
    core = new_core(made)
    core.bases = list(made.bases(POSITIONS - chunk, range(chunk)))
    program = made.program(POSITIONS - chunk, tokens=chunk, store_hidden=True)
    effects = core.run(program.encode())
    certain = certain_order(program.instructions)
    users = defaultdict(list)
    for number, (one, effect) in enumerate(zip(program.instructions, effects, strict=True)):
        for writes, found in enumerate(places(one, effect, CASES[case][0], core.bases)):
            for place in found:
                users[place].append((number, one.unit, writes))
    meetings = {
        (first, second)
        for mine in users.values()
        for (first, unit, one), (second, other, two) in combinations(sorted(mine), 2)
        if unit is not other and (one or two)
    }
    assert len(meetings) > 50
    assert [pair for pair in meetings if not certain[pair]] == []


@pytest.mark.parametrize("case", CASES)
def test_programs_end_without_room_in_the_streams(case):
    _, made = compiled(case)
    chunk = CASES[case][1]
    for position in (0, POSITIONS - chunk):
        for tokens in {1, chunk}:
            assert ends(made.program(position, tokens=tokens, store_hidden=True).instructions)


def test_a_program_that_never_ends_is_seen():
    """The second load cannot end before the first product, which waits for it."""
    lines = ["LD channels=1", "LD release=MISC", "MISC wait=LD release=MV", "MV wait=MISC"]
    assert not ends(assemble("\n".join([*lines, "SYS op=END"])).instructions)
    lines[:2] = lines[1::-1]
    assert ends(assemble("\n".join([*lines, "SYS op=END"])).instructions)


@pytest.mark.parametrize("case", CASES)
def test_programs_are_those_of_the_core(case):
    _, made = compiled(case)
    chunk = CASES[case][1]
    program = made.program(POSITIONS - chunk, tokens=chunk)
    assert Program.from_bytes(program.to_bytes()) == program
    for one in program.instructions:
        if one.unit in PRODUCTS:
            CASES[case][0].check_product(one)


def test_the_general_memory_holds_the_tables():
    model, made = compiled("wide")
    memory, general = made.plan.memory, made.images["general"]

    def vector(offset, elements):
        slots = general[offset : offset + memory.vector_bytes(elements)].view("<i4")
        assert not slots[elements:].any()
        return torch.from_numpy(slots[:elements].astype(np.int64))

    shape = model.shape
    assert torch.equal(vector(memory.row(7), shape.hidden), model.embedding[7].long())
    norms = [norm for one in model.layers for norm in (one.attention_norm, one.feed_forward_norm)]
    for number, norm in enumerate([*norms, model.head_norm]):
        assert torch.equal(vector(memory.gamma(number), shape.hidden), norm.gamma)
    table = rope_table(torch.tensor([40]), shape.head_size, model.theta)[0]
    assert torch.equal(vector(memory.rotation(40), shape.head_size), table)
    assert not general[memory.outputs :].any()
    assert len(general) == memory.general_bytes
    assert {len(made.images[f"channel_{n}"]) for n in range(2)} == {memory.channel_bytes}


def test_the_logits_come_in_parts():
    _, made = compiled("many chains")
    small = replace(CORE, vector_depth=256)
    model = compiled("tiny")[0]
    parts = compile_model(model, small, POSITIONS).plan.head
    assert [part.parts[0].rows for part in made.plan.head] == [1500]
    assert [part.parts[0].rows for part in parts] == [50]
    wide = tiny_model(layers=1, vocabulary=500)
    made = compile_model(wide, small, POSITIONS)
    assert [part.parts[0].rows for part in made.plan.head] == [192, 192, 116]
    general = run(new_core(made), made, [499], 0)
    assert torch.equal(made.logits(general), wide.forward(torch.tensor([499]))[0])


@pytest.mark.parametrize(
    ("fields", "core", "positions", "message"),
    [
        (
            {"zeros": True, "bits": 4},
            {"zero_fraction_bits": 0},
            41,
            "the weights have zero points with 3 fraction bits; the engine has "
            "zero_fraction_bits = 0; make the core with 3",
        ),
        (
            {"group_size": 12},
            {},
            41,
            "a group has 12 inputs; a core with m = 8 needs a multiple of that",
        ),
        (
            {},
            {"vector_depth": 64},
            41,
            "vector_depth is 64; the model needs 74 words: make it larger, or max_positions or "
            "chunk smaller",
        ),
        (
            {},
            {"activation_depth": 16},
            41,
            "activation_depth is 16; the model needs 40 words: make it larger, or max_positions or "
            "chunk smaller",
        ),
        ({}, {}, 65, "max_positions is 65; the model was made for 64"),
        (
            {"feed_forward": 2056, "layers": 1},
            {},
            41,
            "a matrix has 2056 inputs; input_depth is 2048: make it larger",
        ),
    ],
)
def test_models_that_fit_no_core(fields, core, positions, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        compile_model(tiny_model(**fields), replace(CORE, **core), positions)


@pytest.mark.parametrize(
    ("position", "tokens", "message"),
    [
        (41, 1, "the positions are 41 to 41; the cache was made for 0 to 40"),
        (34, 8, "the positions are 34 to 41; the cache was made for 0 to 40"),
        (-1, 8, "the positions are -1 to 6; the cache was made for 0 to 40"),
        (0, 9, "tokens is 9; this model's programs have 1 to 8 (chunk)"),
        (0, 0, "tokens is 0; this model's programs have 1 to 8 (chunk)"),
    ],
)
def test_tokens_that_no_program_reads(position, tokens, message):
    _, made = compiled("tiny chunks")
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        made.program(position, tokens=tokens)


@pytest.mark.parametrize(
    ("positions", "chunk", "message"),
    [
        (41, 9, "chunk is 9; a program reads 1 to 8 tokens here"),
        (41, 0, "chunk is 0; a program reads 1 to 8 tokens here"),
        (5, 6, "chunk is 6; a program reads 1 to 5 tokens here"),
    ],
)
def test_chunks_that_no_program_reads(positions, chunk, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        compile_model(compiled("tiny")[0], CORE, positions, chunk)


def test_an_epsilon_that_no_program_loads():
    model = compiled("tiny")[0]
    norm = replace(model.head_norm, epsilon=(1 << 17) + 1)
    message = "an epsilon is 131073; a register is loaded with 17 significant bits"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        compile_model(replace(model, head_norm=norm), CORE, POSITIONS)


@pytest.mark.parametrize("value", [0, 0.4, 3.6, 2**17 - 0.6, 2**17 + 1.0, 1e9 / 3, 2.0**48 * 0.9])
def test_epsilons_of_models_are_loaded_exactly(value):
    epsilon = loadable(value)
    job = load_job(epsilon, EPSILON)
    assert job.first << job.shift == epsilon
    assert abs(epsilon - value) <= max(0.5, value * 2**-17)

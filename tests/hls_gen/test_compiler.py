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
from core_order import certain_order, ends, places
from tiny_models import tiny_model

from golden.core_interpreter import Core
from golden.scoreboard import token_givers
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import Unit
from golden.special_functions.functions import rope_table
from golden.transformer_quantise import loadable
from hls_gen.compiler import compile_model
from hls_gen.layer_program import Register, load_job
from hls_gen.memory_map import Base
from hls_gen.program import Program, assemble
from hw.weight_stream_reader import read_weight_stream

CORE = CoreConfig(chains=3, m=8, strips=4, vector_depth=512, activation_depth=256)
POSITIONS = 41
CASES = {
    "tiny": (CORE, {}),
    "wide": (replace(CORE, m=16, chains=2), {"hidden": 48, "heads": 3, "head_size": 48}),
    "long": (replace(CORE, chains=1, strips=2), {"layers": 1, "head_size": 24}),
    "one chain": (
        replace(CORE, chains=1),
        {"layers": 1, "head_size": 64, "probability_bits": 7, "hidden": 24},
    ),
    "zero points": (
        CORE,
        {
            **{"layers": 1, "bits": 4, "zeros": True, "head_size": 8, "heads": 4, "kv_heads": 2},
            **{"hidden": 36, "feed_forward": 50},
        },
    ),
    "no fractions": (
        replace(CORE, zero_fraction_bits=0),
        {"layers": 1, "head_size": 56, "hidden": 64, "group_size": 32},
    ),
    "many chains": (
        replace(CORE, chains=32, m=16),
        {"layers": 1, "head_size": 64, "vocabulary": 1500},
    ),
}
"""Cores and models. Tokens of the long one cross columns of 8, addresses of 16, products of 32."""


@cache
def compiled(case):
    config, fields = CASES[case]
    model = tiny_model(**fields)
    return model, compile_model(model, config, POSITIONS)


def tokens_of(model, count, seed=3):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(model.shape.vocabulary, (count,), generator=random)


def new_core(made):
    images = {port: image.copy() for port, image in made.images.items()}
    return Core(made.plan.memory.config, images, made.bases(0), read_weight_stream)


def run(core, made, token, position, **fields):
    core.bases = list(made.bases(token))
    core.run(made.program(position, **fields).encode())
    return core.memories["general"]


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ("tiny", 3),
        ("long", POSITIONS),
        ("wide", 3),
        ("one chain", 10),
        ("zero points", 3),
        ("no fractions", 3),
        ("many chains", 2),
    ],
)
def test_tokens_one_after_the_other(case, count):
    model, made = compiled(case)
    tokens = tokens_of(model, count)
    hidden = model.hidden(tokens)
    logits = model.logits(hidden)
    core = new_core(made)
    for position, token in enumerate(tokens.tolist()):
        general = run(core, made, token, position, store_hidden=True)
        assert torch.equal(made.hidden(general), hidden[position]), position
        assert torch.equal(made.logits(general), logits[position]), position


def test_layers_alone():
    """Each begins with what the one before has stored."""
    model, made = compiled("tiny")
    tokens, seen = tokens_of(model, 3), {}
    logits = model.forward(tokens, watch=seen.__setitem__)
    core, memory = new_core(made), made.plan.memory
    for position, token in enumerate(tokens.tolist()):
        core.bases = list(made.bases(token))
        for layer in range(2):
            program = made.program(position, layers=[layer], head=False, store_hidden=True)
            core.run(program.encode())
            output = made.hidden(core.memories["general"])
            assert torch.equal(output, seen[f"layer {layer} output"][position])
            core.bases[Base.ROW] = memory.outputs
        core.run(made.program(position, layers=[]).encode())
        assert torch.equal(made.logits(core.memories["general"]), logits[position])


def test_a_model_may_lie_elsewhere():
    model, made = compiled("tiny")
    moved = {port: np.pad(image, (4096, 0)) for port, image in made.images.items()}
    core = Core(CORE, moved, [base + 4096 for base in made.bases(7)], read_weight_stream)
    core.run(made.program(0).encode())
    general = core.memories["general"][4096:]
    assert torch.equal(made.logits(general), model.forward(torch.tensor([7]))[0])


def any_order(instructions, givers, rank):
    """Each unit's instructions in their order; of several that can start, the least `rank` does.

    Args:
        rank: called with a unit. givers: of tokens.
    """
    left = {unit: [n for n, one in enumerate(instructions) if one.unit is unit] for unit in Unit}
    stream = [n for n in left[Unit.LD] if instructions[n]["channels"]]
    taken = dict(zip(left[Unit.MV], stream, strict=True))
    order = []
    while any(left.values()):
        ready = [
            unit
            for unit, mine in left.items()
            if mine and {*givers[mine[0]], taken.get(mine[0], mine[0])} <= {*order, mine[0]}
        ]
        order.append(left[min(ready, key=rank)].pop(0))
    return [instructions[number] for number in order]


@cache
def at_position(position):
    """A core whose cache has so many tokens, the next token and its logits."""
    model, made = compiled("tiny")
    tokens = tokens_of(model, position + 1)
    core = new_core(made)
    for place, token in enumerate(tokens[:-1].tolist()):
        run(core, made, token, place, head=False)
    core.bases = list(made.bases(int(tokens[-1])))
    return core, made.program(position).instructions, model.forward(tokens)[-1]


def logits_in_order(position, rank, forgotten=None):
    """The logits that a core gives; tokens of the `forgotten` pair of units keep no order."""
    core, instructions, _ = at_position(position)
    core = deepcopy(core)
    givers = token_givers(instructions)
    if forgotten:
        for number, one in enumerate(instructions):
            kept = [n for n in givers[number] if (instructions[n].unit, one.unit) != forgotten]
            givers[number] = tuple(kept)
    ordered = any_order(instructions, givers, rank)
    core.run([word for one in ordered for word in one.encode()])
    return compiled("tiny")[1].logits(core.memories["general"])


@pytest.mark.parametrize("position", [0, 8])
def test_units_may_run_at_any_pace(position):
    random = np.random.default_rng(position)
    wanted = at_position(position)[2]
    for unit in (Unit.LD, Unit.MV, Unit.MISC, Unit.ST):
        assert torch.equal(logits_in_order(position, lambda other, u=unit: other is not u), wanted)
        assert torch.equal(logits_in_order(position, lambda other, u=unit: other is u), wanted)
    for _ in range(3):
        assert torch.equal(logits_in_order(position, lambda _: random.random()), wanted)


@pytest.mark.parametrize(
    ("giver", "taker"),
    [
        (Unit.MISC, Unit.MV),
        (Unit.MV, Unit.MISC),
        (Unit.LD, Unit.MISC),
        (Unit.MISC, Unit.ST),
        (Unit.ST, Unit.LD),
    ],
)
def test_without_its_tokens_a_program_goes_wrong(giver, taker):
    given = logits_in_order(8, lambda unit: unit is not taker, forgotten=(giver, taker))
    assert not torch.equal(given, at_position(8)[2])


@pytest.mark.parametrize("case", CASES)
def test_all_that_meets_in_a_memory_is_kept_in_order(case):
    """By what instructions really read and write, whatever the compiler thinks of it."""
    _, made = compiled(case)
    position = POSITIONS - 1
    core = new_core(made)
    core.bases = list(made.bases(0))
    program = made.program(position, store_hidden=True)
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
    for position in (0, POSITIONS - 1):
        assert ends(made.program(position, store_hidden=True).instructions)


def test_a_program_that_never_ends_is_seen():
    """The second load cannot end before the first product, which waits for it."""
    lines = ["LD channels=1", "LD release=MISC", "MISC wait=LD release=MV", "MV wait=MISC"]
    assert not ends(assemble("\n".join([*lines, "SYS op=END"])).instructions)
    lines[:2] = lines[1::-1]
    assert ends(assemble("\n".join([*lines, "SYS op=END"])).instructions)


@pytest.mark.parametrize("case", CASES)
def test_programs_are_those_of_the_core(case):
    _, made = compiled(case)
    program = made.program(POSITIONS - 1)
    assert Program.from_bytes(program.to_bytes()) == program
    for one in program.instructions:
        if one.unit is Unit.MV:
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
    general = run(new_core(made), made, 499, 0)
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
            "vector_depth is 64; the model needs 78 words: make it larger, or max_positions "
            "smaller",
        ),
        (
            {},
            {"activation_depth": 16},
            41,
            "activation_depth is 16; the model needs 40 words: make it larger, or max_positions "
            "smaller",
        ),
        ({}, {}, 65, "max_positions is 65; the model was made for 64"),
        (
            {"feed_forward": 2056, "layers": 1},
            {},
            41,
            "a matrix has 2056 inputs; the activation buffers hold 2048",
        ),
    ],
)
def test_models_that_fit_no_core(fields, core, positions, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        compile_model(tiny_model(**fields), replace(CORE, **core), positions)


def test_positions_beyond_the_cache():
    _, made = compiled("tiny")
    message = "the position is 41; the cache was made for 0 to 40"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        made.program(POSITIONS)


def test_an_epsilon_that_no_program_loads():
    model = compiled("tiny")[0]
    norm = replace(model.head_norm, epsilon=(1 << 17) + 1)
    message = "an epsilon is 131073; a register is loaded with 17 significant bits"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        compile_model(replace(model, head_norm=norm), CORE, POSITIONS)


@pytest.mark.parametrize("value", [0, 0.4, 3.6, 2**17 - 0.6, 2**17 + 1.0, 1e9 / 3, 2.0**48 * 0.9])
def test_epsilons_of_models_are_loaded_exactly(value):
    epsilon = loadable(value)
    job = load_job(epsilon, Register.EPSILON)
    assert job.first << job.shift == epsilon
    assert abs(epsilon - value) <= max(0.5, value * 2**-17)

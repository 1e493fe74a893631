"""Sizes of programs for all lengths: those of the programs themselves."""

import re
from dataclasses import replace

import pytest
import torch
from tiny_models import tiny_model

from golden.core_interpreter import Core
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import Unit
from hls_gen.compiler import Compiled, compile_model
from hls_gen.program_sizes import ProgramBytes, program_sizes
from hls_gen.shape_plan import WeightShape, shape_plan
from hw.weight_stream_reader import read_weight_stream

CORE = CoreConfig(chains=3, m=8, strips=4, vector_depth=2048, activation_depth=1024)
POSITIONS = 64


def plan(config=CORE, chunk=4, positions=POSITIONS, **fields):
    fields = {"layers": 3, "heads": 4, "kv_heads": 2} | fields
    return shape_plan(tiny_model(**fields).shape, config, positions, chunk, WeightShape())


def bytes_of(programs):
    """Bytes of the cores' programs as they are stored; and with each channel's LDs and STs."""
    merged = naive = 0
    for program in programs:
        for one in program.instructions:
            size = 4 * len(one.encode())
            channels = one["channels"].bit_count() if one.unit in (Unit.LD, Unit.ST) else 0
            merged, naive = merged + size, naive + size * max(channels, 1)
    return ProgramBytes(merged, naive)


SMALL = {"hidden": 16, "feed_forward": 24, "heads": 2, "kv_heads": 1}


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (CORE, {}),
        (replace(CORE, replay_words=64), {"positions": 128, **SMALL}),
        (replace(CORE, chains=1, cores=2), {}),
        (replace(CORE, chains=1, cores=3), {"layers": 1}),
    ],
    ids=["a core", "values that chains cannot keep", "two cores", "three cores, a layer"],
)
def test_sizes_are_those_of_the_programs(config, fields):
    mine = plan(config, **fields)
    sizes, compiled = program_sizes(mine), Compiled(mine, ())
    last = mine.memory.max_positions - 1
    for position in (0, 7, 8, 31, 32, 48, last):
        found = bytes_of(compiled.programs(position))
        assert sizes.decode_bytes(position + 1) == found
    for position in (0, 4, 28, 32, last - 3):
        found = bytes_of(compiled.programs(position, tokens=4, head=False))
        assert sizes.prefill[position // 8 * 8] == found


def test_a_program_per_bucket_and_phase_serves_all_lengths():
    sizes = program_sizes(plan())
    assert sizes.buckets == 2 * POSITIONS // CORE.m
    programs = [*sizes.decode.values(), *sizes.prefill.values()]
    assert sizes.bucketed_bytes == sum(one.merged for one in programs)
    one = sizes.decode_bytes(1)
    assert sizes.prefill_bytes(1) == one
    assert (
        sizes.prefill_bytes(10)
        == sizes.decode_bytes(10) + sizes.prefill[0].times(2) + sizes.prefill[8]
    )


def test_naive_is_a_program_for_each_length():
    sizes = program_sizes(plan())
    lengths = range(1, POSITIONS + 1)
    found = sum(sizes.decode_bytes(n).naive + sizes.prefill_bytes(n).naive for n in lengths)
    assert sizes.naive_bytes == found
    assert found > 50 * sizes.bucketed_bytes


def test_a_chunk_may_be_filled_up_with_any_tokens():
    """The programs of the two sets read a prompt of 11: 4, 4, 2 and any two, and the last one."""
    model = tiny_model(layers=2)
    made = compile_model(model, CORE, POSITIONS, 4)
    tokens = torch.randint(50, (12,), generator=torch.Generator().manual_seed(1))
    core = Core(
        CORE,
        {port: image.copy() for port, image in made.images.items()},
        made.bases(0, []),
        read_weight_stream,
    )
    prompt = [*tokens[:10].tolist(), 49, 48]
    for first in range(0, 12, 4):
        core.bases = list(made.bases(first, prompt[first : first + 4]))
        core.run(made.program(first, tokens=4, head=False).encode())
    for position in (10, 11):
        core.bases = list(made.bases(position, [int(tokens[position])]))
        core.run(made.program(position).encode())
        wanted = model.forward(tokens[: position + 1])[-1]
        assert torch.equal(made.logits(core.memories["general"]), wanted)


@pytest.mark.parametrize(("chunk", "positions"), [(3, 64), (4, 60)])
def test_chunks_fill_buckets(chunk, positions):
    mine = shape_plan(tiny_model().shape, CORE, positions, chunk)
    message = (
        f"chunk is {chunk} and max_positions {positions}; programs for all lengths need a chunk "
        "that divides 8, and a multiple of 8 positions"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        program_sizes(mine)

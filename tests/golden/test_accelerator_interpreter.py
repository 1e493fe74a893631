"""Golden cores that give each other strips: what arrives where, and what has no barrier."""

import re
from dataclasses import replace

import numpy as np
import pytest
from core_programs import M8, make_core, program, raw_product

from golden.accelerator_interpreter import Accelerator
from golden.core_effects import CoreStopped, UndefinedProgram
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.instruction import instruction
from golden.spec.isa import ErrorCode, SystemOperation, Unit
from hw.weight_stream_reader import read_weight_stream

THREE = replace(M8, chains=2, cores=3)
BARRIER = instruction(Unit.SYS, op=SystemOperation.BARRIER)
STORE = instruction(Unit.ST, start=7, length=32)
"""Word 7 of the vector buffer."""


def make(config=THREE):
    """An accelerator whose cores have different memories and activations."""
    memories = []
    for number in range(config.cores):
        core = make_core(config=config)
        memories.append({port: np.roll(data, 5 * number) for port, data in core.memories.items()})
    made = Accelerator(config, memories, [[0] * 16] * config.cores, read_weight_stream)
    random = np.random.default_rng(1)
    for core in made.cores:
        core.activations[:] = random.integers(-128, 128, core.activations.shape)
    return made


def run(made, *programs):
    return made.run([program(*one) for one in programs])


def product(config, mask, out):
    """A load, and a product of two columns and two pairs of strips of each chain."""
    raw = raw_product(config, 2, 2, mask)
    fields = dict(zip((field.name for field in raw.format.fields), raw.values, strict=True))
    load = instruction(Unit.LD, channels=mask, length=32)
    return load, instruction(Unit.MV, **fields | {"out": out})


def test_strips_of_each_core_arrive_in_all():
    made = make()
    programs = [
        [*product(THREE, mask, 4 * number), BARRIER] for number, mask in enumerate((3, 2, 1))
    ]
    effects = run(made, *programs)
    wanted = np.zeros((256, 8), np.int64)
    for number, core in enumerate(made.cores):
        x = core.activations[:2, 0].reshape(-1).astype(np.int64)
        for chain in range(2):
            words = core.memories[f"channel_{chain}"][: 32 * 16].view(np.int8)
            strips = words.reshape(2, 2, 8, 2, 8).transpose(1, 3, 2, 0, 4).reshape(2, 2, 8, 16)
            if (3, 2, 1)[number] >> chain & 1:
                for address in range(2):
                    place = 4 * number + 12 * address + 2 * chain
                    wanted[place : place + 2] = strips[address].astype(np.int64) @ x
    for core in made.cores:
        assert np.array_equal(core.vectors, wanted)
    assert [effect.unit for effect in effects[1]] == [Unit.LD, Unit.MV, Unit.SYS, Unit.SYS]
    assert [effect.is_barrier for effect in effects[2]] == [False, False, True, False]


def test_strips_behind_a_barrier_come_when_all_have_used_the_words():
    """Each core stores word 7 as it was, though the core that gives strips stands first."""
    made = make()
    made.cores[1].vectors[7] = made.cores[2].vectors[7] = range(8)
    run(
        made,
        [BARRIER, *product(THREE, 3, 4), BARRIER],
        [STORE, BARRIER, BARRIER],
        [STORE, BARRIER, BARRIER, instruction(Unit.ST, start=7, length=32, offset=32)],
    )
    for core in made.cores[1:]:
        assert core.memories["general"][:32].view("<i4").tolist() == [*range(8)]
        assert core.vectors[7].tolist() == made.cores[0].vectors[7].tolist() != [*range(8)]
    stored = made.cores[2].memories["general"][32:64].view("<i4")
    assert stored.tolist() == made.cores[0].vectors[7].tolist()


GIVES = product(THREE, 3, 4)
MEETS = (
    "since its last barrier core {} has used word {} of the vector buffer, to which another core "
    "gives a strip"
)
LOAD = instruction(Unit.LD, out=7, length=2)
PASS = instruction(Unit.MISC, length=1, a=16, wide=1, out=100)


@pytest.mark.parametrize(
    ("first", "second", "pc", "message"),
    [
        ([*GIVES, BARRIER], [STORE, BARRIER], 9, MEETS.format(1, 7)),
        ([STORE, BARRIER], [*GIVES, BARRIER], 9, MEETS.format(0, 7)),
        ([BARRIER, *GIVES], [BARRIER, LOAD], 9, MEETS.format(1, 7)),
        ([*GIVES, BARRIER], [PASS, BARRIER], 6, MEETS.format(1, 16)),
        ([*GIVES, BARRIER], [*product(THREE, 1, 6), BARRIER], 14, MEETS.format(0, 6)),
        (
            [BARRIER, BARRIER],
            [BARRIER],
            1,
            "core 0 waits at a barrier; core 1 has come to its END",
        ),
    ],
    ids=["read", "read by an earlier one", "loaded", "a pass", "strips", "no barrier"],
)
def test_programs_without_the_barriers_that_they_need(first, second, pc, message):
    others = [BARRIER] * sum(one == BARRIER for one in first)
    with pytest.raises(UndefinedProgram, match=re.escape(message)) as found:
        run(make(), first, second, others)
    assert found.value.pc == pc


def test_a_core_may_use_its_own_strips_and_others_their_own_words():
    other = instruction(Unit.ST, start=20, length=32, offset=64)
    run(make(), [*GIVES, STORE, BARRIER], [other, BARRIER], [BARRIER, STORE])


def test_a_core_that_stops():
    with pytest.raises(CoreStopped) as stop:
        run(make(), [BARRIER], [instruction(Unit.MM, columns=1023)], [BARRIER])
    assert (stop.value.code, stop.value.pc) == (ErrorCode.ILLEGAL_FIELD, 0)


def test_one_core_is_an_accelerator_too():
    alone = replace(M8, cores=1)
    made, core = make(alone), make(alone).cores[0]
    words = program(*product(alone, 5, 0), BARRIER, STORE)
    (effects,) = made.run([words])
    assert [one.pc for one in effects] == [one.pc for one in core.run(words)]
    assert np.array_equal(made.cores[0].vectors, core.vectors)


def test_as_many_of_all_as_cores():
    made = make()
    memories = [core.memories for core in made.cores]
    bases = [[0] * 16] * 3
    for given, name in (
        ((memories[:2], bases), "2 memories"),
        ((memories, bases[:1]), "1 base registers"),
    ):
        message = f"there are {name}; 3 cores need one each"
        with pytest.raises(ShapeError, match=f"^{message}$"):
            Accelerator(THREE, *given, read_weight_stream)
    with pytest.raises(ShapeError, match=r"^there are 4 programs; 3 cores need one each$"):
        made.run([program()] * 4)


@pytest.mark.parametrize("cores", [0, 9, True, 1.5])
def test_numbers_of_cores_that_are_refused(cores):
    message = f"cores is {cores!r}; an accelerator has 1 to 8"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        CoreConfig(cores=cores)

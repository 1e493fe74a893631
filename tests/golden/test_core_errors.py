"""Where the golden core stops, and what it refuses because hardware promises nothing there."""

import re
from dataclasses import replace

import numpy as np
import pytest
from core_programs import BASES, M8, make_core, misc, packed_case, program, run

from golden.core_effects import CoreStopped, UndefinedProgram
from golden.core_interpreter import Core
from golden.spec.errors import ShapeError
from golden.spec.instruction import instruction
from golden.spec.isa import ErrorCode, Unit, Weights
from golden.spec.special_function_unit import Byte, Job, Operation
from hw.weight_stream_reader import read_weight_stream


def stopped(words, core=None):
    """Return the code and the program counter with which a core stops, and what came before."""
    core, done = core or make_core(), []
    with pytest.raises(CoreStopped, match=r"^word \d+: ") as stop:
        for effect in core.steps(words):
            done.append(effect.pc)
    assert str(stop.value).count("word ") <= 2
    return stop.value.code, stop.value.pc, done


SYNC = instruction(Unit.SYS)
SIZE = 1 << 14


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (instruction(Unit.MM, tokens=2, words=2048), ErrorCode.ILLEGAL_FIELD),
        (instruction(Unit.LD, offset=16 * 5 + 1), ErrorCode.UNALIGNED_ADDRESS),
        (instruction(Unit.LD, base=1, count_2=2, stride_2=8), ErrorCode.UNALIGNED_ADDRESS),
        (instruction(Unit.LD, channels=2, offset=SIZE), ErrorCode.READ_ERROR),
        (instruction(Unit.LD, offset=SIZE - 16, length=2), ErrorCode.READ_ERROR),
        (instruction(Unit.LD, count_1=2, stride_1=-16), ErrorCode.READ_ERROR),
        (instruction(Unit.LD, count_1=3, stride_1=SIZE + 1), ErrorCode.UNALIGNED_ADDRESS),
        (instruction(Unit.LD, count_1=3, stride_1=SIZE // 2 - 8), ErrorCode.UNALIGNED_ADDRESS),
        (
            instruction(Unit.LD, count_1=2, stride_1=SIZE, count_2=2, stride_2=1),
            ErrorCode.READ_ERROR,
        ),
        (instruction(Unit.ST, offset=SIZE - 1, length=2), ErrorCode.WRITE_ERROR),
        (instruction(Unit.ST, channels=4, count_1=2, stride_1=-1), ErrorCode.WRITE_ERROR),
        (instruction(Unit.LD, channels=8), ErrorCode.ILLEGAL_FIELD),
    ],
)
def test_a_core_stops_at_an_instruction(one, code):
    core = make_core()
    before = {port: data.copy() for port, data in core.memories.items()}
    assert stopped(program(SYNC, SYNC, one), core) == (code, 2, [0, 1])
    assert all((core.memories[port] == data).all() for port, data in before.items())
    assert not core.vectors.any() and not any(map(len, core.streams))


def test_words_that_are_no_program():
    assert stopped([]) == (ErrorCode.PAST_END, 0, [])
    assert stopped([*SYNC.encode(), 7 << 28]) == (ErrorCode.ILLEGAL_OPCODE, 1, [0])
    assert stopped([*SYNC.encode(), 1 << 28]) == (ErrorCode.PAST_END, 1, [0])
    assert stopped([*SYNC.encode(), (15 << 28) + 1]) == (ErrorCode.ILLEGAL_FIELD, 1, [0])


def test_the_last_bytes_of_a_memory_are_there():
    core = make_core()
    run(
        core,
        instruction(Unit.LD, offset=SIZE - 32, length=2),
        instruction(Unit.ST, offset=SIZE - 3, length=3, start=1),
    )
    assert not core.memories["general"][-3:].any()


PRODUCT = {"columns": 2, "group": 2, "words": 16, "strips": 6, "weights": Weights.RAW}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": 257}, "MV columns is 257; at most 256 fits here"),
        ({"group": 3}, "MV group is 3; at most 2 fits here"),
        ({"words": 17}, "MV words is 17; 16 goes with the others"),
        ({"strips": 12}, "MV strips is 12; 6 goes with the others"),
        ({"sweeps": 2}, "MV sweeps is 2; 1 goes with the others"),
        ({"paired": 1}, "MV paired is 1; 0 goes with the others"),
        (
            {"addresses": 5, "words": 80, "strips": 30},
            "MV addresses is 5; at most 4 fits here",
        ),
        ({"weights": Weights.PACKED, "channels": 1}, "MV channels is 1; 0 goes with the others"),
    ],
)
def test_a_product_that_a_core_refuses(fields, message):
    core = make_core()
    with pytest.raises(CoreStopped, match=f"^word 1: {re.escape(message)}$") as stop:
        core.run(program(SYNC, instruction(Unit.MV, **PRODUCT | fields)))
    assert (stop.value.code, stop.value.pc) == (ErrorCode.ILLEGAL_FIELD, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "MV takes 16 words of chain 2; 15 are loaded"),
        ({"scale": 2**16}, "MV scale is 65536; here it must be 0 to 65535"),
    ],
)
def test_a_product_that_no_core_promises(fields, message):
    core = make_core()
    for queue, count in zip(core.streams, (16, 16, 15), strict=True):
        queue.put(np.zeros((count, 16), np.uint8))
    with pytest.raises(UndefinedProgram, match=f"^word 1: {re.escape(message)}") as stop:
        core.run(program(SYNC, instruction(Unit.MV, **PRODUCT | fields)))
    assert stop.value.pc == 1


@pytest.mark.parametrize("name", ["columns", "group", "sweeps", "paired", "strips"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_product_that_does_not_go_with_its_stream(name, number):
    core, cases = packed_case(Core, M8)
    _, load, product = cases[number]
    fields = dict(zip([f.name for f in product.format.fields], product.values, strict=True))
    other = instruction(
        Unit.MV, **fields | {name: 1 - fields[name] if name == "paired" else fields[name] + 1}
    )
    with pytest.raises((UndefinedProgram, CoreStopped), match=f"^word 8: MV {name} is "):
        core.run(program(load, other))


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            Job(Operation.LINEAR, 256 * 8 + 1),
            "MISC length is 2049, which is 257 words; the vector buffer has 256",
        ),
        (
            Job(Operation.LINEAR, 64 * 8 + 1, byte=Byte.LOW),
            "MISC length is 513, which is 65 words; the activation memory has 64",
        ),
    ],
)
def test_a_pass_that_a_core_refuses(job, message):
    with pytest.raises(CoreStopped, match=f"^word 1: {message}$") as stop:
        make_core().run(program(SYNC, misc(job)))
    assert (stop.value.code, stop.value.pc) == (ErrorCode.ILLEGAL_FIELD, 1)
    shorter = replace(job, length=job.length - 1)
    run(make_core(), misc(shorter), misc(replace(job, byte=Byte.NONE, length=65 * 8)))


def test_more_words_than_a_memory_has():
    core = make_core(config=replace(M8, vector_depth=16))
    for queue in core.streams:
        queue.put(np.zeros((64, 16), np.uint8))
    fields = {"channels": 3, "addresses": 4, "words": 64, "strips": 24}
    with pytest.raises(UndefinedProgram, match="of 16 strips two go to the same word"):
        core.run(program(instruction(Unit.MV, **PRODUCT | fields)))


def test_memories_and_bases_that_do_not_fit():
    good = {port: np.zeros(16, np.uint8) for port in make_core().memories}
    for memories, bases, message in (
        ({"general": good["general"]}, BASES, "the memories are general; a core of 3 chains has"),
        (good | {"general": np.zeros(16)}, BASES, "the memory of general is float64 [16]; a row"),
        (good, BASES[1:], "there are 15 base registers; a core has 16"),
    ):
        with pytest.raises(ShapeError, match=f"^{re.escape(message)}"):
            Core(M8, memories, bases, read_weight_stream)

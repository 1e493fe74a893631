"""The vector unit in Verilator beside a vector buffer: what it writes is what golden says."""

import numpy as np
import pytest
import torch
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from proofs import broken

from golden.bit_packing import pack_fields
from golden.numbers import signed_range
from golden.spec.special_function_unit import WIDE_BITS, SpecialFunctionUnitConfig
from golden.special_functions.passes import SpecialFunctionUnit as Golden
from golden.special_functions.tables import Tables
from hw import cosim
from hw.emit import add, emit
from hw.player import Case, count_mismatches, play, random_pauses
from hw.sfu_cases import random_cases
from hw.sfu_layouts import job_layout
from hw.vector_unit import VectorUnit

CONFIG = SpecialFunctionUnitConfig(lanes=4, table_bits=5)
DEPTH = 256
VECTORS = 8
"""Places in the vector buffer, of DEPTH / VECTORS words each."""


def contents():
    """Return what lies in the vector buffer, int64 [words, lanes]."""
    random = np.random.default_rng(5)
    low, high = signed_range(WIDE_BITS)
    words = random.integers(low, high, (DEPTH, CONFIG.lanes))
    return words >> random.integers(0, WIDE_BITS, (DEPTH, 1))


class UnitWithBuffer(wiring.Component):
    """The unit; what it writes to the vector buffer is also a stream."""

    def __init__(self, unit=VectorUnit):
        self.unit = unit
        self.module_name = "unit_with_buffer"
        members = dict(unit(CONFIG, DEPTH, DEPTH).signature.members)
        super().__init__({name: members[name] for name in ("i", "o", "o_byte")})

    def elaborate(self, platform):
        m = Module()
        rows = pack_fields((contents(), WIDE_BITS))
        m.submodules.memory = store = memory.Memory(
            shape=CONFIG.lanes * WIDE_BITS,
            depth=DEPTH,
            init=[int.from_bytes(row.tobytes(), "little") for row in rows],
        )
        streams = {"i": self.i, "o": self.o, "o_byte": self.o_byte}
        unit = add(m, platform, "unit", self.unit, CONFIG, DEPTH, DEPTH, **streams)
        write = store.write_port()
        m.d.comb += [
            write.en.eq(self.o.valid & self.o.ready),
            *(write.addr.eq(self.o.payload.address), write.data.eq(self.o.payload.word)),
        ]
        for port in (unit.a, unit.b):
            read = store.read_port()
            m.d.comb += [
                *(read.en.eq(port.enable), read.addr.eq(port.address), port.word.eq(read.data))
            ]
        return m


def make_case(case, buffer, random, *, pauses):
    """Return random jobs on random places, and what must be written to both memories.

    Args:
        buffer: what lies in the vector buffer; afterwards what lies there then.
    """
    golden = Golden(Tables(CONFIG.table_bits))
    each = DEPTH // VECTORS
    inputs, wide, narrow = [], [], []
    for job in case.jobs:
        a, b, out, out_byte = (int(k) * each for k in random.integers(0, VECTORS, 4))
        vectors = [
            torch.from_numpy(buffer[start : start + each].reshape(-1)[: job.length].copy())
            for start in (a, b)
        ]
        given = golden.run(
            job,
            vectors[0] if job.operation.is_pass else None,
            vectors[1] if job.takes_b else None,
        )
        inputs.append(payload(job, a, b, out, out_byte))
        if given.wide is not None:
            words = in_words(given.wide)
            buffer[out : out + len(words)] = words
            wide += [(out + k, *word) for k, word in enumerate(words)]
        if given.byte is not None:
            narrow += [(out_byte + k, *word) for k, word in enumerate(in_words(given.byte))]
    expected = {"o": written(wide, WIDE_BITS), "o_byte": written(narrow, 8)}
    counts = {name: len(words) for name, words in expected.items()}
    waits = random_pauses(random, {"i": 20 * len(inputs), **counts}) if pauses else {}
    return Case({"i": np.concatenate(inputs)}, counts, waits), expected


def payload(job, *addresses):
    """Return an instruction as `i` takes it."""
    values = {"more_elements": job.length - 1}
    fields = [
        (np.array([[values.get(name, getattr(job, name, 0))]]), field.width)
        for name, field in job_layout()
    ]
    return pack_fields(*fields, *((np.array([[place]]), 8) for place in addresses))


def in_words(vector):
    """Return a vector's words, int64 [words, lanes]; behind its end there are zeros."""
    return np.pad(vector.numpy(), (0, -len(vector) % CONFIG.lanes)).reshape(-1, CONFIG.lanes)


def written(rows, bits):
    rows = np.array(rows, np.int64).reshape(-1, 1 + CONFIG.lanes)
    return pack_fields((rows[:, :1], 8), (rows[:, 1:], bits))


def make_trials(count):
    """Return cases one behind the other, and what each must write."""
    random = np.random.default_rng(4)
    room = CONFIG.lanes * DEPTH // VECTORS
    cases = [c for c in random_cases(CONFIG, 4 * count, seed=3) if longest(c) <= room]
    buffer = contents()
    return [make_case(c, buffer, random, pauses=k % 2 == 1) for k, c in enumerate(cases[:count])]


def longest(case):
    return max(job.length for job in case.jobs)


def wrong(trials, traces):
    return [
        {name: count_mismatches(trace.outputs[name], words) for name, words in expected.items()}
        for (_, expected), trace in zip(trials, traces, strict=True)
    ]


def test_every_word_is_goldens():
    trials = make_trials(40)
    assert sum(len(words) for _, expected in trials for words in expected.values()) > 1000
    traces = play(emit(UnitWithBuffer), [case for case, _ in trials])
    assert wrong(trials, traces) == [{"o": 0, "o_byte": 0}] * len(trials)


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ("busy & rests.all()", "busy"),
        pytest.param("== Second.VECTOR", "== Second.SCALAR", marks=pytest.mark.full),
    ],
)
def test_a_broken_unit_is_seen(right, other):
    trials = make_trials(12)
    traces = play(emit(UnitWithBuffer, broken(VectorUnit, right, other)), [c for c, _ in trials])
    assert any(any(found.values()) for found in wrong(trials, traces))


def test_the_verilog_is_clean():
    assert cosim.lint(emit(VectorUnit, CONFIG, DEPTH, DEPTH)) == []

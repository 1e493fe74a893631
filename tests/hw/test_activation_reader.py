"""The activation reader in Verilator, beside a memory that holds random columns."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from proofs import broken

from golden.bit_packing import pack_fields
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim, payloads
from hw.activation_reader import ActivationReader, column_layout
from hw.emit import add, emit
from hw.layouts import sweep_layout
from hw.player import Case, count_mismatches, play, random_pauses

CONFIGS = {
    "default": MatrixEngineConfig(),
    "one product": MatrixEngineConfig(m=8, products_per_dsp=1),
}
DEPTH = 64


def contents(config):
    """Return what lies in the memory, int64 [words, lanes, inputs]."""
    random = np.random.default_rng(5)
    return random.integers(-128, 128, (DEPTH, config.products_per_dsp, config.m))


class ReaderWithMemory(wiring.Component):
    def __init__(self, config, reader=ActivationReader):
        self.config, self.reader = config, reader
        self.module_name = "reader_with_memory"
        members = dict(reader(config, DEPTH).signature.members)
        super().__init__({name: members[name] for name in ("i_job", "o_sweep", "o")})

    def elaborate(self, platform):
        m = Module()
        rows = pack_fields((contents(self.config).reshape(DEPTH, -1), 8))
        m.submodules.memory = store = memory.Memory(
            shape=column_layout(self.config).size,
            depth=DEPTH,
            init=[int.from_bytes(row.tobytes(), "little") for row in rows],
        )
        port = store.read_port()
        streams = {name: getattr(self, name) for name in ("i_job", "o_sweep", "o")}
        reader = add(m, platform, "reader", self.reader, self.config, DEPTH, **streams)
        m.d.comb += [
            port.en.eq(reader.enable),
            port.addr.eq(reader.address),
            reader.word.as_value().eq(port.data),
        ]
        return m


def make_case(config, random, *, pauses, reset_after=0):
    """Return a case of some jobs, and what must come out of `o_sweep` and `o`."""
    columns = random.integers(1, 9, 6)
    address = random.integers(0, DEPTH - 8, 6)
    sweeps = {"more_columns": columns - 1, "more_sweeps": random.integers(0, 2**16, 6)}
    sweeps["more_in_group"] = random.integers(0, 8, 6)
    given = [(value, sweep_layout(config)[name].width) for name, value in sweeps.items()]
    fields = [(address[:, None], 6), *((value[:, None], width) for value, width in given)]
    memory_words = contents(config)
    inputs = np.concatenate(
        [
            memory_words[first : first + count]
            .transpose(0, 2, 1)
            .reshape(-1, config.products_per_dsp)
            for first, count in zip(address, columns, strict=True)
        ]
    )
    expected = {
        "o_sweep": payloads.of_struct(sweep_layout(config), **sweeps),
        "o": pack_fields((inputs, 8)),
    }
    outputs = {name: len(items) for name, items in expected.items()}
    waits = random_pauses(random, {"i_job": 40, "o": 8 * len(inputs), "o_sweep": 20})
    case = Case({"i_job": pack_fields(*fields)}, outputs, waits if pauses else {}, {}, reset_after)
    return case, expected, int(columns.sum())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_input_comes_in_its_order(config):
    random = np.random.default_rng(3)
    trials = [
        make_case(config, random, pauses=number % 2 == 1, reset_after=11 * (number > 5))
        for number in range(10)
    ]
    traces = play(emit(ReaderWithMemory, config), [case for case, *_ in trials])
    for (case, expected, columns), trace in zip(trials, traces, strict=True):
        wrong = {name: count_mismatches(trace.outputs[name], expected[name]) for name in expected}
        assert wrong == {"o_sweep": 0, "o": 0}
        if not case.pauses:
            cycles = trace.transfers("o")[-1] + 1 - trace.transfers("i_job")[0]
            assert cycles == ActivationReader.cycles(config, columns)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(left == 1) & taken", "left == 1"),
        pytest.param("[OPERAND_BITS:]", "[OPERAND_BITS - 1 :]", marks=pytest.mark.full),
    ],
)
def test_a_broken_reader_is_seen(right, wrong):
    config, random = CONFIGS["default"], np.random.default_rng(3)
    trials = [make_case(config, random, pauses=True) for _ in range(4)]
    design = emit(ReaderWithMemory, config, broken(ActivationReader, right, wrong))
    traces = play(design, [case for case, *_ in trials])
    assert any(
        count_mismatches(trace.outputs["o"], expected["o"])
        for (_, expected, _), trace in zip(trials, traces, strict=True)
    )


def test_a_depth_outside_the_range_is_refused():
    with pytest.raises(ConfigError, match="depth is 8; allowed are 16 to 65536"):
        ActivationReader(CONFIGS["default"], 8)


def test_the_verilog_is_clean():
    for config in CONFIGS.values():
        assert cosim.lint(emit(ActivationReader, config, DEPTH)) == []

"""Word reader and word writer in Verilator, one behind the other beside a memory."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from proofs import broken

from golden.bit_packing import pack_fields
from golden.spec.errors import ConfigError
from hw import cosim
from hw.emit import add, emit
from hw.player import Case, count_mismatches, play, random_pauses
from hw.word_mover import WordReader, WordWriter, move_layout, write_layout

DEPTH, WIDTH = 32, 11


def contents():
    return np.random.default_rng(5).integers(0, 2**WIDTH, DEPTH)


class Copy(wiring.Component):
    """Runs from a memory, with the addresses of other runs."""

    def __init__(self, reader=WordReader, writer=WordWriter):
        self.parts = reader, writer
        self.module_name = "copy"
        run = In(stream.Signature(move_layout(DEPTH)))
        super().__init__(
            {"i_from": run, "i_to": run, "o": Out(stream.Signature(write_layout(WIDTH, DEPTH)))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=WIDTH, depth=DEPTH, init=contents().tolist()
        )
        port = store.read_port()
        reader = add(m, platform, "reader", self.parts[0], WIDTH, DEPTH, i=self.i_from)
        writer = add(m, platform, "writer", self.parts[1], WIDTH, DEPTH, i=self.i_to, o=self.o)
        m.d.comb += [
            *(port.en.eq(reader.enable), port.addr.eq(reader.address), reader.word.eq(port.data)),
            writer.i_word.payload.eq(reader.o.payload),
            writer.i_word.valid.eq(reader.o.valid),
            reader.o.ready.eq(writer.i_word.ready),
        ]
        return m


def make_case(random, *, pauses, reset_after=0):
    """Return a case of runs of the same lengths on both sides, and what must come out."""
    words = random.integers(1, 9, 12)
    start, to = random.integers(0, DEPTH, (2, 12))
    addresses = np.concatenate([np.arange(a, a + n) for a, n in zip(to, words, strict=True)])
    read = np.concatenate([np.arange(a, a + n) for a, n in zip(start, words, strict=True)])
    inputs = {
        name: pack_fields((a[:, None], 5), (words[:, None] - 1, 5))
        for name, a in (("i_from", start), ("i_to", to))
    }
    given = contents()[read % DEPTH][:, None]
    expected = pack_fields((addresses[:, None] % DEPTH, 5), (given, WIDTH))
    waits = random_pauses(random, {"i_from": 60, "i_to": 60, "o": 200}) if pauses else {}
    return Case(inputs, {"o": len(expected)}, waits, {}, reset_after), expected


def test_runs_are_copied_word_by_word():
    random = np.random.default_rng(1)
    trials = [make_case(random, pauses=n % 2 == 1, reset_after=7 * (n > 3)) for n in range(8)]
    traces = play(emit(Copy), [case for case, _ in trials])
    for (_, expected), trace in zip(trials, traces, strict=True):
        assert count_mismatches(trace.outputs["o"], expected) == 0


def test_a_run_takes_the_cycles_of_the_contract():
    inputs = {
        name: pack_fields((np.array([[3]]), 5), (np.array([[8]]), 5)) for name in ("i_from", "i_to")
    }
    (trace,) = play(emit(Copy), [Case(inputs, {"o": 9})])
    given = trace.transfers("o")
    assert given[-1] + 1 - trace.transfers("i_from")[0] == WordReader.cycles(9)
    # The writer waits for the reader's first word; from there on it gives one per cycle.
    assert given[-1] - given[0] + 2 == WordWriter.cycles(9)


@pytest.mark.parametrize(
    ("block", "right", "wrong"),
    [
        (WordReader, "(~self.o.valid | self.o.ready)", "1"),
        pytest.param(WordReader, "address + 1", "address + 2", marks=pytest.mark.full),
        (WordWriter, "self.o.ready & (left != 0)", "self.o.ready"),
    ],
)
def test_a_broken_mover_is_seen(block, right, wrong):
    random = np.random.default_rng(1)
    trials = [make_case(random, pauses=True) for _ in range(4)]
    parts = [WordReader, WordWriter]
    parts[parts.index(block)] = broken(block, right, wrong)
    traces = play(emit(Copy, *parts), [case for case, _ in trials])
    assert any(
        count_mismatches(trace.outputs["o"], expected)
        for (_, expected), trace in zip(trials, traces, strict=True)
    )


@pytest.mark.parametrize("block", [WordReader, WordWriter])
def test_a_depth_outside_the_range_is_refused(block):
    with pytest.raises(ConfigError, match="depth is 8; allowed are 16 to 65536"):
        block(WIDTH, 8)


@pytest.mark.parametrize("block", [WordReader, WordWriter])
def test_the_verilog_is_clean(block):
    assert cosim.lint(emit(block, WIDTH, DEPTH)) == []

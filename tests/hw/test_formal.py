"""Proofs of the blocks' properties, each beside a broken copy that must fail it."""

import pytest
from proofs import ExpansionProof, ForkProof, QueueProof, SequencerProof, SplitProof, broken

from golden.spec.errors import ToolError
from golden.spec.expansion import ExpansionConfig
from golden.spec.sparse_chain import SparseChainConfig
from hw.block_fifo import BlockFifo
from hw.chain_control import ChainSequencer
from hw.chain_slice import LaneSplitter
from hw.expansion import (
    Aligner,
    BitWidthExpansion,
    ExpansionSequencer,
    FieldExpansion,
)
from hw.fifo import Fifo
from hw.formal import prove
from hw.stream_fork import StreamFork


def quick(cases):
    """Leave all cases but the first to the full tests."""
    left = [case if isinstance(case, tuple) else (case,) for case in cases[1:]]
    return [cases[0], *(pytest.param(*case, marks=pytest.mark.full) for case in left)]


@pytest.mark.parametrize("queue", [Fifo, BlockFifo])
@pytest.mark.parametrize("depth", quick([3, 2, 4, 5]))
def test_a_fifo_keeps_every_payload_in_order(depth, queue):
    found = prove(QueueProof(queue(2, depth), depth))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("level != self.depth", "level != 7", "no more lies inside than the capacity"),
            ("level != 0", "level > 1", "what lies inside is offered"),
            ("level != 0", "1", "nothing is offered that has not entered"),
            (
                "address == self.depth - 1",
                "address == self.depth - 2",
                "o holds still until it is taken",
            ),
            ("(read.addr, leaves)", "(read.addr, self.o.ready)", "order and content stay"),
            ("write.data.eq(self.i", "write.data.eq(1 | self.i", "order and content stay"),
        ]
    ),
)
def test_a_broken_fifo_is_seen(right, wrong, failed):
    found = prove(QueueProof(broken(Fifo, right, wrong)(2, 3), 3))
    assert (found.holds, found.failed) == (False, failed)
    assert "inside" in found.trace


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("enters & (level == leaves)", "enters & (level == 0)", "order and content stay"),
            ("Mux(is_entered, entered, read.data)", "read.data", "order and content stay"),
            ("Mux(leaves, self._following(head), head)", "head", "o holds still until it is taken"),
        ]
    ),
)
def test_a_broken_block_fifo_is_seen(right, wrong, failed):
    found = prove(QueueProof(broken(BlockFifo, right, wrong)(2, 3), 3))
    assert (found.holds, found.failed) == (False, failed)


@pytest.mark.parametrize(
    ("weight_bits", "m"), quick([(8, 16), (8, 4), (8, 8), (8, 32), (2, 8), (5, 32)])
)
def test_the_lanes_of_every_packed_sum_are_split_exactly(weight_bits, m):
    found = prove(SplitProof(SparseChainConfig(m=m, weight_bits=weight_bits)))
    assert found.holds, f"{found.failed}\n{found.trace}"


class OneBit(SparseChainConfig):
    """With the fewest bits of residue that a row of 16 can do with."""

    residue_bits = 1


def test_one_bit_of_residue_splits_the_sums_of_16_products():
    assert prove(SplitProof(OneBit())).holds


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("above - (low >> LANE_BITS)", "above", "high lane"),
            ("- self.i.residue", "", "high lane"),
            ("& word[top - wider + 1 : top].any()", "", "high lane"),
            (".any()", ".all()", "high lane"),
            ("wider + 1", "wider + 2", "high lane"),
        ]
    ),
)
def test_a_broken_splitter_is_seen(right, wrong, failed):
    found = prove(SplitProof(OneBit(), broken(LaneSplitter, right, wrong)))
    assert (found.holds, found.failed) == (False, failed)


@pytest.mark.parametrize("first", [True, False])
def test_the_expansion_unit_gives_every_beat_once(first):
    found = prove(ExpansionProof(ExpansionConfig(16, 1, beat_bits=2), first=first), cycles=9)
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.full
@pytest.mark.parametrize(("shape", "first"), [((16, 1), True), ((8, 1), False)])
def test_the_expansion_unit_gives_every_beat_once_for_ever(shape, first):
    found = prove(ExpansionProof(ExpansionConfig(*shape, beat_bits=2), first=first))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.parametrize(
    ("part", "right", "wrong", "failed"),
    quick(
        [
            (None, "~self.o.valid | self.o.ready", "1", "o holds still until it is taken"),
            (None, "control[-1].valid", "control[-2].valid", "every bit stands in its place"),
            (ExpansionSequencer, "last_beat & (self.chunk != 0)", "0", "a segment takes its words"),
            (ExpansionSequencer, "Mux(last_beat, 0, end)", "end", "a segment takes its words"),
            (
                ExpansionSequencer,
                "self.i_job.ready.eq(begin &",
                "self.i_job.ready.eq(1 &",
                "a segment takes its words",
            ),
            (
                Aligner,
                "start.eq(self.control.start)",
                "start.eq(8)",
                "every bit stands in its place",
            ),
            (FieldExpansion, ".as_signed()", "", "a weight keeps its sign"),
        ]
    ),
)
def test_a_broken_expansion_unit_is_seen(part, right, wrong, failed):
    copy = broken(BitWidthExpansion, right, wrong, part)
    found = prove(ExpansionProof(ExpansionConfig(16, 1, beat_bits=2), copy, first=True), cycles=9)
    assert (found.holds, found.failed) == (False, failed)


@pytest.mark.parametrize("count", quick([2, 1, 3]))
def test_the_fork_gives_every_beat_once_to_every_output(count):
    found = prove(ForkProof(StreamFork(count, 2)))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("& ~taken[k]", "", "no output sees a beat twice"),
            ("Mux(complete, 0, done)", "done", "no output misses a beat"),
            ("done.all()", "done.any()", "no output misses a beat"),
            ("done = taken |", "done =", "no output sees a beat twice"),
            ("complete if k == 0 else 0", "complete", "no other beat is taken"),
        ]
    ),
)
def test_a_broken_fork_is_seen(right, wrong, failed):
    found = prove(ForkProof(broken(StreamFork, right, wrong)(2, 2)))
    assert (found.holds, found.failed) == (False, failed)


@pytest.mark.parametrize(("m", "length"), quick([(4, 2), (4, 4), (8, 4)]))
def test_the_sequencer_gives_every_beat_of_every_pass(m, length):
    config = SparseChainConfig(m, length, activation_bits=2, weight_bits=2, strips=2)
    found = prove(SequencerProof(config))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            (
                "take & last & (column == number_of)",
                "take & last",
                "activations enter while there is room",
            ),
            ("Mux(last, 0, number + 1)", "number + 1", "beats are counted"),
            (
                "column.eq(~column)",
                "column.eq(column)",
                "weights are taken for a pass with its column",
            ),
            (
                "release.eq(take & last & ",
                "release.eq(take & ",
                "weights are taken for a pass with its column",
            ),
            (
                "number == self.config.m - 1",
                "number == self.config.m - 2",
                "weights are taken for a pass with its column",
            ),
            (
                "usable.eq(self.i_pass.valid & filled",
                "usable.eq(self.i_pass.valid | filled",
                "weights are taken for a pass with its column",
            ),
        ]
    ),
)
def test_a_broken_sequencer_is_seen(right, wrong, failed):
    copy = broken(ChainSequencer, right, wrong)
    config = SparseChainConfig(4, activation_bits=2, weight_bits=2, strips=2)
    found = prove(SequencerProof(config, copy))
    assert (found.holds, found.failed) == (False, failed)


def test_a_missing_tool_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(ToolError, match=r"^SymbiYosys .* not installed; run `make setup`$"):
        prove(QueueProof(Fifo(2, 2), 2))


def test_a_proof_that_ends_nowhere_is_an_error(monkeypatch):
    monkeypatch.setattr("hw.formal.TIMEOUT_S", 1)
    with pytest.raises(ToolError, match=r"^the proof came to no end: "):
        prove(ExpansionProof(ExpansionConfig(16, 1, beat_bits=2), first=True))

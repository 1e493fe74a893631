"""The queues in Verilator: every payload in its order and cycle. `test_formal.py` proves more."""

import re
from functools import partial

import numpy as np
import pytest
from mutation_trials import survivors, unexplained

from golden.spec.errors import ConfigError
from hw import cosim
from hw.block_fifo import BlockFifo
from hw.emit import emit
from hw.fifo import Fifo
from hw.mutation import mutate
from hw.player import Case, play
from hw.synth import synthesise

SHAPES = [(8, 4), (13, 5), (1, 2), (54, 32)]


def make_case(width, depth, random, *, source, sink, reset_after=0):
    """Return 40 times as many random payloads as fit, with pauses of those shares of cycles."""
    payloads = random.integers(0, 256, size=(40 * depth, -(-width // 8)), dtype=np.uint8)
    payloads[:, -1] &= (1 << (width - 1) % 8 + 1) - 1
    pauses = {
        name: np.repeat(random.random(40 * depth) < share, random.integers(1, 2 * depth))
        for name, share in (("i", source), ("o", sink))
    }
    return Case({"i": payloads}, {"o": len(payloads)}, pauses, reset_after=reset_after)


def wrong(depth, case, trace):
    """Return what is lost, or which handshake differs from a queue's, or an empty text."""
    if not np.array_equal(trace.outputs["o"], case.inputs["i"]):
        return "other payloads"
    enters, leaves = (trace.valid[name] & trace.ready[name] for name in ("i", "o"))
    # Payloads in the queue at the start of each cycle.
    level = np.concatenate([[0], np.cumsum(enters.astype(int) - leaves)])[:-1]
    if not np.array_equal(trace.valid["o"], level > 0):
        return "o is valid in other cycles"
    return "" if np.array_equal(trace.ready["i"], level < depth) else "i is ready in other cycles"


def trials(width, depth):
    random = np.random.default_rng((width, depth))
    for source, sink in ((0, 0), (0, 0.6), (0.6, 0), (0.4, 0.4)):
        for reset_after in (0, 3 * depth + 1):
            case = make_case(
                width, depth, random, source=source, sink=sink, reset_after=reset_after
            )
            yield case, partial(wrong, depth, case)


@pytest.mark.parametrize("queue", [Fifo, BlockFifo])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_payload_in_its_order_and_cycle(shape, queue):
    cases, judges = zip(*trials(*shape), strict=True)
    traces = play(emit(queue, *shape), cases)
    assert [judge(trace) for judge, trace in zip(judges, traces, strict=True)] == [""] * len(cases)
    assert traces[0].transfers("o")[0] - traces[0].transfers("i")[0] == queue.cycles()


@pytest.mark.parametrize("queue", [Fifo, BlockFifo])
def test_the_verilog_is_clean(queue):
    assert cosim.lint(emit(queue, 13, 5)) == []


def test_a_block_fifo_is_in_block_ram():
    found = synthesise(emit(BlockFifo, 257, 512), "ultrascale+")
    assert (found.bram, found.lut_memory) == (4, 0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 4), "width is 0; a payload has 1 bit or more"),
        ((8, 1), "depth is 1; allowed are 2 to 1024 payloads"),
        ((8, 1025), "depth is 1025; allowed are 2 to 1024 payloads"),
    ],
)
def test_other_shapes_are_refused(shape, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Fifo(*shape)


EQUIVALENT = {
    r"const0 \$eq\$.* A\[[01]\]": "a place beyond the last one (4), which is never reached",
    r"const0 .* B\[\d\]": "a constant 0 that is stuck at 0: behind the last place comes place 0",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_that_is_not_equivalent():
    mutants = mutate(emit(Fifo, 13, 5), 100, seed=1)
    assert unexplained(survivors(mutants, trials(13, 5)), EQUIVALENT) == []

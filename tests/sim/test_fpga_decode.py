"""One decode step of a whole model on an FPGA."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.model_shapes import ModelShape, load
from golden.spec.errors import ConfigError
from hw.sparse_chain import SparseChain
from sim.catalogue import load_system
from sim.memory_formats import WeightFormat
from sim.simulate import simulate
from sim.workload import Workload

LLAMA = load("llama-2-7b")
U280 = load_system("flightllm-u280")
# Every matrix gives each of 4 chains the same number of whole units.
TINY = ModelShape(
    name="tiny",
    source="made up",
    layers=2,
    hidden=256,
    heads=2,
    kv_heads=2,
    head_size=128,
    feed_forward=512,
    vocabulary=1024,
)
TINY_PRODUCTS = 2 * (4 * 256 * 256 + 3 * 256 * 512) + 1024 * 256 + 2 * 2 * 128 * 256  # context 128


def tiny_fpga(gb_per_s, chains=4):
    hbm = U280.main_memory.model_copy(update={"gb_per_s": gb_per_s})
    board = U280.board.model_copy(update={"memories": {"hbm": hbm}})
    return U280.model_copy(update={"board": board, "chains": chains})


def one_step(system, model, context):
    return simulate(system, model, Workload(prefill=context, decode=1))


def test_memory_bound_is_all_bytes_and_the_last_tile():
    system = tiny_fpga(gb_per_s=0.1)
    estimate = one_step(system, TINY, 128)
    assert estimate.bottleneck == "memory"
    last_tile = 8 * 16 / 2 / 225e6  # one unit of 8 dense blocks, two products per DSP
    assert estimate.tpot_ms == pytest.approx(
        (estimate.bytes_per_token / 0.1e9 + last_tile) * 1e3, rel=1e-9
    )


def test_compute_bound_is_the_first_tile_and_all_contracts():
    system = tiny_fpga(gb_per_s=9e4)
    estimate = one_step(system, TINY, 128)
    assert estimate.bottleneck == "compute"
    operators = 9 * TINY.layers + 1
    cycles = TINY_PRODUCTS // (4 * 32) + operators * SparseChain.cycles(U280.chain, [0])
    assert estimate.cycles_per_token == cycles
    q_proj = 16 * 16 * 257 + 256 * 2 * 2  # blocks and scales, in 8 tiles
    assert estimate.tpot_ms == pytest.approx((q_proj / 8 / 9e13 + cycles / 225e6) * 1e3, rel=1e-9)


def test_bottleneck_flips_with_bandwidth():
    slow, fast = (one_step(tiny_fpga(gb), TINY, 128) for gb in (1, 100))
    assert (slow.bottleneck, fast.bottleneck) == ("memory", "compute")
    assert slow.bandwidth_used > 0.99 > fast.bandwidth_used
    assert slow.tpot_ms > fast.tpot_ms


def test_ten_percent_of_the_bottleneck_is_a_tenth_of_the_time():
    why = one_step(tiny_fpga(1), TINY, 128).why
    assert why["memory"]["tpot"] == pytest.approx(1 - 1 / 1.1, abs=2e-3)
    assert why["compute"]["tpot"] == pytest.approx(0, abs=2e-3)


def test_bytes_of_llama_2_7b_by_hand():
    linear = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 32000 * 4096
    cache = 32 * 2 * 32 * 128 * 128  # layers x (K and V) x heads x head size x context
    # INT8: one byte per 256 weights says N, a 16-bit scale per 128 weights or cached elements.
    expected = linear + linear // 256 + 2 * linear // 128 + cache + 2 * cache // 128
    assert one_step(U280, LLAMA, 128).bytes_per_token == expected


def test_the_contract_is_the_only_source_of_cycles(monkeypatch):
    before = one_step(tiny_fpga(9e4), TINY, 128)
    contract = SparseChain.cycles
    monkeypatch.setattr(SparseChain, "cycles", staticmethod(lambda *job: 3 * contract(*job)))
    after = one_step(tiny_fpga(9e4), TINY, 128)
    assert after.cycles_per_token == 3 * before.cycles_per_token
    assert after.tpot_ms == pytest.approx(3 * before.tpot_ms, rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 500), st.sampled_from([0.1, 9e4]))
def test_a_longer_context_takes_longer(context, more, gb_per_s):
    # Between these bandwidths a step that is one tile more may overlap better, and gain a little.
    system = tiny_fpga(gb_per_s)
    short, long = (one_step(system, TINY, c) for c in (context, context + more))
    assert short.bytes_per_token < long.bytes_per_token
    assert short.cycles_per_token <= long.cycles_per_token
    assert short.tpot_ms <= long.tpot_ms * (1 + 1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 7), st.sampled_from([2, 4, 8, 16]), st.sampled_from([0.1, 3, 10, 1000]))
def test_more_bits_take_longer(bits, n, gb_per_s):
    system = tiny_fpga(gb_per_s)
    few, many = (
        one_step(system.with_weights(WeightFormat(bits=b, group_size=128, keep={n: 1})), TINY, 128)
        for b in (bits, bits + 1)
    )
    assert few.bytes_per_token < many.bytes_per_token
    assert few.cycles_per_token == many.cycles_per_token
    assert few.tpot_ms <= many.tpot_ms * (1 + 1e-9)


def test_many_steps_are_the_sum_of_each():
    system = tiny_fpga(3)
    single = [one_step(system, TINY, context) for context in range(100, 140)]
    many = simulate(system, TINY, Workload(prefill=100, decode=40))
    assert many.tpot_ms == pytest.approx(sum(one.tpot_ms for one in single) / 40, rel=1e-3)
    assert many.bytes_per_token == pytest.approx(
        sum(one.bytes_per_token for one in single) / 40, rel=1e-3
    )


def test_the_spans_of_a_step_end_when_it_does():
    from sim.workload import Pass

    spans = U280.spans(TINY, Pass(1, 1, 128))
    assert {span.unit for span in spans} == {"memory", "compute"}
    end = max(span.start + span.seconds for span in spans)
    assert end == pytest.approx(U280.step(TINY, Pass(1, 1, 128)).seconds)


def test_the_board_draws_what_was_measured():
    estimate = one_step(U280, LLAMA, 128)
    assert estimate.joules_per_token == pytest.approx(45 * estimate.tpot_ms / 1e3)


def test_a_published_figure_stands_beside_its_own_conditions_only():
    assert one_step(U280, LLAMA, 128).published_tokens_per_s == pytest.approx(
        1000 / 17.506, rel=1e-4
    )
    for model, context in ((LLAMA, 129), (TINY, 128)):
        estimate = one_step(U280, model, context)
        assert (estimate.published_tokens_per_s, estimate.published_source) == (None, "")


def test_the_estimate_is_above_what_was_measured():
    # 3.4 GB of weights, as on the measured board.
    dense = U280.with_weights(WeightFormat(bits=4, group_size=128))
    estimate = one_step(dense, LLAMA, 128)
    assert estimate.decode_tokens_per_s > estimate.published_tokens_per_s


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (
            {"prefill": 0, "decode": 1},
            "prefill is 0; a prompt has at least 1 token, and a decode step follows at least 1",
        ),
        (
            {"prefill": 10_000, "decode": 1},
            "llama-2-7b needs 8.75 GiB (weights 6.27, KV cache 2.48) for 1 x 10,001 tokens; "
            "flightllm-u280 has 8.00 GiB, 0.75 too few; a shorter context, fewer bits of a "
            "weight or a board with more memory would fit",
        ),
        (
            {"prefill": 8, "decode": 1, "batch": 2},
            "batch is 2; flightllm-u280 decodes 1 sequence at a time",
        ),
    ],
)
def test_steps_that_cannot_be(workload, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        simulate(U280, LLAMA, Workload(**workload))

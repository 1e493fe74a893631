import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.model_shapes import ModelShape, load
from golden.spec.errors import ConfigError
from hw.sparse_chain import SparseChain
from sim.catalogue import load_system
from sim.decode import estimate_decode, simulate
from sim.memory_formats import WeightFormat
from sim.system import Tile

LLAMA = load("llama-2-7b")
U280 = load_system("flightllm-u280")
A100 = load_system("gpu-a100-sxm-80gb")
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


def steps():
    tiles = st.builds(Tile, st.integers(0, 100), st.floats(0, 100))
    return st.lists(st.lists(tiles, min_size=1, max_size=5), min_size=1, max_size=5)


@given(steps(), st.floats(0.5, 2))
def test_events_equal_the_recurrence_of_a_double_buffer(step, bytes_per_s):
    loaded, computed, finished = 0.0, [0.0, 0.0], []
    for tiles in step:
        for tile in tiles:
            loaded = max(loaded, computed[-2]) + tile.bytes / bytes_per_s
            computed.append(max(loaded, computed[-1]) + tile.seconds)
        finished.append(computed[-1])
    assert simulate(step, bytes_per_s) == pytest.approx(finished)


def test_memory_bound_is_all_bytes_and_the_last_tile():
    system = tiny_fpga(gb_per_s=0.1)
    estimate = estimate_decode(system, TINY, context=128)
    assert estimate.bottleneck == "memory"
    last_tile = 8 * 16 / 2 / 225e6  # one unit of 8 dense blocks, two products per DSP
    assert estimate.tpot_ms == pytest.approx(
        (estimate.bytes_per_token / 0.1e9 + last_tile) * 1e3, rel=1e-9
    )


def test_compute_bound_is_the_first_tile_and_all_contracts():
    system = tiny_fpga(gb_per_s=1e5)
    estimate = estimate_decode(system, TINY, context=128)
    assert estimate.bottleneck == "compute"
    operators = 9 * TINY.layers + 1
    cycles = TINY_PRODUCTS // (4 * 32) + operators * SparseChain.cycles(U280.chain, [0])
    assert estimate.cycles_per_token == cycles
    q_proj = 16 * 16 * 257 + 256 * 2 * 2  # blocks and scales, in 8 tiles
    assert estimate.tpot_ms == pytest.approx((q_proj / 8 / 1e14 + cycles / 225e6) * 1e3, rel=1e-9)


def test_bottleneck_flips_with_bandwidth():
    slow, fast = (estimate_decode(tiny_fpga(gb), TINY, 128) for gb in (1, 100))
    assert (slow.bottleneck, fast.bottleneck) == ("memory", "compute")
    assert slow.bandwidth_used > 0.99 > fast.bandwidth_used
    assert slow.tpot_ms > fast.tpot_ms


def test_bytes_of_llama_2_7b_by_hand():
    linear = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 32000 * 4096
    cache = 32 * 2 * 32 * 128 * 128  # layers x (K and V) x heads x head size x context
    assert linear == 6_607_077_376
    assert estimate_decode(A100, LLAMA, 128).bytes_per_token == 2 * linear + 2 * cache
    # INT8: one byte per 256 weights says N, a 16-bit scale per 128 weights or cached elements.
    expected = linear + linear // 256 + 2 * linear // 128 + cache + 2 * cache // 128
    assert estimate_decode(U280, LLAMA, 128).bytes_per_token == expected


def test_a_gpu_streams_its_bytes():
    estimate = estimate_decode(A100, LLAMA, 128)
    assert estimate.cycles_per_token == 0
    assert estimate.bottleneck == "memory"
    assert estimate.tpot_ms == pytest.approx(estimate.bytes_per_token / 2039e9 * 1e3, rel=1e-4)


def test_the_contract_is_the_only_source_of_cycles(monkeypatch):
    before = estimate_decode(tiny_fpga(1e5), TINY, 128)
    contract = SparseChain.cycles
    monkeypatch.setattr(SparseChain, "cycles", staticmethod(lambda *job: 3 * contract(*job)))
    after = estimate_decode(tiny_fpga(1e5), TINY, 128)
    assert after.cycles_per_token == 3 * before.cycles_per_token
    assert after.tpot_ms == pytest.approx(3 * before.tpot_ms, rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 500), st.sampled_from([0.1, 1e5]))
def test_a_longer_context_takes_longer(context, more, gb_per_s):
    # Between these bandwidths a step that is one tile more may overlap better, and gain a little.
    system = tiny_fpga(gb_per_s)
    short, long = (estimate_decode(system, TINY, c) for c in (context, context + more))
    assert short.bytes_per_token < long.bytes_per_token
    assert short.cycles_per_token <= long.cycles_per_token
    assert short.tpot_ms <= long.tpot_ms * (1 + 1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 7), st.sampled_from([2, 4, 8, 16]), st.sampled_from([0.1, 3, 10, 1000]))
def test_more_bits_take_longer(bits, n, gb_per_s):
    system = tiny_fpga(gb_per_s)
    few, many = (
        estimate_decode(system, TINY, 128, WeightFormat(bits=b, group_size=128, keep={n: 1}))
        for b in (bits, bits + 1)
    )
    assert few.bytes_per_token < many.bytes_per_token
    assert few.cycles_per_token == many.cycles_per_token
    assert few.tpot_ms <= many.tpot_ms * (1 + 1e-9)


@pytest.mark.parametrize("system", [U280, A100], ids=lambda system: system.name)
def test_the_record_is_consistent(system):
    estimate = estimate_decode(system, LLAMA, 1024)
    assert (estimate.system, estimate.model, estimate.context) == (system.name, LLAMA.name, 1024)
    assert list(estimate.breakdown) == [
        "attention projections",
        "KV attention",
        "feed-forward",
        "head",
    ]
    assert sum(estimate.breakdown.values()) == pytest.approx(estimate.tpot_ms)
    assert min(estimate.breakdown.values()) > 0
    assert estimate.decode_tokens_per_s == pytest.approx(1000 / estimate.tpot_ms)
    seconds_at_peak = estimate.bytes_per_token / system.main_memory.bytes_per_s
    assert estimate.bandwidth_used == pytest.approx(seconds_at_peak * 1e3 / estimate.tpot_ms)
    assert estimate.assumptions


def test_a_published_figure_stands_beside_its_own_conditions_only():
    assert estimate_decode(U280, LLAMA, 128).published_tokens_per_s == pytest.approx(
        1000 / 17.506, rel=1e-4
    )
    assert estimate_decode(A100, LLAMA, 128).published_tokens_per_s == 104.9
    assert "gpt-fast" in estimate_decode(A100, LLAMA, 128).published_source
    for system, model, context in ((U280, LLAMA, 129), (U280, TINY, 128), (A100, LLAMA, 1024)):
        estimate = estimate_decode(system, model, context)
        assert (estimate.published_tokens_per_s, estimate.published_source) == (None, "")


@pytest.mark.parametrize(
    ("system", "weights"),
    [
        (U280, WeightFormat(bits=4, group_size=128)),  # 3.4 GB of weights, as on the measured board
        (A100, None),
    ],
    ids=["u280", "a100"],
)
def test_the_estimate_is_above_what_was_measured(system, weights):
    estimate = estimate_decode(system, LLAMA, 128, weights)
    assert estimate.decode_tokens_per_s > estimate.published_tokens_per_s


@pytest.mark.parametrize(
    ("system", "context", "message"),
    [
        (U280, 0, "context is 0; a decode step follows at least 1 token"),
        (
            U280,
            10_000,
            "weights and KV cache take 8.75 GiB; the memory of flightllm-u280 holds 8 GiB",
        ),
        (
            A100,
            10**9,
            "weights and KV cache take 488293.56 GiB; the memory of gpu-a100-sxm-80gb holds 80 GiB",
        ),
    ],
)
def test_steps_that_cannot_be(system, context, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        estimate_decode(system, LLAMA, context)


def test_weights_are_checked_against_the_system():
    with pytest.raises(
        ConfigError, match=r"^keep has blocks of 3:16; allowed N are 0, 2, 4, 8, 16$"
    ):
        estimate_decode(U280, TINY, 1, WeightFormat(bits=8, group_size=128, keep={3: 1}))

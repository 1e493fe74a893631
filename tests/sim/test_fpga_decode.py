"""Passes of a whole model on an FPGA."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.model_shapes import ModelShape, load
from golden.spec.errors import ConfigError
from hw.sparse_chain import SparseChain
from sim import double_buffer, special_functions
from sim.catalogue import load_system
from sim.memory_formats import WeightFormat
from sim.published import read_points
from sim.simulate import simulate
from sim.validate import compare
from sim.workload import Pass, Workload

LLAMA = load("llama-2-7b")
U280 = load_system("flightllm-u280")
VHK158 = load_system("flightllm-vhk158")
MEASURED = 3_937_100
"""Cycles of a step at KV length 128, on a U280 with the authors' bitstream."""
TINY = ModelShape(
    name="tiny",
    source="made up",
    layers=2,
    hidden=1536,
    heads=3,
    kv_heads=3,
    head_size=512,
    feed_forward=3072,
    vocabulary=3072,
)


def with_memory(system, gb_per_s):
    hbm = system.main_memory.model_copy(update={"gb_per_s": gb_per_s})
    board = system.board.model_copy(update={"memories": system.board.memories | {"hbm": hbm}})
    return system.model_copy(update={"board": board})


def one_step(system, model, context):
    return simulate(system, model, Workload(prefill=context, decode=1))


def test_the_measured_step():
    result = one_step(U280, LLAMA, 128)
    assert result.cycles_per_token == pytest.approx(MEASURED, rel=0.05)
    assert result.cycles_per_token == pytest.approx(result.tpot_ms * 225e3, abs=1)
    assert result.bottleneck == "memory"
    assert result.memory_gb["weights"] == pytest.approx(3.43, abs=0.01)  # as on the board


def test_the_authors_generator_has_the_same_products():
    """Its MV instructions take 8.810382 ms x 3.2 at a context of 144, on one core.

    There q and k take 0.7 of the time that they do here.
    """
    alone = VHK158.model_copy(update={"cores": 1})
    found = alone.step(LLAMA, Pass(1, 1, 144)).busy["compute"]
    less = 0.3 * 2 * 32 * 4096 * 4096 / 1024 / 225e6
    assert found - less == pytest.approx(8.810382e-3 * 3.2, rel=0.005)


def test_the_authors_instructions_take_as_much_memory():
    """2.96 MiB for a step on average over contexts of 144 to 2048."""
    alone = VHK158.model_copy(update={"cores": 1})
    steps = [alone.step(LLAMA, Pass(1, 1, context)) for context in range(144, 2049, 272)]
    mean = sum(step.moved["instructions"] for step in steps) / len(steps)
    assert mean / 2**20 == pytest.approx(2.96, rel=0.05)


def test_a_layer_has_the_authors_13_stages():
    layer, tail, layers = U280.stages(LLAMA, Pass(1, 1, 128))
    assert [stage.name for stage in layer] == [
        *("norm", "q_proj", "k_proj", "v_proj", "append keys", "append values", "scores"),
        *("values", "o_proj", "norm", "gate_proj", "up_proj", "down_proj"),
    ]
    assert [stage.name for stage in tail] == ["norm", "lm_head"]
    assert layers * len(layer) + len(tail) == 418  # SYS of the shipped step


def test_cores_share_a_norm_and_write_their_own_keys():
    layer, _, _ = U280.stages(LLAMA, Pass(1, 1, 128))
    (norm,) = layer[0].cores[0]
    expected = special_functions.cycles(16, special_functions.rms_norm, 1366)  # 4096 / 3
    assert norm.finish * 225e6 == pytest.approx(expected)
    assert layer[4].bytes == 3 * 1387  # 32 heads of 128 + 2 bytes, on three cores


def test_two_queries_of_shared_keys_take_two_instructions_and_are_no_prompt():
    grouped = TINY.model_copy(update={"heads": 6, "head_size": 256})
    layer, _, _ = VHK158.stages(grouped, Pass(1, 1, 512))
    (tile,) = layer[6].cores[0]
    expected = 2 * (512 * 256 // 1024) + SparseChain.cycles(VHK158.chain, [0])
    assert tile.compute * 225e6 == pytest.approx(expected)


def test_bytes_of_llama_2_7b_by_hand():
    linear = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 32000 * 4096
    position = 32 * 2 * 32 * (128 + 2)  # layers x (K and V) x heads x (head size and its scale)
    # INT4: one byte per 256 weights says N, a 16-bit scale per 128 weights.
    expected = linear // 2 + linear // 256 + 2 * linear // 128 + position * 128
    written = position  # the token's own place
    moved = one_step(U280, LLAMA, 128).bytes_per_token
    assert moved == pytest.approx(expected + written, rel=1e-4)


def test_memory_bound_is_the_bytes_of_the_busiest_core():
    system = with_memory(U280, 0.1)
    result = one_step(system, TINY, 512)
    assert result.bottleneck == "memory"
    # Every matrix gives each core as many rows, and each core a head.
    loading = result.bytes_per_token / 3 / (8 * 0.1e9 / 32 * 0.7)
    assert result.tpot_ms / 1e3 == pytest.approx(loading, rel=1e-3)


def test_compute_bound_is_all_contracts():
    system = with_memory(U280, 1e9)
    result = one_step(system, TINY, 512)
    assert result.bottleneck == "compute"
    fill = SparseChain.cycles(U280.chain, [0])
    layer = 4 * 512 * 1536 + 3 * 1024 * 1536 + 2 * 512 * 512
    beats = (2 * layer + 1024 * 1536) // 1024
    products = beats + (2 * 9 + 1) * fill
    functions = result.units["functions"] * 225e3
    assert products < result.cycles_per_token < products + functions + 23 * 40
    assert result.units["compute"] * 225e3 == pytest.approx(products, rel=1e-6)


def test_the_contract_is_the_only_source_of_cycles(monkeypatch):
    before = VHK158.step(TINY, Pass(1, 1, 512)).busy["compute"]
    contract = SparseChain.cycles
    monkeypatch.setattr(SparseChain, "cycles", staticmethod(lambda *job: 1000 + contract(*job)))
    after = VHK158.step(TINY, Pass(1, 1, 512)).busy["compute"]
    assert after - before == pytest.approx((2 * 9 + 1) * 1000 / 225e6)


def test_bottleneck_flips_with_bandwidth():
    slow, fast = (one_step(with_memory(U280, gb), LLAMA, 128) for gb in (100, 10000))
    assert (slow.bottleneck, fast.bottleneck) == ("memory", "compute")
    assert slow.bandwidth_used > fast.bandwidth_used


def test_why_tells_what_is_left_of_a_step():
    why = one_step(with_memory(U280, 1), TINY, 128).why
    assert why["memory"]["tpot"] == pytest.approx(1 - 1 / 1.1, abs=2e-3)
    assert why["compute"]["tpot"] == pytest.approx(0, abs=2e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 500), st.sampled_from([0.1, 460, 9e4]))
def test_a_longer_context_takes_longer(context, more, gb_per_s):
    system = with_memory(U280, gb_per_s)
    short, long = (system.step(TINY, Pass(1, 1, c)) for c in (context, context + more))
    assert short.moved["memory"] < long.moved["memory"]
    assert short.seconds <= long.seconds * (1 + 1e-9)


@settings(deadline=None, max_examples=20)
@given(st.floats(2, 7), st.sampled_from([2, 4, 8, 16]), st.sampled_from([0.1, 460, 1e5]))
def test_more_bits_take_longer(bits, n, gb_per_s):
    system = with_memory(U280, gb_per_s)
    few, many = (
        system.with_weights(WeightFormat(bits=b, group_size=128, keep={n: 1})).step(
            TINY, Pass(1, 1, 128)
        )
        for b in (bits, bits + 1)
    )
    assert few.moved["memory"] < many.moved["memory"]
    assert few.busy["compute"] == many.busy["compute"]
    assert few.seconds <= many.seconds * (1 + 1e-9)


def test_fewer_kept_take_less_of_both():
    steps = [
        VHK158.with_weights(WeightFormat(bits=4, group_size=128, keep={n: 1})).step(
            LLAMA, Pass(1, 1, 128)
        )
        for n in (2, 4, 8, 16)
    ]
    times = [step.seconds for step in steps]
    assert times == sorted(times)
    assert steps[0].busy["compute"] < 0.2 * steps[3].busy["compute"]


def test_many_steps_are_the_sum_of_each():
    single = [U280.step(TINY, Pass(1, 1, context)) for context in range(500, 540)]
    many = U280.steps(TINY, 1, 500, 40)
    assert many.seconds == pytest.approx(sum(one.seconds for one in single), rel=1e-3)
    moved = sum(one.moved["memory"] for one in single)
    assert many.moved["memory"] == pytest.approx(moved, rel=1e-3)


def test_a_prompt_takes_its_products():
    """Linear layers of 512 tokens, 12,288 products per cycle, and little else."""
    result = simulate(U280, LLAMA, Workload(prefill=512, decode=0))
    products = 512 * LLAMA.layers * LLAMA.layer_weights / 12288 / 225e3
    assert products < result.ttft_ms < 1.1 * products
    assert result.bottleneck == "compute"
    assert sum(result.ttft_breakdown.values()) == pytest.approx(result.ttft_ms)


def test_a_prompt_computes_the_attention_that_is_kept():
    job = Pass(1, 1024, 1024, prompt=True)
    sparse, dense = (
        U280.model_copy(update={"attention_kept": kept}).step(LLAMA, job) for kept in (0.3, 1.0)
    )
    ratio = sparse.operators["scores"] / dense.operators["scores"]
    assert ratio == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("id", ["FPG-001", "FPG-003"])
def test_published_points_are_met_and_nothing_was_fitted_on_them(id):
    (one,) = compare([point for point in read_points() if point.id == id])
    assert one.error == pytest.approx(0, abs=0.06)
    assert not one.fitted and one.roofline is None


def test_what_is_not_modelled_of_fpgas_says_why():
    points = {point.id: point for point in read_points()}
    power = points["FPG-004"]
    other = next(one for one in points.values() if (one.hardware, one.software) == ("U280", "DFX"))
    for point, reason in (
        (power, "the power of an FPGA's board is taken over, not modelled"),
        (other, "of the designs on a U280, only FlightLLM has a model"),
    ):
        assert compare([point])[0].reason == reason


@pytest.mark.parametrize("job", [Pass(1, 1, 130), Pass(1, 20, 20, prompt=True)])
def test_the_spans_of_a_pass_end_when_it_does(job):
    spans = U280.spans(TINY, job)
    units = {f"core {core} {unit}" for core in range(3) for unit in double_buffer.UNITS}
    assert {span.unit for span in spans} == units
    end = max(span.start + span.seconds for span in spans)
    assert end == pytest.approx(U280.step(TINY, job).seconds, rel=1e-4)  # but for a barrier
    assert U280.seconds(TINY, job) == pytest.approx(U280.step(TINY, job).seconds)


def test_a_request_is_simulated_in_half_a_second():
    begin = time.process_time()
    simulate(U280, LLAMA, Workload(prefill=128, decode=512))
    assert time.process_time() - begin < 0.5


def test_the_board_draws_what_was_measured():
    result = simulate(U280, LLAMA, Workload(prefill=128, decode=100))
    seconds = (result.ttft_ms + 100 * result.tpot_ms) / 1e3
    assert result.joules_per_token == pytest.approx(45 * seconds / 100)
    assert one_step(VHK158, LLAMA, 128).joules_per_token is None


def test_a_published_figure_stands_beside_its_own_conditions_only():
    assert one_step(U280, LLAMA, 128).published_tokens_per_s == pytest.approx(
        1000 / 17.506, rel=1e-4
    )
    for model, context in ((LLAMA, 129), (TINY, 128)):
        estimate = one_step(U280, model, context)
        assert (estimate.published_tokens_per_s, estimate.published_source) == (None, "")


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (
            {"prefill": 0, "decode": 1},
            "prefill is 0; a prompt has at least 1 token, and a decode step follows at least 1",
        ),
        (
            {"prefill": 20_000, "decode": 1},
            "llama-2-7b needs 8.16 GiB (weights 3.20, KV cache 4.96) for 1 x 20,001 tokens; "
            "flightllm-u280 has 8.00 GiB, 0.16 too few; a shorter context, fewer bits of a "
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

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.model_shapes import load
from golden.spec.errors import ConfigError
from sim.cases import saturated
from sim.catalogue import load_system
from sim.gpu_rates import bent
from sim.simulate import simulate
from sim.software import software_names
from sim.stepping import stretches
from sim.validate import ideal
from sim.workload import Pass, Workload, prefill_passes

LLAMA = load("llama-2-7b")
A100 = load_system("gpu-a100-sxm-80gb")
SMALL = load("gpt-2-345m")


def gpu(name="a100-sxm-80gb", **settings):
    return load_system(f"gpu-{name}", settings)


def plain(system):
    """Return a system whose constants are those of a plain roofline."""
    return system.model_copy(update={"fitted": ideal()})


def test_a_plain_roofline_streams_its_bytes():
    result = simulate(plain(A100), LLAMA, Workload(prefill=128, decode=1))
    weights = 2 * 6_607_077_376
    assert result.bytes_per_token > weights + 2 * 128 * LLAMA.cached_elements
    assert result.tpot_ms == pytest.approx(result.bytes_per_token / 2039e9 * 1e3, rel=1e-3)
    assert result.bandwidth_used == pytest.approx(1, rel=1e-3)
    assert result.bottleneck == "memory"


def test_a_plain_roofline_of_a_long_prompt_is_its_operations():
    prefill = plain(A100).prefill(LLAMA, Workload(prefill=2048, decode=0))
    linear = 2 * 2048 * LLAMA.layers * LLAMA.layer_weights
    assert prefill.work["operations"] > linear
    least = linear / 312e12
    assert least < prefill.seconds < 1.2 * least


def test_bytes_of_weights_and_cache_by_level():
    system = gpu(weight_bits=4.25, cache_bits=8, software="gpt-fast")
    step = system.step(LLAMA, Pass(3, 1, 100))
    weights = 6_607_077_376 * 4.25 / 8
    cache = 3 * 100 * LLAMA.cached_elements
    activations = step.moved["memory"] - weights - cache
    assert 0 < activations < 0.02 * weights


@pytest.mark.parametrize("software", software_names())
@pytest.mark.parametrize("devices", [1, 4])
def test_the_cost_of_a_step_adds_up(software, devices):
    system = gpu(software=software, devices=devices)
    for job in (Pass(2, 1, 300), Pass(2, 64, 64)):
        cost = system.step(SMALL, job)
        assert sum(cost.parts.values()) == pytest.approx(cost.seconds)
        assert sum(cost.operators.values()) == pytest.approx(cost.seconds)
        assert system.seconds(SMALL, job) == pytest.approx(cost.seconds)
        for unit in ("memory", "compute"):
            assert cost.busy[unit] <= cost.seconds
        assert min(cost.parts.values()) >= 0


@pytest.mark.parametrize("software", software_names())
def test_the_event_simulation_of_a_pass_agrees(software):
    system = gpu(software=software)
    for job in (Pass(1, 1, 100), Pass(1, 64, 64)):
        spans = system.spans(SMALL, job)
        end = max(span.start + span.seconds for span in spans)
        assert end == pytest.approx(system.seconds(SMALL, job))


@pytest.mark.parametrize("software", ["hf-eager", "vllm"])
def test_many_steps_are_the_sum_of_each(software):
    # 1,500 steps of an eager program cross from waiting for the host to waiting for memory.
    system = gpu(software=software)
    each = sum(system.seconds(SMALL, Pass(24, 1, context)) for context in range(1, 1501))
    chosen = stretches(lambda context: system.seconds(SMALL, Pass(24, 1, context)), 1, 1500)
    assert len(chosen) < 100
    assert sum(chosen.values()) == pytest.approx(1500)
    assert system.steps(SMALL, 24, 1, 1500).seconds == pytest.approx(each, rel=1e-3)
    assert system.steps_seconds(SMALL, 24, 1, 1500) == pytest.approx(each, rel=1e-3)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(software_names()),
    st.integers(1, 64),
    st.integers(1, 2000),
    st.sampled_from([4, 8, 16]),
)
def test_more_work_takes_longer(software, batch, context, bits):
    system = gpu(software=software, weight_bits=bits)
    here = system.seconds(SMALL, Pass(batch, 1, context))
    assert system.seconds(SMALL, Pass(batch + 1, 1, context)) >= here
    assert system.seconds(SMALL, Pass(batch, 1, context + 50)) >= here
    assert system.seconds(LLAMA, Pass(batch, 1, context)) > here


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["memory", "compute", "launches", "link"]), st.integers(1, 300))
def test_nothing_gets_slower_when_a_resource_is_faster(resource, batch):
    system = gpu(devices=4)
    workload = Workload(batch=batch, prefill=200, decode=4)
    result = simulate(system, SMALL, workload)
    gains = result.why[resource]
    assert -1e-12 <= gains["ttft"] <= 1 - 1 / 1.1 + 1e-9
    assert -1e-12 <= gains["tpot"] <= 1 - 1 / 1.1 + 1e-9


def test_all_resources_faster_is_everything_faster():
    system = gpu(devices=4, software="vllm")
    faster = system
    for resource in system.resources:
        faster = faster.faster(resource, 1.1)
    for job in (Pass(1, 1, 100), Pass(8, 100, 100)):
        ratio = system.seconds(LLAMA, job) / faster.seconds(LLAMA, job)
        assert ratio == pytest.approx(1.1, rel=1e-6)


def test_tensor_parallel_devices_share_weights_and_pay_for_sums():
    one, four = gpu(), gpu(devices=4)
    single, shared = (system.step(LLAMA, Pass(1, 1, 100)) for system in (one, four))
    assert shared.seconds < single.seconds
    assert shared.moved["memory"] == pytest.approx(single.moved["memory"], rel=0.02)
    assert shared.moved["link"] == 4 * 2 * 3 / 4 * 4096 * 2 * 2 * 32
    assert "sums over devices" in shared.parts


def test_layers_over_devices_work_one_after_the_other():
    one, four = gpu(software="hf-layers"), gpu(software="hf-layers", devices=4)
    job = Pass(1, 1, 100)
    assert four.seconds(LLAMA, job) == pytest.approx(one.seconds(LLAMA, job), rel=0.01)


def test_a_pipeline_of_chunks_fills_and_drains():
    one, four = gpu(software="llama-cpp"), gpu(software="llama-cpp", devices=4)
    assert [p.new for p in prefill_passes(Workload(prefill=1300, decode=0), 512)] == [512, 512, 276]
    for tokens, slots in ((512, 4 / 4), (1024, 5 / 8), (2048, 7 / 16), (8192, 7 / 16)):
        workload = Workload(prefill=tokens, decode=0)
        request = one.program.request_us * 1e-6
        alone = one.prefill_seconds(LLAMA, workload) - request
        shared = four.prefill_seconds(LLAMA, workload) - request
        assert shared / alone == pytest.approx(slots, rel=0.02)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=4), st.floats(1, 20))
def test_a_bent_roofline_is_between_the_longest_and_the_sum(limits, knee):
    assert max(limits) - 1e-9 <= bent(limits, knee) <= sum(limits) + 1e-9


def test_a_saturated_engine_fills_the_memory():
    system = gpu()
    batch = saturated(system, LLAMA, 1000, 1000)
    held = 80 * 2**30 * 0.9 - 2 * LLAMA.weights
    assert batch == pytest.approx(held / (1500 * LLAMA.cached_elements * 2), rel=0.02)


def test_energy_is_between_idle_and_the_limit():
    for batch in (1, 64):
        system = gpu()
        step = system.step(LLAMA, Pass(batch, 1, 500))
        watts = system.joules(step) / step.seconds
        assert 0.1 * 400 < watts <= 400


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"software": "vlm"},
            "gpu-a100-sxm-80gb.yaml: software: there is no software 'vlm'; the nearest are vllm, "
            "vllm-2023; known are",
        ),
        (
            {"weight_bits": -4},
            "gpu-a100-sxm-80gb.yaml: weight_bits is -4; input should be greater than or equal to 1",
        ),
        ({"devices": 0}, "gpu-a100-sxm-80gb.yaml: devices is 0; input should be greater than 0"),
        ({"devces": 2}, "there is no setting 'devces'; did you mean devices?; known are"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        gpu(**settings)


def test_a_gpu_without_8_bit_units_refuses_8_bit_activations():
    message = (
        "gpu-v100-sxm2-32gb.yaml: activation_bits is 8; the data sheet of v100-sxm2-32gb gives "
        "no INT8 or FP8 rate, so 16 is allowed"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        gpu("v100-sxm2-32gb", activation_bits=8)


def test_what_does_not_fit_is_said_with_what_would():
    with pytest.raises(ConfigError) as refused:
        simulate(gpu("rtx-4090"), load("llama-2-70b"), Workload(prefill=128, decode=128))
    message = str(refused.value)
    assert re.fullmatch(
        r"llama-2-70b needs 128\.\d+ GiB \(weights 128\.48, .*\) for 1 x 256 tokens; gpu-rtx-4090 "
        r"has 21\.60 GiB, \d+\.\d\d too few; --set devices=\d would fit",
        message,
    )
    devices = int(re.search(r"devices=(\d+)", message)[1])
    simulate(gpu("rtx-4090", devices=devices), load("llama-2-70b"), Workload(prefill=9, decode=9))
    with pytest.raises(ConfigError, match=r"--batch \d+ or --set devices=3"):
        simulate(gpu("rtx-4090"), LLAMA, Workload(prefill=1000, decode=1000, batch=32))


def test_devices_share_the_cache_by_heads_and_none_has_less_than_one():
    model = load("falcon-40b")  # 8 heads of keys
    job = Pass(1, 1, 4000)

    def cached(devices):
        system = gpu(devices=devices)
        more = system.step(model, job).moved["memory"]
        return more - system.step(model, Pass(1, 1, 2000)).moved["memory"]

    half = 2000 * model.cached_elements * 2
    assert cached(1) == pytest.approx(half)
    assert cached(8) == pytest.approx(half)
    assert cached(16) == pytest.approx(2 * half)


def test_equal_limits_bend_by_the_knee():
    assert bent((3.0, 3.0), 2.0) == pytest.approx(3 * 2**0.5)
    assert bent((3.0, 3.0), 64.0) == pytest.approx(3.0, rel=0.02)


def test_no_more_is_drawn_than_the_limit():
    from sim.cost import Cost

    busy = Cost(1.0, moved={"memory": 1e15}, work={"operations": 1e18})
    assert A100.joules(busy) == 400
    assert A100.joules(Cost(1.0)) == pytest.approx(400 * A100.own.idle)


def test_kernels_for_few_vectors_read_the_weights_again_for_each_lot():
    system = gpu(software="auto-awq-gemv", weight_bits=4)
    packed = LLAMA.layers * LLAMA.layer_weights / 2
    one, many = (system.step(LLAMA, Pass(1, new, new)).moved["memory"] for new in (1, 20))
    assert many - one == pytest.approx(4 * packed, rel=0.05)


def test_some_programs_unpack_before_a_long_product():
    system = gpu(software="llama-cpp", weight_bits=4)
    assert "unpack" not in system.step(LLAMA, Pass(1, 1, 100)).operators
    prompt = system.step(LLAMA, Pass(1, 100, 100))
    weights = LLAMA.layers * LLAMA.layer_weights
    seconds = weights * (4 / 8 + 2) / (2039e9 * system.own.stream)
    assert prompt.operators["unpack"] == pytest.approx(seconds)


def test_a_kink_in_a_steps_time_is_found():
    def seconds(context):
        return max(5.0, 0.01 * context)

    chosen = stretches(seconds, 1, 1000)
    found = sum(times * seconds(context) for context, times in chosen.items())
    assert found == pytest.approx(sum(map(seconds, range(1, 1001))), rel=1e-3)
    assert 2 < len(chosen) < 60

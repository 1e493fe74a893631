import re

import pytest

from golden.model_shapes import load
from golden.spec.errors import ConfigError
from sim.catalogue import load_system
from sim.offload import CACHE, HOST_ATTENTION, WEIGHTS, places
from sim.simulate import simulate
from sim.workload import Pass, Workload

OPT = load("opt-13b")
STEP = Pass(8, 1, 1000)


def system(name="flexgen-ssd", **settings):
    return load_system(name, settings)


def test_weights_on_the_host_come_over_the_link_in_every_pass():
    here, there = system(cache_on="gpu"), system(cache_on="gpu", weights_on="host")
    fetched = OPT.layers * OPT.layer_weights * 2
    more = there.step(OPT, STEP)
    assert more.moved["link"] == fetched
    rate = 31.5e9 * there.way.weights_link
    assert more.parts[WEIGHTS] == pytest.approx(fetched / rate, rel=1e-3)
    assert more.seconds == pytest.approx(here.step(OPT, STEP).seconds + more.parts[WEIGHTS])


def test_a_drive_is_no_faster_than_its_reads():
    there = system(cache_on="gpu", weights_on="drive")
    fetched = OPT.layers * OPT.layer_weights * 2
    limits = fetched / (7e9 * there.way.drive), fetched / (31.5e9 * there.way.weights_link)
    assert there.step(OPT, STEP).parts[WEIGHTS] == pytest.approx(max(limits), rel=1e-3)


def test_the_host_attends_where_flexgens_cache_is():
    flexgen, zero = system(cache_on="host"), system("zero-host", weights_on="gpu")
    cache = 8 * 1000 * OPT.cached_elements * 2
    on_host, moved = flexgen.step(OPT, STEP), zero.step(OPT, STEP)
    assert on_host.moved["host"] == pytest.approx(cache)
    assert on_host.parts[HOST_ATTENTION] > 0
    assert "KV attention" not in on_host.parts
    assert moved.moved["link"] == pytest.approx(cache)
    assert moved.parts[CACHE] > 0
    assert "KV attention" in moved.parts


@pytest.mark.parametrize("name", ["flexgen-ssd", "zero-host"])
def test_the_cost_adds_up(name):
    one = system(name, weights_on="host")
    for job in (STEP, Pass(4, 100, 100)):
        cost = one.step(OPT, job)
        assert sum(cost.parts.values()) == pytest.approx(cost.seconds)
        assert sum(cost.operators.values()) == pytest.approx(cost.seconds)
        assert one.seconds(OPT, job) == pytest.approx(cost.seconds)


def test_what_is_fetched_is_the_bottleneck():
    result = simulate(system(weights_on="drive"), OPT, Workload(batch=1, prefill=1000, decode=4))
    assert result.bottleneck == "drive"
    assert 0 < result.why["drive"]["tpot"] <= 1 - 1 / 1.1
    result = simulate(system(), OPT, Workload(batch=8, prefill=1000, decode=4))
    assert result.bottleneck == "host"
    result = simulate(system("zero-host"), OPT, Workload(batch=8, prefill=1000, decode=4))
    assert result.bottleneck == "link"


def test_the_hosts_memory_is_finite():
    with pytest.raises(ConfigError) as refused:
        simulate(system("zero-host"), OPT, Workload(batch=256, prefill=1024, decode=1024))
    message = str(refused.value)
    assert "zero-host has 96.00 GiB" in message
    assert re.search(r"--batch 32 would fit, or --set cache_on=drive", message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"software": "vllm"}, "software is 'vllm'; those that offload are flexgen"),
        (
            {"devices": 2, "software": "zero-inference"},
            "devices is 2; DeepSpeed ZeRO-Inference offloads with 1 GPU, and flexgen",
        ),
        ({"cache_on": "moon"}, "cache_on is 'moon'; input should be 'gpu', 'host' or 'drive'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=f"^flexgen-ssd.yaml: {re.escape(message)}"):
        system(**settings)


def test_a_cache_in_files_is_copied_and_read_from_the_drive_where_it_does_not_fit():
    one = system()
    room = 96 * 2**30 - 2 * OPT.weights
    fits = int(room / (32 * OPT.cached_elements * 2))
    for context, rate in ((fits, 1 / 1.6), (fits + 1, 1 / 1.6 + 1 / 7)):
        cost = one.step(OPT, Pass(32, 1, context))
        size = 32 * context * OPT.cached_elements * 2
        assert cost.parts[CACHE] == pytest.approx(size * rate / 1e9)
        assert cost.moved["drive"] == (size if context > fits else 0)
    faster = one.faster("host", 2).step(OPT, Pass(32, 1, fits))
    assert faster.parts[CACHE] == pytest.approx(one.step(OPT, Pass(32, 1, fits)).parts[CACHE] / 2)
    raw = system(host={"dram_gib": 96, "drive_gb_per_s": 7, "source": "none"})
    cost = raw.step(OPT, Pass(32, 1, fits))
    assert cost.parts[CACHE] == pytest.approx(size / (7e9 * raw.way.drive), rel=2e-3)


def test_gpus_with_some_layers_each_work_on_parts_of_a_batch():
    one, two = system(), system(devices=2)
    for batch, share in ((1, 1), (2, 3 / 4), (8, 3 / 4)):
        job = Pass(batch, 1, 500)
        alone, both = one.step(OPT, job), two.step(OPT, job)
        assert both.seconds == pytest.approx(share * alone.seconds)
        assert sum(both.parts.values()) == pytest.approx(both.seconds)
        assert both.moved == alone.moved


def test_places_that_notes_name():
    assert places("x", "a | note: weights on disk, KV on cpu; 252 GB DRAM") == ("drive", "host")
    assert places("HF Accelerate", "offload to cpu; GCP") == ("host", "gpu")
    assert places("FlexGen", "offload to cpu; GCP") == ("host", "host")
    assert places("vLLM", "README") is None


def test_a_part_of_the_cache_may_stay_on_the_gpu():
    none, some = system(cache_on="host"), system(cache_on="host", cache_kept=0.25)
    gpu = system(cache_on="gpu")
    cost = some.step(OPT, STEP)
    away = 0.75 * none.step(OPT, STEP).parts[HOST_ATTENTION]
    assert cost.parts[HOST_ATTENTION] == pytest.approx(away)
    attended = 0.25 * gpu.step(OPT, STEP).parts["KV attention"]
    assert cost.parts["KV attention"] == pytest.approx(attended)
    assert sum(cost.parts.values()) == pytest.approx(cost.seconds)
    workload = Workload(batch=128, prefill=512, decode=32)
    full = none.keeping(OPT, workload)
    assert 0 < full.cache_kept < 1
    taken = full.model_copy(update={"host": full.host.model_copy(update={"dram_gib": 1000.0})})
    left = taken.footprint(OPT, workload)
    assert 0 <= left.held - left.needed < 0.1 * left.held


def test_the_hosts_attention_is_the_hosts():
    other = system(cache_on="host")
    known = system(
        cache_on="host",
        host={"name": "208-gb", "dram_gib": 208, "drive_gb_per_s": 2, "source": "the tables"},
    )
    times = [one.step(OPT, STEP).parts[HOST_ATTENTION] for one in (other, known)]
    rates = [one.fitted.host(one.host.name).attention_gb_per_s for one in (other, known)]
    assert times[0] * rates[0] == pytest.approx(times[1] * rates[1])
    faster = known.faster("host", 2).step(OPT, STEP)
    assert faster.parts[HOST_ATTENTION] == pytest.approx(times[1] / 2)

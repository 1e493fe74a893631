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
    flexgen, zero = system(cache_on="host"), system("zero-host")
    cache = 8 * 1000 * OPT.cached_elements * 2
    on_host, moved = flexgen.step(OPT, STEP), zero.step(OPT, STEP)
    assert on_host.moved["host"] == cache
    assert on_host.parts[HOST_ATTENTION] > 0
    assert "KV attention" not in on_host.parts
    assert moved.moved["link"] == cache
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
    result = simulate(system(), OPT, Workload(batch=8, prefill=1000, decode=4))
    assert result.bottleneck == "drive"
    assert 0 < result.why["drive"]["tpot"] <= 1 - 1 / 1.1
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
        ({"devices": 2}, "devices is 2; offloading is modelled for 1 GPU"),
        ({"cache_on": "moon"}, "cache_on is 'moon'; input should be 'gpu', 'host' or 'drive'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=f"^flexgen-ssd.yaml: {re.escape(message)}"):
        system(**settings)


def test_places_that_notes_name():
    assert places("x", "a | note: weights on disk, KV on cpu; 252 GB DRAM") == ("drive", "host")
    assert places("HF Accelerate", "offload to cpu; GCP") == ("host", "gpu")
    assert places("FlexGen", "offload to cpu; GCP") == ("host", "host")
    assert places("vLLM", "README") is None

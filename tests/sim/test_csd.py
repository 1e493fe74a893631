import re
import time
from statistics import fmean

import pytest

from golden.model_shapes import load
from golden.spec.errors import ConfigError
from sim import csd_flash
from sim.catalogue import load_system, system_names
from sim.csd import COMMANDS, ENGINE, PAGES, SENT, STORED
from sim.csd_engine import heads_of_a_drive
from sim.csd_events import page_by_page, stored_seconds
from sim.csd_flash import SIZES, read_seconds
from sim.flash_load import random_at_once, stream
from sim.nand import load_drive
from sim.simulate import simulate
from sim.workload import Pass, Workload

OPT, LLAMA, LLAMA_7 = load("opt-13b"), load("llama-3-8b"), load("llama-2-7b")
FLASH = load_drive("instcsd").flash
STEP = Pass(8, 1, 1024)


def drives(count=1, end="", **settings):
    return load_system(f"instinfer-{count}csd{end}", settings)


# Names


def test_a_name_says_how_many_drives_and_which_attention():
    for count, end, attention in ((1, "", "sparf"), (7, "", "sparf"), (20, "-dense", "dense")):
        system = drives(count, end)
        assert (system.drives, system.attention) == (count, attention)
        assert system.name in system_names()
    assert drives(2, drives=33).drives == 33
    assert load_system("instinfer").drives == 1


@pytest.mark.parametrize("name", ["instinfer-0csd", "instinfer-21csd", "instinfer-02csd"])
def test_names_that_are_none(name):
    with pytest.raises(ConfigError, match=f"^there is no system '{name}'; the nearest are inst"):
        load_system(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drives": 0}, "drives is 0; input should be greater than 0"),
        ({"attention": "flash"}, "attention is 'flash'; input should be 'sparf' or 'dense'"),
        ({"drive": "nvme"}, "drive: there is no drive 'nvme'; known are daisyplus, instcsd"),
        ({"compute": 3}, "compute is 3; a system's name is needed, or a mapping with `system` and"),
        ({"compute": {"devices": 2}}, "compute is {'devices': 2}; a system's name is needed"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=f"^instinfer-1csd.yaml: {re.escape(message)}"):
        drives(**settings)


def test_any_system_can_compute():
    named = drives(compute="gpu-a100-sxm-80gb").compute
    assert (named.device.name, named.software.name) == ("a100-sxm-80gb", "vllm")
    two = drives(compute={"system": "gpu-rtx-a6000", "devices": 2}).compute
    assert two.devices == 2


# What a drive reads and computes


def test_dense_attention_reads_every_page_of_its_heads():
    one, seven = drives(1, "-dense").job(OPT, STEP), drives(7, "-dense").job(OPT, STEP)
    assert one.bytes == 8 * 1024 * 2 * 40 * 128 * 2
    assert one.operations == 8 * 40 * 4 * 1024 * 128
    assert one.scores == 8 * 40 * 1024
    assert seven.pages / one.pages == 6 / 40  # the fullest drive has six of forty heads
    assert heads_of_a_drive(OPT, 20) == 2


def test_sparf_reads_about_half_and_computes_an_eighth():
    dense, sparf = drives(1, "-dense").job(OPT, STEP), drives().job(OPT, STEP)
    assert sparf.pages / dense.pages == pytest.approx(0.527, abs=5e-4)
    assert sparf.operations / dense.operations == pytest.approx(1 / 8)
    assert sparf.scores / dense.scores == pytest.approx(1 + 1 / 16)


def test_queries_that_share_keys_share_their_pages():
    job = drives(1, "-dense").job(LLAMA, STEP)
    assert job.bytes == 8 * 1024 * 2 * 8 * 128 * 2
    assert job.operations == 8 * 32 * 4 * 1024 * 128


# Closed forms beside events


def a_stream(flash, size, seed):
    return stream(flash, size)


@pytest.mark.parametrize(("scattered", "load"), [(False, a_stream), (True, random_at_once)])
def test_reading_takes_what_the_flash_model_says(scattered, load):
    for size in (1, 4, 300, 2000, 20_000):
        few = size < SIZES[-1]
        # Random pages take longer or shorter, by who shares a die; other seeds than the model's.
        events = fmean(load(FLASH, size, seed=seed).seconds for seed in range(50, 52 + 6 * few))
        near = 0.07 if few else 0.01
        assert read_seconds(FLASH, size, scattered) == pytest.approx(events, rel=near)
    assert read_seconds(FLASH, 0, scattered) == 0


@pytest.mark.parametrize("name", ["instinfer-1csd-dense", "instinfer-1csd", "instinfer-8csd"])
@pytest.mark.parametrize(("batch", "context"), [(2, 1536), (8, 700)])
def test_a_drives_job_takes_what_its_pages_do_one_by_one(name, batch, context):
    job = load_system(name).job(OPT, Pass(batch, 1, context))
    events = fmean(page_by_page(job, seed) for seed in range(2))
    assert job.seconds == pytest.approx(events, rel=0.06)


def test_of_few_pages_it_is_an_estimate():
    for name in ("instinfer-8csd-dense", "instinfer-20csd"):
        job = load_system(name).job(OPT, Pass(1, 1, 256))
        assert job.seconds == pytest.approx(page_by_page(job), rel=0.15)


@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("end", ["", "-dense"])
def test_a_step_takes_what_its_events_do(count, end):
    system = drives(count, end)
    spans = system.spans(OPT, STEP)
    finish = max(span.start + span.seconds for span in spans)
    assert finish == pytest.approx(system.step(OPT, STEP).seconds)
    assert sum(span.unit.endswith("flash") for span in spans) == 40 * count


def test_prompts_take_what_their_events_do():
    system = drives()
    job = Pass(8, 1024, 1024, prompt=True)
    finish = max(span.start + span.seconds for span in system.spans(OPT, job))
    assert finish == pytest.approx(system.step(OPT, job).seconds)
    assert stored_seconds(3, 5.0, 2.0) == 17.0
    assert stored_seconds(3, 2.0, 5.0) == 17.0


@pytest.mark.parametrize("name", ["instinfer-1csd", "instinfer-1csd-dense", "instinfer-7csd"])
def test_many_steps_take_what_each_does(name):
    system = load_system(name)
    each = [system.seconds(OPT, Pass(4, 1, context)) for context in range(500, 800)]
    assert system.steps_seconds(OPT, 4, 500, 300) == pytest.approx(sum(each), rel=2e-3)
    assert system.steps(OPT, 4, 500, 300).seconds == pytest.approx(sum(each), rel=2e-3)


def test_a_batch_of_256_is_simulated_in_less_than_five_seconds():
    csd_flash._times.cache_clear()
    begin = time.process_time()
    result = simulate(drives(), OPT, Workload(batch=256, prefill=1024, decode=1024))
    assert time.process_time() - begin < 5
    assert result.bottleneck == "flash"


# Costs


@pytest.mark.parametrize("end", ["", "-dense"])
def test_the_cost_adds_up(end):
    system = drives(2, end)
    for job in (STEP, Pass(8, 1024, 1024, prompt=True)):
        cost = system.step(OPT, job)
        assert sum(cost.parts.values()) == pytest.approx(cost.seconds)
        assert sum(cost.operators.values()) == pytest.approx(cost.seconds)
        assert system.seconds(OPT, job) == pytest.approx(cost.seconds)


def test_what_a_step_is_made_of():
    system = drives(2)
    cost, job = system.step(OPT, STEP), system.job(OPT, STEP)
    assert cost.parts[COMMANDS] == pytest.approx(40 * 8 * 5 * 33e-6)
    # Of each sequence q, k, v and the result cross the links, half of them each.
    assert cost.moved["drive link"] == 40 * 8 * 4 * 5120 * 2
    assert cost.parts[SENT] == pytest.approx(40 * 8 * 4 * 5120 * 2 / 2 / 7e9)
    assert cost.parts[PAGES] == pytest.approx(40 * job.read)
    assert cost.parts[ENGINE] == pytest.approx(40 * (job.seconds - job.read))
    assert cost.moved["flash"] == pytest.approx(40 * 2 * job.bytes)
    assert cost.moved["flash written"] == 8 * OPT.cached_elements * 2 * 1.5
    alone = system.compute.step(OPT, Pass(8, 1, 1))
    assert "KV attention" not in cost.parts
    assert cost.parts["feed-forward"] == alone.parts["feed-forward"]


def test_a_prompts_cache_is_stored_beside_the_next_layer():
    workload = Workload(batch=8, prefill=1024, decode=0)
    dense, sparf = drives(1, "-dense"), drives()
    computing = dense.compute.prefill(OPT, workload).seconds
    write = 8 * 1024 * OPT.cached_elements * 2 / 40 / 2.58e9  # one layer's, at 128 pages / 203 us
    assert write > computing / 40
    first, second = dense.prefill(OPT, workload), sparf.prefill(OPT, workload)
    assert first.seconds == pytest.approx(computing / 40 + 40 * write, rel=0.01)
    assert second.moved["flash written"] == pytest.approx(1.5 * first.moved["flash written"])
    # The second copy of K takes longer than the GPU computes.
    assert second.parts[STORED] > first.parts[STORED]
    many = drives(20).prefill(OPT, workload)
    assert many.seconds == pytest.approx(computing * (1 + 0.1 / 40), rel=0.01)


def test_energy_and_price_count_the_drives():
    workload = Workload(batch=64, prefill=1024, decode=64)
    system = drives(4)
    result = simulate(system, OPT, workload)
    assert system.price_usd == 4650 + 4 * 1500
    assert system.watts == 300 + 4 * 17.5
    seconds = 64 * 64 / result.e2e_tokens_per_s
    drawn = result.joules_per_token * 64 * 64 / seconds
    idle = 300 * system.compute.own.idle + 4 * 17.5
    assert idle < drawn < system.watts
    unknown = system.engine.model_copy(update={"watts": None, "price_usd": None})
    silent = system.model_copy(update={"engine": unknown})
    assert silent.joules(system.step(OPT, STEP)) is silent.price_usd is silent.watts is None


@pytest.mark.parametrize("resource", ["flash", "engine", "drive link", "commands", "memory"])
def test_a_faster_part_shortens_its_part(resource):
    system = drives(2, "-dense")
    assert resource in system.resources
    now, then = system.step(OPT, STEP), system.faster(resource, 2).step(OPT, STEP)
    part = {
        "flash": PAGES,
        "engine": ENGINE,
        "drive link": SENT,
        "commands": COMMANDS,
        "memory": "feed-forward",
    }[resource]
    assert then.parts[part] < 0.7 * now.parts[part]
    changed = {name for name in now.parts if then.parts[name] != now.parts[name]}
    assert part in changed
    assert resource in ("memory", "flash", "engine") or changed == {part}


# Memory


def test_drives_are_finite():
    with pytest.raises(ConfigError) as refused:
        simulate(drives(), OPT, Workload(batch=2048, prefill=1024, decode=1024))
    message = str(refused.value)
    assert "instinfer-1csd has 2048.00 GiB" in message
    assert "--batch 873 would fit, or more drives with --set drives=3" in message
    fits = Workload(batch=873, prefill=1024, decode=1024)
    assert not drives().footprint(OPT, fits).short
    more = Workload(batch=2048, prefill=1024, decode=1024)
    assert not drives(3)._on_drives(OPT, more).short


def test_a_gpu_that_cannot_hold_the_weights():
    with pytest.raises(ConfigError, match=r"55.83 GiB .* too few; compute=.* with --set takes ano"):
        simulate(drives(), load("opt-30b"), Workload(batch=1, prefill=16, decode=1))


# An FPGA with drives


def test_an_fpga_may_compute():
    system = load_system("flightllm-u280-csd", {"drives": 2})
    alone = system.compute
    job = Pass(1, 1, 1024)
    cost = system.step(LLAMA_7, job)
    own = alone.step(LLAMA_7, Pass(1, 1, 1)).parts
    for name in ("attention projections", "feed-forward"):
        assert cost.parts[name] == own[name]
    assert cost.parts[PAGES] > 0
    result = simulate(system, LLAMA_7, Workload(prefill=128, decode=16))
    assert 0 < result.decode_tokens_per_s < 1 / alone.step(LLAMA_7, Pass(1, 1, 1)).seconds
    assert system.price_usd == alone.price_usd + 3000

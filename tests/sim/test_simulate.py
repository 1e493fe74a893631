"""What the result says, whatever the system."""

import pytest

from golden.model_shapes import load
from sim.catalogue import load_system
from sim.economics import usd_per_mtoken
from sim.simulate import simulate
from sim.workload import Pass, Workload, prefill_passes

LLAMA = load("llama-2-7b")
A100 = load_system("gpu-a100-sxm-80gb")


def test_a_token_costs_its_share_of_the_machine_and_its_electricity():
    # 15,000 USD over 3 years are 0.5708 USD an hour; 400 W at 0.10 USD per kWh are 0.04 USD.
    hour = usd_per_mtoken(A100, 3600.0, 400 * 3600.0, tokens=1e6)
    assert hour == pytest.approx(15000 / (3 * 365 * 24) + 0.04)
    assert usd_per_mtoken(A100, 3600.0, None, 1e6) is None


def test_energy_of_a_token_is_that_of_prompt_and_steps():
    workload = Workload(batch=4, prefill=500, decode=100)
    result = simulate(A100, LLAMA, workload)
    prefill = A100.prefill(LLAMA, workload)
    steps = A100.steps(LLAMA, 4, 500, 100)
    joules = A100.joules(prefill) + A100.joules(steps)
    assert result.joules_per_token == pytest.approx(joules / 400, rel=0.05)
    seconds = prefill.seconds + steps.seconds
    assert joules / seconds < 400


def test_the_result_follows_from_its_parts():
    workload = Workload(batch=2, prefill=300, decode=50)
    result = simulate(A100, LLAMA, workload)
    steps = [A100.step(LLAMA, Pass(2, 1, context)) for context in range(300, 350)]
    assert result.tpot_ms == pytest.approx(sum(one.seconds for one in steps) / 50 * 1e3)
    moved = sum(one.moved["memory"] for one in steps)
    assert result.bytes_per_token == pytest.approx(moved / 100)
    used = moved / sum(one.seconds for one in steps) / 2039e9
    assert result.bandwidth_used == pytest.approx(used)
    assert result.bandwidth_streaming > used
    assert result.ttft_ms == pytest.approx(A100.prefill(LLAMA, workload).seconds * 1e3)
    assert result.ttft_ms == pytest.approx(A100.prefill_seconds(LLAMA, workload) * 1e3)
    assert result.memory_gb["cache"] == pytest.approx(2 * 350 * LLAMA.cached_elements * 2 / 1e9)
    assert result.memory_gb["weights"] == pytest.approx(2 * LLAMA.weights / 1e9)


def test_the_first_token_waits_for_the_request():
    workload = Workload(prefill=300, decode=0)
    (job,) = prefill_passes(workload)
    request = A100.program.request_us * 1e-6
    assert A100.prefill(LLAMA, workload).seconds == pytest.approx(
        A100.seconds(LLAMA, job) + request
    )


def test_a_token_sees_itself_and_what_came_before():
    assert Pass(1, 1, 77).seen == 77
    assert Pass(1, 4, 4).seen == (1 + 2 + 3 + 4) / 4
    assert Pass(1, 4, 10).seen == (7 + 8 + 9 + 10) / 4
    assert Pass(3, 4, 10, extra=2.5).tokens == 14.5


def test_chunks_cover_the_prompt():
    workload = Workload(batch=3, prefill=1000, decode=0)
    passes = list(prefill_passes(workload, 300))
    assert [job.new for job in passes] == [300, 300, 300, 100]
    assert [job.context for job in passes] == [300, 600, 900, 1000]
    assert {job.batch for job in passes} == {3}


@pytest.mark.parametrize("name", ["gpu-t4-16gb", "gpu-mi210", "gpu-b200-sxm"])
def test_every_simulation_is_quick(name):
    result = simulate(load_system(name), LLAMA, Workload(prefill=128, decode=512))
    assert result.wall_s < 0.5
    assert result.fits

import pytest

from golden.model_shapes import load
from sim.simulate import simulate
from sim.workload import Workload
from tests.sim.techniques.technique_cases import A100, LLAMA, gpu, treated


def test_it_is_the_time_on_the_uniform_machine_whatever_runs_the_model():
    workload = Workload(prefill=512, decode=64)
    plain = simulate(A100, LLAMA, workload)
    same = simulate(gpu("sparf", "idealized-runtime"), LLAMA, workload).metrics
    other = treated("gpu-rtx-a6000", "idealized-runtime")
    elsewhere = simulate(other, LLAMA, workload)
    assert same["idealized_runtime_s"] * 1e3 == pytest.approx(plain.ttft_ms + 64 * plain.tpot_ms)
    assert elsewhere.metrics == same
    assert elsewhere.tpot_ms == simulate(treated("gpu-rtx-a6000"), LLAMA, workload).tpot_ms


def test_it_is_linear_in_what_is_written():
    first, then, last = (
        simulate(gpu("idealized-runtime"), LLAMA, Workload(prefill=512, decode=n)).metrics
        for n in (16, 32, 64)
    )
    slope = (then["idealized_runtime_s"] - first["idealized_runtime_s"]) / 16
    far = then["idealized_runtime_s"] + 32 * slope
    assert last["idealized_runtime_s"] == pytest.approx(far, rel=2e-3)


def test_a_large_model_takes_as_many_devices_as_hold_it():
    system = treated("gpu-a100-sxm-80gb", "idealized-runtime", model=load("llama-2-70b"), devices=4)
    found = simulate(system, load("llama-2-70b"), Workload(prefill=9, decode=9)).metrics
    assert found["idealized_devices"] == 2
    assert found["idealized_device_s"] == 2 * found["idealized_runtime_s"]


def test_an_unknown_machine_is_refused():
    with pytest.raises(ValueError, match="there is no device 'a1000'; the nearest are"):
        gpu("idealized-runtime:device=a1000")

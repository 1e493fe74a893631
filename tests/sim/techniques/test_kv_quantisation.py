import pytest

from sim.techniques.kv_quantisation import KvQuantisation
from sim.workload import Pass
from tests.sim.techniques.technique_cases import (
    A100,
    LLAMA,
    PROMPT,
    attention_products,
    cache_bits,
    gpu,
)


@pytest.mark.parametrize(
    ("options", "bits"),
    # GEAR's "2 bits": shared/facts/techniques.md, #27 and trap T4.
    [
        ({}, 3.46),
        ({"index_bits": 32}, 3.96),
        ({"outliers": 0}, 3.0),
        ({"rank": 0, "outliers": 0}, 2.5),
    ],
)
def test_bits_of_an_element(options, bits):
    assert KvQuantisation(**options).element_bits(100_000, 128) == pytest.approx(bits, abs=0.005)


def test_a_step_reads_what_is_stored():
    job, system = Pass(1, 1, 4096), gpu("kv-quantisation:residual=0")
    bits = KvQuantisation(residual=0).element_bits(4096, 128)
    assert cache_bits(system, job) == pytest.approx(cache_bits(A100, job) / 16 * bits)
    stored = system.cached(LLAMA, 4096, 16).bytes
    assert stored == pytest.approx(4096 * LLAMA.cached_elements * bits / 8)
    assert stored == pytest.approx(cache_bits(system, job) * LLAMA.layers / 8)


def test_the_newest_tokens_stay_as_they_are():
    system = gpu("kv-quantisation:rank=0,outliers=0")
    assert system.cached(LLAMA, 50, 16).bits == 16
    assert system.cached(LLAMA, 640, 16).bits == pytest.approx(0.1 * 16 + 0.9 * 2.5)


def test_factors_and_outliers_are_multiplied_too():
    job = Pass(1, 1, 4096)
    more = attention_products(gpu("kv-quantisation"), job) - attention_products(A100, job)
    each = 4 * (128 + 4096) + 0.02 * 4096 * 128
    assert more == pytest.approx(2 * 32 * each)


def test_prompts_are_read_before_they_are_quantised():
    system = gpu("kv-quantisation")
    assert system.seconds(LLAMA, PROMPT) == A100.seconds(LLAMA, PROMPT)


def test_with_sparf_in_any_order_all_is_quantised_that_is_read():
    job = Pass(1, 1, 4096)
    plain = "kv-quantisation:rank=0,outliers=0,residual=0"
    for both in (("sparf", plain), (plain, "sparf")):
        assert cache_bits(gpu(*both), job) == pytest.approx(
            cache_bits(gpu("sparf"), job) * 2.5 / 16
        )
        stored = gpu(*both).cached(LLAMA, 4096, 16).bytes
        assert stored == pytest.approx(1.5 * 4096 * LLAMA.cached_elements * 2.5 / 8)

import pytest

from sim.operators import HEAD
from tests.sim.techniques.technique_cases import (
    A100,
    LLAMA,
    PROMPT,
    STEP,
    gpu,
    treated,
    weight_bytes,
)


def test_it_is_the_systems_own_format_of_as_many_bits():
    own = treated("gpu-a100-sxm-80gb", weight_bits=4.125)
    mixed = gpu("mixed-precision:attention=4,feed_forward=4,head=16,scale_bits=0")
    also = gpu("mixed-precision:attention=4,feed_forward=4,head=16")
    for job in (STEP, PROMPT):
        assert mixed.seconds(LLAMA, job) < own.seconds(LLAMA, job)
        assert also.seconds(LLAMA, job) == pytest.approx(own.seconds(LLAMA, job), rel=2e-3)


def test_flightllms_bits():
    system = gpu("mixed-precision")
    layers = LLAMA.layers * LLAMA.layer_weights
    assert weight_bytes(system, STEP) == pytest.approx(layers * (3.5 + 16 / 128) / 8)
    (head,) = system.work(LLAMA, STEP).tail
    assert (head.part, head.bits, head.scale_bits) == (HEAD, 8, 0.125)
    assert head.needed == A100.work(LLAMA, STEP).tail[0].needed


def test_with_nm_the_bits_are_those_of_kept_weights_in_any_order():
    both = ("mixed-precision:attention=4,feed_forward=4,scale_bits=0", "nm:n=4,m=16")
    layers = LLAMA.layers * LLAMA.layer_weights
    for techniques in (both, both[::-1]):
        assert weight_bytes(gpu(*techniques), STEP) == pytest.approx(layers * 8 / 4 / 8)


def test_the_footprint_is_what_is_read():
    from sim.workload import Workload

    workload = Workload(prefill=100, decode=100)
    plain, mixed = (one.footprint(LLAMA, workload) for one in (A100, gpu("mixed-precision")))
    layers, head = LLAMA.layers * LLAMA.layer_weights, LLAMA.vocabulary * LLAMA.hidden
    saved = layers * (16 - 3.625) / 8 + head * (16 - 8.125) / 8
    assert plain.weights - mixed.weights == pytest.approx(saved)
    assert plain.cache == mixed.cache

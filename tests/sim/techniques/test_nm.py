import pytest

from sim.techniques.nm import NmWeights
from sim.workload import Pass
from tests.sim.techniques.technique_cases import A100, LLAMA, STEP, treated, weight_bytes


@pytest.mark.parametrize(("n", "m", "bits"), [(2, 4, 9), (8, 16, 10), (1, 2, 8.5)])
def test_bytes_are_those_of_kept_weights_and_their_indices(n, m, bits):
    system = treated("gpu-a100-sxm-80gb", f"nm:n={n},m={m}")
    assert weight_bytes(system, STEP) == pytest.approx(
        LLAMA.layers * LLAMA.layer_weights * bits / 8
    )


def test_flightllms_ratios_at_8_bits():
    # shared/facts: 0.191, 0.379 and 0.754 of INT8 with one more byte per block of 256.
    for n, ratio in ((2, 0.191), (4, 0.379), (8, 0.754)):
        system = treated("gpu-a100-sxm-80gb", f"nm:n={n},m=16", weight_bits=8)
        dense = LLAMA.layers * LLAMA.layer_weights
        assert weight_bytes(system, STEP) / dense + 1 / 256 == pytest.approx(ratio, abs=5e-4)


def test_only_hardware_that_skips_zeros_multiplies_less():
    work = treated("gpu-a100-sxm-80gb", "nm:n=4,m=16").work(LLAMA, STEP)
    products = [one for one in work.layer if not one.cached]
    assert all(one.needed == one.products / 4 for one in products)
    assert all(one.kept == 1 for one in work.tail)


def test_tensor_cores_read_2_of_4_without_unpacking():
    native, other = (
        treated("gpu-a100-sxm-80gb", f"nm:n={n},m={2 * n}").step(LLAMA, Pass(1, 1, 10))
        for n in (2, 4)
    )
    assert native.seconds < A100.step(LLAMA, Pass(1, 1, 10)).seconds < other.seconds * 2
    assert native.seconds < other.seconds


def test_all_kept_is_as_without():
    assert treated("gpu-a100-sxm-80gb", "nm:n=4,m=4").step(LLAMA, STEP) == A100.step(LLAMA, STEP)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"m": 12}, "m is 12; a power of two from 2 to 64 is allowed"),
        ({"n": 5}, "n is 5; of 4 neighbours 1 to 4 can be kept"),
        ({"n": 0}, "n is 0; input should be greater than 0"),
    ],
)
def test_patterns_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        NmWeights(**fields)

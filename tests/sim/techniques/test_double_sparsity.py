import pytest

from tests.sim.techniques.technique_cases import A100, LLAMA, PROMPT, STEP, cache_bits, gpu


@pytest.mark.parametrize(
    ("options", "ratio"),
    [
        # Bytes of dense attention over those of these settings; shared/facts/techniques.md, #23.
        ("dense_layers=0", 10.67),
        ("dense_layers=0,label_bits=4", 14.22),
        ("dense_layers=0,channels=4", 5.33),
    ],
)
def test_bytes(options, ratio):
    system = gpu(f"double-sparsity:{options}")
    assert cache_bits(A100, STEP) / cache_bits(system, STEP) == pytest.approx(ratio, rel=1e-3)


def test_labels_are_kept_beside_the_cache():
    system = gpu("double-sparsity:dense_layers=0")
    more = system.cached(LLAMA, 1000, 16).bytes / A100.cached(LLAMA, 1000, 16).bytes
    assert more == pytest.approx(1 + 1 / 32)
    two = gpu("double-sparsity")
    less = two.cached(LLAMA, 1000, 16).bytes / A100.cached(LLAMA, 1000, 16).bytes
    assert less == pytest.approx(1 + 30 / 32 / 32)


def test_prompts_are_dense():
    system = gpu("double-sparsity")
    assert system.seconds(LLAMA, PROMPT) == A100.seconds(LLAMA, PROMPT)
    assert system.seconds(LLAMA, STEP) < A100.seconds(LLAMA, STEP)


def test_it_does_not_go_with_sparf():
    message = (
        "^sparf does not go with double-sparsity: both are about which cached tokens are read$"
    )
    with pytest.raises(ValueError, match=message):
        gpu("double-sparsity", "sparf")

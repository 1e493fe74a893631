from pathlib import Path

import pytest

from sim.techniques.sparf import SparF
from sim.workload import Pass
from tests.sim.techniques.technique_cases import (
    A100,
    LLAMA,
    PROMPT,
    STEP,
    attention_products,
    cache_bits,
    gpu,
)

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("ratio", [2, 4, 8, 16])
def test_it_reads_and_multiplies_one_of_ratio(ratio):
    system = gpu(f"sparf:ratio={ratio}")
    assert cache_bits(system, STEP) * ratio == cache_bits(A100, STEP)
    dense = attention_products(A100, STEP)
    assert attention_products(system, STEP) * ratio == pytest.approx(dense)


def test_dense_layers_count():
    system = gpu("sparf:dense_layers=8")
    share = cache_bits(system, STEP) / cache_bits(A100, STEP)
    assert share == pytest.approx(0.25 + 0.75 / 8, rel=1e-3)
    assert system.cached(LLAMA, 1000, 16).elements == 1000 * LLAMA.cached_elements * 1.375


def test_keys_are_stored_twice_and_prompts_are_dense():
    system = gpu("sparf")
    assert system.cached(LLAMA, 1000, 16).bytes == 1.5 * 1000 * LLAMA.cached_elements * 2
    assert system.seconds(LLAMA, PROMPT) == A100.seconds(LLAMA, PROMPT)
    assert system.seconds(LLAMA, STEP) < A100.seconds(LLAMA, STEP)


def test_guesses_that_are_verified_choose_each_for_itself():
    one, three = (gpu("sparf").work(LLAMA, Pass(1, new, 4096)) for new in (1, 3))
    rows = [next(o.rows for o in work.layer if o.name == "scores") for work in (one, three)]
    assert rows == [256, 768]


def test_quality_is_what_was_measured_here():
    text = (DOCS / "sparf.md").read_text(encoding="utf-8")
    for ratio, r in ((2, 32), (4, 16), (8, 8), (16, 4)):
        every = SparF(ratio=ratio).quality().lost.removeprefix("perplexity x ")
        but_one = SparF(ratio=ratio, dense_layers=1).quality().lost.removeprefix("perplexity x ")
        assert f"| 1/{ratio} | {r} |" in text
        (row,) = [line for line in text.splitlines() if line.startswith(f"| 1/{ratio} | {r} |")][:1]
        assert f"| {every} |" in row
        assert f"**{but_one}**" in row
    assert SparF(ratio=3).quality() is None


def test_more_dense_layers_than_there_are_are_refused():
    reason = "^sparf is refused on gpu-a100-sxm-80gb: dense_layers is 32; llama-2-7b has 32 layers$"
    with pytest.raises(ValueError, match=reason):
        gpu("sparf:dense_layers=32")

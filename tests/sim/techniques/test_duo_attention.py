import pytest

from golden.model_shapes import load
from sim.workload import Pass, Workload
from tests.sim.techniques.technique_cases import A100, LLAMA, attention_products, cache_bits, gpu

LLAMA3 = load("llama-3-8b")


@pytest.mark.parametrize(
    ("model", "context", "ratio"),
    # Weights and cache, FP16, without and with: shared/facts/techniques.md, #55.
    [(LLAMA, 100_000, 2.47), (LLAMA3, 320_000, 1.57)],
)
def test_memory(model, context, ratio):
    def held(system):
        taken = system.footprint(model, Workload(prefill=context, decode=1))
        return taken.weights + taken.cache

    assert held(A100) / held(gpu("duo-attention", model=model)) == pytest.approx(ratio, rel=5e-3)


def test_a_step_reads_all_of_some_heads_and_few_of_the_others():
    share = 0.25 + 0.75 * 320 / 8000
    job = Pass(3, 1, 8000)
    assert cache_bits(gpu("duo-attention"), job) == pytest.approx(share * cache_bits(A100, job))
    less = attention_products(gpu("duo-attention"), job) / attention_products(A100, job)
    assert less == pytest.approx(share)


def test_a_prompt_is_seen_token_by_token():
    seen = sum(min(t, 320) for t in range(1, 1001)) / sum(range(1, 1001))
    whole = Pass(1, 1000, 1000, prompt=True)
    less = attention_products(gpu("duo-attention"), whole) / attention_products(A100, whole)
    assert less == pytest.approx(0.25 + 0.75 * seen)
    chunks = [Pass(1, 250, end, prompt=True) for end in (250, 500, 750, 1000)]
    parts = sum(attention_products(gpu("duo-attention"), job) for job in chunks)
    assert parts == pytest.approx(attention_products(gpu("duo-attention"), whole))


def test_short_contexts_are_as_without():
    job = Pass(1, 1, 320)
    assert gpu("duo-attention").step(LLAMA, job) == A100.step(LLAMA, job)


def test_all_heads_that_retrieve_are_as_without():
    job = Pass(1, 1, 4000)
    assert gpu("duo-attention:retrieval=1").step(LLAMA, job) == A100.step(LLAMA, job)

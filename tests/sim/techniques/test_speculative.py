import pytest

from golden.model_shapes import load
from sim.simulate import simulate
from sim.techniques.speculative import Speculative
from sim.workload import Pass, Workload
from tests.sim.techniques.technique_cases import A100, LLAMA, gpu


@pytest.mark.parametrize(("depth", "tokens"), [(1, 1.80), (2, 2.44), (4, 3.36), (8, 4.33)])
def test_tokens_of_a_pass_of_a_chain(depth, tokens):
    # shared/facts/techniques.md, section 2.
    found = Speculative(depth=depth).tokens
    assert found == pytest.approx(tokens, abs=0.005)
    assert found == pytest.approx((1 - 0.8 ** (depth + 1)) / (1 - 0.8))


def test_tokens_of_a_pass_of_a_tree():
    tree = Speculative(accept="0.8/0.5/0.25", width="4/3/2")
    assert tree.tokens == pytest.approx(1 + 0.8 + 0.4 + 0.1)
    assert tree.emission().verified == 10


def test_acceptance_of_0_costs_and_of_1_gives_every_guess():
    workload = Workload(prefill=100, decode=64)
    plain, none, all_of_them = (
        simulate(gpu(*names), LLAMA, workload).tpot_ms
        for names in ((), ("speculative:accept=0",), ("speculative:accept=1",))
    )
    assert none > plain
    assert all_of_them == pytest.approx(none / 5, rel=1e-6)


def test_the_time_of_a_token_is_that_of_a_pass_over_its_tokens():
    system = gpu("speculative")
    result = simulate(system, LLAMA, Workload(batch=2, prefill=100, decode=1))
    verify = A100.seconds(LLAMA, Pass(2, 5, 104))
    assert result.tpot_ms == pytest.approx(verify * 1e3 / result.tokens_per_pass)


def test_a_draft_model_takes_its_time_and_memory():
    free, drafted = (
        simulate(gpu(f"speculative{draft}"), LLAMA, Workload(prefill=100, decode=1))
        for draft in ("", ":draft=tinyllama-1.1b")
    )
    draft = load("tinyllama-1.1b")
    step = A100.seconds(draft, Pass(1, 1, 100))
    assert drafted.tpot_ms == pytest.approx(free.tpot_ms + 4 * step * 1e3 / 3.3616)
    assert drafted.breakdown["draft model"] == pytest.approx(4 * step * 1e3 / 3.3616)
    more = drafted.peak_memory_gb - free.peak_memory_gb
    assert more * 1e9 == pytest.approx(2 * (draft.weights + 101 * draft.cached_elements))
    assert drafted.ttft_ms > free.ttft_ms


def test_medusas_heads():
    # 147.9 M weights each with h = 4096, V = 32000: shared/facts/techniques.md, #10.
    heads = gpu("speculative:depth=5,heads=5").work(LLAMA, Pass(1, 6, 100)).tail[1:]
    assert sum(one.elements for one in heads) == 5 * (4096 * 4096 + 4096 * 32000)
    taken = gpu("speculative:depth=5,heads=5").footprint(LLAMA, Workload(prefill=9, decode=1))
    plain = A100.footprint(LLAMA, Workload(prefill=9, decode=1))
    assert taken.weights - plain.weights == 2 * 5 * (4096 * 4096 + 4096 * 32000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("accept=1.5", "accept is 1.5; shares from 0 to 1 are allowed"),
        ("accept=high", "accept is 'high'; numbers with / between them are allowed"),
        ("accept=0.5/0.4,width=2/2/2", "as many levels are needed"),
        ("width=0", "at least 1 guess on each level"),
        ("heads=5", "heads is 5; there are 4 levels"),
        ("draft=tinylama-1.1b", "there is no model 'tinylama-1.1b'; the nearest are tinyllama"),
        ("draft=gpt-2-345m", "so one cannot guess for the other"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        gpu(f"speculative:{options}")

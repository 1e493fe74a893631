import pytest

from golden.model_shapes import load
from golden.spec.errors import ConfigError
from sim.catalogue import load_system
from sim.operators import Operator
from sim.simulate import simulate
from sim.techniques import techniques
from sim.treat import described, options, parse, treat
from sim.workload import Pass, Workload

LLAMA = load("llama-2-7b")
SMALL = load("smollm2-135m")
A100 = load_system("gpu-a100-sxm-80gb")

FIRST = (
    *("double-sparsity", "duo-attention", "idealized-runtime", "kv-quantisation"),
    *("mixed-precision", "nm", "sparf", "speculative"),
)
NAMES = tuple(techniques())


def test_every_file_is_a_technique():
    assert set(FIRST) <= set(NAMES)


ADDED = """
from sim.techniques.nm import NmWeights
from sim.technique import Technique


class Added(Technique):
    title = "another"
    source = "made up"
    touches = "nothing"

    def quality(self):
        return None
"""


def test_a_file_that_is_added_is_found(tmp_path, monkeypatch):
    import sim.techniques

    (tmp_path / "made_up.py").write_text(ADDED)
    monkeypatch.setattr(sim.techniques, "__path__", [*sim.techniques.__path__, str(tmp_path)])
    assert sim.techniques.techniques.__wrapped__()["made-up"].title == "another"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "system", ["gpu-h100-sxm-80gb", "flightllm-u280", "flexgen-ssd", "zero-host", "instinfer-2csd"]
)
def test_every_system_does_it_or_says_why_not(system, name):
    plain = load_system(system)
    try:
        treated = treat(plain, SMALL, [parse(name)])
    except ConfigError as error:
        assert str(error).startswith(f"{name} is refused on {system}: ")
        return
    workload = Workload(prefill=700, decode=2)
    result = simulate(treated, SMALL, workload)
    assert (result.techniques, result.tpot_ms > 0) == ((name,), True)
    before = simulate(plain, SMALL, workload)
    same = (result.tpot_ms, result.bytes_by_level) == (before.tpot_ms, before.bytes_by_level)
    assert same == (name == "idealized-runtime")


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is_and_works_with_its_usual_options(name):
    record = techniques()[name]
    assert record.title
    assert record.source
    assert record.touches
    usual = parse(name)
    assert described(usual) == name
    assert parse(f"{name}:{options(usual)}") == usual
    result = simulate(treat(A100, LLAMA, [usual]), LLAMA, Workload(prefill=4000, decode=64))
    plain = simulate(A100, LLAMA, Workload(prefill=4000, decode=64))
    assert result.techniques == (name,)
    assert len(result.quality) == 1
    if name in FIRST:
        assert (result.tpot_ms == plain.tpot_ms) == (name == "idealized-runtime")


@pytest.mark.parametrize("name", NAMES)
def test_what_events_do_agrees_with_the_cost_of_a_pass(name):
    system = treat(load_system("gpu-a100-sxm-80gb", {"software": "hf-eager"}), LLAMA, [parse(name)])
    for job in (Pass(2, 1, 700), Pass(1, 64, 64, prompt=True)):
        cost = system.step(LLAMA, job)
        end = max(span.start + span.seconds for span in system.spans(LLAMA, job))
        assert end == pytest.approx(cost.seconds)
        assert sum(cost.parts.values()) == pytest.approx(cost.seconds)


def test_they_add_up_and_are_listed_in_their_order():
    chosen = [parse(one) for one in ("nm:n=4,m=8", "sparf:ratio=4", "speculative")]
    result = simulate(treat(A100, LLAMA, chosen), LLAMA, Workload(prefill=4000, decode=64))
    assert result.techniques == ("nm:n=4,m=8", "sparf:ratio=4", "speculative")
    for some in (chosen[:1], chosen[:2], chosen[1:]):
        fewer = simulate(treat(A100, LLAMA, some), LLAMA, Workload(prefill=4000, decode=64))
        assert result.bytes_per_token < fewer.bytes_per_token


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sparff",
            "there is no technique 'sparff'; the nearest are sparf; `nandu list techniques`",
        ),
        ("sparf:ration=4", "sparf: there is no option 'ration'; the nearest are ratio; known are"),
        ("sparf:ratio", "sparf: an option is 'ratio'; a key and a value are needed, as ratio=8"),
        ("sparf:ratio=4,ratio=8", "sparf: ratio is given twice"),
        ("sparf:ratio=1", "sparf: ratio is 1; input should be greater than or equal to 2"),
        ("sparf:ratio=[", "sparf: ratio is '\\[', which is not a value"),
        ("", "there is no technique ''"),
    ],
)
def test_what_is_not_a_technique(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        parse(text)


class Deaf(type(A100)):
    """A system that takes no techniques."""

    def cannot(self, model, job):
        return super(type(A100), self).cannot(model, job)


def test_a_system_that_does_not_ask_for_the_operators_refuses_all():
    deaf = Deaf(**{name: getattr(A100, name) for name in type(A100).model_fields})
    message = "^nm is refused on gpu-a100-sxm-80gb: its model takes no techniques yet$"
    with pytest.raises(ValueError, match=message):
        treat(deaf, LLAMA, [parse("nm")])


def test_an_added_operator_is_one_more_launch():
    system = load_system("gpu-a100-sxm-80gb", {"software": "hf-eager"})
    some = treat(system, LLAMA, [parse("sparf")])
    plain, more = (one.step(LLAMA, Pass(1, 1, 700)).work["launches"] for one in (system, some))
    assert more == plain + LLAMA.layers


def test_stored_bits_of_an_operator():
    plain = Operator("a", "b", 4, 8)
    assert plain.stored_bits(16) == 4 * 8 * 16
    few = Operator("a", "b", 4, 8, bits=4, kept=0.5, pattern=(8, 16))
    assert few.stored_bits(16) == 4 * 8 * 0.5 * (4 + 4)

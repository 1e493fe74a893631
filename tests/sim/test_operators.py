from golden.model_shapes import load
from sim.operators import ATTENTION, FEED_FORWARD, HEAD, PROJECTIONS, Operator, forward
from sim.workload import Pass


def test_order_of_one_layer():
    model = load("llama-2-7b")
    step = list(forward(model, Pass(1, 1, 100)))
    assert len(step) == 9 * 32 + 1
    assert [(o.name, o.part) for o in step[:9]] == [
        ("q_proj", PROJECTIONS),
        ("k_proj", PROJECTIONS),
        ("v_proj", PROJECTIONS),
        ("scores", ATTENTION),
        ("values", ATTENTION),
        ("o_proj", PROJECTIONS),
        ("gate_proj", FEED_FORWARD),
        ("up_proj", FEED_FORWARD),
        ("down_proj", FEED_FORWARD),
    ]
    assert step[-1] == Operator("lm_head", HEAD, 32000, 4096)


def test_products_of_llama_2_7b():
    step = list(forward(load("llama-2-7b"), Pass(1, 1, 100)))
    weights = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 32000 * 4096
    assert sum(o.products for o in step if not o.cached) == weights == 6_607_077_376
    assert sum(o.products for o in step if o.cached) == 32 * 2 * 100 * 4096


def test_heads_that_share_keys_read_them_once_but_compute_each():
    model = load("smollm2-135m")
    scores = forward(model, Pass(1, 1, 100)).layer[3]
    assert scores.name == "scores"
    assert scores.elements == 3 * 100 * 64
    assert scores.products == 9 * 100 * 64
    assert scores.cached == 3 * 100


def test_a_prompt_is_a_product_of_all_its_tokens_and_sees_what_came_before():
    model = load("llama-2-7b")
    prompt = forward(model, Pass(2, 100, 100, prompt=True))
    assert prompt.layer[0].products == 200 * 4096 * 4096
    # Token i of 100 sees i positions: 1 + 2 + ... + 100 of 100 x 100.
    assert prompt.layer[3].products == 2 * 32 * 128 * sum(range(1, 101))
    assert prompt.tail[0].products == 2 * 32000 * 4096


def test_chunks_of_a_prompt_do_the_work_of_the_whole():
    model = load("smollm2-135m")
    whole = forward(model, Pass(1, 96, 96, prompt=True))
    chunks = [forward(model, Pass(1, 32, end, prompt=True)) for end in (32, 64, 96)]
    for place, operator in enumerate(whole.layer):
        parts = sum(chunk.layer[place].products for chunk in chunks)
        assert parts == operator.products


def test_a_model_without_a_gate_has_two_feed_forward_products():
    layer = forward(load("opt-13b"), Pass(1, 1, 8)).layer
    assert [o.name for o in layer if o.part == FEED_FORWARD] == ["up_proj", "down_proj"]

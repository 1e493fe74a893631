from golden.model_shapes import load
from sim.operators import ATTENTION, FEED_FORWARD, HEAD, PROJECTIONS, Operator, decode_step


def test_order_of_one_layer():
    model = load("llama-2-7b")
    step = decode_step(model, context=100)
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
    step = decode_step(load("llama-2-7b"), context=100)
    weights = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 32000 * 4096
    assert sum(o.products for o in step if not o.cached) == weights == 6_607_077_376
    assert sum(o.products for o in step if o.cached) == 32 * 2 * 100 * 4096


def test_heads_that_share_keys_read_them_once_but_compute_each():
    model = load("smollm2-135m")
    scores = decode_step(model, context=100)[3]
    assert scores.name == "scores"
    assert scores.elements == 3 * 100 * 64
    assert scores.products == 9 * 100 * 64
    assert scores.cached == 3 * 100

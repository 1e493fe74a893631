"""A plan from a shape alone is the plan of the compiled weights."""

import re
from dataclasses import replace

import pytest
from tiny_models import tiny_model

from golden.model_shapes import load
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from hls_gen.compiler import Compiled, compile_model
from hls_gen.plan import Linear
from hls_gen.shape_plan import WeightShape, check_architecture, shape_plan

CORE = CoreConfig(chains=3, m=8, strips=4, vector_depth=2048, activation_depth=1024)
PAIR = replace(CORE, chains=2, cores=2, replay_words=128)


def products(plan):
    """The products of all layers, without the rows that the last strip lacks."""
    linears = [
        linear
        for layer in plan.layers
        for part in (layer.attention, layer.feed_forward)
        for linear in vars(part).values()
        if isinstance(linear, Linear)
    ]
    return [replace(product, rows=0) for linear in linears for product in linear.products]


@pytest.mark.parametrize(
    ("config", "chunk", "fields", "weights"),
    [
        (CORE, 1, {}, WeightShape()),
        (CORE, 8, {"hidden": 36, "feed_forward": 90}, WeightShape()),
        (PAIR, 4, {"heads": 4, "kv_heads": 2, "vocabulary": 700}, WeightShape()),
        (PAIR, 4, {"bits": 4, "feed_forward": 70}, WeightShape(bits=4)),
        (CORE, 2, {"bits": 4, "kept": 2, "feed_forward": 100}, WeightShape(4, 2)),
        (PAIR, 1, {"kept": 3}, WeightShape(8, 3)),
    ],
)
def test_it_is_the_plan_of_the_weights(config, chunk, fields, weights):
    model = tiny_model(layers=2, group_size=128, **fields)
    compiled = compile_model(model, config, 64, chunk).plan
    plan = shape_plan(model.shape, config, 64, chunk, weights)
    assert products(plan) == products(compiled)
    if weights == WeightShape():  # else the tiny model's logits are not as those of a plan
        assert (plan.memory, plan.sizes) == (compiled.memory, compiled.sizes)
        assert len(plan.head) == len(compiled.head)
    program = Compiled(plan, ()).program(40, tokens=chunk, layers=[1], head=False)
    real = Compiled(compiled, ()).program(40, tokens=chunk, layers=[1], head=False)
    assert len(program.instructions) == len(real.instructions)
    assert [one.unit for one in program.instructions] == [one.unit for one in real.instructions]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("opt-6.7b", "its feed-forward network has no gate"),
        ("gpt-j-6b", "its feed-forward network has no gate"),
    ],
)
def test_other_architectures_are_refused(model, reason):
    message = f"{model} cannot be compiled: {reason}; the compiler takes models like LLaMA"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_architecture(load(model))


def test_chunks_that_no_chain_can_keep_are_refused():
    message = "replay_words is 16; a product of several tokens takes"
    with pytest.raises(ConfigError, match=f"^{message}"):
        shape_plan(tiny_model().shape, replace(CORE, replay_words=16), 64, 2)

import re
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import tiny_llama, tiny_tokens

from golden.compression_budget import allocate, choose_plan
from golden.compression_plan import Budget, decoder_linears
from golden.compression_sensitivity import FRACTIONS, sensitivities
from golden.spec.errors import ConfigError
from golden.spec.expansion import WEIGHT_WIDTHS

TEXTS = torch.cat([tiny_tokens(100, seed) for seed in (2, 3)])


@pytest.fixture(scope="module")
def tiny():
    return tiny_llama()


@pytest.fixture(scope="module")
def found(tiny):
    return sensitivities(tiny, TEXTS, group_size=32)


@pytest.fixture(scope="module")
def sizes(tiny):
    return {path: tiny.weight(path).numel() for path in decoder_linears(tiny.linear_layers())}


def test_every_layer_loses_more_with_less(found, sizes):
    assert list(found) == list(sizes)
    for one in found.values():
        assert list(one.bits) == list(WEIGHT_WIDTHS)
        assert list(one.kept) == list(FRACTIONS)
        for losses in (list(one.bits.values()), list(one.kept.values())):
            assert losses == sorted(losses, reverse=True)
            assert losses[0] > 10 * losses[-1]


def test_it_is_about_the_divergence_that_a_small_change_causes(tiny):
    """Of weights that are rounded to 6 bits as they are: no error is made up for."""
    path = "model.layers.1.mlp.down_proj"
    found = sensitivities(tiny, TEXTS, group_size=128)[path].bits[6]
    parameter = tiny.network.get_submodule(path).weight
    before = parameter.data
    with torch.no_grad():
        exact = tiny.network(TEXTS).logits.double().log_softmax(dim=-1)
        step = before.abs().amax(dim=1, keepdim=True) / 31
        parameter.data = torch.round(before / step) * step
        given_ = tiny.network(TEXTS).logits.double().log_softmax(dim=-1)
        parameter.data = before
    kl = float((exact.exp() * (exact - given_)).sum(dim=-1).mean())
    assert kl / 4 < found < kl * 2


def test_the_model_is_left_as_it_was(tiny, found):
    assert all(weight.requires_grad and weight.grad is None for weight in tiny.network.parameters())
    assert not any(module._forward_hooks for module in tiny.network.modules())


@settings(max_examples=20)
@given(st.integers(0, 9999), st.floats(2, 8))
def test_no_choice_of_equal_layers_is_better_by_more_than_a_step(seed, average):
    """Convex losses: greedy is the best there is but for what is left over at the end."""
    random = torch.Generator().manual_seed(seed)
    widths = (2, 3, 4, 5, 6, 8)
    factors = 10 ** (2 * torch.rand(4, generator=random).double())
    losses = {
        f"layer {k}": {width: float(factor) * 4.0**-width for width in widths}
        for k, factor in enumerate(factors)
    }
    sizes = dict.fromkeys(losses, 10)
    chosen = allocate(losses, sizes, average)
    used = sum(chosen.values())
    assert used <= 4 * average + 1e-6
    mine = sum(losses[path][chosen[path]] for path in losses)
    # What the bits that it used could do at best:
    best = min(
        sum(own[width] for own, width in zip(losses.values(), choice, strict=True))
        for choice in product(widths, repeat=4)
        if sum(choice) <= used
    )
    assert mine <= best * 1.3


def test_a_larger_layer_pays_more():
    losses = {"small": {2: 1.0, 4: 0.0}, "large": {2: 1.5, 4: 0.0}}
    assert allocate(losses, {"small": 10, "large": 20}, 3.0) == {"small": 4, "large": 2}
    assert allocate(losses, {"small": 10, "large": 20}, 4.0) == {"small": 4, "large": 4}


def test_a_bend_in_the_losses_is_jumped_over():
    losses = {"a": {2: 4.0, 3: 3.9, 4: 0.0}, "b": {2: 1.0, 3: 0.0, 4: 0.0}}
    assert allocate(losses, {"a": 1, "b": 1}, 3.0) == {"a": 4, "b": 2}


def test_a_plan_keeps_to_its_budget_and_is_better_than_a_uniform_one(found, sizes):
    budget = Budget(average_bits=4, kept_fraction=0.75)
    plan = choose_plan("tiny", found, sizes, budget, group_size=32)
    plan.check(sizes)
    assert 3.7 < plan.average_bits(sizes) <= 4
    assert 0.7 < plan.kept_fraction(sizes) <= 0.75
    mine = sum(found[path].bits[plan.format_of(path).bits] for path in sizes)
    assert mine < sum(one.bits[4] for one in found.values())
    kept = sum(found[path].kept[plan.format_of(path).kept] for path in sizes)
    assert kept < sum(one.kept[0.75] for one in found.values())
    assert set(plan.sensitivity) == set(sizes)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            {"average_bits": 1.5, "kept_fraction": 1},
            "the budget average_bits = 1.5 cannot be met: 'model.layers.0.self_attn.q_proj' and "
            "all other layers need bits = 2 at least",
        ),
        (
            {"average_bits": 4, "kept_fraction": 0.1},
            "the budget kept_fraction = 0.1 cannot be met: 'model.layers.0.self_attn.q_proj' and "
            "all other layers need kept = 0.125 at least",
        ),
    ],
)
def test_a_budget_that_cannot_be_met(found, sizes, budget, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        choose_plan("tiny", found, sizes, Budget(**budget), 32)

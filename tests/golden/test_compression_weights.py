import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.compression_weights import compensated, inverse_factor, saliency
from golden.quantise import quantise_groups
from golden.spec.errors import ShapeError


def correlated(inputs, tokens=400, seed=0):
    """X^T X / tokens of inputs that hang together."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(inputs, inputs, generator=random).double() + 2 * torch.eye(inputs)
    x = torch.randn(tokens, inputs, generator=random).double() @ mixed
    return x.T @ x / tokens


def weight_of(rows, inputs, seed=1):
    return torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed)).double()


def loss(error, moments):
    return float(((error @ moments) * error).sum())


def test_the_factor_is_that_of_the_inverse():
    moments = correlated(48)
    factor = inverse_factor(moments)
    damped = moments + 0.05 * moments.diagonal().diag()
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(
        factor.T @ factor @ damped, torch.eye(48).double(), atol=1e-4, rtol=0
    )


def test_an_input_that_is_always_zero_does_no_harm():
    moments = correlated(32)
    moments[5] = moments[:, 5] = 0
    made = compensated(weight_of(16, 32), inverse_factor(moments), 4, 32)
    assert made.dequantise().isfinite().all()


@pytest.mark.parametrize("moments", [torch.ones(3, 4), torch.full((2, 2), torch.nan)])
def test_moments_that_are_none(moments):
    with pytest.raises(ShapeError, match=r"; a finite square matrix is needed$"):
        inverse_factor(moments)


def by_hand(weight, factor, steps, mask, bits, group_size):
    """A row at a time, an input at a time, with steps and mask given."""
    top = 2 ** (bits - 1) - 1
    values = torch.zeros_like(weight)
    for r, row in enumerate(weight.clone()):
        for j in range(len(row)):
            step = steps[r, j // group_size]
            values[r, j] = mask[r, j] * torch.round(row[j] / step).clamp(-top, top)
            error = (row[j] - values[r, j] * step) / factor[j, j]
            row[j:] -= error * factor[j, j:]
    return values


@settings(max_examples=12)
@given(st.integers(0, 999), st.sampled_from((2, 4, 8)), st.sampled_from((16, 32, 48)))
def test_each_error_is_carried_over_to_the_inputs_behind(seed, bits, group_size):
    factor = inverse_factor(correlated(56, seed=seed))
    weight = weight_of(20, 56, seed)
    keep = torch.tensor([0, 2, 4, 8, 16])[
        torch.randint(5, (2, 4), generator=torch.Generator().manual_seed(seed))
    ]
    made = compensated(weight, factor, bits, group_size, keep)
    kept = made.values != 0
    expected = by_hand(weight, factor, made.scales, kept, bits, group_size)
    assert torch.equal(made.values.double(), expected)
    counts = torch.nn.functional.pad(kept, (0, 8)).reshape(20, 4, 16).sum(dim=2)
    assert (counts <= keep.repeat_interleave(16, dim=0)[:20]).all()
    assert made.values.abs().max() <= 2 ** (bits - 1) - 1


def test_without_correlation_nothing_is_carried_over():
    made = compensated(weight_of(16, 64), inverse_factor(torch.eye(64)), 8, 32)
    plain = quantise_groups(weight_of(16, 64), 8, 32)
    torch.testing.assert_close(made.dequantise(), plain.dequantise().double(), atol=0.04, rtol=0)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_less_is_lost_than_by_rounding(bits):
    moments, weight = correlated(96), weight_of(32, 96)
    made = compensated(weight, inverse_factor(moments), bits, 32)
    plain = quantise_groups(weight, bits, 32).dequantise().double()
    assert loss(made.dequantise() - weight, moments) < 0.7 * loss(plain - weight, moments)


def test_less_is_lost_than_by_pruning_alone():
    moments, weight = correlated(96), weight_of(32, 96)
    keep = torch.full((2, 6), 8)
    made = compensated(weight, inverse_factor(moments), 8, 32, keep).dequantise()
    alone = weight * (made != 0)
    assert loss(made - weight, moments) < 0.75 * loss(alone - weight, moments)


def test_saliency_is_what_the_loss_of_one_weight_costs():
    """When all others are moved so that least is lost."""
    moments, weight = correlated(24), weight_of(1, 24)
    damped = moments + 0.05 * moments.diagonal().diag()
    scores = saliency(weight, inverse_factor(moments))
    j = 7
    others = [k for k in range(24) if k != j]
    move = torch.linalg.solve(damped[others][:, others], damped[others, j] * weight[0, j])
    error = torch.zeros(1, 24).double()
    error[0, j], error[0, others] = -weight[0, j], move
    assert loss(error, damped) == pytest.approx(float(scores[0, j] ** 2), rel=1e-4)

import re
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.sparsity import (
    block_grid,
    choose_keep,
    importance,
    keep_mask,
    parse_sparsity,
    uniform_keep,
)
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.sparse_chain import SparseChainConfig

M4, M8, M16 = (SparseChainConfig(m=m) for m in (4, 8, 16))


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def random_scores(strips, blocks, config, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(strips * config.m, blocks * config.m, generator=random)


def kept_importance(scores, keep, m):
    """The sum of the squares that a choice keeps, block by block and row by row."""
    total = 0
    for strip, ns in enumerate(keep):
        for block, n in enumerate(ns):
            for row in range(strip * m, strip * m + m):
                line = scores[row, block * m : block * m + m].tolist()
                total += sum(x * x for x in sorted(line, reverse=True)[:n])
    return total


def all_choices(strips, blocks, config):
    for flat in product((0, *config.keeps), repeat=strips * blocks):
        yield [flat[i * blocks : (i + 1) * blocks] for i in range(strips)]


@st.composite
def small_grids(draw, config, most_blocks):
    """Whole-number scores, with many ties, and how many weights may be kept."""
    strips = draw(st.integers(1, 2))
    blocks = draw(st.integers(1, most_blocks // strips))
    random = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    shape = (strips * config.m, blocks * config.m)
    # Uneven blocks: else all choices are nearly as good.
    strength = torch.randint(1, 5, (strips, blocks), generator=random)
    strength = strength.repeat_interleave(config.m, 0).repeat_interleave(config.m, 1)
    scores = torch.randint(0, 4, shape, generator=random) ** strength
    return scores.float(), draw(st.integers(1, scores.numel()))


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_legal_patterns(n):
    assert parse_sparsity(f"{n}:16", M16) == n


@pytest.mark.parametrize(
    "text", ["3:5", "8:8", "x", "", "0:16", "1:16", "32:16", "16", " 8:16", "8:16\n", "-8:16"]
)
def test_illegal_patterns(text):
    with refuses(ConfigError, f"sparsity is {text!r}; this chain runs 2:16, 4:16, 8:16, 16:16"):
        parse_sparsity(text, M16)


def test_legal_patterns_are_the_chains():
    assert parse_sparsity("8:8", M8) == 8
    with refuses(ConfigError, "sparsity is '8:16'; this chain runs 2:8, 4:8, 8:8"):
        parse_sparsity("8:16", M8)


def test_importance_is_magnitude_times_the_norm_over_tokens():
    weight = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    activations = torch.tensor([[3.0, 0.0], [-4.0, 1.0], [0.0, 0.0]])
    assert importance(weight, activations).tolist() == [[5, 2], [0, 3]]


def test_importance_needs_equal_inputs():
    with refuses(ShapeError, "the weight has 16 inputs, but the activations 8"):
        importance(torch.ones(4, 16), torch.ones(2, 8))
    with refuses(ShapeError, "the weight has the shape [16]; a filled matrix is needed"):
        importance(torch.ones(16), torch.ones(2, 16))
    with refuses(ShapeError, "the activations has the shape [16]; a filled matrix is needed"):
        importance(torch.ones(4, 16), torch.ones(16))


def test_uniform_keep():
    assert uniform_keep(8, 12, 2, M4).tolist() == [[2, 2, 2], [2, 2, 2]]


@given(small_grids(M4, most_blocks=6))
def test_no_choice_within_the_budget_keeps_more_importance(case):
    scores, budget = case
    keep = choose_keep(scores, budget / scores.numel(), M4).tolist()
    best = max(
        kept_importance(scores, choice, 4)
        for choice in all_choices(len(keep), len(keep[0]), M4)
        if 4 * sum(map(sum, choice)) <= budget
    )
    assert kept_importance(scores, keep, 4) == best


@given(small_grids(M8, most_blocks=4))
def test_with_steps_of_two_sizes_no_choice_of_the_same_cost_keeps_more(case):
    scores, budget = case
    keep = choose_keep(scores, budget / scores.numel(), M8).tolist()
    best = max(
        kept_importance(scores, choice, 8)
        for choice in all_choices(len(keep), len(keep[0]), M8)
        if sum(map(sum, choice)) <= sum(map(sum, keep))
    )
    assert kept_importance(scores, keep, 8) == best


@pytest.mark.parametrize("config", [M4, M8, M16])
@pytest.mark.parametrize("kept", [0.5, 0.61, 0.75, 0.99, 1])
def test_the_budget_is_spent_but_for_less_than_one_step(config, kept):
    scores = random_scores(5, 7, config)
    spare = kept - choose_keep(scores, kept, config).double().mean().item() / config.m
    assert 0 <= spare < 0.5 / scores.numel() * config.m**2


@pytest.mark.parametrize("blocks", [11, 13])
def test_a_fraction_that_a_choice_keeps_is_enough_for_it(blocks):
    for total in range(2 * blocks, 16 * blocks + 1, 14):
        scores = random_scores(1, blocks, M16)
        first = choose_keep(scores, total / (16 * blocks), M16)
        again = choose_keep(scores, first.sum().item() / (16 * blocks), M16)
        assert torch.equal(first, again)


@pytest.mark.parametrize("config", [M4, M8, M16, SparseChainConfig(m=32)])
def test_equal_scores_in_a_row_do_not_waste_the_budget(config):
    scores = random_scores(8, 8, config)[:, :1].expand(-1, 8 * config.m)
    keep = choose_keep(scores, 0.5, config)
    assert 0 <= 0.5 * config.m * 64 - keep.sum() < config.m / 2


@given(st.integers(0, 99), st.floats(0.01, 1), st.floats(0.01, 1))
def test_more_budget_takes_nothing_away(seed, a, b):
    scores = random_scores(2, 3, M16, seed)
    less, more = (choose_keep(scores, kept, M16) for kept in sorted((a, b)))
    assert (less <= more).all()


def test_the_ends_of_the_budget():
    scores = random_scores(2, 3, M16)
    assert torch.equal(choose_keep(scores, 1, M16), uniform_keep(32, 48, 16, M16))
    assert torch.equal(choose_keep(scores, 1e-3, M16), uniform_keep(32, 48, 0, M16))
    assert choose_keep(scores, 2 / 16 / 6, M16).sum() == 2


def test_the_budget_goes_where_the_importance_is():
    scores = torch.full((8, 12), 0.1)
    scores[4:, :4] = 1
    assert choose_keep(scores, 4 / 24, M4).tolist() == [[0, 0, 0], [4, 0, 0]]
    scores[4:, 4] = 0.5
    assert choose_keep(scores, 6 / 24, M4).tolist() == [[0, 0, 0], [4, 2, 0]]


def test_blocks_of_no_importance_are_absent_while_others_can_take_more():
    scores = random_scores(4, 4, M16)
    scores[:16, :32] = 0
    keep = choose_keep(scores, 14 / 16, M16)
    assert keep[0, :2].tolist() == [0, 0] and (keep[1:] == 16).all()


def test_steps_are_weighed_per_weight():
    # Gains per weight: the left block's 10 for its 3rd and 4th, then 4; the right one's 6, then 0.
    scores = torch.tensor([20, 20, 10, 10, 4, 4, 4, 4, 20, 20, 6, 6, 0, 0, 0, 0]).sqrt()
    assert choose_keep(scores.repeat(8, 1), 8 / 16, M8).tolist() == [[4, 4]]


@pytest.mark.parametrize("kept", [0, 1.01, -1, float("nan")])
def test_fractions_that_no_choice_keeps(kept):
    with refuses(ConfigError, f"the kept fraction is {kept!r}; allowed is more than 0, up to 1"):
        choose_keep(torch.ones(16, 16), kept, M16)


@given(st.integers(0, 999), st.sampled_from((4, 8, 16, 32)))
def test_each_row_of_a_block_keeps_its_n_largest(seed, m):
    config = SparseChainConfig(m=m)
    random = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 50, (2 * m, 3 * m), generator=random).float()
    choices = torch.tensor([0, *config.keeps])
    keep = choices[torch.randint(len(choices), (2, 3), generator=random)]
    mask = keep_mask(scores, keep, config)
    for row, block in product(range(2 * m), range(3)):
        line = scores[row, block * m : block * m + m]
        chosen = mask[row, block * m : block * m + m]
        n = keep[row // m, block].item()
        assert chosen.sum() == n
        assert n in (0, m) or line[chosen].min() >= line[~chosen].max()


def test_the_first_of_equals_is_kept():
    scores = torch.ones(32, 64)
    expected = torch.tensor([True] * 4 + [False] * 12).repeat(32, 4)
    assert torch.equal(keep_mask(scores, uniform_keep(32, 64, 4, M16), M16), expected)


def test_a_mask_needs_an_n_for_each_block():
    with refuses(ShapeError, "keep is [2, 1]; the weight has [1, 2] blocks"):
        keep_mask(torch.ones(16, 32), torch.full((2, 1), 2), M16)


def test_activations_make_pruning_better():
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 64, generator=random)
    activations = (
        torch.randn(32, 64, generator=random)
        * torch.logspace(-1, 1, 64)[torch.randperm(64, generator=random)]
    )
    keep = uniform_keep(64, 64, 8, M16)

    def error(mask):
        return (activations @ (weight * ~mask).T).norm()

    aware = error(keep_mask(importance(weight, activations), keep, M16))
    magnitude = error(keep_mask(weight.abs(), keep, M16))
    assert aware < 0.5 * magnitude


def test_choosing_per_block_beats_the_same_n_everywhere():
    scores = random_scores(4, 4, M16) * torch.arange(1, 65)
    chosen, uniform = choose_keep(scores, 0.5, M16), uniform_keep(64, 64, 8, M16)
    assert chosen.sum() <= uniform.sum()
    assert kept_importance(scores, chosen.tolist(), 16) > kept_importance(
        scores, uniform.tolist(), 16
    )


@pytest.mark.parametrize("keep", [1, 3, -2, 32])
def test_uniform_n_that_the_chain_does_not_have(keep):
    with refuses(ConfigError, f"keep is {keep}; allowed are [0, 2, 4, 8, 16]"):
        uniform_keep(16, 16, keep, M16)


@pytest.mark.parametrize(
    ("rows", "inputs", "grid"),
    [(32, 48, (2, 3)), (1, 1, (1, 1)), (17, 16, (2, 1)), (16, 33, (1, 3))],
)
def test_blocks_cover_the_matrix(rows, inputs, grid):
    assert block_grid(rows, inputs, M16) == grid


@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 20))
def test_matrices_that_end_inside_a_block(seed, rows, inputs):
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand(rows, inputs, generator=random) - 0.5
    keep = choose_keep(scores, 0.6, M8)
    assert keep.shape == block_grid(rows, inputs, M8)
    mask = keep_mask(scores, keep, M8)
    for row, block in product(range(rows), range(keep.shape[1])):
        line, chosen = (x[row, block * 8 : block * 8 + 8] for x in (scores, mask))
        n = keep[row // 8, block].item()
        assert chosen.sum() == min(n, len(line))
        if 0 < n < len(line):
            assert line[chosen].min() >= line[~chosen].max()

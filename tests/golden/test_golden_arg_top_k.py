"""Golden's k largest against plain sorting, and the sentences of its errors."""

import re

import pytest
import torch

from golden.arg_top_k import arg_top_k
from golden.spec.arg_top_k import ArgTopKConfig
from golden.spec.errors import ConfigError, ShapeError

CONFIG = ArgTopKConfig(max_scores=64, max_k=16, score_bits=4)


@pytest.mark.parametrize("high", [1, 2, 8])
def test_it_is_what_sorting_gives(high):
    torch.manual_seed(high)
    for _ in range(200):
        count, k = (int(torch.randint(1, most, ())) for most in (65, 17))
        scores = torch.randint(-high, high, (count,))
        order = sorted(range(count), key=lambda n: (-int(scores[n]), n))
        assert arg_top_k(CONFIG, scores, k).tolist() == sorted(order[:k])


def test_of_equal_scores_the_lower_index_comes_first():
    assert arg_top_k(CONFIG, torch.tensor([3, 5, 3, 5, 3]), 3).tolist() == [0, 1, 3]
    assert arg_top_k(CONFIG, torch.tensor([-8, -8, -8]), 2).tolist() == [0, 1]


def test_where_k_is_above_the_number_of_scores_all_are_kept():
    assert arg_top_k(CONFIG, torch.tensor([1, -2]), 16).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lanes": 3}, "lanes is 3; allowed are 1, 2, 4 and 8"),
        ({"max_k": 100}, "max_k is 100; a power of two from 2 to 4096 is needed"),
        ({"max_k": 1}, "max_k is 1; a power of two from 2 to 4096 is needed"),
        ({"max_scores": 32}, "max_scores is 32; a power of two from 64 to 65536 is needed"),
        (
            {"max_scores": 256, "lanes": 4},
            "max_scores is 256; 4 lanes that sort runs of 128 need 512 or more",
        ),
        ({"score_bits": 1}, "score_bits is 1; allowed are 2 to 48"),
    ],
)
def test_a_configuration_that_is_refused(settings, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        ArgTopKConfig(**settings)


def test_arguments_that_are_refused():
    with pytest.raises(ConfigError, match=r"^k is 17; allowed are 1 to 16$"):
        arg_top_k(CONFIG, torch.zeros(4, dtype=torch.int64), 17)
    with pytest.raises(ShapeError, match=r"^the scores are of shape \[65\]; a row of 1 to 64 is"):
        arg_top_k(CONFIG, torch.zeros(65, dtype=torch.int64), 1)
    with pytest.raises(ShapeError, match=r"^the row of scores spans 8 to 8; 4 signed bits hold"):
        arg_top_k(CONFIG, torch.tensor([8]), 1)

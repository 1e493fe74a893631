"""Which of many scores are the k largest: what the arg-top-k unit gives.

Indices come in ascending order, because what uses them goes through memory in that order: a page
filter asks for each page once, and for its tokens one behind the other.
"""

import torch

from golden.attention_engine import largest
from golden.numbers import check_range
from golden.spec.arg_top_k import ArgTopKConfig
from golden.spec.errors import ConfigError, ShapeError


def arg_top_k(config: ArgTopKConfig, scores: torch.Tensor, k: int) -> torch.Tensor:
    """Return the indices of the k largest scores, ascending: int64 [min(k, scores)].

    Of equal scores the lower index comes first. Where k is above the number of scores, all are
    kept.

    Args:
        scores: integers of `config.score_bits` bits, 1 to `config.max_scores` of them.
        k: 1 to `config.max_k`.

    Raises:
        ConfigError: k is outside its range. ShapeError: the scores are not such a row.
    """
    if not 1 <= k <= config.max_k:
        raise ConfigError(f"k is {k!r}; allowed are 1 to {config.max_k}")
    if scores.ndim != 1 or not 1 <= len(scores) <= config.max_scores:
        raise ShapeError(
            f"the scores are of shape {list(scores.shape)}; a row of 1 to {config.max_scores} is "
            "needed"
        )
    check_range(scores, config.score_bits, "the row of scores")
    return largest(scores, torch.tensor(k)).nonzero()[:, 0]

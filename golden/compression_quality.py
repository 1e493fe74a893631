"""How far an integer model's predictions are from those of the float model it was made of."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp

import torch

from golden.language_model import LanguageModel
from golden.transformer import Cache, IntegerTransformer

_AT_ONCE = 128


@dataclass(frozen=True)
class Quality:
    """Results on a text.

    Attributes:
        perplexity, perplexity_float: of the integer and of the float model.
        kl: divergence of the integer model's next-token distribution from the float one's, the mean
            over the text, in nats per token.
    """

    perplexity: float
    perplexity_float: float
    kl: float


def quality(
    model: LanguageModel,
    integer: IntegerTransformer,
    tokens: torch.Tensor,
    progress: Callable[[float], None] = lambda part: None,
) -> Quality:
    """Return how well an integer model predicts [1, tokens], all but the first.

    Args:
        model: the float model.
    """
    with torch.no_grad():
        exact = model.network(tokens).logits[0, :-1]
    text, following = tokens[0, :-1], tokens[0, 1:]
    cache = Cache()
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(text), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        logits = integer.forward(text[some], cache) * 2.0**-integer.logit_fraction
        sums += _sums(logits, exact[some].double(), following[some])
        progress(min(start + _AT_ONCE, len(text)) / len(text))
    loss, loss_float, kl = (sums / len(text)).tolist()
    return Quality(exp(loss), exp(loss_float), kl)


def _sums(logits: torch.Tensor, exact: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Return the sums over tokens of both losses and of the divergence."""
    given, expected = logits.log_softmax(dim=-1), exact.log_softmax(dim=-1)
    nll = torch.nn.functional.nll_loss
    return torch.stack(
        [
            nll(given, following, reduction="sum"),
            nll(expected, following, reduction="sum"),
            (expected.exp() * (expected - given)).sum(),
        ]
    )
